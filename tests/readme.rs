//! README.md says what the code does: its tables of abilities are the sessions' own, its configurations are read.
//!
//! Source: the protocol document, sections 8.5 and 8.6, written down here as it stands there.
//! `LAMPLIGHTER_BLESS=1` writes the tables anew; the difference is then for a person to read.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what went wrong by failing")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs};

use lamplighter::config::{self, Config};
use lamplighter::link::service::Service;
use lamplighter::link::session::{Abilities, Tells, Told};
use lamplighter::run::abilities;

/// One column of the tables.
struct System {
    heading: &'static str,
    /// Its column in the document.
    document: &'static str,
    /// The smallest link.
    plain: &'static str,
    /// What a site may add: how the README calls it, and the link with it.
    options: &'static [(&'static str, &'static str)],
}

const SYSTEMS: &[System] = &[
    System {
        heading: "`centrex`",
        document: "centrex",
        plain: "dialect = 'centrex'\naddresses = ['tcp://pbx']\nuser = 'u'\nsecret = 's'",
        options: &[(
            "`withdrawn`",
            "dialect = 'centrex'\naddresses = ['tcp://pbx']\nuser = 'u'\nsecret = 's'\nwithdrawn = true",
        )],
    },
    System {
        heading: "`olssoo`",
        document: "olssoo / ami",
        plain: "dialect = 'olssoo'\naddresses = ['ws://pbx']",
        options: &[
            (
                "`rest`",
                "dialect = 'olssoo'\naddresses = ['ws://pbx']\nrest = { url = 'https://pbx', app_key = 'k', tenant = 't' }",
            ),
            ("`pickup`", "dialect = 'olssoo'\naddresses = ['ws://pbx']\npickup = '*8{to}'"),
            ("`group_pickup`", "dialect = 'olssoo'\naddresses = ['ws://pbx']\ngroup_pickup = '*8'"),
            ("`forward_…`", "dialect = 'olssoo'\naddresses = ['ws://pbx']\nforward_always = '*72{to}'"),
        ],
    },
    System {
        heading: "`ami`",
        document: "olssoo / ami",
        plain: "dialect = 'ami'\naddresses = ['tcp://pbx']\nuser = 'u'\nsecret = 's'",
        options: &[
            ("`pickup`", "dialect = 'ami'\naddresses = ['tcp://pbx']\nuser = 'u'\nsecret = 's'\npickup = '*8{to}'"),
            (
                "`group_pickup`",
                "dialect = 'ami'\naddresses = ['tcp://pbx']\nuser = 'u'\nsecret = 's'\ngroup_pickup = '*8'",
            ),
            (
                "`forward_…`",
                "dialect = 'ami'\naddresses = ['tcp://pbx']\nuser = 'u'\nsecret = 's'\nforward_always = '*72{to}'",
            ),
        ],
    },
    System {
        heading: "`nexuscube`",
        document: "nexuscube",
        plain: "dialect = 'nexuscube'\naddresses = ['ws://cti']\nuser = 'u'\nsecret = 's'\nmonitor = ['1001']",
        options: &[],
    },
    System {
        heading: "`openvox`",
        document: "openvox",
        plain: "dialect = 'openvox'\nlisten = '127.0.0.1:8260'",
        options: &[(
            "`control`",
            "dialect = 'openvox'\nlisten = '127.0.0.1:8260'\ncontrol = { url = 'http://pbx', user = 'u', secret = 's' }",
        )],
    },
];

/// Section 8.5, without its rows of services, which 8.6 has in full.
const TOLD: &str = "
| | centrex | olssoo / ami | nexuscube | openvox |
| other extensions' presence | poll only | push | push for monitored | push for monitored |
| registration | poll | push | 23/24 events, else unknown | push |
| incoming ring | yes | yes | yes | yes (if monitor enabled) |
| answer, end | yes | yes | yes | yes |
| hold | own command result only | yes | yes | poll only (v2 push) |
| blind / attended transfer outcome | partial | yes | yes | partial |
| agent state | no | queue members | yes | no |
| queue length | no | yes | yes | no |
| resync query after reconnect | GetStatusPeers | full | none | extension/query |
";

/// Section 8.6.
const SERVICES: &str = "
| service | centrex | olssoo / ami | nexuscube | openvox |
| make-call | CLICKCALL | click_to_call (REST) or Originate | dial | extension/dial_extension, dial_outbound |
| answer-call | ANSWER | - | answer | - |
| clear-connection | HANGUP own channel | Hangup channel | clear | extension/hangup |
| clear-call | HANGUP own and peer channel | Hangup all channels of the Linkedid | clear on every monitored leg | inbound/hangup, outbound/hangup |
| hold-call, retrieve-call | HOLD, UNHOLD | - (park or feature code) | hold, retrieve | extension/hold, extension/unhold |
| single-step-transfer-call | Transfer | BlindTransfer or Redirect | sstransfer | inbound/outbound transfer services |
| consultation-call, transfer-call | AtXfer (one command; the phone completes it) | Atxfer | consult mode 0, transfer | - |
| conference-call | RedirectConference | ConfBridge via Redirect | consult mode 1, confer | - |
| conference-add | InviteConference, CallWithConference | Originate into the room | repeat consult + confer | - |
| join-call | - | Originate ChanSpy | bargein | monitor services |
| directed-pickup-call, group-pickup-call | Pickup(exten), Pickup(\"\") | dialplan code | - | - |
| set-agent-state | - | QueuePause, QueueAdd, QueueRemove | logon, logoff, ready, notready, afterwork | - |
| set-forwarding | SETFORWARD | dialplan or database | - | extension update |
| set-do-not-disturb | - | dialplan or database | - | extension update |
| start-recording, stop-recording | MONITOR | MixMonitor, StopMixMonitor | - | - |
| send-message | SENDSMS, SENDPEERMSG | - | - | - |
| get-call-history | GETCALLHISTORY | GET cdr | - | collected NewCdr |
| get-messages | GETRECVSMSLIST | - | - | - |
| get-device-info | GETPEERINFO | PJSIPShowEndpoints | - | extension/query |
| get-call-state | GETSTATUSPEERS | CoreShowChannels, Status | - | inbound/query, outbound/query |
| monitor-start, monitor-stop | - | - | addmonitor, removemonitor | - |
| raw | SendSIPCommand | any action | any fname | any service |
";

/// Where a system differs from the document: heading, service, why.
const DIFFERS: &[(&str, &str, &str)] = &[
    (
        "`centrex`",
        "join-call",
        "JoinConference, which the document struck out; offered where the site says that its PBX has it all the same",
    ),
    (
        "`ami`",
        "get-call-history",
        "GET cdr is the HTTP side of olssoo; Asterisk's manager interface has no action that asks for past calls",
    ),
];

#[test]
fn the_tables_of_abilities_are_the_sessions_own() {
    const BEGIN: &str = "<!-- abilities: written by tests/readme.rs -->\n";
    const END: &str = "<!-- end of abilities -->\n";
    let readme = readme();
    let (before, rest) = readme.split_once(BEGIN).expect("the mark before the tables");
    let (found, after) = rest.split_once(END).expect("the mark behind the tables");
    let tables = tables();
    if env::var_os("LAMPLIGHTER_BLESS").is_some() {
        fs::write(path(), format!("{before}{BEGIN}{tables}{END}{after}")).unwrap();
    } else {
        assert_eq!(found, tables, "README.md; LAMPLIGHTER_BLESS=1 writes it anew");
    }
}

fn tables() -> String {
    let mut out = String::from("\n| it tells |");
    let headings: String = SYSTEMS.iter().map(|system| format!(" {} |", system.heading)).collect();
    let rule = "| --- ".repeat(SYSTEMS.len());
    let _ = write!(out, "{headings}\n| --- {rule}|\n");
    for (name, news) in NEWS {
        let cells: String = SYSTEMS.iter().map(|system| format!(" {} |", told_cell(system, name, news))).collect();
        let _ = writeln!(out, "| {name} |{cells}");
    }
    let _ = write!(out, "\n| service |{headings}\n| --- {rule}|\n");
    for service in Service::ALL {
        let cells: String = SYSTEMS.iter().map(|system| format!(" {} |", service_cell(system, *service))).collect();
        let _ = writeln!(out, "| `{service}` |{cells}");
    }
    out.push('\n');
    out
}

type News = fn(&Tells) -> Told;

/// In the order of the document's rows.
const NEWS: [(&str, News); 9] = [
    ("presence of devices", |tells| tells.presence),
    ("registration", |tells| tells.registration),
    ("ringing", |tells| tells.ringing),
    ("answer and end", |tells| tells.answer_and_end),
    ("hold", |tells| tells.hold),
    ("how a transfer ended", |tells| tells.transfer),
    ("agents", |tells| tells.agents),
    ("queues", |tells| tells.queues),
    (RESYNC, |tells| tells.resync),
];

const RESYNC: &str = "after a reconnect, asked for";

fn told_cell(system: &System, name: &str, news: News) -> String {
    let word = |told| match (name == RESYNC, told) {
        (false, Told::Push) => "at once",
        (false, Told::Monitored) => "at once, if monitored",
        (false, Told::Poll) => "asked for",
        (false, Told::Partial) => "in part",
        (true, Told::Push) => "everything",
        (true, Told::Poll | Told::Monitored | Told::Partial) => "devices",
        (_, Told::No) => "–",
    };
    let plain = news(&of(system.plain).tells);
    let other = |(label, link): &(&str, &str)| {
        let told = news(&of(link).tells);
        (told != plain).then(|| format!("{} with {label}", word(told)))
    };
    let mut words: Vec<String> = system.options.iter().filter_map(other).collect();
    if plain != Told::No || words.is_empty() {
        words.insert(0, word(plain).to_owned());
    }
    words.join("; ")
}

fn service_cell(system: &System, service: Service) -> String {
    if of(system.plain).services.contains(&service) {
        return "yes".to_owned();
    }
    let offers = |(_, link): &&(&str, &str)| of(link).services.contains(&service);
    let with: Vec<String> = system.options.iter().filter(offers).map(|(label, _)| format!("with {label}")).collect();
    if with.is_empty() { "–".to_owned() } else { with.join(" or ") }
}

#[test]
fn every_row_of_what_is_told_is_the_documents() {
    let (headings, rows) = table(TOLD);
    assert_eq!(rows.len(), NEWS.len());
    for system in SYSTEMS {
        let column = headings.iter().position(|heading| heading == system.document).expect(system.document);
        // The document speaks of a PBX with all that it has.
        let fullest = of(system.options.first().map_or(system.plain, |(_, link)| link)).tells;
        for ((name, news), row) in NEWS.iter().zip(&rows) {
            let told = news(&fullest);
            let fits = match row[column].as_str() {
                "yes" | "push" | "push for monitored" => matches!(told, Told::Push | Told::Monitored),
                "yes (if monitor enabled)" => told == Told::Monitored,
                "full" | "queue members" => told == Told::Push,
                "poll" | "poll only" | "poll only (v2 push)" | "GetStatusPeers" | "extension/query" => {
                    told == Told::Poll
                }
                "partial" | "own command result only" | "23/24 events, else unknown" => told == Told::Partial,
                "no" | "none" => told == Told::No,
                other => panic!("{name}: {other}"),
            };
            assert!(fits, "{}: {name}: the document says {:?}, the session {told:?}", system.heading, row[column]);
        }
    }
}

#[test]
fn every_service_of_the_document_is_offered_and_no_other() {
    let (headings, rows) = table(SERVICES);
    let named: BTreeSet<&str> = rows.iter().flat_map(|row| row[0].split(", ")).collect();
    assert_eq!(named, Service::ALL.iter().map(|service| service.name()).collect());
    let mut differ = Vec::new();
    for system in SYSTEMS {
        let column = headings.iter().position(|heading| heading == system.document).expect(system.document);
        for row in &rows {
            for name in row[0].split(", ") {
                let service = Service::from_name(name).expect(name);
                if row[column].starts_with('-') == (service_cell(system, service) != "–") {
                    differ.push((system.heading, name));
                }
            }
        }
    }
    let expected: Vec<_> = DIFFERS.iter().map(|(system, service, _)| (*system, *service)).collect();
    assert_eq!(differ, expected, "offered otherwise than the document says");
    assert!(DIFFERS.iter().all(|(_, _, why)| !why.is_empty()));
}

/// Headings and rows.
fn table(text: &str) -> (Vec<String>, Vec<Vec<String>>) {
    let cells = |line: &str| {
        let inside = line.trim().trim_start_matches('|').trim_end_matches('|');
        inside.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
    };
    let mut rows: Vec<Vec<String>> = text.trim().lines().map(cells).collect();
    let headings = rows.remove(0);
    assert!(rows.iter().all(|row| row.len() == headings.len()));
    (headings, rows)
}

fn of(link: &str) -> Abilities {
    let config = parse(&format!("[gateway]\nid = 'g'\n[links.l]\n{link}"));
    abilities(&config.links["l"])
}

fn parse(text: &str) -> Config {
    // A secret of ten bytes is a key of Centrex' basic encryption too; a webhook's has a form of its own.
    let read = |path: &std::path::Path| {
        let webhook = path.ends_with("crm.secret");
        Ok(if webhook { "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" } else { "0123456789" }.to_owned())
    };
    Config::parse(text, "README.md", |_| None, read)
        .unwrap_or_else(|faults| panic!("{text}\n{}", faults.iter().map(|it| format!("{it}\n")).collect::<String>()))
}

#[test]
fn every_configuration_in_the_readme_is_read_and_each_dialect_has_one() {
    let readme = readme();
    let mut shown = BTreeSet::new();
    for block in blocks(&readme, "toml") {
        let whole = block.contains("[gateway]");
        let config = if whole { parse(block) } else { parse(&format!("[gateway]\nid = 'g'\n{block}")) };
        shown.extend(config.links.values().map(|link| link.dialect.name()));
    }
    let dialects: BTreeSet<&str> = config::keys::DIALECTS.iter().map(|dialect| dialect.name).collect();
    assert_eq!(shown, dialects);
}

#[test]
fn a_fresh_machine_takes_two_commands() {
    let readme = readme();
    let commands: Vec<&str> =
        blocks(&readme, "sh")[0].lines().map(|line| line.split('#').next().unwrap().trim()).collect();
    assert_eq!(commands, ["cargo run --release -- demo", "cargo xtask test"]);
}

#[test]
fn the_readme_names_no_dialect_as_missing() {
    let readme = readme();
    let (_, missing) = readme.split_once("## What is not here yet").expect("the section");
    let missing = missing.split("\n## ").next().unwrap();
    for dialect in config::keys::DIALECTS {
        assert!(!missing.contains(&format!("`{}`", dialect.name)), "{}", dialect.name);
    }
}

/// What stands between fences of this language.
fn blocks<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
    let fence = format!("```{language}\n");
    text.split(fence.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

fn readme() -> String {
    fs::read_to_string(path()).unwrap()
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("README.md")
}
