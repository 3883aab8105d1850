//! A broker's reason codes as ends, pauses and advice: who has to change what.
//!
//! Source: OASIS MQTT 5.0, sections 3.2.2.2, 3.4.2.1 and 3.14.2.1.

use std::time::Duration;

use crate::config;
use crate::limits::{
    UPLINK_FORBIDDEN_RETRY_MAX, UPLINK_FORBIDDEN_RETRY_MIN, UPLINK_REFUSED_RETRY_MAX, UPLINK_REFUSED_RETRY_MIN,
};
use crate::uplink::Down;

/// CONNACK said no.
pub(super) fn at_login(code: u8, said: &str, site: &config::Uplink) -> Down {
    end(code, said, site)
}

/// DISCONNECT came.
pub(super) fn at_end(code: u8, said: &str, site: &config::Uplink) -> Down {
    end(code, said, site)
}

fn end(code: u8, said: &str, site: &config::Uplink) -> Down {
    let account = match (&site.user, &site.tls.client_cert) {
        (Some(_), None) => "check `uplink.user` and `uplink.password`, and what the broker allows them",
        (Some(_), Some(_)) => {
            "check `uplink.user`, `uplink.password` and `uplink.tls_client_cert_file`, and what the broker allows them"
        }
        (None, Some(_)) => "check `uplink.tls_client_cert_file`, and whether the broker wants `uplink.user` too",
        (None, None) => "the broker may want `uplink.user` and `uplink.password`, or a client certificate",
    };
    let advice = match code {
        0x84 => "it speaks no MQTT 5; `uplink.url` has to lead to a broker that does",
        0x85 => "check `uplink.client_id`",
        0x86 | 0x87 | 0x8A | 0x8C => account,
        0x8E => "another client has this name: give each box a `uplink.client_id` of its own",
        0x90 => "check `uplink.prefix`, and what the broker allows below it",
        0x9A | 0x9B => "the broker has to take retained messages of QoS 1",
        0x9C | 0x9D => "set `uplink.url` to that server",
        _ => return Down::Closed { said: said.to_owned() },
    };
    Down::Refused { said: said.to_owned(), advice: advice.to_owned() }
}

/// What follows from a PUBACK with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Puback {
    /// Only a person can change it.
    pub(super) forbidden: bool,
    pub(super) advice: &'static str,
}

/// `None` where the message was taken: it has no subscribers, at most.
pub(super) fn of_puback(code: u8) -> Option<Puback> {
    match code {
        0..0x80 => None,
        0x87 => Some(Puback { forbidden: true, advice: "check what the broker allows `uplink.user` to publish" }),
        0x90 => Some(Puback { forbidden: true, advice: "check `uplink.prefix`, and what the broker allows below it" }),
        0x99 => Some(Puback { forbidden: true, advice: "the broker has to take JSON" }),
        _ => Some(Puback { forbidden: false, advice: "the broker may be full" }),
    }
}

/// How long sending waits after so many refusals in a row.
pub(super) fn pause(puback: Puback, in_a_row: u32) -> Duration {
    let (least, most) = match puback.forbidden {
        true => (UPLINK_FORBIDDEN_RETRY_MIN, UPLINK_FORBIDDEN_RETRY_MAX),
        false => (UPLINK_REFUSED_RETRY_MIN, UPLINK_REFUSED_RETRY_MAX),
    };
    least.saturating_mul(2_u32.saturating_pow(in_a_row.saturating_sub(1).min(16))).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_for_the_moment_is_tried_again_sooner_than_one_for_good() {
        let (busy, forbidden) = (of_puback(0x97).unwrap(), of_puback(0x87).unwrap());
        assert!(pause(busy, 1) < pause(busy, 3) && pause(busy, 30) == UPLINK_REFUSED_RETRY_MAX);
        assert!(pause(forbidden, 1) >= UPLINK_FORBIDDEN_RETRY_MIN);
        assert_eq!(pause(forbidden, 99), UPLINK_FORBIDDEN_RETRY_MAX);
        assert_eq!((of_puback(0), of_puback(0x10)), (None, None));
    }
}
