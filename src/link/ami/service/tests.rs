//! What the dialogues in `tests/corpus/ami/session` do not show: bounds, and that what is remembered is forgotten.

use serde_json::json;

use crate::limits::{AMI_RECORDINGS_MAX, LINK_SERVICES_PENDING_MAX};
use crate::link::ami::service::ServiceSettings;
use crate::link::ami::session::tests::Bench;
use crate::link::service::{Service, ServiceFault};

/// A telephone's channel that the PBX answered.
fn up(bench: &mut Bench, device: u32) {
    bench.message(&format!("Event: DeviceStateChange\nPrivilege: call,all\nDevice: PJSIP/{device}\nState: INUSE"));
    bench.message(&format!(
        "Event: Newchannel\nPrivilege: call,all\nChannel: PJSIP/{device}-1\nChannelState: 6\nUniqueid: pbx-{device}"
    ));
}

fn ping() -> serde_json::Value {
    json!({"native": {"Action": "Ping"}})
}

#[test]
fn the_call_after_the_last_there_is_room_for_is_busy() {
    let mut bench = Bench::live();
    for _ in 0..LINK_SERVICES_PENDING_MAX {
        assert_eq!(bench.call(Service::Raw, ping()), None);
    }
    assert_eq!(bench.call(Service::Raw, ping()), Some(Err(ServiceFault::Busy)));
    bench.answer("Response: Success\nPing: Pong");
    assert!(bench.outcome().is_some_and(|outcome| outcome.is_ok()));
    assert_eq!(bench.call(Service::Raw, ping()), None);
}

#[test]
fn a_deadline_ends_every_call_and_leaves_nothing_behind() {
    let mut bench = Bench::live();
    for _ in 0..LINK_SERVICES_PENDING_MAX {
        bench.call(Service::Raw, ping());
    }
    bench.pass(std::time::Duration::from_secs(10));
    assert_eq!(bench.served.len(), LINK_SERVICES_PENDING_MAX);
    assert!(bench.served.iter().all(|(_, outcome)| *outcome == Err(ServiceFault::Deadline)));
    assert!(bench.answers().is_empty());
    assert!(bench.session.is_live());
}

#[test]
fn no_call_is_taken_without_a_connection() {
    let mut bench = Bench::new();
    assert_eq!(bench.call(Service::Raw, ping()), Some(Err(ServiceFault::LinkDown)));
    bench.session.handle_connected("10.0.4.2:5038", bench.now);
    assert_eq!(bench.call(Service::Raw, ping()), Some(Err(ServiceFault::LinkDown)));
}

#[test]
fn the_id_of_a_recording_past_the_bound_is_not_kept() {
    let mut bench = Bench::live();
    let last = 1000 + u32::try_from(AMI_RECORDINGS_MAX).unwrap();
    for device in 1000..=last {
        up(&mut bench, device);
        bench.call(Service::StartRecording, json!({"device": device}));
        bench.answer("Response: Success\nMixMonitorID: 0x7f");
    }
    let id_of = |bench: &mut Bench, device: u32| {
        bench.call(Service::StopRecording, json!({"device": device}));
        bench.sent.last().and_then(|sent| sent.text("MixMonitorID").map(|id| id.into_owned()))
    };
    assert_eq!(id_of(&mut bench, 1000), Some("0x7f".into()));
    assert_eq!(id_of(&mut bench, last), None);
}

#[test]
fn a_name_leads_no_recording_out_of_its_folder() {
    let mut bench = Bench::live();
    bench.message("Event: DeviceStateChange\nPrivilege: call,all\nDevice: PJSIP/..x\nState: INUSE");
    bench.message(
        "Event: Newchannel\nPrivilege: call,all\nChannel: PJSIP/..x-1\nChannelState: 6\nUniqueid: ../../etc/|sh",
    );
    bench.call(Service::StartRecording, json!({"device": "..x"}));
    assert_eq!(bench.sent.last().and_then(|sent| sent.get("File")), Some(&b"-..-etc--sh-x.wav"[..]));
}

#[test]
fn what_is_offered_follows_the_configuration() {
    let plain = ServiceSettings::default().offered();
    let full = ServiceSettings { pickup: Some("*8{to}".into()), do_not_disturb: None, ..ServiceSettings::default() };
    let full = full.offered();
    assert_eq!(plain.len(), 16);
    assert!(!plain.contains(&Service::DirectedPickupCall) && full.contains(&Service::DirectedPickupCall));
    assert!(plain.contains(&Service::SetDoNotDisturb) && !full.contains(&Service::SetDoNotDisturb));
    assert!(!full.contains(&Service::AnswerCall) && !full.contains(&Service::GetCallHistory));
}
