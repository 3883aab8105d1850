//! Device states as Asterisk computes them from channels, and how they read on the wire.
//!
//! Source: Asterisk's rules for combining channel states into one device state, checked against recordings: the
//! party that is *being held* shows `ONHOLD`, not the one that pressed hold; two calls make `BUSY`
//! (`device_state_busy_at = 2`).

/// State of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceState {
    NotInUse,
    InUse,
    Busy,
    Unavailable,
    Ringing,
    RingInUse,
    OnHold,
}

impl DeviceState {
    /// As `DeviceStateChange` says it.
    pub fn word(self) -> &'static str {
        match self {
            Self::NotInUse => "NOT_INUSE",
            Self::InUse => "INUSE",
            Self::Busy => "BUSY",
            Self::Unavailable => "UNAVAILABLE",
            Self::Ringing => "RINGING",
            Self::RingInUse => "RINGINUSE",
            Self::OnHold => "ONHOLD",
        }
    }

    /// As `EndpointList` says it.
    pub(crate) fn phrase(self) -> &'static str {
        match self {
            Self::NotInUse => "Not in use",
            Self::InUse => "In use",
            Self::Busy => "Busy",
            Self::Unavailable => "Unavailable",
            Self::Ringing => "Ringing",
            Self::RingInUse => "Ring+Inuse",
            Self::OnHold => "On Hold",
        }
    }

    /// `Status` and `StatusText` of `ExtensionStatus`.
    pub(crate) fn extension(self) -> (i32, &'static str) {
        match self {
            Self::NotInUse => (0, "Idle"),
            Self::InUse => (1, "InUse"),
            Self::Busy => (2, "Busy"),
            Self::Unavailable => (4, "Unavailable"),
            Self::Ringing => (8, "Ringing"),
            Self::RingInUse => (9, "InUse&Ringing"),
            Self::OnHold => (16, "Hold"),
        }
    }

    /// `Status` of a queue member.
    pub(crate) fn member(self) -> u8 {
        match self {
            Self::NotInUse => 1,
            Self::InUse => 2,
            Self::Busy => 3,
            Self::Unavailable => 5,
            Self::Ringing => 6,
            Self::RingInUse => 7,
            Self::OnHold => 8,
        }
    }

    const fn rank(self) -> u8 {
        match self {
            Self::Unavailable => 2,
            Self::NotInUse => 3,
            Self::OnHold => 4,
            Self::Ringing => 5,
            Self::InUse => 6,
            Self::Busy => 7,
            Self::RingInUse => 8,
        }
    }
}

/// Several states in one, as Asterisk combines them.
pub(crate) fn combined(states: impl IntoIterator<Item = DeviceState>) -> Option<DeviceState> {
    let (mut ringing, mut in_use, mut best) = (false, false, None::<DeviceState>);
    for state in states {
        ringing |= state == DeviceState::Ringing;
        in_use |= matches!(state, DeviceState::InUse | DeviceState::OnHold | DeviceState::Busy);
        let wins = best.is_none_or(|b| state.rank() > b.rank());
        best = Some(match (ringing && in_use, wins) {
            (true, _) => DeviceState::RingInUse,
            (false, true) => state,
            (false, false) => best.unwrap_or(state),
        });
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_call_that_rings_shows_both() {
        assert_eq!(combined([DeviceState::InUse, DeviceState::Ringing]), Some(DeviceState::RingInUse));
        assert_eq!(combined([DeviceState::OnHold, DeviceState::InUse]), Some(DeviceState::InUse));
        assert_eq!(combined([]), None);
    }
}
