//! olssoo: the manual's samples and misprints, dialogues, and what must hold for any message.

mod dialogue;
mod samples;

use std::collections::BTreeMap;
use std::path::PathBuf;

use lamplighter::config::{Config, Dialect, Link, OlssooLink, Rest};
use lamplighter::event::LinkId;
use lamplighter::link::ami::codec::{Action, Message};
use lamplighter::link::known::Known;
use lamplighter::link::olssoo::Session;
use lamplighter::link::olssoo::codec::Encoding;
use lamplighter::link::olssoo::json::{self, Json};
use proptest::collection::vec;
use proptest::prelude::*;

#[path = "../../fuzz/olssoo.rs"]
mod bodies;

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/olssoo")
}

/// A link on a TCP address, which has every key.
const SITE: &str = r#"
[gateway]
id = "office"
[links.front-desk]
dialect = "olssoo"
addresses = ["tcp://pbx"]
user = "hello"
secret = "hunter2"
login = "plain"
resync_every = "0s"
do_not_disturb = ""
trunks = ["PJSIP/MAKECALL"]
server_name = "S"
rest = { url = "https://pbx", app_key = "hunter2", tenant = "main", form = "query" }
"#;

/// The link's common settings and its own, its REST side apart.
fn site() -> (Link, OlssooLink, Rest) {
    let config = Config::parse(SITE, "site.toml", |_| None, |_| Err(std::io::ErrorKind::NotFound.into())).unwrap();
    let link = config.links["front-desk"].clone();
    let Dialect::Olssoo(site) = &link.dialect else { panic!("an olssoo link") };
    let mut site = site.clone();
    let rest = site.rest.take().unwrap();
    (link, site, rest)
}

fn session(site: &OlssooLink) -> Session {
    let (link, ..) = self::site();
    Session::new(LinkId::new("front-desk"), &link, site, Known::default(), 7)
}

fn member<'a>(object: &'a Json, name: &str) -> &'a Json {
    let Json::Object(members) = object else { panic!("no object") };
    &members.iter().find(|(key, _)| key == name.as_bytes()).unwrap().1
}

/// Every value of every name, names without case.
fn by_name(object: &Json) -> BTreeMap<String, Vec<Vec<u8>>> {
    let Json::Object(members) = object else { panic!("no object") };
    let texts = |value: &Json| match value {
        Json::Text(text) => vec![text.clone()],
        Json::List(items) => items
            .iter()
            .filter_map(|item| if let Json::Text(text) = item { Some(text.clone()) } else { None })
            .collect(),
        _ => Vec::new(),
    };
    members.iter().map(|(name, value)| (String::from_utf8_lossy(name).to_lowercase(), texts(value))).collect()
}

/// Pieces that make odd envelopes more likely than plain bytes do.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\\u00",
        "\"type\":3,",
        "\"type\":6,",
        "\"server_id\":1,",
        "\"server_id\":2,",
        "\"data\":{",
        "\"Event\":\"Hangup\",",
        "\"Privilege\":\"call,all\",",
        "\"Response\":\"Success\",",
        "\"UserEvent\":\"incoming-1-2-PJSIP/a-3-4-5.6\",",
        "{\"type\":3,\"data\":{\"Event\":\"UserEvent\",\"Privilege\":\"user,all\"}}",
        "{\"type\":3,\"server_id\":1,\"data\":{\"Event\":\"FullyBooted\",\"Privilege\":\"system,all\"}}",
        "{\"type\":6,\"data\":{\"QueueName\":\"q\",\"Calls\":\"7\"}}",
        "\u{201c}",
        "**",
        "\u{feff}",
        "김",
        "\n",
    ];
    prop_oneof![
        8 => prop::sample::select(known.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..20),
    ]
}

/// Operations of the session's body, with enough known answers to get beyond the first Ping.
fn operation() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0u8..4).prop_map(|answer| vec![4, answer]),
        2 => vec(piece(), 1..5).prop_map(|pieces| {
            let bytes = pieces.concat();
            let bytes = &bytes[..bytes.len().min(254)];
            [&[0, u8::try_from(bytes.len()).unwrap_or(0)], bytes].concat()
        }),
        2 => any::<u8>().prop_map(|seconds| vec![5, seconds]),
        2 => any::<u8>().prop_map(|which| vec![6, which]),
        1 => any::<u8>().prop_map(|end| vec![7, end]),
        1 => vec(any::<u8>(), 0..10),
    ]
}

proptest! {
    #[test]
    fn an_action_reads_back_as_it_was_sent(headers in vec(("[A-Ca-c]{1,2}", "[^\\x00\\r\\n]{0,60}"), 0..20), bare in any::<bool>()) {
        let action = headers.iter().fold(Action::new("X"), |action, (name, value)| action.header(name, value));
        let action = Message::parse(action.encode("id").unwrap());
        let encoding = Encoding { bare, strict_doc: false, server: None, server_name: "S".into() };
        let read = json::read(&encoding.encode(&action), true);
        prop_assert_eq!(&read.fault, &None);
        let whole = by_name(&read.objects[0]);
        let data = if bare { whole } else { by_name(member(&read.objects[0], "data")) };
        let mut sent: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        for (name, value) in action.headers() {
            sent.entry(String::from_utf8_lossy(name).to_lowercase()).or_default().push(value.to_vec());
        }
        prop_assert_eq!(data, sent);
    }

    #[test]
    fn any_message_is_read_within_bounds(pieces in vec(piece(), 0..60)) {
        bodies::olssoo_codec(&pieces.concat());
    }

    #[test]
    fn any_bytes_are_read_within_bounds(input in vec(any::<u8>(), 0..600)) {
        bodies::olssoo_codec(&input);
    }

    #[test]
    fn any_dialogue_leaves_the_session_sound(operations in vec(operation(), 0..100)) {
        bodies::olssoo_session(&operations.concat());
        bodies::olssoo_session(&[&[4, 0][..], &operations.concat()].concat());
    }
}
