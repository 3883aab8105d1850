//! olssoo: the manual's samples and misprints, dialogues, and what must hold for any message.

mod dialogue;
mod samples;

use std::path::PathBuf;
use std::time::Duration;

use lamplighter::config::{
    Account, ActionForm, Address, AgentNames, AmiLink, Dialect, Link, Login, OlssooLink, Rest, RestForm, Scheme,
    TlsSettings,
};
use lamplighter::event::LinkId;
use lamplighter::link::known::Known;
use lamplighter::link::native::NativeSettings;
use lamplighter::link::olssoo::Session;
use lamplighter::secret::Secret;
use proptest::collection::vec;
use proptest::prelude::*;

#[path = "../../fuzz/olssoo.rs"]
mod bodies;

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/olssoo")
}

/// A link as `links.front-desk` would be with nothing but an address.
fn site() -> OlssooLink {
    OlssooLink {
        ami: AmiLink {
            account: Account { user: "hello".into(), secret: Secret::new("hunter2") },
            login: Login::Plain,
            plain_fallback: false,
            event_mask: "on".into(),
            resync_every: None,
            wrapup: Duration::ZERO,
            agents: AgentNames::MemberName,
            do_not_disturb: None,
            trunks: vec!["PJSIP/MAKECALL".into()],
        },
        subprotocol: None,
        headers: std::collections::BTreeMap::new(),
        actions: ActionForm::Enveloped,
        strict_doc: false,
        strict: false,
        server: None,
        server_name: "S".into(),
        endpoints: std::collections::BTreeMap::new(),
        list_quiet: Duration::from_secs(3),
        rest: None,
    }
}

fn rest() -> Rest {
    Rest {
        url: Address { scheme: Scheme::Https, host: "pbx".into(), port: 443, path: "/api/v2".into() },
        app_key: Secret::new("hunter2"),
        tenant: "main".into(),
        form: RestForm::Query,
        cos_id: "1".into(),
        cid_name: None,
        cid_number: None,
        correlate: Duration::from_secs(30),
    }
}

fn session(site: &OlssooLink) -> Session {
    let common = Link {
        addresses: Vec::new(),
        listen: None,
        heartbeat: Duration::from_secs(20),
        deadline: Duration::from_secs(10),
        tls: TlsSettings::default(),
        native: NativeSettings::default(),
        dialect: Dialect::Olssoo(Box::new(site.clone())),
    };
    Session::new(LinkId::new("front-desk"), &common, site, Known::default(), 7)
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
