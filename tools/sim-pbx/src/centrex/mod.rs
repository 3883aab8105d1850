//! A simulated LG U+ premium Centrex behind its Open API, with an office working on it.
//!
//! Source: the protocol reference (LGUBaseOpenApi, Centrex JSON) and its sample messages, alone.
//! Shape: [`CentrexPbx`] is pure: bytes of a connection and office operations in, messages out, time as an argument (a
//! [`std::time::Duration`] since the start), randomness from a seed. [`Wire`] is how frames look, [`Convention`] how
//! events look, [`JsonForm`] the wrapping of the captures. [`Day`] works the office by a seeded script. [`server`] puts
//! it on TCP (and on any stream of bytes) with faults, [`web`] on WebSocket, HTTP POST and JSON lines.
//! Units: `now` since start; Unix seconds on the wire start at [`Office::epoch_s`].
//! Bounds: [`crate::limits`].
//! The REST side channel is [`web::start_rest`].
//! Not supported: the OAM lookup, whose form is not published; the ring callback's GET; TLS; audio.

mod call;
mod cipher;
mod command;
mod conference;
mod day;
mod history;
mod json;
mod message;
mod office;
mod pbx;
mod presence;
mod rest;
mod say;
pub mod server;
mod session;
mod transfer;
pub mod web;
mod wire;

pub use call::{CallId, CallView, Caller, Refused, Stage};
pub use cipher::{Basic, Cipher, CipherError, Outer, Seed, SeedMode, SeedPadding, Step};
pub use day::Day;
pub use history::CallRecord;
pub use json::{ConferenceName, JsonForm, Names, Oddity};
pub use message::TextRecord;
pub use office::{
    Absent, Account, ConsultationIds, Contention, Continuation, Convention, Extension, Office, OutOrder, OwnNumber,
    Partner, RingForm, SmsResult,
};
pub use pbx::{Answer, CentrexPbx, Received, Tally};
pub use presence::{Forward, ForwardKind};
pub use rest::{RestAnswer, RestAsked};
pub use session::{Output, Said, SessionId, Watch};
pub use wire::{ByteOrder, Charset, Counts, Deframer, Frame, Terminator, Wire, WireError};
