//! What a gateway is under: a simulated PBX with a working office, and storms of events on top.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use sim_pbx::ami::Office;
use sim_pbx::ami::server::{Faults, Handle, Server};
use tokio::time::sleep;

/// One life of a data folder: what its gateway is set to.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) commit_interval_ms: u64,
    pub(crate) max_bytes_mib: u64,
    /// The longest a sync takes on the layer.
    pub(crate) sync_takes: Duration,
}

/// The least a configuration may say.
const LEAST_MIB: u64 = 16;

pub(crate) const SECRET: &str = "gw-secret";

impl Settings {
    pub(crate) fn draw(dice: &mut fastrand::Rng) -> Self {
        let of = |dice: &mut fastrand::Rng, choices: &[u64]| choices[dice.usize(..choices.len())];
        Self {
            commit_interval_ms: of(dice, &[0, 5, 5, 200]),
            max_bytes_mib: of(dice, &[LEAST_MIB, LEAST_MIB, 64]),
            sync_takes: Duration::from_micros(of(dice, &[0, 500, 4000])),
        }
    }

    /// Retention has something to do once the log has grown a little.
    pub(crate) fn removes_soon(&self) -> bool {
        self.max_bytes_mib == LEAST_MIB
    }

    pub(crate) fn configuration(&self, data: &str, pbx: &Pbx, broker: SocketAddr) -> String {
        let mut text = format!(
            "[gateway]\nid = \"crash\"\ndata_dir = \"{data}\"\n[api]\nlisten = [\"127.0.0.1:0\"]\n[log]\n\
             commit_interval = \"{}ms\"\nmax_bytes = \"{}MiB\"\n[links.pbx]\ndialect = \"ami\"\n\
             addresses = [\"tcp://{}\"]\nuser = \"gw\"\nsecret = \"{SECRET}\"\n\
             [uplink]\nurl = \"mqtt://{broker}\"\n",
            self.commit_interval_ms, self.max_bytes_mib, pbx.handle.addr
        );
        for phone in 101..=104 {
            text += &format!("[lamps.desk-{phone}]\nshows = \"device:pbx/0{phone}\"\nvirtual = {{}}\n");
        }
        text
    }
}

/// How much is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    Quiet,
    Trickle,
    Storm,
    Flood,
}

impl Pace {
    fn draw(dice: &mut fastrand::Rng) -> Self {
        [Self::Quiet, Self::Trickle, Self::Storm, Self::Storm, Self::Flood][dice.usize(..5)]
    }

    /// Events a second beside those of the office.
    fn rate(self) -> u32 {
        match self {
            Self::Quiet => 0,
            Self::Trickle => 100,
            Self::Storm => 4_000,
            Self::Flood => 15_000,
        }
    }

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Quiet => "the office alone",
            Self::Trickle => "100 events/s",
            Self::Storm => "a storm, 4,000 events/s",
            Self::Flood => "a flood, 15,000 events/s",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Pbx {
    handle: Handle,
}

impl Pbx {
    pub(crate) async fn start(seed: u64) -> Result<Self> {
        let mut office = Office::recorded();
        if let Some(user) = office.users.first_mut() {
            SECRET.clone_into(&mut user.secret);
        }
        let handle = Server::start_day(([127, 0, 0, 1], 0).into(), office, seed, 20.0, Faults::default()).await?;
        Ok(Self { handle })
    }

    /// The office alone, and a little more: a gateway that starts is not kept from being looked at.
    pub(crate) fn calm(&self) {
        self.handle.control.set_faults(Faults { flood_per_s: Pace::Trickle.rate(), ..Faults::default() });
    }

    /// A flood for so long: the log is long before the first crash.
    pub(crate) async fn flood(&self, time: Duration) {
        self.handle.control.set_faults(Faults { flood_per_s: Pace::Flood.rate(), ..Faults::default() });
        sleep(time).await;
        self.calm();
    }

    /// Bursts of random strength and length, for so long; the answer is the last one's strength.
    pub(crate) async fn burst(&self, dice: &mut fastrand::Rng, pace: &mut Pace, mut left: Duration) {
        loop {
            *pace = Pace::draw(dice);
            self.handle.control.set_faults(Faults { flood_per_s: pace.rate(), ..Faults::default() });
            let part = Duration::from_millis(dice.u64(20..250)).min(left);
            sleep(part).await;
            left -= part;
            if left.is_zero() {
                return;
            }
        }
    }
}
