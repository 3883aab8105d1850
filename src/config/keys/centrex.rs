//! Keys of a Centrex: LGUBaseOpenApi, or its events republished as JSON.

use super::{DialectKeys, Key, Takes, assumed, heartbeat, key};

pub(super) const CENTREX: DialectKeys = DialectKeys {
    name: "centrex",
    about: "LG U+ Centrex: its Open API, one login an extension, over tcp:// or tls:// (port 8086); or its events \
            republished as JSON over ws://, wss://, lines of tcp:// and tls://, or pushed to listen",
    places: &[
        assumed(
            "A8",
            key(
                "addresses",
                Takes::Texts,
                None,
                "tcp:// or tls://HOST[:8086], or ws://HOST[:80][/PATH] and wss://HOST[:443][/PATH] of republished events, 1 \
                 to 8: the main server first, its backups in order",
            ),
        ),
        assumed(
            "A16",
            key(
                "listen",
                Takes::Text,
                None,
                "IP:PORT that republished events are posted to, instead of addresses; off loopback only with allow",
            ),
        ),
        assumed("A12", Key { about: HEARTBEAT, ..heartbeat("\"20s\"") }),
    ],
    keys: KEYS,
    smallest: &[
        "addresses = [\"tcp://pbx\"]\nuser = \"u\"\nsecret = \"s\"\n",
        "addresses = [\"tcp://pbx\"]\nuser = \"u\"\nsecret = \"s\"\nkey = \"0123456789\"\n",
        "addresses = [\"tcp://pbx\"]\nuser = \"u\"\nsecret = \"s\"\nencryption = \"seed\"\nkey = \"0123456789abcdef\"\niv = \"0123456789abcdef\"\n",
        "addresses = [\"tcp://pbx\"]\nuser = \"u\"\nsecret = \"s\"\noam = [\"oam:9999\"]\n",
        "addresses = [\"ws://pbx\"]\n",
        "addresses = [\"ws://pbx\"]\nrest = { id = \"070\", password = \"p\" }\n",
        "listen = \"127.0.0.1:8260\"\n",
    ],
};

const HEARTBEAT: &str = "how long a quiet connection is left alone before a keep-alive, 1 s to 10 m; at most 30 s with \
                         form api, as the document demands";

const KEYS: &[Key] = &[
    key("user", Takes::Text, None, "the login's id, a 070 number or an extension's login, 1 to 128 characters"),
    key("secret", Takes::Secret, None, "the login's password"),
    assumed(
        "A16",
        key(
            "form",
            Takes::Choice(&["api", "json"]),
            None,
            "api is the Open API, json its events republished: JSON lines over tcp:// and tls://; json always over ws://, \
             wss:// and listen, api otherwise",
        ),
    ),
    key("watch", Takes::Texts, Some("[]"), "other extensions whose presence is asked for, to 256; api only"),
    key(
        "poll",
        Takes::Duration,
        Some("\"15s\""),
        "how often presence is asked for, 5 s to 10 m; 0s after a login only",
    ),
    key(
        "own_peer",
        Takes::Text,
        None,
        "what GetPeerInfo and GetStatusPeers call the own extension; as the login names it",
    ),
    key(
        "strict",
        Takes::Flag,
        Some("false"),
        "refuses republished JSON with line breaks, comments or explanations in it, with their place; json only",
    ),
    key(
        "allow",
        Takes::Texts,
        None,
        "addresses and networks that may post to listen, such as 10.0.4.0/24; needed off loopback, any unless given",
    ),
    key("path_secret", Takes::Secret, None, "the path that reports must be posted to; any unless given"),
    key(
        "rest",
        Takes::Table(REST),
        None,
        "the side channel over HTTPS: with form json it dials, sends and asks, with api it adds its methods to raw; id and \
         password needed",
    ),
    key(
        "login_with",
        Takes::Choice(&["user", "extension"]),
        Some("\"user\""),
        "what the login names itself by: some PBXs know their users by the short extension only",
    ),
    key("extension", Takes::Text, None, "that short extension; with login_with = extension only"),
    key(
        "contended_pause",
        Takes::Duration,
        Some("\"2m\""),
        "how long no login is tried after somebody else took the account, 30 s to 1 h",
    ),
    assumed(
        "A2",
        key(
            "byte_order",
            Takes::Choice(&["auto", "big", "little"]),
            Some("\"auto\""),
            "of a frame's header; auto finds it out and sends big until then",
        ),
    ),
    assumed(
        "A1",
        key(
            "length",
            Takes::Choice(&["body", "whole"]),
            Some("\"body\""),
            "what a header's length counts: the body, or its own 4 bytes too",
        ),
    ),
    assumed(
        "A3",
        key(
            "command_type",
            Takes::Whole { least: 0, most: 65_535 },
            Some("1"),
            "the header type of what is sent; any is read",
        ),
    ),
    assumed(
        "A12",
        key("heartbeat_type", Takes::Whole { least: 0, most: 65_535 }, Some("0"), "the header type of a heartbeat"),
    ),
    assumed(
        "A4",
        key(
            "body_max",
            Takes::Whole { least: 64, most: 65_535 },
            Some("65535"),
            "the longest body, in bytes, sent or read; the length is unsigned",
        ),
    ),
    assumed(
        "A5",
        key(
            "charset",
            Takes::Choice(&["cp949", "utf-8"]),
            Some("\"cp949\""),
            "of what is sent; what comes is UTF-8 where it is valid, else CP949",
        ),
    ),
    assumed(
        "A6",
        key(
            "terminator",
            Takes::Choice(&["none", "nul", "cr", "lf", "crlf"]),
            Some("\"none\""),
            "what ends a body that is sent; any is taken off what comes",
        ),
    ),
    assumed(
        "A9",
        key(
            "encryption",
            Takes::Choice(&["none", "basic", "seed"]),
            None,
            "of every body, both ways; basic where a key is given, none otherwise",
        ),
    ),
    assumed(
        "A9 A10",
        key("key", Takes::Secret, None, "10 bytes for basic, 16 for seed: as text or as hexadecimal digits"),
    ),
    assumed("A10", key("iv", Takes::Text, None, "16 bytes for seed with cbc: as text or as hexadecimal digits")),
    assumed(
        "A9",
        key(
            "basic_steps",
            Takes::Texts,
            Some("[\"b64\", \"xor\", \"b64\"]"),
            "what basic does in the order of sending, 1 to 8 of b64, xor, prefix-key and suffix-key",
        ),
    ),
    assumed(
        "A10",
        key("seed_mode", Takes::Choice(&["cbc", "ecb"]), Some("\"cbc\""), "how blocks are chained; cbc needs iv"),
    ),
    assumed(
        "A10",
        key("seed_padding", Takes::Choice(&["pkcs7", "zero"]), Some("\"pkcs7\""), "what fills the last block"),
    ),
    assumed(
        "A10",
        key("seed_encoding", Takes::Choice(&["base64", "raw"]), Some("\"base64\""), "how the blocks are sent"),
    ),
    assumed(
        "A11",
        key(
            "encrypted_length",
            Takes::Choice(&["sealed", "plain"]),
            Some("\"sealed\""),
            "whether a header's length counts an encrypted body as it is sent, or as it was before; the header stays plain",
        ),
    ),
    assumed(
        "A12",
        key(
            "heartbeat_command",
            Takes::Text,
            None,
            "a command as heartbeat instead of an empty frame, such as CMD|HEARTBEAT|, at most 256 bytes",
        ),
    ),
    assumed(
        "A12",
        key(
            "silence",
            Takes::Duration,
            None,
            "how long nothing may come before the link is dead, 5 s to 1 h; 0s never; three heartbeats unless given",
        ),
    ),
    assumed(
        "A7",
        key(
            "commands",
            Takes::Table(COMMANDS),
            Some("{}"),
            "templates by method: one line that begins with CMD|, its places, and [ ] around what is left out where a place \
             in it is empty",
        ),
    ),
    key("withdrawn", Takes::Flag, Some("false"), "offers what the document struck out: AtXferCID and JoinConference"),
    assumed(
        "A13",
        key(
            "history_dates",
            Takes::Choice(&["dashed", "compact"]),
            Some("\"dashed\""),
            "how a history is asked for: YYYY-MM-DD hh:mm:ss, or YYYYMMDD",
        ),
    ),
    assumed(
        "A14",
        key(
            "history_seconds",
            Takes::Choice(&["total", "ring"]),
            Some("\"total\""),
            "what the fifth field of a record counts: the whole call, or its ringing",
        ),
    ),
    assumed(
        "A15",
        key(
            "result_quiet",
            Takes::Duration,
            Some("\"2s\""),
            "after so long without more, a result in several messages is complete, 100 ms to 10 s",
        ),
    ),
    key("utc_offset", Takes::Text, Some("\"+09:00\""), "the PBX's local time, to 18 h"),
    assumed(
        "A8",
        key(
            "oam",
            Takes::Texts,
            None,
            "servers, HOST:PORT or a URL, that are asked where this user's server is, 1 to 8; whom they name is dialled \
             before addresses, under TLS where one of those is tls://; none are asked unless given",
        ),
    ),
    assumed(
        "A8",
        key("oam_form", Takes::Text, Some("\"ID={user}\""), "the form that is posted to them, 1 to 128 characters"),
    ),
    assumed(
        "A8",
        key(
            "oam_answer",
            Takes::Texts,
            Some(OAM_ANSWERS),
            "where their answer names servers, {address} standing for one HOST[:PORT]: every pattern in turn, the main \
             server's first; three at most count",
        ),
    ),
];

const REST: &[Key] = &[
    key(
        "url",
        Takes::Text,
        Some("\"https://centrex.uplus.co.kr/RestApi\""),
        "https://HOST[:443] with the services' path, /RestApi unless given; http:// only where the way there is trusted, \
         since a hash goes over it that is as good as the password",
    ),
    key("id", Takes::Text, None, "the 070 number, 1 to 128 characters"),
    key("password", Takes::Secret, None, "its password; what is sent is its SHA-512"),
    key("device", Takes::Text, None, "what the link's events call that telephone; id unless given"),
];

const OAM_ANSWERS: &str = r#"['"MainAddr":"{address}"', '"BackupAddr":"{address}"', '"BackAddr2":"{address}"']"#;

const COMMANDS: &[Key] = &[
    command("login", "\"CMD|LOGIN|ID={user}|PWD={secret}|\"", "LoginServer; places {user}, {secret}"),
    command(
        "click2call",
        "\"CMD|CLICKCALL|AGENT={agent}|EXTEN={exten}[|CID={cid}][|CONTEXT={context}]\"",
        "Click2Call, make-call; places {agent}, {exten}, {cid}, {context}",
    ),
    command(
        "answer",
        "\"CMD|ANSWER|AGENT={agent}|CHANNEL={peer_channel}|CONTEXT={context}|MYCHANNEL={my_channel}\"",
        "Answer, answer-call; places {agent}, {peer_channel}, {my_channel}, {context}",
    ),
    command(
        "hold",
        "\"CMD|HOLD|AGENT={agent}|CHANNEL={my_channel}\"",
        "Hold, hold-call; places {agent}, {my_channel}, {peer_channel}",
    ),
    command(
        "unhold",
        "\"CMD|UNHOLD|AGENT={agent}|CHANNEL={my_channel}\"",
        "Unhold, retrieve-call; places {agent}, {my_channel}, {peer_channel}",
    ),
    command(
        "pickup",
        "\"CMD|PICKUP|AGENT={agent}|EXTEN={exten}\"",
        "Pickup, directed-pickup-call and group-pickup-call; places {agent}, {exten}",
    ),
    command("hangup", "\"CMD|HANGUP|{my_channel}\"", "HangUp, the own channel; places {agent}, {my_channel}"),
    command(
        "hangupdst",
        "\"CMD|HANGUP|{peer_channel}\"",
        "HangUpDst, the other channel; places {agent}, {peer_channel}",
    ),
    command("hangupchannel", "\"CMD|HANGUP|{channel}\"", "HangUpChannel, any channel; places {agent}, {channel}"),
    command(
        "startrecord",
        "\"CMD|MONITOR|AGENT={agent}|ACT=START\"",
        "StartRecord, start-recording; places {agent}, {my_channel}",
    ),
    command(
        "stoprecord",
        "\"CMD|MONITOR|AGENT={agent}|ACT=STOP\"",
        "StopRecord, stop-recording; places {agent}, {my_channel}",
    ),
    command(
        "transfer",
        "\"CMD|TRANSFER|AGENT={agent}|EXTEN={exten}|CHANNEL={peer_channel}\"",
        "Transfer, single-step-transfer-call; places {agent}, {exten}, {my_channel}, {peer_channel}",
    ),
    command(
        "atxfer",
        "\"CMD|ATXFER|AGENT={agent}|EXTEN={exten}\"",
        "AtXfer, consultation-call; places {agent}, {exten}, {my_channel}, {peer_channel}",
    ),
    command(
        "atxfercid",
        "\"CMD|ATXFERCID|AGENT={agent}|EXTEN={exten}|CID={cid}\"",
        "AtXferCID, withdrawn by the document; places {agent}, {exten}, {cid}",
    ),
    command(
        "completetransfer",
        "\"CMD|HANGUP|{my_channel}\"",
        "what ends a consultation so that the others stay, transfer-call; places {agent}, {my_channel}, {peer_channel}",
    ),
    command(
        "redirectconference",
        "\"CMD|REDIRECTCONFERENCE|AGENT={agent}|ROOM={room}\"",
        "RedirectConference, conference-call; places {agent}, {room}, {my_channel}, {peer_channel}",
    ),
    command(
        "inviteconference",
        "\"CMD|INVITECONFERENCE|AGENT={agent}|ROOM={room}|PEERS={peers}\"",
        "InviteConference, conference-add; places {agent}, {room}, {peers}",
    ),
    command(
        "joinconference",
        "\"CMD|JOINCONFERENCE|AGENT={agent}|ROOM={room}\"",
        "JoinConference, withdrawn by the document; places {agent}, {room}",
    ),
    command(
        "callwithconference",
        "\"CMD|CALLWITHCONFERENCE|AGENT={agent}|ROOM={room}|PEERS={peers}\"",
        "CallWithConference, conference-add; places {agent}, {room}, {peers}",
    ),
    command("sendsipcommand", "\"CMD|{command}\"", "SendSIPCommand, raw; places {command}"),
    command(
        "sendsms",
        "\"CMD|SENDSMS|TYPE={type}|INFO={info}|PEERS={peers}|MSG={msg}\"",
        "SendSMS, send-message; places {agent}, {type}, {info}, {peers}, {msg}",
    ),
    command(
        "sendpeermsg",
        "\"CMD|SENDPEERMSG|TYPE={type}|INFO={info}|PEERS={peers}|MSG={msg}\"",
        "SendPeerMsg, send-message to extensions; places {agent}, {type}, {info}, {peers}, {msg}",
    ),
    command(
        "setforward",
        "\"CMD|SETFORWARD|USE={use}|TYPE={type}|NUM={num}|START={start}|END={end}|ETC={etc}\"",
        "SetForward, set-forwarding; places {agent}, {use}, {type}, {num}, {start}, {end}, {etc}",
    ),
    command(
        "getpeerinfo",
        "\"CMD|GETPEERINFO|PEERS={peers}\"",
        "GetPeerInfo, get-device-info; places {agent}, {peers}",
    ),
    command(
        "getcallhistory",
        "\"CMD|GETCALLHISTORY|CAT={cat}|INOUT={inout}|START={start}|END={end}|SEARCH={search}\"",
        "GetCallHistory, get-call-history; places {agent}, {cat}, {inout}, {start}, {end}, {search}",
    ),
    command(
        "getstatuspeers",
        "\"CMD|GETSTATUSPEERS|PEERS={peers}|ROOM={room}\"",
        "GetStatusPeers, get-call-state; places {agent}, {peers}, {room}",
    ),
    command(
        "getrecvsmslist",
        "\"CMD|GETRECVSMSLIST|PAGE={page}|STRCAT={strcat}\"",
        "GETRECVSMSLIST, get-messages; places {agent}, {page}, {strcat}",
    ),
];

const fn command(name: &'static str, default: &'static str, about: &'static str) -> Key {
    key(name, Takes::Text, Some(default), about)
}
