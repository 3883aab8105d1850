//! The log: every event, in order, for ever or until retention says otherwise.

pub mod record;

/// Whether entries reach the disk; while they do not, every lamp is out of touch with the truth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LogHealth {
    #[default]
    Good,
    /// For a person: what was found, what to do.
    Failing { reason: String },
}
