//! What goes wrong, and when: a list of acts made from a seed before the run begins.

use std::time::Duration;

use crate::cloud::Weather;
use crate::exchange::{Network, Trouble, Writing};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Act {
    Network(Network),
    Writing(Writing),
    Trouble(Trouble),
    /// The PBX restarts: nobody listens for `down`, it has booted `boot` later.
    PbxRestart {
        down: Duration,
        boot: Duration,
    },
    /// No commit succeeds until it recovers.
    StoreFails,
    StoreRecovers,
    Identify {
        lamp: usize,
    },
    Test {
        lamp: usize,
    },
    /// The dialplan says so many user events at once.
    Flood {
        events: usize,
    },
    /// The follower reads nothing for so long.
    Nap(Duration),
    Cloud(Weather),
    /// Stops as systemd asks, starts again after the pause.
    Restart(Duration),
    /// Ends without a word, starts again after the pause.
    PowerCut(Duration),
}

/// Acts of one stretch, in time order, each with its time from the stretch's beginning.
pub(crate) fn acts(rng: &mut fastrand::Rng, length: Duration) -> Vec<(Duration, Act)> {
    let mut acts = Vec::new();
    let mut at = seconds(rng, 3, 40);
    while at < length {
        one(rng, at, &mut acts);
        at += seconds(rng, 4, 75);
    }
    acts.retain(|(at, _)| *at < length);
    acts.sort_by_key(|(at, _)| *at);
    acts
}

/// Acts of one day that begins at midnight, in time order: mostly while people work, and longer ones than an hour has.
pub(crate) fn acts_of_a_day(rng: &mut fastrand::Rng) -> Vec<(Duration, Act)> {
    const HOUR: u64 = 3600;
    let mut acts = Vec::new();
    for _ in 0..rng.usize(2..9) {
        let at = seconds(rng, 9 * HOUR, 18 * HOUR);
        one(rng, at, &mut acts);
    }
    for _ in 0..rng.usize(0..3) {
        let at = seconds(rng, 0, 24 * HOUR);
        let span = seconds(rng, HOUR / 12, 3 * HOUR);
        let (begin, end) = match rng.u32(0..3) {
            0 => (Act::Network(Network::Silent), Act::Network(Network::Good)),
            1 => (Act::StoreFails, Act::StoreRecovers),
            _ => (Act::Nap(span * 4), Act::Nap(Duration::ZERO)),
        };
        acts.extend([(at, begin), (at + span, end)]);
    }
    for _ in 0..rng.usize(0..3) {
        let at = seconds(rng, 0, 24 * HOUR);
        let span = seconds(rng, 10, 4 * HOUR);
        let weather = match rng.u32(0..6) {
            0 | 1 => Weather::Gone,
            2 => Weather::BlackHole,
            3 => Weather::Drop,
            4 => Weather::Slow(Duration::from_millis(rng.u64(10..5000))),
            _ => Weather::Quota(rng.usize(1..40)),
        };
        acts.push((at, Act::Cloud(weather)));
        acts.push((at + span, Act::Cloud(Weather::Good)));
    }
    acts.retain(|(at, _)| *at < Duration::from_secs(24 * HOUR));
    acts.sort_by_key(|(at, _)| *at);
    acts
}

fn one(rng: &mut fastrand::Rng, at: Duration, acts: &mut Vec<(Duration, Act)>) {
    let mut for_a_while = |begin: Act, end: Act, span: Duration| acts.extend([(at, begin), (at + span, end)]);
    match rng.u32(0..100) {
        0..14 => acts.push((at, Act::Trouble(Trouble::Close))),
        14..26 => acts.push((at, Act::Trouble(Trouble::Cut))),
        26..36 => {
            let span = if rng.bool() { seconds(rng, 1, 30) } else { seconds(rng, 30, 240) };
            for_a_while(Act::Network(Network::Silent), Act::Network(Network::Good), span);
        }
        36..42 => {
            // Refusing hurts nobody who is connected.
            for_a_while(Act::Network(Network::Refusing), Act::Network(Network::Good), seconds(rng, 5, 90));
            acts.push((at, Act::Trouble(Trouble::Close)));
        }
        42..47 => {
            for_a_while(Act::Network(Network::Unanswering), Act::Network(Network::Good), seconds(rng, 5, 60));
            acts.push((at, Act::Trouble(Trouble::Cut)));
        }
        47..53 => {
            let (down, boot) = (seconds(rng, 1, 30), seconds(rng, 1, 40));
            acts.push((at, Act::PbxRestart { down, boot }));
        }
        53..63 => {
            let writing = match rng.bool() {
                true => Writing::Split(rng.usize(1..200)),
                false => Writing::Glued(Duration::from_millis(rng.u64(5..900))),
            };
            for_a_while(Act::Writing(writing), Act::Writing(Writing::Whole), seconds(rng, 10, 120));
        }
        63..72 => for_a_while(Act::StoreFails, Act::StoreRecovers, seconds(rng, 1, 120)),
        72..80 => {
            for _ in 0..rng.usize(1..30) {
                let lamp = rng.usize(..);
                acts.push((at, if rng.bool() { Act::Identify { lamp } } else { Act::Test { lamp } }));
            }
        }
        80..82 => {
            let events = rng.usize(2_000..20_000);
            acts.extend([(at, Act::Nap(seconds(rng, 60, 120))), (at + Duration::from_secs(5), Act::Flood { events })]);
        }
        82..88 => acts.push((at, Act::Nap(seconds(rng, 5, 1200)))),
        88..94 => acts.push((at, Act::Restart(seconds(rng, 0, 60)))),
        _ => acts.push((at, Act::PowerCut(seconds(rng, 0, 60)))),
    }
}

fn seconds(rng: &mut fastrand::Rng, min: u64, max: u64) -> Duration {
    Duration::from_millis(rng.u64(min * 1000..max * 1000))
}
