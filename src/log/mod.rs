//! The log: every event, in order, for ever or until retention says otherwise.

pub mod record;
