//! The demonstration's offices: one for each dialect, each on a simulated PBX of its kind, with a working day.
//!
//! Shape: a [`Site`] holds its PBX while it is kept; its configuration is what an installer would write for the real one.

use std::any::Any;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use sim_pbx::{ami, centrex, nexuscube, olssoo, openvox};

use super::picture::Desk;

/// One link, with the desks behind it and the PBX that they are on.
pub(super) struct Site {
    pub(super) link: &'static str,
    pub(super) dialect: &'static str,
    /// What stands below `[links.NAME]`.
    pub(super) configuration: String,
    pub(super) desks: Vec<Desk>,
    /// The PBX works as long as this is kept.
    _pbx: Box<dyn Any + Send>,
}

/// Who sits at a desk: their telephone, their name, and the agent they are, where a queue knows them.
type Seat<'a> = (&'a str, &'a str, Option<&'a str>);

/// Every site, in the order of the picture. `speed` is how many times faster than a day people work; `seed` is the day,
/// and when it began.
///
/// # Errors
/// A simulated PBX cannot listen on loopback.
pub(super) async fn open(seed: u64, speed: f64) -> io::Result<Vec<Site>> {
    Ok(vec![
        front_desk(seed, speed).await?,
        branch(seed, speed).await?,
        head_office(seed, speed).await?,
        call_centre(seed, speed).await?,
        workshop(seed, speed).await?,
    ])
}

async fn front_desk(seed: u64, speed: f64) -> io::Result<Site> {
    let office = ami::Office { epoch_s: seed / 1000, ..ami::Office::demo() };
    let (user, trunk) = (office.users[0].clone(), office.trunk.clone());
    let faults = ami::server::Faults::default();
    let pbx = ami::server::Server::start_day(anywhere(), office, seed, speed, faults).await?;
    let configuration = format!(
        "addresses = [\"tcp://{}\"]\nuser = {:?}\nsecret = {:?}\ntrunks = [{trunk:?}]\n",
        pbx.addr, user.name, user.secret
    );
    let seats = [
        ("0101", "Front Desk", None),
        ("0102", "Hanako Suzuki", None),
        ("0104", "Zoë Müller", Some("Zoë Müller")),
        ("0105", "Mina Park", Some("Mina Park")),
    ];
    Ok(site("front-desk", "ami", configuration, &seats, pbx))
}

async fn branch(seed: u64, speed: f64) -> io::Result<Site> {
    let mut office = olssoo::office();
    office.epoch_s = seed / 1000;
    let trunk = office.trunk.clone();
    let day = Some((seed ^ 1, speed));
    let pbx = olssoo::server::Server::start(olssoo::server::Addresses::loopback(), office, day, |_| {}).await?;
    let configuration = format!(
        "addresses = [\"ws://{}\"]\ntrunks = [\"PJSIP/{trunk}\"]\nendpoints = {{ {:?} = {:?} }}\n\
         rest = {{ url = \"http://{}\", app_key = \"olssoo-app-key\", tenant = \"office\" }}\n",
        pbx.websocket,
        olssoo::MAC_ENDPOINT.0,
        olssoo::MAC_ENDPOINT.1,
        pbx.rest
    );
    let seats = [
        ("0101", "Seo-yeon Lee", None),
        ("0102", "Min-jun Kim", None),
        ("0106", "Jonas Weber", Some("Jonas Weber")),
        ("0110", "Lena Rossi", Some("Lena Rossi")),
    ];
    Ok(site("branch", "olssoo", configuration, &seats, pbx))
}

async fn head_office(seed: u64, speed: f64) -> io::Result<Site> {
    let office = centrex::Office { epoch_s: seed / 1000, ..centrex::Office::demo() };
    let account = office.accounts[0].clone();
    let (wire, faults) = (centrex::Wire::default(), centrex::server::Faults::default());
    let pbx = centrex::server::Server::start_day(anywhere(), office, wire, seed ^ 2, speed, faults).await?;
    // One login is one extension; the others are asked for.
    let configuration = format!(
        "addresses = [\"tcp://{}\"]\nuser = {:?}\nsecret = {:?}\nwatch = [\"3452\", \"3453\", \"3454\"]\npoll = \"5s\"\n",
        pbx.addr, account.id, account.password
    );
    let seats = [
        ("10013451", "Ji-woo Park", None),
        ("3452", "Director", None),
        ("3453", "Accounts", None),
        ("3454", "Meeting Room", None),
    ];
    Ok(site("head-office", "centrex", configuration, &seats, pbx))
}

async fn call_centre(seed: u64, speed: f64) -> io::Result<Site> {
    let office = nexuscube::Office { epoch_ms: seed, ..nexuscube::Office::demo() };
    let account = office.accounts[0].clone();
    let faults = nexuscube::server::Faults::default();
    let pbx = nexuscube::server::Server::start_day(anywhere(), office, seed ^ 3, speed, faults).await?;
    let configuration = format!(
        "addresses = [\"ws://{}\"]\nuser = {:?}\nsecret = {:?}\nassume_idle_after = \"3s\"\nqueues = [\"4001\", \"4002\"]\n\
         monitor = [\"1001\", \"1002\", \"1003\", \"1004\", \"1005\", \"1006\", \"4001\", \"4002\"]\n",
        pbx.addr(),
        account.id,
        account.pwd
    );
    let seats = [
        ("1001", "Ha-eun Choi", Some("1001")),
        ("1002", "Do-yun Jung", Some("1002")),
        ("1003", "Pat O'Brien", Some("1003")),
        ("1004", "Taro Tanaka", Some("1004")),
    ];
    Ok(site("call-centre", "nexuscube", configuration, &seats, pbx))
}

async fn workshop(seed: u64, speed: f64) -> io::Result<Site> {
    let office = openvox::Office { epoch_s: seed / 1000, ..openvox::Office::demo() };
    let (user, serial) = (office.users[0].clone(), office.serial.clone());
    let faults = openvox::server::Faults::default();
    let pbx = openvox::server::Server::start_day(anywhere(), office, seed ^ 4, speed, faults).await?;
    let configuration = format!(
        "listen = \"{}\"\nserial = {serial:?}\npoll = \"1s\"\n\
         control = {{ url = \"http://{}\", user = {:?}, secret = {:?} }}\n",
        free_port()?,
        pbx.addr,
        user.name,
        user.password
    );
    let seats =
        [("101", "Workshop", None), ("102", "Spare Parts", None), ("105", "Tools", None), ("106", "Yard", None)];
    Ok(site("workshop", "openvox", configuration, &seats, pbx))
}

fn site(
    link: &'static str,
    dialect: &'static str,
    configuration: String,
    seats: &[Seat<'_>],
    pbx: impl Any + Send,
) -> Site {
    let desk = |(device, name, agent): &Seat<'_>| Desk {
        link: link.to_owned(),
        lamp: format!("{link}-{device}"),
        name: (*name).to_owned(),
        device: (*device).to_owned(),
        agent: agent.map(str::to_owned),
    };
    Site { link, dialect, configuration, desks: seats.iter().map(desk).collect(), _pbx: Box::new(pbx) }
}

fn anywhere() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// A port that is free at this moment, for a listener of the gateway's own: its number must be known to the PBX.
fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind(anywhere())?.local_addr()
}
