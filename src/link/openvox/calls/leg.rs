//! A party of a call, and its part in it.

use crate::clock::Instant;
use crate::event::{ConnectionState, DeviceId};
use crate::link::openvox::codec::{Party, Side};

#[derive(Clone, Debug)]
pub(in crate::link::openvox) struct Leg {
    pub(in crate::link::openvox) key: Key,
    /// `None` until something was told of it.
    pub(in crate::link::openvox) state: Option<ConnectionState>,
    /// When it is let go, unless news of it comes.
    pub(super) until: Option<Instant>,
}

/// Who: an extension, or the trunk's side. A call has each trunk side at most once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::link::openvox) enum Key {
    Ext(String),
    Inbound,
    Outbound,
}

const INBOUND: &str = "inbound";
const OUTBOUND: &str = "outbound";

impl Key {
    pub(super) fn of(party: &Party) -> Self {
        match &party.side {
            Side::Ext(number) => Self::Ext(number.clone()),
            Side::Inbound(_) => Self::Inbound,
            Side::Outbound(_) => Self::Outbound,
        }
    }

    pub(super) fn from_word(word: &str) -> Self {
        match word {
            INBOUND => Self::Inbound,
            OUTBOUND => Self::Outbound,
            ext => Self::Ext(ext.to_owned()),
        }
    }

    pub(super) fn word(&self) -> &str {
        match self {
            Self::Ext(ext) => ext,
            Self::Inbound => INBOUND,
            Self::Outbound => OUTBOUND,
        }
    }

    /// Only extensions are devices.
    pub(in crate::link::openvox) fn device(&self) -> Option<DeviceId> {
        match self {
            Self::Ext(ext) => Some(DeviceId::new(ext)),
            Self::Inbound | Self::Outbound => None,
        }
    }
}
