//! A real Asterisk for tests and for trying things by hand, kept in one directory of the cache.
//!
//! Source: Debian's package of suite `forky` (Asterisk 22), put by `mmdebstrap` into a root of its own, because
//! most hosts have no such package; the host itself gets nothing installed.
//! Shape: [`Root`] is the directory, built once and kept; [`Asterisk`] is one process in it. All that Asterisk
//! writes is below the root's `lab/`, which a test run covers with a tmpfs, so that a kept root stays as built.
//! Needs: root (chroot and device nodes), a Debian apt with a reachable mirror for the first build.
//! Not supported: two of them at once in one network namespace; the ports are fixed.

mod asterisk;
mod root;

pub use asterisk::{Asterisk, Booting};
pub use root::{Root, cache_dir, is_root};

/// The manager interface, plain.
pub const AMI_PORT: u16 = 15038;
/// The manager interface over TLS; its certificate is [`Root::certificate`].
pub const AMI_TLS_PORT: u16 = 15039;
/// SIP over UDP.
pub const SIP_PORT: u16 = 15060;
/// The manager user with all rights.
pub const AMI_USER: &str = "gw";
pub const AMI_SECRET: &str = "gw-secret";
