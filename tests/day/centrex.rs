//! A day on the simulated Centrex, as one extension and those it watches see it.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lamplighter::config::Address;
use sim_pbx::centrex::server::{Control, Faults, LengthLie, Trouble, keep_time, serve_connection};
use sim_pbx::centrex::{CentrexPbx, Convention, Day, Office as Desks, Wire};
use tokio::io::DuplexStream;

use crate::house::{Office, days};

#[test]
fn a_day_on_centrex_ends_as_it_began() {
    days("centrex", |seed| Centrex::new(seed, Convention::manual()));
}

#[test]
fn a_day_on_the_centrex_of_the_captures_ends_as_it_began() {
    days("centrex of 2020", |seed| Centrex::new(seed, Convention::captured_2020()));
}

/// The office's own pace, so that the one extension that is heard is busy all day.
const PACE: f64 = 0.3;
const ME: &str = "10013451";

struct Centrex {
    control: Control,
    watched: Vec<String>,
}

impl Centrex {
    fn new(seed: u64, convention: Convention) -> Self {
        let office = Desks { convention, ..Desks::demo() };
        let watched =
            office.extensions.iter().map(|one| one.short.clone()).filter(|short| !ME.ends_with(short.as_str()));
        let watched = watched.collect();
        let day = Day::new(seed, PACE, Duration::ZERO);
        let pbx = CentrexPbx::new(office, Wire::default(), seed);
        Self { control: Control::new(pbx, Some(day), Faults::default()), watched }
    }
}

impl Office for Centrex {
    fn link(&self) -> String {
        let watch = &self.watched;
        format!(
            "dialect = \"centrex\"\naddresses = [\"tcp://pbx\"]\nuser = \"{ME}\"\nsecret = \"1234\"\nwatch = {watch:?}"
        )
    }

    fn serve(&self, _: &Address, stream: DuplexStream) -> BoxFuture<'static, ()> {
        let control = self.control.clone();
        async move { serve_connection(stream, control).await }.boxed()
    }

    fn work(&self) -> Vec<BoxFuture<'static, ()>> {
        vec![keep_time(self.control.clone()).boxed()]
    }

    fn trouble(&self, choice: u64) {
        let trouble = match choice % 7 {
            0 => Trouble::Drop,
            1 => Trouble::CutInFrame,
            2 => Trouble::Garbage(b"\x00\xff half a thing\r\n\r\n".to_vec()),
            3 => Trouble::Length(LengthLie::TooLong(7)),
            4 => Trouble::Length(LengthLie::TooShort(7)),
            5 => Trouble::WrongOrder,
            _ => Trouble::Repeat,
        };
        self.control.trouble(&trouble);
    }

    fn go_home(&self) {
        self.control.go_home();
    }

    fn is_quiet(&self) -> bool {
        self.control.office(|pbx, _| pbx.calls().is_empty() && pbx.rooms().is_empty())
    }

    fn calls(&self) -> u64 {
        self.control.office(|pbx, _| pbx.calls_made())
    }

    fn devices(&self) -> Vec<String> {
        std::iter::once(ME.to_owned()).chain(self.watched.iter().cloned()).collect()
    }
}
