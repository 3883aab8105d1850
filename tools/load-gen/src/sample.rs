//! Events of a usual length, and a log filled with them.

use std::path::Path;

use anyhow::Result;
use lamplighter::clock::{Clock, Timestamp};
use lamplighter::event::{Body, CallEvent, CallKind, Direction, Event, LinkId, Seq, Submitted};
use lamplighter::limits::{LOG_BATCH_ENTRIES_MAX, STATE_CHECKPOINT_ENTRIES};
use lamplighter::log::EntryStore;
use lamplighter::log::checkpoint::{Checkpoint, CheckpointFile};
use lamplighter::log::record::Logged;
use lamplighter::log::store::Store;
use lamplighter::state::State;

/// An event's data, nearly: names and numbers grow a little with the count.
pub(crate) const EVENT_BYTES: usize = 400;

/// The link that all of them are of.
pub(crate) const LINK: &str = "front-desk";

/// Calls come and go, each told of twice, so that what is true of the office stays small however many there were.
pub(crate) fn event(number: usize) -> Event {
    let (call, kind) = (number / 2, if number.is_multiple_of(2) { CallKind::Delivered } else { CallKind::Cleared });
    let told = CallEvent {
        device: Some(format!("{:04}", call % 500).as_str().into()),
        call: Some(format!("1598510618.{call}").as_str().into()),
        connection: Some(format!("PJSIP/{:04}-{call:08x}", call % 500).as_str().into()),
        direction: Some(Direction::Inbound),
        calling: Some("01012345678".to_owned()),
        called: Some(format!("{:0>200}", call.wrapping_mul(0x9E37_79B9_7F4A_7C15))),
        ..CallEvent::default()
    };
    Event::link(&LinkId::new(LINK), Body::Call(kind, told))
}

pub(crate) fn submitted(number: usize, at: Timestamp) -> Submitted {
    Submitted { at, clock_unset: false, event: event(number), receipt: None }
}

/// As a record of the log; the first has the number and the seq 1.
pub(crate) fn logged(seq: usize, at: Timestamp) -> Logged {
    Logged::new(Seq(seq as u64), submitted(seq - 1, at))
}

/// Fills a log in full batches, the newest entry a minute old, and gives the bytes of data in it. The checkpoint lies as
/// far behind as it ever does, so that a start folds as much of the log as it ever must.
pub(crate) fn fill(log: &Path, events: usize) -> Result<u64> {
    let mut store = Store::open(log)?;
    let (mut state, mut payload) = (State::default(), 0);
    let at = Clock::system().timestamp().minus(std::time::Duration::from_secs(60));
    let checkpoint_at = Seq((events as u64).saturating_sub(STATE_CHECKPOINT_ENTRIES - 1));
    let mut seq = 0;
    while seq < events {
        let size = LOG_BATCH_ENTRIES_MAX.min(events - seq);
        let batch: Vec<Logged> = (seq + 1..=seq + size).map(|seq| logged(seq, at)).collect();
        store.commit(&batch)?;
        for logged in &batch {
            payload += logged.entry.data.len() as u64;
            if logged.entry.seq <= checkpoint_at {
                state.apply(&logged.entry, &logged.event);
            }
        }
        seq += size;
    }
    if state.seq.0 > 0 {
        CheckpointFile::new(log).write(&Checkpoint { seq: state.seq, state: serde_json::to_vec(&state)? })?;
    }
    Ok(payload)
}
