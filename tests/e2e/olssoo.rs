//! The same Asterisk behind a WebSocket proxy of amiws' shape, the gateway's link of dialect `olssoo`: real calls turn
//! the lamps as they do on plain AMI.
//!
//! Shape: scenarios of `calls.rs`, `agents.rs` and `services.rs` in an office whose link goes through the proxy of the
//! simulated olssoo; beside them what only a proxy can do, and calls over its REST side.

use asterisk_lab::{AMI_PORT, AMI_SECRET, AMI_USER};
use serde_json::{Value, json};
use sim_pbx::olssoo::server::{Addresses, Handle, Plan, Server, Source};
use sim_pbx::olssoo::{AmiAccount, Faults, Trouble};
use tokio::join;
use tokio::task::block_in_place;

use crate::gateway::{Gateway, Site};
use crate::office::{Office, start_asterisk, text};
use crate::phone::{Call, Phone};
use crate::{agents, awaited, calls, services};

/// An office behind a proxy; the proxy ends when this is dropped.
struct Proxied {
    proxy: Handle,
    office: Office,
}

impl Proxied {
    async fn open() -> Self {
        Self::open_with(|site, _| services::with_dialplan(site)).await
    }

    /// `change` is the place for more keys of the link.
    async fn open_with(change: impl FnOnce(Site, &Handle) -> Site) -> Self {
        let asterisk = start_asterisk();
        let account = AmiAccount::new("pbx-lab", AMI_USER, AMI_SECRET);
        let asterisk_at = Source::Tcp(([127, 0, 0, 1], AMI_PORT).into());
        let plan = Plan::in_front_of(vec![(account, asterisk_at)]);
        let proxy = Server::start_proxy(Addresses::loopback(), plan).await.expect("the loopback has ports");
        awaited("the proxy's own login", proxy.control.ami_connected(0, true)).await;
        let site = change(Site::proxied(&[&format!("ws://{}", proxy.websocket)]), &proxy);
        let mut gateway = Gateway::new(&site).await;
        gateway.start().await;
        let office = Office::begun(asterisk, gateway).await;
        Self { proxy, office }
    }
}

pub(crate) async fn a_call_shows() {
    let Proxied { proxy: _proxy, office } = Proxied::open().await;
    calls::plain_call(office).await;
}

pub(crate) async fn a_held_call_shows() {
    let Proxied { proxy: _proxy, office } = Proxied::open().await;
    calls::held_call(office).await;
}

pub(crate) async fn a_transfer_after_asking_shows() {
    let Proxied { proxy: _proxy, office } = Proxied::open().await;
    calls::transfer_after_asking(office).await;
}

pub(crate) async fn a_conference_shows() {
    let Proxied { proxy: _proxy, office } = Proxied::open().await;
    calls::conference(office).await;
}

pub(crate) async fn a_queue_call_shows() {
    let Proxied { proxy: _proxy, office } = Proxied::open().await;
    agents::queue_call(office).await;
}

pub(crate) async fn a_service_makes_a_call() {
    let Proxied { proxy: _proxy, office } = Proxied::open().await;
    services::makes_a_call(office).await;
}

pub(crate) async fn a_service_ends_calls() {
    let Proxied { proxy: _proxy, office } = Proxied::open().await;
    services::ends_calls(office).await;
}

pub(crate) async fn a_service_transfers_a_call_after_asking() {
    let Proxied { proxy: _proxy, office } = Proxied::open().await;
    services::transfers_after_asking(office).await;
}

pub(crate) async fn a_service_makes_a_conference() {
    let Proxied { proxy: _proxy, office } = Proxied::open().await;
    services::makes_a_conference(office).await;
}

pub(crate) async fn a_service_joins_a_call() {
    let Proxied { proxy: _proxy, office } = Proxied::open().await;
    services::joins_a_call(office).await;
}

pub(crate) async fn a_service_sets_agents() {
    let Proxied { proxy: _proxy, office } = Proxied::open().await;
    services::sets_agents(office).await;
}

pub(crate) async fn a_service_records() {
    let Proxied { proxy: _proxy, office } = Proxied::open().await;
    services::records(office).await;
}

pub(crate) async fn a_service_tells_of_devices_and_calls() {
    let Proxied { proxy: _proxy, office } = Proxied::open().await;
    services::tells_of_devices_and_calls(office).await;
}

pub(crate) async fn codes_of_the_dialplan_are_services() {
    let Proxied { proxy: _proxy, office } = Proxied::open().await;
    services::dials_codes(office).await;
}

/// Events over the WebSocket, dialling and history over REST, on one link.
pub(crate) async fn a_call_is_made_over_rest() {
    let rest = |site: Site, proxy: &Handle| {
        let rest = format!("{{ url = \"http://{}\", app_key = \"olssoo-app-key\", tenant = \"office\" }}", proxy.rest);
        services::with_dialplan(site).link_key(&format!("rest = {rest}"))
    };
    let Proxied { proxy, mut office } = Proxied::open_with(rest).await;
    let [front, back] = office.phones(["0101", "0102"]).await;

    let wish = json!({"device": "0101", "to": "0102", "caller_name": "남궁", "caller_number": "0101"});
    let (made, ringing) = join!(office.gateway.done("make-call", wish), front.rings());
    office.desk_shows("0101", "ringing").await;
    ringing.answer().await;
    let there = back.rings().await;
    office.desk_shows("0102", "ringing").await;
    there.answer().await;
    office.desk_shows("0101", "in-call").await;
    office.desk_shows("0102", "in-call").await;
    let at_caller = |event: &Value| event["type"] == "call.delivered" && text(event, "/data/device") == "0101";
    let delivered = office.hears("the call at 0101", at_caller).await;
    assert_eq!(delivered["data"]["call"], made["call"], "found by its events: {made} {delivered}");
    let clicks = proxy.control.rest(|rest| rest.clicks().cloned().collect::<Vec<_>>());
    let [click] = &clicks[..] else { panic!("one click: {clicks:?}") };
    assert_eq!((click.caller.as_str(), click.callee.as_str(), click.cid_name.as_str()), ("0101", "0102", "남궁"));

    there.hang_up().await;
    assert_eq!(ringing.is_over().await, 200);
    office.desk_shows("0101", "available").await;
    office.desk_shows("0102", "available").await;
    let history = office.gateway.done("get-call-history", json!({"device": "0101"})).await;
    let newest = &history["calls"][0];
    assert_eq!((text(newest, "/calling"), text(newest, "/called")), ("0101", "0102"), "{history}");
}

/// The AMI behind the proxy is gone without a word: only its silence tells, and only as long as the proxy has none.
pub(crate) async fn asterisk_loses_power_behind_the_proxy() {
    let hasty = |site: Site, _: &Handle| site.link_key("heartbeat = \"1s\"").link_key("deadline = \"2s\"");
    let Proxied { proxy, mut office } = Proxied::open_with(hasty).await;
    let [front, back] = office.phones(["0101", "0102"]).await;
    in_call(&office, &front, &back).await;
    office.begin().await;

    block_in_place(|| office.asterisk.kill());
    for lamp in ["desk-0101", "desk-0102", "link"] {
        office.lamp_shows(lamp, "lost").await;
    }
    let down = office.hears("the link's loss", |event| event["type"] == "link.down").await;
    assert_eq!(text(&down, "/data/reason"), "silent", "{down}");
    let said = office.gateway.said();
    assert!(said.contains("the proxy answers, but its AMI has been silent"), "whose silence it is:\n{said}");
    let away = office.gateway.get_until("/api/v1/devices/pbx/0101", |device| device["stale"] == true).await;
    assert_eq!(away["state"], "in-use", "the last state, as stale: {away}");
    assert_eq!(office.gateway.service("clear-connection", json!({"device": "0101"})).await.0, 503);

    block_in_place(|| office.asterisk.boot_forgetful()).unwrap_or_else(|error| panic!("{error:#}"));
    awaited("the proxy's next login", proxy.control.ami_connected(0, true)).await;
    office.manager_again().await;
    office.is_in_step_by_and_by().await;
    for (device, phone) in [("0101", &front), ("0102", &back)] {
        office.desk_shows(device, "unregistered").await;
        phone.register().await;
        office.desk_shows(device, "available").await;
        let lamp = ["lost", "unregistered", "available"];
        office.desk_told(device, &["cleared"], &["unavailable", "not-in-use"], &lamp).await;
    }
    let cleared = office.hears("the end found out", |event| event["type"] == "call.cleared").await;
    assert_eq!(cleared["data"]["resync"], true, "{cleared}");
    in_call(&office, &front, &back).await;
}

/// An operator's restart: the PBX says so to everyone, the proxy passes it on.
pub(crate) async fn asterisk_is_restarted_behind_the_proxy() {
    let hasty = |site: Site, _: &Handle| site.link_key("deadline = \"2s\"");
    let Proxied { proxy, mut office } = Proxied::open_with(hasty).await;
    let [front, back] = office.phones(["0101", "0102"]).await;
    in_call(&office, &front, &back).await;
    office.begin().await;

    block_in_place(|| office.asterisk.stop());
    for lamp in ["desk-0101", "desk-0102", "link"] {
        office.lamp_shows(lamp, "lost").await;
    }
    let down = office.hears("the link's loss", |event| event["type"] == "link.down").await;
    assert_eq!(text(&down, "/data/reason"), "closed", "{down}");
    assert!(proxy.control.counts().ami_losses > 0, "it is the proxy that lost its PBX");

    block_in_place(|| office.asterisk.boot_again()).unwrap_or_else(|error| panic!("{error:#}"));
    office.manager_again().await;
    office.is_in_step_by_and_by().await;
    for device in ["0101", "0102"] {
        office.desk_shows(device, "available").await;
        office.device_is(device, "not-in-use").await;
        office.calls_told(device, &["cleared"]).await; // before the link was lost or after, once
    }
    in_call(&office, &front, &back).await;
}

/// The proxy is lost for a while, Asterisk is not: calls begin and end unseen.
pub(crate) async fn the_proxy_is_away_while_a_call_ends() {
    let Proxied { proxy, mut office } = Proxied::open().await;
    let [front, back] = office.phones(["0101", "0102"]).await;
    let call = in_call(&office, &front, &back).await;
    office.begin().await;

    proxy.control.set_faults(Faults { refuse: Some(503), ..Faults::default() });
    proxy.control.trouble(&Trouble::Drop);
    office.desk_shows("0101", "lost").await;
    call.hang_up().await;
    proxy.control.set_faults(Faults::default());
    office.is_in_step().await;
    for device in ["0101", "0102"] {
        office.desk_shows(device, "available").await;
        office.desk_told(device, &["cleared"], &["not-in-use"], &["lost", "available"]).await;
    }
    let told = office.told_since(|event| matches!(text(event, "/type"), "call.cleared" | "device.state"));
    assert!(told.iter().all(|event| event["data"]["resync"] == true), "{told:#?}");
}

async fn in_call(office: &Office, front: &Phone, back: &Phone) -> Call {
    let call = front.call("0102");
    back.rings().await.answer().await;
    call.is_up().await;
    office.desk_shows("0101", "in-call").await;
    office.desk_shows("0102", "in-call").await;
    call
}
