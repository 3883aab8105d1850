//! A day on the simulated NEXUSCUBE, with a duplicated CTI server.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lamplighter::config::Address;
use sim_pbx::nexuscube::server::{Control, Faults, Trouble};
use sim_pbx::nexuscube::{Office as Desks, Style, id};
use tokio::io::DuplexStream;

use crate::house::{Office, days};

#[test]
fn a_day_on_nexuscube_ends_as_it_began() {
    days("nexuscube", Cube::new);
}

/// A small office is not on the telephone all the time.
const PACE: f64 = 0.1;
const ADDRESSES: [&str; 2] = ["cti-a", "cti-b"];
/// How long a trouble that does not pass by itself lasts.
const TROUBLED: Duration = Duration::from_secs(200);

struct Cube {
    control: Control,
    desks: Vec<String>,
    queues: Vec<String>,
}

impl Cube {
    /// Days of odd seeds begin in the document's spelling, the others in another; both change in the course of the day.
    fn new(seed: u64) -> Self {
        let office =
            Desks { style: if seed.is_multiple_of(2) { Style::contrary() } else { Style::default() }, ..Desks::demo() };
        let control = Control::new_day(office, seed, PACE, Faults::default());
        let (desks, queues) = control.office(|pbx, _| {
            let desks: Vec<String> = pbx.telephones().map(str::to_owned).collect();
            let all = pbx.office().devices.iter().map(|plan| plan.dn.clone());
            (desks.clone(), all.filter(|dn| !desks.contains(dn)).collect())
        });
        Self { control, desks, queues }
    }

    /// It is so for a while.
    fn passing(&self, begin: impl FnOnce(&Control), end: impl FnOnce(&Control) + Send + 'static) {
        begin(&self.control);
        let control = self.control.clone();
        tokio::spawn(async move {
            tokio::time::sleep(TROUBLED).await;
            end(&control);
        });
    }
}

impl Office for Cube {
    fn link(&self) -> String {
        format!(
            "dialect = \"nexuscube\"\naddresses = [\"ws://{}\", \"ws://{}\"]\nuser = \"cube\"\nsecret = \"cube123\"\n\
             monitor = {:?}\nqueues = {:?}\ncalls_unsure_for = \"2m\"\nassume_idle_after = \"5m\"",
            ADDRESSES[0], ADDRESSES[1], self.desks, self.queues
        )
    }

    fn serve(&self, address: &Address, stream: DuplexStream) -> BoxFuture<'static, ()> {
        let control = self.control.clone();
        let side = usize::from(address.to_string().contains(ADDRESSES[1]));
        async move { drop(control.serve(stream, side).await) }.boxed()
    }

    fn work(&self) -> Vec<BoxFuture<'static, ()>> {
        let control = self.control.clone();
        vec![async move { control.keep_time().await }.boxed()]
    }

    fn trouble(&self, choice: u64) {
        let which = usize::try_from(choice % 64).unwrap();
        match choice % 14 {
            0 => self.control.trouble(&Trouble::Drop),
            1 => self.control.trouble(&Trouble::HalfFrame),
            2 => self.control.trouble(&Trouble::Bytes(b"\xff\xff no frame \x00".to_vec())),
            3 => self.control.trouble(&Trouble::Claim(1 << 40)),
            4 => self.control.trouble(&Trouble::Text("{\"fname\":\"event\",\"id\":4,".to_owned())),
            5 => self.control.trouble(&Trouble::Close([1000, 1001, 1008, 1011, 1012, 1013][which % 6])),
            6 => {
                let lost = [id::CTI_DISCONNECTED, id::CTI_FAIL, id::PBX_LINK_FAIL, id::NO_ACTIVE_PBX, id::CTI_DOWN];
                let back = [id::CTI_CONNECTED, id::RECOVERY][which % 2];
                self.passing(
                    |control| control.office(|pbx, now| pbx.lose_link(lost[which % 5], now)),
                    move |control| control.office(|pbx, now| pbx.recover_link(back, now)),
                );
            }
            7 => self.passing(
                |control| control.set_faults(Faults { stall: true, ..Faults::default() }),
                |control| control.set_faults(Faults::default()),
            ),
            8 => self.passing(|control| control.set_up(0, false), |control| control.set_up(0, true)),
            9 => {
                let device = self.desks[which % self.desks.len()].clone();
                self.control.office(|pbx, now| pbx.end_monitor(&device, now));
            }
            10 => self.control.set_faults(Faults { split: true, fragments: Some(7), repeat: 1, ..Faults::default() }),
            11 => self.control.set_faults(Faults { glue: Some(Duration::from_millis(300)), ..Faults::default() }),
            12 => self.control.set_faults(Faults::default()),
            _ => {
                let style = if which.is_multiple_of(2) { Style::contrary() } else { Style::default() };
                self.control.office(|pbx, _| *pbx.style_mut() = style);
            }
        }
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
