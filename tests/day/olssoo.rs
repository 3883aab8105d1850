//! A day on the simulated olssoo: events and actions over the WebSocket proxy, which loses its AMI now and then;
//! REST beside it.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lamplighter::config::{Address, Scheme};
use sim_pbx::ami::server::{Control as Asterisk, Faults as AsteriskFaults};
use sim_pbx::ami::{AmiPbx, Day, Office as Desks};
use sim_pbx::olssoo::server::{Control, Plan};
use sim_pbx::olssoo::{MAC_ENDPOINT, Slip, Trouble, office};
use tokio::io::DuplexStream;

use crate::house::{Office, days};

#[test]
fn a_day_on_olssoo_ends_as_it_began() {
    days("olssoo", Olssoo::new);
}

/// A small office is not on the telephone all the time.
const PACE: f64 = 0.1;

struct Olssoo {
    control: Control,
    asterisk: Asterisk,
    desks: Vec<String>,
}

impl Olssoo {
    fn new(seed: u64) -> Self {
        // What is dropped before the log is most of the volume, and tells nothing here.
        let office = Desks { noise: false, ..office() };
        // A telephone that is named after its MAC address has a lamp by its extension.
        let extension = |endpoint: &str| if endpoint == MAC_ENDPOINT.0 { MAC_ENDPOINT.1 } else { endpoint }.to_owned();
        let desks = office.phones.iter().map(|phone| extension(&phone.number)).collect();
        let day = Day::new(seed, PACE, Duration::ZERO);
        let asterisk = Asterisk::new(AmiPbx::new(office, seed), Some(day), AsteriskFaults::default());
        Self { control: Control::new(Plan::of(&asterisk)), asterisk, desks }
    }
}

impl Office for Olssoo {
    fn link(&self) -> String {
        let (endpoint, extension) = MAC_ENDPOINT;
        format!(
            "dialect = \"olssoo\"\naddresses = [\"ws://pbx:5500\"]\ntrunks = [\"PJSIP/MAKECALL\"]\n\
             endpoints = {{ {endpoint:?} = {extension:?} }}\n\
             rest = {{ url = \"http://pbx\", app_key = \"olssoo-app-key\", tenant = \"office\" }}"
        )
    }

    fn serve(&self, address: &Address, stream: DuplexStream) -> BoxFuture<'static, ()> {
        let (control, websocket) = (self.control.clone(), address.scheme == Scheme::Ws);
        async move {
            match websocket {
                true => control.serve_websocket(stream).await,
                false => control.serve_rest(stream).await,
            }
        }
        .boxed()
    }

    fn work(&self) -> Vec<BoxFuture<'static, ()>> {
        let (control, asterisk) = (self.control.clone(), self.asterisk.clone());
        vec![async move { control.run().await }.boxed(), async move { asterisk.keep_time().await }.boxed()]
    }

    fn trouble(&self, choice: u64) {
        let trouble = match choice % 9 {
            0 => Trouble::Drop,
            1 => Trouble::CutInFrame,
            2 => Trouble::Text("{\"type\":3,\"data\":{\"Event\":\"half a th".into()),
            3 => Trouble::Binary(vec![0, 255, 1]),
            4 => Trouble::Slip(Slip::TwoObjects),
            5 => Trouble::Close(1012, "restarting".into()),
            // What an AMI says while the proxy is without it is told to nobody.
            6 => return self.control.lose_ami(0, Duration::from_secs(choice / 9 % 600)),
            7 => return self.asterisk.restart(Duration::from_secs(20), Duration::from_secs(8)),
            _ => Trouble::Raw(vec![0xff, 0]),
        };
        self.control.trouble(&trouble);
    }

    fn go_home(&self) {
        self.asterisk.go_home();
    }

    fn is_quiet(&self) -> bool {
        self.asterisk.office(|pbx, _| pbx.calls().is_empty())
    }

    fn calls(&self) -> u64 {
        self.asterisk.office(|pbx, _| pbx.calls_made())
    }

    fn devices(&self) -> Vec<String> {
        self.desks.clone()
    }
}
