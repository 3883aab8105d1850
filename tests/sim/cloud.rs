//! The cloud's end: a simulated broker behind the uplink, which is away for hours, swallows packets, drops connections; and
//! what it must have in spite of that.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::FutureExt;
use lamplighter::event::Seq;
use lamplighter::link::Down;
use lamplighter::link::driver::{Connect, Stream};
use sim_broker::server::Control;

const TOPIC: &str = "lamplighter/sim/event";
const IDENTITY: &str = "sim.00000000.";

/// How the way to the broker is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Weather {
    Good,
    /// Nobody is let in, and who is in is out.
    Gone,
    /// Connections that stand carry nothing and do not end.
    BlackHole,
    /// Every connection ends once.
    Drop,
    /// The broker takes its time to acknowledge.
    Slow(Duration),
    /// The next so many messages are refused for a full quota.
    Quota(usize),
}

/// A broker, and what came to it.
pub(crate) struct Cloud {
    control: Control,
    /// The newest entry it has for good, with all before it.
    last: Seq,
    /// Refused for the moment, behind `last`.
    refused: BTreeSet<Seq>,
    /// Came before those that were refused, and comes again behind them.
    early: BTreeSet<Seq>,
    pub(crate) messages: u64,
    /// Entries that came again, each of them marked.
    pub(crate) repeats: u64,
    /// Entries that retention took before they could come.
    pub(crate) missed: u64,
}

impl Cloud {
    pub(crate) fn new() -> Self {
        Self {
            control: Control::new(),
            last: Seq(0),
            refused: BTreeSet::new(),
            early: BTreeSet::new(),
            messages: 0,
            repeats: 0,
            missed: 0,
        }
    }

    pub(crate) fn connector(&self) -> Connect {
        let control = self.control.clone();
        std::sync::Arc::new(move |_| {
            let connected = control.connect().map(|stream| Box::new(stream) as Box<dyn Stream>);
            async move { connected.map_err(|error| Down::Unreachable { found: error.to_string() }) }.boxed()
        })
    }

    pub(crate) fn turns(&self, weather: Weather) {
        self.control.gone(weather == Weather::Gone);
        self.control.broker(|broker, now| {
            broker.rules.black_hole = weather == Weather::BlackHole;
            broker.rules.ack_delay = if let Weather::Slow(delay) = weather { delay } else { Duration::ZERO };
            match weather {
                Weather::Good => broker.rules.ack_codes.clear(),
                Weather::Drop => broker.drop_all(now),
                Weather::Quota(messages) => broker.rules.ack_codes.extend(std::iter::repeat_n(0x97, messages)),
                Weather::Gone | Weather::BlackHole | Weather::Slow(_) => {}
            }
        });
    }

    /// Takes in what came. `trimmed`: everything up to there may be missing, since the log said so.
    pub(crate) fn look(&mut self, trimmed: Seq) {
        let received = self.control.broker(|broker, _| {
            assert_eq!(broker.violations(), [""; 0], "the gateway keeps to MQTT");
            broker.take_received()
        });
        for received in received.iter().filter(|it| it.message.topic == TOPIC) {
            let event: serde_json::Value = serde_json::from_slice(&received.message.payload).unwrap();
            let seq = Seq(event["sequence"].as_str().and_then(|digits| digits.parse().ok()).unwrap());
            assert_eq!(event["id"].as_str(), Some(format!("{IDENTITY}{}", seq.0).as_str()), "an id is the entry's own");
            if received.code >= 0x80 {
                self.refused.insert(seq);
                continue;
            }
            let resent = received.message.properties.word("resent") == Some("true");
            self.take(seq, resent, trimmed);
        }
    }

    fn take(&mut self, seq: Seq, resent: bool, trimmed: Seq) {
        self.messages += 1;
        if seq <= self.last || self.early.contains(&seq) {
            assert!(resent, "the cloud has {seq} already, and nobody says that it is a repeat");
            self.repeats += 1;
        }
        if seq <= self.last {
            return;
        }
        // Behind one that is refused the broker may take others; they come once more, in order.
        if (self.last.0 + 1..seq.0).any(|before| before > trimmed.0 && self.refused.contains(&Seq(before))) {
            self.early.insert(seq);
            return;
        }
        let missed = seq.0 - self.last.0 - 1;
        assert!(missed == 0 || seq.0 - 1 <= trimmed.0, "{seq} came after {}: what lies between?", self.last);
        self.missed += missed;
        self.last = seq;
        self.refused = self.refused.split_off(&seq.next());
        self.early = self.early.split_off(&seq.next());
    }

    pub(crate) fn last(&self) -> Seq {
        self.last
    }
}
