//! The way to the PBX: cut, moved, refused, not ready yet, reloaded.

use asterisk_lab::{AMI_PORT, AMI_USER, Asterisk};
use serde_json::Value;
use tokio::task::block_in_place;

use crate::cable::Cable;
use crate::gateway::{Feed, Gateway, LINK, Site, summary};
use crate::office::{Office, resynced, text};
use crate::phone::Phone;
use crate::root;

pub(crate) async fn calls_begin_and_end_while_the_cable_is_out() {
    let mut cable = Cable::plugged().await;
    let mut office = Office::open_at(&Site::at(&[&cable.url()])).await;
    let [one, two, three, four] = office.phones(["0101", "0102", "0103", "0104"]).await;
    let ends = one.call("0102");
    two.rings().await.answer().await;
    ends.is_up().await;
    office.desk_shows("0101", "in-call").await;
    office.desk_shows("0102", "in-call").await;
    office.begin().await;

    cable.pull_out().await;
    for lamp in ["desk-0101", "desk-0102", "desk-0103", "desk-0104", "link"] {
        office.lamp_shows(lamp, "lost").await;
    }
    ends.hang_up().await;
    let unseen = three.call("0104");
    four.rings().await.answer().await;
    unseen.is_up().await;
    unseen.hang_up().await;
    let begins = four.call("0103");
    three.rings().await.answer().await;
    begins.is_up().await;

    cable.put_back().await;
    office.is_in_step().await;
    for (device, lamp) in [("0101", "available"), ("0102", "available"), ("0103", "in-call"), ("0104", "in-call")] {
        office.desk_shows(device, lamp).await;
    }
    office.desk_told("0101", &["cleared"], &["not-in-use"], &["lost", "available"]).await;
    office.desk_told("0102", &["cleared"], &["not-in-use"], &["lost", "available"]).await;
    office.desk_told("0103", &["established"], &["in-use"], &["lost", "in-call"]).await;
    office.desk_told("0104", &["established"], &["in-use"], &["lost", "in-call"]).await;
    let found_out =
        |event: &Value| matches!(text(event, "/type"), "call.cleared" | "call.established" | "device.state");
    let found_out = office.told_since(found_out);
    assert!(found_out.iter().all(|event| event["data"]["resync"] == true), "{found_out:#?}");
    let direction = |event: &Value| (text(event, "/data/calling").to_owned(), text(event, "/data/called").to_owned());
    let begun = found_out.iter().filter(|event| event["type"] == "call.established").map(direction);
    assert!(begun.clone().all(|(calling, called)| calling == "0104" && called == "0103"), "{found_out:#?}");
    assert_eq!(begun.count(), 2, "{found_out:#?}");

    office.begin().await;
    begins.hang_up().await;
    office.desk_shows("0103", "available").await;
    office.desk_shows("0104", "available").await;
    office.desk_told("0103", &["cleared"], &["not-in-use"], &["available"]).await;
    office.desk_told("0104", &["cleared"], &["not-in-use"], &["available"]).await;
}

pub(crate) async fn a_backup_serves_until_the_primary_is_back() {
    let (mut primary, mut backup) = (Cable::plugged().await, Cable::plugged().await);
    let (first, second) = (primary.url(), backup.url());
    let mut office = Office::open_at(&Site::at(&[&first, &second])).await;
    let [front, back] = office.phones(["0101", "0102"]).await;
    let call = front.call("0102");
    back.rings().await.answer().await;
    call.is_up().await;
    office.desk_shows("0101", "in-call").await;
    assert_eq!(address_in_use(&office.gateway).await, first);

    for (away, serves) in [(&mut primary, &second), (&mut backup, &first)] {
        office.begin().await;
        away.pull_out().await;
        let down = office.hears("the link's loss", |event| event["type"] == "link.down").await;
        assert_eq!(text(&down, "/data/address"), away.url(), "{down}");
        assert_eq!(text(&down, "/data/reason"), "closed", "{down}");
        let up = office.hears("the link over the other address", |event| event["type"] == "link.up").await;
        assert_eq!(text(&up, "/data/address"), serves, "{up}");
        office.is_in_step().await;
        office.desk_shows("0101", "in-call").await;
        office.desk_told("0101", &[], &[], &["lost", "in-call"]).await;
        assert_eq!(&address_in_use(&office.gateway).await, serves);
        away.put_back().await;
    }

    office.begin().await;
    call.hang_up().await;
    office.desk_shows("0101", "available").await;
    office.desk_told("0101", &["cleared"], &["not-in-use"], &["available"]).await;
}

async fn address_in_use(gateway: &Gateway) -> String {
    text(&gateway.get(&format!("/api/v1/links/{LINK}")).await, "/address").to_owned()
}

pub(crate) async fn a_wrong_password_costs_only_its_own_link() {
    let other = format!(
        "[links.other]\ndialect = \"ami\"\naddresses = [\"tcp://127.0.0.1:{AMI_PORT}\"]\nuser = \"{AMI_USER}\"\n\
         secret = \"not-the-password\"\n\n[lamps.other]\nshows = \"device:other/0101\"\nvirtual = {{}}"
    );
    let mut office = Office::open_at(&Site::plain().section(&other)).await;
    let refused =
        office.ever("the refused login", |event| event["type"] == "link.down" && text(event, "/data/link") == "other");
    let refused = refused.await;
    assert_eq!(text(&refused, "/data/reason"), "refused", "{refused}");
    assert!(refused["data"]["retry_in_s"].as_u64() >= Some(15), "a wrong password is not hammered: {refused}");
    office.lamp_shows("other", "lost").await;

    let [front, back] = office.phones(["0101", "0102"]).await;
    let call = front.call("0102");
    back.rings().await.answer().await;
    call.is_up().await;
    office.desk_shows("0101", "in-call").await;
    call.hang_up().await;
    office.desk_shows("0101", "available").await;
    office.lamp_shows("other", "lost").await;

    let link = office.gateway.get("/api/v1/links/other").await;
    assert!(text(&link, "/last_error").contains("Authentication failed"), "{link}");
    let said = office.gateway.said();
    let complaints: Vec<&str> = said.lines().filter(|line| line.contains("link other")).collect();
    let [complaint] = complaints[..] else { panic!("one line, and no more: {complaints:#?}") };
    for part in ["login refused", "Authentication failed", "links.other.secret", "next try in"] {
        assert!(complaint.contains(part), "`{part}` is missing: {complaint}");
    }
    assert!(!said.contains("not-the-password"), "secrets are in no log: {said}");
    let heard = office.asterisk.said();
    assert_eq!(heard.matches("failed to authenticate").count(), 1, "what the PBX heard of it:\n{heard}");
}

pub(crate) async fn a_pbx_that_still_boots_is_waited_for() {
    let booting = block_in_place(|| Asterisk::start_held(&root())).unwrap_or_else(|error| panic!("{error:#}"));
    let mut gateway = Gateway::new(&Site::plain()).await;
    gateway.start().await;
    let feed = Feed::open(&gateway, 0).await;
    feed.hears("the login, which a PBX that boots accepts", |event| event["type"] == "link.up").await;
    let lamp = gateway.get("/api/v1/lamps/link").await;
    assert_eq!(lamp["state"], "lost", "nothing is known yet: {lamp}");
    let early = feed.seen.borrow().iter().any(|event| resynced(event) || event["type"] == "device.state");
    assert!(!early, "what a PBX that boots would list is not taken for the truth:\n{}", summary(&feed.seen.borrow()));

    let asterisk = block_in_place(|| booting.finish()).unwrap_or_else(|error| panic!("{error:#}"));
    let mut office = Office::begun(asterisk, gateway).await;
    let logins = office.told_since(|event| event["type"] == "link.up").len();
    assert_eq!(logins, 1, "it waits on the connection it has");
    let [front] = office.phones(["0101"]).await;
    front.call("900").is_up().await;
    office.desk_shows("0101", "in-call").await;
}

pub(crate) async fn a_reload_changes_nothing() {
    let mut office = Office::open().await;
    let [front, back, five] = office.phones(["0101", "0102", "0105"]).await;
    office.console("queue add member PJSIP/0105 to support penalty 0 as five");
    office.console("queue pause member PJSIP/0105 queue support reason lunch");
    office.lamp_shows("agent-five", "not-ready").await;
    let call = front.call("0102");
    back.rings().await.answer().await;
    call.is_up().await;
    // Asterisk forgets a hold that comes before both ends are bridged.
    office.desk_shows("0101", "in-call").await;
    call.hold().await;
    office.desk_shows("0101", "on-hold").await;
    office.desk_shows("0102", "in-call").await;
    office.begin().await;

    office.console("core reload");
    office.hears("the reload", |event| text(event, "/data/native/Event") == "Reload").await;
    office.is_in_step_by_and_by().await; // everything is asked for again
    for device in ["0101", "0102", "0105"] {
        office.desk_told(device, &[], &[], &[]).await;
    }
    office.agent_told("five", &[]).await;
    office.lamp_told("link", &[]).await;
    office.desk_shows("0101", "on-hold").await;
    office.lamp_shows("agent-five", "not-ready").await;

    call.retrieve().await;
    office.desk_shows("0101", "in-call").await;
    call.hang_up().await;
    office.desk_shows("0101", "available").await;
    drop::<Phone>(five);
}
