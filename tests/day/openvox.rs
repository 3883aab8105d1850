//! A day on the simulated OpenVox and on a Yeastar: reports pushed to the gateway, and its control API.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lamplighter::config::Address;
use lamplighter::event::{DeviceState, LampState};
use sim_pbx::openvox::Office as Desks;
use sim_pbx::openvox::server::{Control, Faults, Trouble};
use tokio::io::DuplexStream;

use crate::house::{House, Office, Pusher, days, story};

#[test]
fn a_day_on_an_openvox_ends_as_it_began() {
    days("openvox", |seed| PushingPbx::new(seed, Desks::documented(), "openvox"));
}

#[test]
fn a_day_on_a_yeastar_of_version_2_ends_as_it_began() {
    days("yeastar", |seed| PushingPbx::new(seed, Desks::yeastar(), "yeastar-v2"));
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn reports_that_stop_although_calls_go_on_raise_an_alarm() {
    story(
        || PushingPbx::quiet(Desks::documented(), ""),
        async |house| {
            house.pass(MINUTE).await;
            assert_eq!(house.shown("101"), Some(LampState::Available));
            // A quiet hour is no alarm.
            house.pass(60 * MINUTE).await;
            assert!(house.told("link.down").is_empty());
            // Status Monitor is switched off: calls go on, and nobody says so.
            house.office.control.set_faults(Faults { hold_reports: true, ..Faults::default() });
            let called = house.office.control.office(|pbx, now| {
                let call = pbx.call("101", "106", now)?;
                pbx.answer(call, now)
            });
            called.unwrap();
            house.pass(11 * MINUTE).await;
            assert_eq!(house.link().devices["106"].state, DeviceState::InUse, "found out by asking");
            let alarms: Vec<String> = house.told("pbx.native").iter().map(native).collect();
            assert!(
                alarms.iter().any(|alarm| alarm.contains("silent_for_s") && alarm.contains("Status Monitor")),
                "{alarms:?}"
            );
            assert_eq!(house.told("link.down").len(), 1);
            // It goes on as well as it can.
            assert!(!house.link().stale());
            assert_eq!(house.shown("106"), Some(LampState::InCall));
        },
    );
}

#[test]
fn a_pbx_that_cannot_be_asked_is_silent_after_a_while_where_the_site_says_so() {
    story(
        || PushingPbx::alone(Desks::documented(), "silence = \"1h\""),
        async |house| {
            house.office.control.office(|pbx, now| pbx.set_registered("101", false, now));
            house.pass(59 * MINUTE).await;
            assert!(house.told("link.down").is_empty());
            assert_eq!(house.shown("101"), Some(LampState::Unregistered));
            house.pass(2 * MINUTE).await;
            let down = house.told("link.down");
            assert_eq!(down.len(), 1);
            assert_eq!(house.shown("101"), Some(LampState::Lost), "nothing is known of it any more");
            // It speaks again.
            house.office.control.office(|pbx, now| pbx.set_registered("101", true, now));
            house.pass(MINUTE).await;
            assert_eq!(house.shown("101"), Some(LampState::Available));
        },
    );
}

#[test]
fn a_token_lives_as_long_as_heartbeats_come_and_is_replaced_when_it_has_died() {
    story(
        || PushingPbx::quiet(Desks::documented(), ""),
        async |house| {
            house.pass(5 * 60 * MINUTE).await;
            let heartbeats = house.asked("heartbeat");
            assert_eq!(house.asked("login"), 1, "half an hour each, and prolonged ten times");
            assert!((25..=31).contains(&heartbeats), "{heartbeats} in five hours");
            assert!(house.told("link.down").is_empty());
        },
    );
    let short = Desks { token_life: 5 * MINUTE, ..Desks::documented() };
    story(
        || PushingPbx::quiet(short, ""),
        async |house| {
            house.pass(60 * MINUTE).await;
            let logins = house.asked("login");
            assert!((6..=13).contains(&logins), "{logins} in an hour, each on the next question");
            assert!(house.told("link.down").is_empty(), "the link is not lost over it");
            assert!(!house.link().stale());
        },
    );
}

#[test]
fn a_wrong_password_is_tried_so_rarely_that_others_are_not_locked_out() {
    let mut office = Desks::documented();
    let right = std::mem::take(&mut office.users[0].password);
    story(
        || PushingPbx::quiet(office, ""),
        async |house| {
            for _ in 0..60 {
                house.pass(MINUTE).await;
            }
            let logins = house.asked("login");
            assert!((4..=7).contains(&logins), "{logins} in an hour");
            house.office.control.office(|pbx, _| pbx.office_mut().users[0].password.clone_from(&right));
            house.pass(25 * MINUTE).await;
            assert!(!house.link().stale(), "{:?}", house.link().last_error);
            assert_eq!(house.shown("101"), Some(LampState::Available));
        },
    );
}

fn native(event: &lamplighter::event::Event) -> String {
    event.native.as_ref().map(|native| native.get().to_owned()).unwrap_or_default()
}

impl House<PushingPbx> {
    fn asked(&self, service: &str) -> u64 {
        self.office.control.office(|pbx, _| pbx.received().get(service).copied().unwrap_or_default())
    }
}

/// The slowest there is: an office is not on the telephone all the time.
const PACE: f64 = 0.1;

struct PushingPbx {
    control: Control,
    desks: Vec<String>,
    /// `control` of the link, and what else is set.
    link: String,
}

impl PushingPbx {
    fn new(seed: u64, office: Desks, api: &'static str) -> Self {
        let link = format!("{CONTROL}, api = \"{api}\" }}");
        Self { desks: desks(&office), control: Control::with_day(office, seed, PACE, Faults::default()), link }
    }

    /// Where nothing happens by itself.
    fn quiet(office: Desks, link: &str) -> Self {
        let link = format!("{CONTROL} }}\n{link}");
        Self { desks: desks(&office), control: Control::new(office, 1, Faults::default()), link }
    }

    /// As [`Self::quiet`], and nothing can be asked.
    fn alone(office: Desks, link: &str) -> Self {
        let office = Desks { push_to: Some("gateway:8260".to_owned()), ..office };
        Self { desks: desks(&office), control: Control::new(office, 1, Faults::default()), link: link.to_owned() }
    }
}

const CONTROL: &str = "control = { url = \"http://pbx:9011\", user = \"api\", secret = \"api-secret\"";

fn desks(office: &Desks) -> Vec<String> {
    office.extensions.iter().map(|plan| plan.number.clone()).collect()
}

impl Office for PushingPbx {
    fn link(&self) -> String {
        format!("dialect = \"openvox\"\nlisten = \"127.0.0.1:8260\"\n{}", self.link)
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
