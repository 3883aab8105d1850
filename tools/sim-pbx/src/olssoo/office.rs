//! The office behind the simulated olssoo: the numbers of its documents, and Asterisk with its accent.
//!
//! Source: protocol 4.2, 4.3 and the documents' samples: trunk `MAKECALL`, main number, direct number, an endpoint
//! named after a MAC address, endpoint lists with `auth0101` and a contact that ends in a comma.

use std::collections::BTreeMap;

use crate::ami::{Accent, Destination, Office, Phone, User};

/// Endpoint that is named after its MAC address, and the extension it has.
pub const MAC_ENDPOINT: (&str, &str) = ("0004F2060EB4", "0109");
/// A direct number that leads to extension 0101.
pub const DIRECT_NUMBER: &str = "07079190158";
/// The number the office is known by.
pub const MAIN_NUMBER: &str = "16681706";

/// The office: desks 0101 to 0110 (0103 is not registered), 0164, 0200, 308 and 1001, two queues, a conference.
pub fn office() -> Office {
    let mut office = Office::demo();
    office.accent = accent();
    office.main_number = MAIN_NUMBER.into();
    office.trunk = "MAKECALL".into();
    office.channel_vars = Vec::new();
    office.clicks_answered_after = None;
    for phone in &mut office.phones {
        phone.registered = phone.number != "0103";
        if phone.number == MAC_ENDPOINT.1 {
            phone.number = MAC_ENDPOINT.0.into();
        }
    }
    let others = [("0164", "Sales Desk"), ("0200", "Announcements"), ("308", "남궁 노만"), ("1001", "Reception")];
    office.phones.extend(others.iter().map(|(number, name)| Phone {
        number: (*number).into(),
        name: (*name).into(),
        registered: true,
    }));
    office.extensions = BTreeMap::from([(MAC_ENDPOINT.1.into(), MAC_ENDPOINT.0.into())]);
    for member in office.queues.iter_mut().flat_map(|queue| &mut queue.members) {
        if member.number == MAC_ENDPOINT.1 {
            member.number = MAC_ENDPOINT.0.into();
        }
    }
    office.dids = BTreeMap::from([
        (DIRECT_NUMBER.into(), Destination::Phone("0101".into())),
        ("07079190159".into(), Destination::Queue("support".into())),
        ("07079190160".into(), Destination::Group(["0102", "0104", "0109"].map(String::from).to_vec())),
        ("07079190161".into(), Destination::Queue("sales".into())),
    ]);
    office.users = vec![User { name: "hello".into(), secret: "world".into(), rights: true }];
    office
}

fn accent() -> Accent {
    Accent {
        banner: "Asterisk Call Manager/1.1\r\n".into(),
        language: "ko".into(),
        brief_boot: true,
        alert_context: Some("sub-incoming-alert-info"),
        transport: "transport-udp-3baa003c2d301de89c68".into(),
        auth_prefix: "auth".into(),
        outbound_auths: true,
        contact: Some(("192.168.251.222".into(), 5060)),
        lists_channels: true,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ami::{AmiPbx, Output, SessionId};
    use crate::olssoo::packet::{Packet, Packets};

    fn heard(pbx: &mut AmiPbx, id: SessionId) -> Vec<Packet> {
        let mut packets = Packets::default();
        let mut all = Vec::new();
        while let Some(Output::Send(bytes)) = pbx.poll_output(id) {
            all.extend(packets.handle_bytes(&bytes));
        }
        all
    }

    fn logged_in() -> (AmiPbx, SessionId) {
        let mut pbx = AmiPbx::new(Office { noise: false, ..office() }, 1);
        let id = pbx.open(Duration::ZERO).unwrap();
        pbx.handle_bytes(id, b"Action: Login\r\nUsername: hello\r\nSecret: world\r\n\r\n", Duration::ZERO);
        (pbx, id)
    }

    #[test]
    fn the_session_of_the_documents_is_word_for_word() {
        let (mut pbx, id) = logged_in();
        pbx.handle_bytes(id, b"Action: Ping\r\n\r\nAction: Logoff\r\n\r\n", Duration::from_micros(619_558));
        let Some(Output::Send(bytes)) = pbx.poll_output(id) else { panic!("nothing said") };
        let text = String::from_utf8(bytes).unwrap();
        let stamp = format!("{}.619558", pbx.office().epoch_s);
        let expected = concat!(
            "Asterisk Call Manager/1.1\r\nResponse: Success\r\nMessage: Authentication accepted\r\n\r\n",
            "Event: FullyBooted\r\nPrivilege: system,all\r\nStatus: Fully Booted\r\n\r\n",
            "Response: Success\r\nPing: Pong\r\nTimestamp: STAMP\r\n\r\n",
            "Response: Goodbye\r\nMessage: Thanks for all the fish.\r\n\r\n",
        );
        assert_eq!(text, expected.replace("STAMP", &stamp));
        assert_eq!(pbx.poll_output(id), Some(Output::Close));
    }

    #[test]
    fn an_inbound_call_raises_the_documented_user_event() {
        let (mut pbx, id) = logged_in();
        heard(&mut pbx, id);
        pbx.inbound_named("16682471", "norman namkoong", DIRECT_NUMBER, Duration::ZERO).unwrap();
        let said = heard(&mut pbx, id);
        let events: Vec<&Packet> = said.iter().filter(|packet| packet.value("Event") == Some("UserEvent")).collect();
        let epoch = pbx.office().epoch_s;
        let expected = [
            ("Event", "UserEvent"),
            ("Privilege", "user,all"),
            ("Channel", "PJSIP/MAKECALL-00000000"),
            ("ChannelState", "4"),
            ("ChannelStateDesc", "Ring"),
            ("CallerIDNum", "16682471"),
            ("CallerIDName", "norman namkoong"),
            ("ConnectedLineNum", "<unknown>"),
            ("ConnectedLineName", "<unknown>"),
            ("Language", "ko"),
            ("AccountCode", ""),
            ("Context", "sub-incoming-alert-info"),
            ("Exten", "s"),
            ("Priority", "2"),
            ("Uniqueid", &format!("{epoch}.0")),
            ("Linkedid", &format!("{epoch}.0")),
            ("UserEvent", &format!("incoming-16681706-07079190158-PJSIP/MAKECALL-00000000-16682471-{epoch}.0")),
        ];
        let pairs: Vec<(&str, &str)> =
            events[0].pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!((pairs, events.len()), (expected.to_vec(), 1));
    }

    #[test]
    fn an_endpoint_list_reads_as_documented() {
        let (mut pbx, id) = logged_in();
        heard(&mut pbx, id);
        pbx.handle_bytes(id, b"Action: PJSIPShowEndpoints\r\nActionID: a b.c\r\n\r\n", Duration::ZERO);
        let said = heard(&mut pbx, id);
        let of = |name: &str| said.iter().find(|packet| packet.value("ObjectName") == Some(name)).unwrap();
        assert_eq!(
            of("0101").pairs,
            [
                ("Event", "EndpointList"),
                ("ActionID", "a b.c"),
                ("ObjectType", "endpoint"),
                ("ObjectName", "0101"),
                ("Transport", "transport-udp-3baa003c2d301de89c68"),
                ("Aor", "0101"),
                ("Auths", "auth0101"),
                ("OutboundAuths", "auth0101"),
                ("Contacts", "0101/sip:0101@192.168.251.222:5060,"),
                ("DeviceState", "Not in use"),
                ("ActiveChannels", ""),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
        assert_eq!((of("0103").value("Contacts"), of("0103").value("DeviceState")), (Some(""), Some("Unavailable")));
        assert_eq!(of(MAC_ENDPOINT.0).value("DeviceState"), Some("Not in use"));
    }

    #[test]
    fn a_call_to_an_extension_rings_the_endpoint_named_after_a_mac_address() {
        let (mut pbx, id) = logged_in();
        heard(&mut pbx, id);
        let call = pbx.call("0101", MAC_ENDPOINT.1, Duration::ZERO).unwrap();
        pbx.answer(call, MAC_ENDPOINT.1, Duration::ZERO).unwrap();
        pbx.hang_up(call, MAC_ENDPOINT.0, Duration::ZERO).unwrap();
        let said = heard(&mut pbx, id);
        let hangup = said.iter().find(|packet| packet.value("Event") == Some("Hangup")).unwrap();
        let leg =
            said.iter().find(|p| p.value("Channel").is_some_and(|c| c.starts_with("PJSIP/0004F2060EB4-"))).unwrap();
        assert_eq!(leg.value("CallerIDNum"), Some("0109"));
        assert_eq!((hangup.value("Cause"), hangup.value("Cause-txt")), (Some("16"), Some("Normal Clearing")));
    }

    #[test]
    fn a_click_rings_the_caller_first_and_dials_the_callee_once_it_answers() {
        let (mut pbx, id) = logged_in();
        heard(&mut pbx, id);
        let at = Duration::ZERO;
        let call = pbx.click_to_call("0164", "0102", Some(("Click", "0777")), at).unwrap();
        pbx.ring(call).unwrap();
        let events = |packets: Vec<Packet>| -> Vec<String> {
            let word = |packet: &Packet| {
                let name = packet.value("Event")?.to_owned();
                let who = packet.value("Channel").or(packet.value("DestChannel")).or(packet.value("Device"))?;
                let who = who.trim_start_matches("PJSIP/").split('-').next()?.to_owned();
                matches!(name.as_str(), "Newchannel" | "Newstate" | "DialBegin" | "DialEnd" | "BridgeEnter" | "Hangup")
                    .then(|| {
                        format!("{name} {who} {}", packet.value("DialStatus").unwrap_or_default()).trim().to_owned()
                    })
            };
            packets.iter().filter_map(word).collect()
        };
        assert_eq!(events(heard(&mut pbx, id)), ["Newchannel 0164", "DialBegin 0164", "Newstate 0164"]);
        assert_eq!(pbx.answer(call, "0102", at), Err(crate::ami::Refused::WrongState), "the callee does not ring yet");
        pbx.answer(call, "0164", at).unwrap();
        assert_eq!(
            events(heard(&mut pbx, id)),
            ["Newstate 0164", "DialEnd 0164 ANSWER", "Newchannel 0102", "DialBegin 0164"]
        );
        pbx.answer(call, "0102", at).unwrap();
        pbx.hang_up(call, "0102", at).unwrap();
        assert_eq!(pbx.channel_count(), 0);
    }

    #[test]
    fn a_click_nobody_takes_ends_without_the_callee() {
        let (mut pbx, id) = logged_in();
        heard(&mut pbx, id);
        pbx.click_to_call("0164", "0102", None, Duration::ZERO).unwrap();
        pbx.handle_timeout(Duration::from_secs(60));
        let said = heard(&mut pbx, id);
        assert!(said.iter().any(|packet| packet.value("DialStatus") == Some("NOANSWER")));
        assert!(!said.iter().any(|packet| packet.value("Channel").is_some_and(|channel| channel.contains("0102"))));
        assert_eq!(pbx.channel_count(), 0);
    }
}
