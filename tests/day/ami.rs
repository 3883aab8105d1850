//! A day on the simulated Asterisk.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lamplighter::config::Address;
use sim_pbx::ami::server::{Control, Faults, Trouble};
use sim_pbx::ami::{AmiPbx, Day, Office as Desks};
use tokio::io::DuplexStream;

use crate::house::{Office, days};

#[test]
fn a_day_on_asterisk_ends_as_it_began() {
    days("ami", Asterisk::new);
}

/// A small office is not on the telephone all the time.
const PACE: f64 = 0.15;

struct Asterisk {
    control: Control,
    desks: Vec<String>,
}

impl Asterisk {
    fn new(seed: u64) -> Self {
        let office = Desks::demo();
        let desks = office.phones.iter().map(|phone| phone.number.clone()).collect();
        let day = Day::new(seed, PACE, std::time::Duration::ZERO);
        Self { control: Control::new(AmiPbx::new(office, seed), Some(day), Faults::default()), desks }
    }
}

impl Office for Asterisk {
    fn link(&self) -> String {
        "dialect = \"ami\"\naddresses = [\"tcp://pbx\"]\nuser = \"gw\"\nsecret = \"gw-secret\"\ntrunks = [\"PJSIP/trunk\"]".into()
    }

    fn serve(&self, _: &Address, stream: DuplexStream) -> BoxFuture<'static, ()> {
        let control = self.control.clone();
        async move { control.serve(stream).await }.boxed()
    }

    fn work(&self) -> Vec<BoxFuture<'static, ()>> {
        let control = self.control.clone();
        vec![async move { control.keep_time().await }.boxed()]
    }

    fn trouble(&self, choice: u64) {
        let trouble = match choice % 3 {
            0 => Trouble::Drop,
            1 => Trouble::CutInMessage,
            _ => Trouble::Garbage(b"Event: \x00\xff half a thing\r\n\r\n".to_vec()),
        };
        self.control.trouble(&trouble);
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
