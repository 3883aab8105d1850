//! One rule a test, in messages cut down to what the rule needs.

use super::*;
use crate::clock::Clock;
use crate::event::{AgentState, Body, CallEvent, CallKind, ConnectionState, DeviceState, Direction};
use crate::limits::{AMI_CHANNELS_MAX, NOISE_NAMES_MAX};
use crate::link::native::{NativeMode, NativeSettings};

struct Bench {
    model: Model,
    now: Instant,
    out: VecDeque<Event>,
}

impl Bench {
    fn new() -> Self {
        Self::with(ModelSettings::default())
    }

    /// A model whose PBX has nothing going on.
    fn with(settings: ModelSettings) -> Self {
        let model = Model::new(settings, LinkId::new("lab"), Known::default());
        let mut bench = Self { model, now: Clock::system().now(), out: VecDeque::new() };
        bench.snapshot(&[]);
        bench.out.clear();
        bench
    }

    fn hear(&mut self, text: &str) -> Vec<String> {
        let message = Message::parse(format!("{text}\nPrivilege: all").as_bytes());
        self.model.handle_event(&message, self.now, &mut self.out);
        self.shown()
    }

    fn snapshot(&mut self, items: &[&str]) -> Vec<String> {
        self.model.begin_snapshot();
        for item in items {
            self.model.snapshot_item(&Message::parse(item.as_bytes()));
        }
        self.model.finish_snapshot(self.now, &mut self.out);
        self.shown()
    }

    fn wait(&mut self, span: Duration) -> Vec<String> {
        self.now += span;
        self.model.handle_timeout(self.now, &mut self.out);
        self.shown()
    }

    fn shown(&mut self) -> Vec<String> {
        self.out.drain(..).map(|event| shown(&event)).collect()
    }

    fn call(&mut self, device: &str, id: &str, linked: &str, state: u8) -> Vec<String> {
        self.hear(&channel("Newchannel", device, id, linked, state))
    }

    fn state(&mut self, device: &str, id: &str, linked: &str, state: u8) -> Vec<String> {
        self.hear(&channel("Newstate", device, id, linked, state))
    }

    fn enter(&mut self, device: &str, id: &str, linked: &str, bridge: &str) -> Vec<String> {
        let text = channel("BridgeEnter", device, id, linked, 6);
        self.hear(&format!("{text}\nBridgeUniqueid: {bridge}\nBridgeTechnology: simple_bridge"))
    }

    /// 0101 talks to 0102, channels 1 and 2 of call 1.
    fn talk(&mut self) {
        self.call("PJSIP/0101", "1", "1", 4);
        self.call("PJSIP/0102", "2", "1", 0);
        self.state("PJSIP/0102", "2", "1", 5);
        self.state("PJSIP/0102", "2", "1", 6);
        self.enter("PJSIP/0102", "2", "1", "b");
        self.enter("PJSIP/0101", "1", "1", "b");
    }
}

fn channel(event: &str, device: &str, id: &str, linked: &str, state: u8) -> String {
    let number = device.split_once('/').map_or(device, |(_, number)| number);
    format!(
        "Event: {event}\nChannel: {device}-{id}\nChannelState: {state}\nCallerIDNum: {number}\nExten: 0102\nUniqueid: {id}\nLinkedid: {linked}"
    )
}

fn shown(event: &Event) -> String {
    match &event.body {
        Body::Call(kind, CallEvent { device, connection, .. }) => {
            let device = device.as_ref().map_or("-", |device| device.as_str());
            let connection = connection.as_ref().map_or("-", |connection| connection.as_str());
            format!("{} {device} {connection}", kind.as_str())
        }
        Body::DeviceState(it) => format!("device {} {:?}", it.device, it.state),
        Body::AgentState(it) => format!("agent {} {:?}", it.agent, it.state),
        Body::QueueState(it) => format!("queue {} {} {}", it.queue, it.waiting, it.longest_wait_s),
        other => format!("{} {}", other.kind_name(), other.subject().unwrap_or("-")),
    }
}

fn member(event: &str, queue: &str, interface: &str, more: &str) -> String {
    format!("Event: {event}\nQueue: {queue}\nMemberName: Kim\nInterface: {interface}\nInCall: 0\nWrapuptime: 0\n{more}")
}

// ---- calls ---------------------------------------------------------------------------------------

#[test]
fn who_presses_hold_is_on_hold_and_the_other_side_is_in_use() {
    let mut bench = Bench::new();
    bench.talk();
    let held = bench.hear(&channel("Hold", "PJSIP/0101", "1", "1", 6));
    assert_eq!(held, ["call.held 0101 PJSIP/0101-1", "device 0101 OnHold"]);
    assert!(bench.hear("Event: DeviceStateChange\nDevice: PJSIP/0102\nState: ONHOLD").is_empty());
    assert_eq!(bench.model.known().devices["0102"].state, DeviceState::InUse);
}

#[test]
fn a_hold_that_comes_before_its_bridge_is_kept_and_a_later_bridge_ends_it() {
    let mut bench = Bench::new();
    bench.call("PJSIP/0101", "1", "1", 4);
    bench.call("PJSIP/0102", "2", "1", 0);
    bench.state("PJSIP/0102", "2", "1", 6);
    bench.state("PJSIP/0101", "1", "1", 6);
    bench.enter("PJSIP/0102", "2", "1", "b");
    let held = bench.hear(&channel("Hold", "PJSIP/0101", "1", "1", 6));
    assert_eq!(held.last().map(String::as_str), Some("device 0101 OnHold"), "{held:?}");
    let entered = bench.enter("PJSIP/0101", "1", "1", "b");
    assert!(entered.iter().all(|told| told == "call.established 0102 PJSIP/0102-2"), "still on hold: {entered:?}");
    let moved = bench.enter("PJSIP/0101", "1", "1", "c");
    assert_eq!(moved.last().map(String::as_str), Some("device 0101 InUse"), "{moved:?}");
}

#[test]
fn a_snapshot_finds_who_holds_by_whose_party_is_on_hold() {
    let mut bench = Bench::new();
    let item = |device: &str, id: &str| {
        let text = channel("CoreShowChannel", device, id, "1", 6);
        format!("{text}\nApplication: Dial\nBridgeId: b")
    };
    let (one, two) = (item("PJSIP/0101", "1"), item("PJSIP/0102", "2"));
    bench.snapshot(&[&one, &two, "Event: DeviceStateChange\nDevice: PJSIP/0102\nState: ONHOLD"]);
    let known = bench.model.known();
    assert_eq!(known.connections["PJSIP/0101-1"].state, ConnectionState::Hold);
    assert_eq!(known.connections["PJSIP/0102-2"].state, ConnectionState::Connected);
    assert_eq!(known.devices["0101"].state, DeviceState::OnHold);
    assert_eq!(known.devices["0102"].state, DeviceState::InUse);
}

#[test]
fn an_end_without_a_beginning_is_an_orphan_once() {
    let mut bench = Bench::new();
    let message =
        Message::parse(format!("{}\nCause: 16\nPrivilege: all", channel("Hangup", "PJSIP/0101", "9", "9", 6)));
    bench.model.handle_event(&message, bench.now, &mut bench.out);
    let Some(Body::Call(CallKind::Cleared, call)) = bench.out.pop_front().map(|event| event.body) else {
        panic!("no end was told");
    };
    assert!(call.orphan);
    assert_eq!(bench.hear("Event: Hangup\nChannel: Local/1@x-1;1\nUniqueid: 8\nCause: 16"), [""; 0]);
}

#[test]
fn late_news_of_a_channel_that_ended_begins_nothing() {
    let mut bench = Bench::new();
    bench.talk();
    bench.hear(&channel("Hangup", "PJSIP/0102", "2", "1", 6));
    assert!(bench.state("PJSIP/0102", "2", "1", 6).is_empty());
    assert!(bench.hear(&channel("Hangup", "PJSIP/0102", "2", "1", 6)).is_empty());
}

#[test]
fn a_call_that_is_picked_up_elsewhere_clears_the_telephone_that_rang() {
    let mut bench = Bench::new();
    bench.call("PJSIP/0101", "1", "1", 4);
    bench.call("PJSIP/0102", "2", "1", 0);
    bench.state("PJSIP/0102", "2", "1", 5);
    bench.call("PJSIP/0103", "3", "3", 4);
    let pickup = "Event: Pickup\nChannel: PJSIP/0103-3\nUniqueid: 3\nTargetChannel: PJSIP/0102-2\nTargetUniqueid: 2\nTargetLinkedid: 1";
    assert_eq!(bench.hear(pickup), ["call.diverted 0102 PJSIP/0102-2"]);
    // The masquerade: the ringing channel gets the name of the one that picks up, which keeps the ringing one's.
    let rename =
        |from: &str, to: &str, id: &str| format!("Event: Rename\nChannel: {from}\nNewname: {to}\nUniqueid: {id}");
    bench.hear(&rename("PJSIP/0103-3", "PJSIP/0103-3<MASQ>", "3"));
    bench.hear(&rename("PJSIP/0102-2", "PJSIP/0103-3", "2"));
    bench.hear(&rename("PJSIP/0103-3<MASQ>", "PJSIP/0102-2<ZOMBIE>", "3"));
    let gone = bench.hear("Event: Hangup\nChannel: PJSIP/0102-2<ZOMBIE>\nUniqueid: 3\nLinkedid: 3\nCause: 26");
    assert_eq!(gone[0], "call.cleared 0102 PJSIP/0102-2");
    assert_eq!(bench.model.known().devices["0102"].state, DeviceState::NotInUse);
    bench.hear(&channel("Newstate", "PJSIP/0103", "2", "1", 6).replace("PJSIP/0103-2", "PJSIP/0103-3"));
    assert_eq!(bench.model.known().devices["0103"].state, DeviceState::InUse);
}

#[test]
fn joining_a_conference_is_told_once_in_whichever_order_the_pbx_says_it() {
    let say = |event, device, id| {
        let text = channel(event, device, id, id, 6);
        format!("{text}\nBridgeUniqueid: b\nBridgeCreator: ConfBridge\nConference: 800")
    };
    for order in [["BridgeEnter", "ConfbridgeJoin"], ["ConfbridgeJoin", "BridgeEnter"]] {
        let mut bench = Bench::new();
        for (device, id) in [("PJSIP/0101", "1"), ("PJSIP/0102", "2")] {
            bench.call(device, id, id, 4);
            bench.state(device, id, id, 6);
        }
        let told = |bench: &mut Bench, device, id| -> Vec<String> {
            let told = order.iter().flat_map(|event| bench.hear(&say(event, device, id))).collect::<Vec<_>>();
            told.into_iter().filter(|event| event.starts_with("call.")).collect()
        };
        assert!(told(&mut bench, "PJSIP/0101", "1").is_empty(), "{order:?}: alone it is no conference");
        assert_eq!(told(&mut bench, "PJSIP/0102", "2"), ["call.conferenced 0102 PJSIP/0102-2"], "{order:?}");
    }
}

#[test]
fn a_listed_trunk_decides_the_direction_and_is_no_device() {
    let settings = ModelSettings { trunks: vec!["PJSIP/line1".into()], ..ModelSettings::default() };
    let mut bench = Bench::with(settings);
    assert_eq!(bench.call("PJSIP/line1", "1", "1", 4), ["call.originated line1 PJSIP/line1-1"]);
    assert_eq!(bench.model.known().connections["PJSIP/line1-1"].direction, Some(Direction::Inbound));
    assert!(bench.model.known().devices.is_empty());
}

#[test]
fn at_the_bound_the_oldest_channel_is_cleared_counted_and_a_snapshot_asked_for() {
    let mut bench = Bench::new();
    for id in 0..=AMI_CHANNELS_MAX {
        bench.call("PJSIP/0101", &id.to_string(), &id.to_string(), 4);
    }
    assert_eq!(bench.model.forgotten(), 1);
    assert!(bench.model.wants_resync());
    assert!(!bench.model.wants_resync(), "it asks once");
    assert!(!bench.model.known().connections.contains_key("PJSIP/0101-0"));
}

/// Every recording in which each channel that began also ended: a map that still holds something leaks.
#[test]
fn nothing_is_kept_of_calls_that_are_over() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/ami/recorded");
    let folders = ["asterisk-16", "asterisk-22", "."].map(|folder| std::fs::read_dir(root.join(folder)).unwrap());
    let paths = folders.into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut whole = 0;
    for path in paths.filter(|path| path.to_string_lossy().contains(".ami")) {
        let mut bytes = std::fs::read(&path).unwrap();
        if path.extension().is_some_and(|extension| extension == "gz") {
            let mut unpacked = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&bytes[..]), &mut unpacked).unwrap();
            bytes = unpacked;
        }
        let mut bench = Bench::new();
        let mut open = std::collections::BTreeSet::new();
        let text = String::from_utf8_lossy(&bytes);
        for message in text.split("\r\n\r\n").map(Message::parse) {
            if message.get("Privilege").is_none() || message.get("ActionID").is_some() {
                continue;
            }
            let id = message.text("Uniqueid").unwrap_or_default().into_owned();
            match message.get("Event").unwrap_or_default() {
                b"Newchannel" => drop(open.insert(id)),
                b"Hangup" => drop(open.remove(&id)),
                _ => {}
            }
            bench.model.handle_event(&message, bench.now, &mut bench.out);
        }
        if open.is_empty() {
            whole += 1;
            assert!(bench.model.calls.is_empty(), "{}: {:?}", path.display(), bench.model.calls);
            assert!(!bench.model.queues.has_callers(), "{}", path.display());
        }
    }
    assert!(whole > 130, "only {whole} recordings are whole");
}

#[test]
fn what_ended_while_away_is_cleared_by_the_snapshot() {
    let mut bench = Bench::new();
    bench.talk();
    let known = bench.model.known().clone();
    let mut model = Model::new(ModelSettings::default(), LinkId::new("lab"), known);
    let mut out = VecDeque::new();
    model.begin_snapshot();
    let changed = model.finish_snapshot(bench.now, &mut out);
    assert!(out.iter().all(|event| event.resync));
    let cleared = out.iter().filter(|event| matches!(event.body, Body::Call(CallKind::Cleared, _))).count();
    assert_eq!(cleared, 2);
    assert_eq!(changed.calls.len(), 1);
}

#[test]
fn a_snapshot_that_is_cut_short_says_nothing() {
    let mut bench = Bench::new();
    bench.talk();
    let before = bench.model.known().clone();
    bench.model.begin_snapshot();
    bench.model.snapshot_item(&Message::parse("Event: DeviceStateChange\nDevice: PJSIP/0101\nState: UNAVAILABLE"));
    bench.model.abandon_snapshot();
    assert_eq!(*bench.model.known(), before);
}

// ---- devices -------------------------------------------------------------------------------------

#[test]
fn the_last_contact_gone_makes_a_device_unavailable_whatever_the_pbx_said() {
    let mut bench = Bench::new();
    bench.hear("Event: DeviceStateChange\nDevice: PJSIP/0110\nState: NOT_INUSE");
    let contact = |uri: &str, status: &str| {
        format!("Event: ContactStatus\nURI: {uri}\nContactStatus: {status}\nEndpointName: 0110")
    };
    bench.hear(&contact("sip:a", "Reachable"));
    bench.hear(&contact("sip:b", "Reachable"));
    bench.hear(&contact("sip:a", "Removed"));
    assert_eq!(bench.model.known().devices["0110"].state, DeviceState::NotInUse, "one is left");
    assert_eq!(bench.hear(&contact("sip:b", "Removed")), ["device 0110 Unavailable"]);
}

#[test]
fn a_live_call_keeps_an_unregistered_device_in_use() {
    let mut bench = Bench::new();
    bench.talk();
    bench.hear("Event: DeviceStateChange\nDevice: PJSIP/0101\nState: UNAVAILABLE");
    assert_eq!(bench.model.known().devices["0101"].state, DeviceState::InUse);
}

#[test]
fn do_not_disturb_is_a_flag_beside_the_state() {
    let mut bench = Bench::new();
    bench.hear("Event: DeviceStateChange\nDevice: PJSIP/0101\nState: NOT_INUSE");
    bench.hear("Event: DeviceStateChange\nDevice: Custom:DND0101\nState: INUSE");
    let told = &bench.model.known().devices["0101"];
    assert!(told.do_not_disturb && told.state == DeviceState::NotInUse);
    bench.hear("Event: DeviceStateChange\nDevice: Custom:DND0101\nState: NOT_INUSE");
    assert!(!bench.model.known().devices["0101"].do_not_disturb);
}

#[test]
fn of_two_technologies_pjsip_has_the_bare_name() {
    let mut bench = Bench::new();
    bench.hear("Event: DeviceStateChange\nDevice: SIP/0101\nState: NOT_INUSE");
    bench.hear("Event: DeviceStateChange\nDevice: PJSIP/0101\nState: INUSE");
    bench.hear("Event: DeviceStateChange\nDevice: SIP/0101\nState: BUSY");
    let devices = &bench.model.known().devices;
    assert_eq!(devices["0101"].pbx_name.as_deref(), Some("PJSIP/0101"));
    assert_eq!(devices["SIP/0101"].state, DeviceState::Busy);
}

#[test]
fn a_lasting_disagreement_asks_for_one_snapshot() {
    let mut bench = Bench::new();
    bench.hear("Event: DeviceStateChange\nDevice: PJSIP/0101\nState: INUSE");
    assert!(bench.model.poll_timeout().is_some());
    bench.wait(Duration::from_secs(4));
    assert!(!bench.model.wants_resync());
    bench.wait(Duration::from_secs(1));
    assert!(bench.model.wants_resync());
    bench.wait(Duration::from_secs(60));
    assert!(!bench.model.wants_resync() && bench.model.poll_timeout().is_none());
}

#[test]
fn a_device_that_the_lists_no_longer_name_is_invalid() {
    let mut bench = Bench::new();
    let endpoint =
        |name: &str| format!("Event: EndpointList\nObjectName: {name}\nAor: {name}\nContacts: {name}/sip:x,");
    bench.snapshot(&[&endpoint("0101"), &endpoint("0102")]);
    bench.snapshot(&[&endpoint("0101")]);
    assert_eq!(bench.model.known().devices["0102"].state, DeviceState::Invalid);
    // Without that list nothing is known to be gone.
    bench.snapshot(&[]);
    assert_ne!(bench.model.known().devices["0101"].state, DeviceState::Invalid);
}

// ---- agents and queues ---------------------------------------------------------------------------

#[test]
fn an_agent_is_not_ready_only_when_paused_in_every_queue() {
    let mut bench = Bench::new();
    bench.hear(&member("QueueMemberAdded", "sales", "PJSIP/0101", "Paused: 0"));
    bench.hear(&member("QueueMemberAdded", "support", "PJSIP/0101", "Paused: 0"));
    bench.hear(&member("QueueMemberPause", "sales", "PJSIP/0101", "Paused: 1\nPausedReason: lunch"));
    assert_eq!(bench.model.known().agents["Kim"].state, AgentState::Ready);
    bench.hear(&member("QueueMemberPause", "support", "PJSIP/0101", "Paused: 1\nPausedReason: lunch"));
    let told = &bench.model.known().agents["Kim"];
    assert_eq!((told.state, told.reason.as_deref()), (AgentState::NotReady, Some("lunch")));
}

#[test]
fn work_after_a_call_ends_by_the_clock() {
    let mut bench = Bench::with(ModelSettings { wrapup: Duration::from_secs(30), ..ModelSettings::default() });
    bench.hear(&member("QueueMemberAdded", "sales", "PJSIP/0101", "Paused: 0"));
    let call = |event: &str| member(event, "sales", "PJSIP/0101", "DestUniqueid: 2\nDestChannel: PJSIP/0101-2");
    assert_eq!(bench.hear(&call("AgentConnect")), ["agent Kim Busy"]);
    assert_eq!(bench.hear(&call("AgentComplete")), ["agent Kim WorkingAfterCall"]);
    assert!(bench.wait(Duration::from_secs(29)).is_empty());
    assert_eq!(bench.wait(Duration::from_secs(1)), ["agent Kim Ready"]);
    assert_eq!(bench.model.poll_timeout(), None);
}

#[test]
fn an_agent_who_logs_on_at_another_desk_moves_there() {
    let mut bench = Bench::new();
    bench.hear(&member("QueueMemberAdded", "sales", "PJSIP/0101", "Paused: 0"));
    bench.hear(&member("QueueMemberRemoved", "sales", "PJSIP/0101", "Paused: 0"));
    assert_eq!(bench.model.known().agents["Kim"].state, AgentState::LoggedOff);
    bench.hear(&member("QueueMemberAdded", "sales", "PJSIP/0102", "Paused: 0"));
    let told = &bench.model.known().agents["Kim"];
    assert_eq!((told.state, told.device.as_ref().unwrap().as_str()), (AgentState::Ready, "0102"));
}

#[test]
fn the_longest_wait_counts_what_was_waited_before_the_snapshot() {
    let mut bench = Bench::new();
    bench.snapshot(&["Event: QueueParams\nQueue: sales", "Event: QueueEntry\nQueue: sales\nUniqueid: 1\nWait: 40"]);
    bench.now += Duration::from_secs(5);
    let told = bench.hear("Event: QueueCallerJoin\nQueue: sales\nChannel: Local/1@x-1;2\nUniqueid: 2\nCount: 2");
    assert_eq!(told, ["queue sales 2 45"]);
}

// ---- native and noise ----------------------------------------------------------------------------

#[test]
fn a_suspect_event_changes_nothing_and_is_kept_for_people() {
    let mut bench = Bench::new();
    let forged = Message::parse(channel("Newchannel", "PJSIP/0101", "1", "1", 4));
    bench.model.handle_suspect(&forged, &mut bench.out);
    bench.model.handle_suspect(&Message::parse("Event: Forged\nNote: x"), &mut bench.out);
    assert_eq!(bench.shown(), ["pbx.native Forged"]);
    assert!(bench.model.known().connections.is_empty());
    assert_eq!(bench.model.noise()["Newchannel"], 1);
}

#[test]
fn the_site_chooses_what_is_noise() {
    let of = |native, add: &[&str], remove: &[&str]| ModelSettings {
        native: NativeSettings {
            mode: native,
            add: add.iter().map(|name| (*name).to_owned()).collect(),
            remove: remove.iter().map(|name| (*name).to_owned()).collect(),
        },
        ..ModelSettings::default()
    };
    let told = |settings, event: &str| Bench::with(settings).hear(&format!("Event: {event}")).len();
    assert_eq!(told(of(NativeMode::Useful, &[], &[]), "VarSet"), 0);
    assert_eq!(told(of(NativeMode::Useful, &["VarSet"], &[]), "VarSet"), 1);
    assert_eq!(told(of(NativeMode::Useful, &[], &["DTMFEnd"]), "DTMFEnd"), 0);
    assert_eq!(told(of(NativeMode::All, &[], &[]), "VarSet"), 1);
    assert_eq!(told(of(NativeMode::None, &[], &[]), "UserEvent"), 0);
}

fn of_mode(mode: NativeMode) -> ModelSettings {
    ModelSettings { native: NativeSettings { mode, ..NativeSettings::default() }, ..ModelSettings::default() }
}

#[test]
fn without_native_canonical_events_carry_none() {
    for (native, carried) in [(NativeMode::Useful, true), (NativeMode::None, false)] {
        let mut bench = Bench::with(of_mode(native));
        let message = Message::parse(format!("{}\nPrivilege: all", channel("Newchannel", "PJSIP/0101", "1", "1", 4)));
        bench.model.handle_event(&message, bench.now, &mut bench.out);
        assert!(!bench.out.is_empty());
        assert!(bench.out.iter().all(|event| event.native.is_some() == carried));
    }
}

#[test]
fn names_of_noise_are_bounded() {
    let mut bench = Bench::with(of_mode(NativeMode::None));
    for name in 0..NOISE_NAMES_MAX + 10 {
        bench.hear(&format!("Event: Invented{name}"));
    }
    assert_eq!(bench.model.noise().len(), NOISE_NAMES_MAX + 1);
    assert_eq!(bench.model.noise()["(other)"], 10);
}

#[test]
fn the_pbx_own_time_is_kept() {
    let message = Message::parse("Event: X\nTimestamp: 1395059659.619558");
    assert_eq!(pbx_time(&message), Some(Timestamp(1_395_059_659_619)));
    assert_eq!(pbx_time(&Message::parse("Event: X\nTimestamp: soon")), None);
}
