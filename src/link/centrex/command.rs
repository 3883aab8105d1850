//! Commands: the document's methods, and the text each becomes.
//!
//! Source: LGUBaseOpenApi, its methods; the document prints the text of four, the others are the register's A7, and so
//! every template is a setting.
//! Shape: `CMD|VERB|NAME={place}`; what stands in `[…]` is left out where a place in it is empty.
//! Invariant: no value holds a bar, a line break or another control character, so none adds a field or a command.

use std::collections::BTreeMap;

use crate::limits::{CENTREX_COMMAND_BYTES_MAX, CENTREX_TEMPLATE_BYTES_MAX};

macro_rules! methods {
    ($($name:ident $key:literal [$($place:literal)*] $template:literal),* $(,)?) => {
        /// A method of the document, by the key of its template.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Method {$($name),*}

        impl Method {
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// As `commands` in the configuration names it.
            pub const fn key(self) -> &'static str {
                match self {$(Self::$name => $key),*}
            }

            /// What may stand in its template.
            pub const fn places(self) -> &'static [&'static str] {
                match self {$(Self::$name => &[$($place),*]),*}
            }

            pub const fn template(self) -> &'static str {
                match self {$(Self::$name => $template),*}
            }
        }
    };
}

methods! {
    Login "login" ["user" "secret"] "CMD|LOGIN|ID={user}|PWD={secret}|",
    Click2Call "click2call" ["agent" "exten" "cid" "context"]
        "CMD|CLICKCALL|AGENT={agent}|EXTEN={exten}[|CID={cid}][|CONTEXT={context}]",
    Answer "answer" ["agent" "peer_channel" "my_channel" "context"]
        "CMD|ANSWER|AGENT={agent}|CHANNEL={peer_channel}|CONTEXT={context}|MYCHANNEL={my_channel}",
    Hold "hold" ["agent" "my_channel" "peer_channel"] "CMD|HOLD|AGENT={agent}|CHANNEL={my_channel}",
    Unhold "unhold" ["agent" "my_channel" "peer_channel"] "CMD|UNHOLD|AGENT={agent}|CHANNEL={my_channel}",
    Pickup "pickup" ["agent" "exten"] "CMD|PICKUP|AGENT={agent}|EXTEN={exten}",
    HangUp "hangup" ["agent" "my_channel"] "CMD|HANGUP|{my_channel}",
    HangUpDst "hangupdst" ["agent" "peer_channel"] "CMD|HANGUP|{peer_channel}",
    HangUpChannel "hangupchannel" ["agent" "channel"] "CMD|HANGUP|{channel}",
    StartRecord "startrecord" ["agent" "my_channel"] "CMD|MONITOR|AGENT={agent}|ACT=START",
    StopRecord "stoprecord" ["agent" "my_channel"] "CMD|MONITOR|AGENT={agent}|ACT=STOP",
    Transfer "transfer" ["agent" "exten" "my_channel" "peer_channel"]
        "CMD|TRANSFER|AGENT={agent}|EXTEN={exten}|CHANNEL={peer_channel}",
    AtXfer "atxfer" ["agent" "exten" "my_channel" "peer_channel"] "CMD|ATXFER|AGENT={agent}|EXTEN={exten}",
    AtXferCid "atxfercid" ["agent" "exten" "cid"] "CMD|ATXFERCID|AGENT={agent}|EXTEN={exten}|CID={cid}",
    CompleteTransfer "completetransfer" ["agent" "my_channel" "peer_channel"] "CMD|HANGUP|{my_channel}",
    RedirectConference "redirectconference" ["agent" "room" "my_channel" "peer_channel"]
        "CMD|REDIRECTCONFERENCE|AGENT={agent}|ROOM={room}",
    InviteConference "inviteconference" ["agent" "room" "peers"]
        "CMD|INVITECONFERENCE|AGENT={agent}|ROOM={room}|PEERS={peers}",
    JoinConference "joinconference" ["agent" "room"] "CMD|JOINCONFERENCE|AGENT={agent}|ROOM={room}",
    CallWithConference "callwithconference" ["agent" "room" "peers"]
        "CMD|CALLWITHCONFERENCE|AGENT={agent}|ROOM={room}|PEERS={peers}",
    SendSipCommand "sendsipcommand" ["command"] "CMD|{command}",
    SendSms "sendsms" ["agent" "type" "info" "peers" "msg"] "CMD|SENDSMS|TYPE={type}|INFO={info}|PEERS={peers}|MSG={msg}",
    SendPeerMsg "sendpeermsg" ["agent" "type" "info" "peers" "msg"]
        "CMD|SENDPEERMSG|TYPE={type}|INFO={info}|PEERS={peers}|MSG={msg}",
    SetForward "setforward" ["agent" "use" "type" "num" "start" "end" "etc"]
        "CMD|SETFORWARD|USE={use}|TYPE={type}|NUM={num}|START={start}|END={end}|ETC={etc}",
    GetPeerInfo "getpeerinfo" ["agent" "peers"] "CMD|GETPEERINFO|PEERS={peers}",
    GetCallHistory "getcallhistory" ["agent" "cat" "inout" "start" "end" "search"]
        "CMD|GETCALLHISTORY|CAT={cat}|INOUT={inout}|START={start}|END={end}|SEARCH={search}",
    GetStatusPeers "getstatuspeers" ["agent" "peers" "room"] "CMD|GETSTATUSPEERS|PEERS={peers}|ROOM={room}",
    GetRecvSmsList "getrecvsmslist" ["agent" "page" "strcat"] "CMD|GETRECVSMSLIST|PAGE={page}|STRCAT={strcat}",
}

impl Method {
    pub fn from_key(key: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|method| method.key() == key)
    }
}

/// A template that fits its method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(String);

/// Every method's template: the site's, or the register's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commands(pub BTreeMap<Method, Template>);

/// Why a command cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandFault {
    /// A value would end its field, or the command.
    #[error("expected a text without bars and control characters, found {found}")]
    Injection { place: &'static str, found: String },
    #[error("the command has {found} bytes, expected at most {CENTREX_COMMAND_BYTES_MAX}")]
    TooLong { found: usize },
}

impl Template {
    /// What a template must be, where it is not.
    ///
    /// # Errors
    /// The expectation that the text breaks.
    pub fn parse(method: Method, text: &str) -> Result<Self, String> {
        if text.len() > CENTREX_TEMPLATE_BYTES_MAX {
            return Err(format!("at most {CENTREX_TEMPLATE_BYTES_MAX} bytes"));
        }
        if !text.starts_with("CMD|") || text.chars().any(char::is_control) {
            return Err("one line that begins with \"CMD|\"".to_owned());
        }
        let expected = || {
            let places: Vec<String> = method.places().iter().map(|place| format!("{{{place}}}")).collect();
            format!("the places {} only, and [ ] in pairs", places.join(", "))
        };
        let mut optional = false;
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}', '[', ']']) {
            let mark = rest.as_bytes()[at];
            rest = &rest[at + 1..];
            match mark {
                b'{' => {
                    let (place, after) = rest.split_once('}').ok_or_else(expected)?;
                    if !method.places().contains(&place) {
                        return Err(expected());
                    }
                    rest = after;
                }
                b'[' if !optional => optional = true,
                b']' if optional => optional = false,
                _ => return Err(expected()),
            }
        }
        if optional { Err(expected()) } else { Ok(Self(text.to_owned())) }
    }

    /// The word that results are matched by.
    fn verb(&self) -> &str {
        self.0.split('|').nth(1).unwrap_or_default()
    }
}

impl Commands {
    fn template(&self, method: Method) -> &str {
        self.0.get(&method).map_or(method.template(), |template| &template.0)
    }

    /// The word that the result of this method carries.
    pub fn verb(&self, method: Method) -> String {
        match self.0.get(&method) {
            Some(template) => template.verb().to_ascii_uppercase(),
            None => method.template().split('|').nth(1).unwrap_or_default().to_ascii_uppercase(),
        }
    }

    /// The command with its values.
    ///
    /// # Errors
    /// A value could write more than itself, or the command is too long. Nothing may be sent then.
    pub fn write(&self, method: Method, values: &[(&'static str, &str)]) -> Result<String, CommandFault> {
        for (place, value) in values {
            // A raw command is a whole one: its bars are its own.
            let barred = value.contains('|') && *place != "command";
            if barred || value.chars().any(char::is_control) {
                let found = if barred { "a bar" } else { "a control character" }.to_owned();
                return Err(CommandFault::Injection { place, found });
            }
        }
        let mut out = String::new();
        let mut rest = self.template(method);
        while let Some(at) = rest.find('[') {
            let (before, after) = rest.split_at(at);
            fill(before, values, &mut out);
            let (optional, after) = after[1..].split_once(']').unwrap_or((&after[1..], ""));
            let mut filled = String::new();
            if fill(optional, values, &mut filled) {
                out.push_str(&filled);
            }
            rest = after;
        }
        fill(rest, values, &mut out);
        if out.len() > CENTREX_COMMAND_BYTES_MAX {
            return Err(CommandFault::TooLong { found: out.len() });
        }
        Ok(out)
    }
}

/// Whether every place had a value.
fn fill(template: &str, values: &[(&'static str, &str)], out: &mut String) -> bool {
    let mut whole = true;
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let (place, after) = after.split_once('}').unwrap_or((after, ""));
        let value = values.iter().find(|(name, _)| *name == place).map_or("", |(_, value)| value);
        whole &= !value.is_empty();
        out.push_str(value);
        rest = after;
    }
    out.push_str(rest);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_that_the_document_prints_come_out_as_printed() {
        let commands = Commands::default();
        let write = |method, values: &[(&'static str, &str)]| commands.write(method, values).unwrap();
        assert_eq!(write(Method::Login, &[("user", "3700"), ("secret", "****")]), "CMD|LOGIN|ID=3700|PWD=****|");
        assert_eq!(
            write(Method::Click2Call, &[("agent", "1A990011"), ("exten", "12345678")]),
            "CMD|CLICKCALL|AGENT=1A990011|EXTEN=12345678"
        );
        let answer =
            [("agent", "3321"), ("peer_channel", "SIP/gw2.eicn-09b559d8"), ("my_channel", "SIP/3321-09b2a738")];
        assert_eq!(
            write(Method::Answer, &answer),
            "CMD|ANSWER|AGENT=3321|CHANNEL=SIP/gw2.eicn-09b559d8|CONTEXT=|MYCHANNEL=SIP/3321-09b2a738"
        );
        assert_eq!(write(Method::HangUp, &[("my_channel", "SIP/3584-09fb3350")]), "CMD|HANGUP|SIP/3584-09fb3350");
        assert_eq!(write(Method::SendSipCommand, &[("command", "X|A=1")]), "CMD|X|A=1");
    }

    #[test]
    fn what_is_optional_is_left_out_where_it_is_empty() {
        let commands = Commands::default();
        let values = [("agent", "1"), ("exten", "2"), ("cid", ""), ("context", "outbound")];
        assert_eq!(
            commands.write(Method::Click2Call, &values).unwrap(),
            "CMD|CLICKCALL|AGENT=1|EXTEN=2|CONTEXT=outbound"
        );
    }

    #[test]
    fn no_value_writes_a_field_or_a_command() {
        let commands = Commands::default();
        for evil in ["1|CID=9", "1\r\nCMD|LOGIN", "1\n", "1\0", "\u{7f}"] {
            for method in Method::ALL.iter().filter(|method| **method != Method::SendSipCommand) {
                for place in method.places() {
                    assert!(commands.write(*method, &[(place, evil)]).is_err(), "{method:?} {place} {evil:?}");
                }
            }
        }
        assert!(commands.write(Method::SendSipCommand, &[("command", "X\nCMD|Y")]).is_err());
    }

    #[test]
    fn every_template_of_the_register_fits_its_method() {
        for method in Method::ALL {
            assert_eq!(Template::parse(*method, method.template()).map(|it| it.0), Ok(method.template().to_owned()));
            assert_eq!(Method::from_key(method.key()), Some(*method));
            assert_eq!(
                Commands::default().verb(*method),
                Template(method.template().to_owned()).verb().to_ascii_uppercase()
            );
        }
        let bad = ["HOLD", "CMD|HOLD|{channel}", "CMD|HOLD|[{agent}", "CMD|HOLD|}", "CMD|HOLD\n", "CMD|[[{agent}]]"];
        for bad in bad {
            assert!(Template::parse(Method::Hold, bad).is_err(), "{bad}");
        }
    }
}
