//! A day on the simulated OpenVox and on a Yeastar: reports pushed to the gateway, and its control API.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lamplighter::config::Address;
use sim_pbx::openvox::Office as Desks;
use sim_pbx::openvox::server::{Control, Faults, Trouble};
use tokio::io::DuplexStream;

use crate::house::{Office, Pusher, days};

#[test]
fn a_day_on_an_openvox_ends_as_it_began() {
    days("openvox", |seed| PushingPbx::new(seed, Desks::documented(), "openvox"));
}

#[test]
fn a_day_on_a_yeastar_of_version_2_ends_as_it_began() {
    days("yeastar", |seed| PushingPbx::new(seed, Desks::yeastar(), "yeastar-v2"));
}

/// The slowest there is: an office is not on the telephone all the time.
const PACE: f64 = 0.1;

struct PushingPbx {
    control: Control,
    desks: Vec<String>,
    api: &'static str,
}

impl PushingPbx {
    fn new(seed: u64, office: Desks, api: &'static str) -> Self {
        let desks = office.extensions.iter().map(|plan| plan.number.clone()).collect();
        Self { control: Control::with_day(office, seed, PACE, Faults::default()), desks, api }
    }
}

impl Office for PushingPbx {
    fn link(&self) -> String {
        format!(
            "dialect = \"openvox\"\nlisten = \"127.0.0.1:8260\"\ncontrol = {{ url = \"http://pbx:9011\", user = \"api\", \
             secret = \"api-secret\", api = \"{}\" }}",
            self.api
        )
    }

    fn serve(&self, _: &Address, stream: DuplexStream) -> BoxFuture<'static, ()> {
        let control = self.control.clone();
        // A connection that breaks is one of the day's faults.
        async move { drop(control.serve(stream, IpAddr::V4(Ipv4Addr::LOCALHOST)).await) }.boxed()
    }

    fn work(&self) -> Vec<BoxFuture<'static, ()>> {
        let control = self.control.clone();
        vec![async move { control.keep_time().await }.boxed()]
    }

    fn caller(&self, connect: Pusher) {
        let control = self.control.clone();
        tokio::spawn(async move {
            control
                .push_through(move |_| {
                    let opened = connect();
                    async move { opened }
                })
                .await;
        });
    }

    fn trouble(&self, choice: u64) {
        let trouble = match choice % 9 {
            0 => return self.control.office(|pbx, now| pbx.boot_up(now)),
            1 => return self.control.office(|pbx, now| pbx.expire_tokens(now)),
            2 => Trouble::HalfRequest,
            3 => Trouble::WrongLength(9),
            4 => Trouble::WrongLength(-9),
            5 => Trouble::SlowBody(Duration::from_secs(20)),
            6 => Trouble::Oversized(70_000),
            7 => Trouble::Garbage(b"\x16\x03\x01 half a thing\r\n\r\n".to_vec()),
            _ => Trouble::Nothing,
        };
        self.control.trouble(trouble);
    }

    fn go_home(&self) {
        self.control.go_home();
    }

    fn is_quiet(&self) -> bool {
        self.control.office(|pbx, _| pbx.calls().is_empty())
    }

    fn calls(&self) -> u64 {
        self.control.office(|pbx, _| pbx.calls_made())
    }

    fn devices(&self) -> Vec<String> {
        self.desks.clone()
    }
}
