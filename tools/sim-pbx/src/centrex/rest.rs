//! The REST side channel: what each method answers, and what may go wrong with it.
//!
//! Source: protocol reference 2.12. A form with `id` (the 070 number) and `pass` (lower-case hexadecimal SHA-512 of the
//! password); the answer is JSON, `SVC_RT` its code. Fields and keys that the reference does not name are made up here,
//! and nobody should rely on them: those of userinfo, channelstatus and the ring callback.
//! Shape: `clickdial` is answered once the own telephone is lifted ([`CentrexPbx::lift`]); everything else at once.
//! Bounds: [`COMMANDS_KEPT_MAX`] requests kept, [`ORDERS_MAX`] orders a method, and as many clicks that wait.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha512};

use super::call::{CallId, Refused};
use super::pbx::CentrexPbx;
use crate::limits::{COMMANDS_KEPT_MAX, ORDERS_MAX, REST_RECIPIENTS_MAX, REST_TEXT_BYTES_MAX};
use crate::olssoo::http::Request;

/// A request as it came, its `pass` left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestAsked {
    pub method: String,
    pub fields: Vec<(String, String)>,
}

/// What the next request of a method is answered, instead of what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestAnswer {
    /// Does nothing and answers with this code.
    Code(String),
    /// Does nothing and answers with this.
    Http(u16, String),
    /// Does it, and never answers.
    Silence,
}

/// What the PBX keeps of its side channel.
#[derive(Debug, Default)]
pub(crate) struct RestSide {
    asked: VecDeque<RestAsked>,
    orders: BTreeMap<String, VecDeque<RestAnswer>>,
    clicks: Vec<Click>,
    clicked: u64,
    /// As it was set.
    callback: Option<Value>,
}

/// A click that waits for the own telephone.
#[derive(Debug)]
struct Click {
    id: u64,
    extension: String,
    to: String,
    /// Its code, once it is lifted.
    code: Option<String>,
}

/// How a request ends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Now(u16, String),
    Never,
    /// Once this click has its end.
    Lifted(u64),
}

const METHODS: [&str; 9] = [
    "clickdial",
    "smssend",
    "userinfo",
    "callhistory",
    "getinboundcall",
    "getrecvsmslist",
    "channelstatus",
    "setringcallback",
    "getringcallback",
];

impl CentrexPbx {
    /// Orders the answer to the next request of this method; several are taken in order.
    pub fn order_rest(&mut self, method: &str, answer: RestAnswer) {
        if METHODS.contains(&method) {
            let answers = self.rest.orders.entry(method.into()).or_default();
            if answers.len() < ORDERS_MAX {
                answers.push_back(answer);
            }
        }
    }

    /// The last requests received, oldest first.
    pub fn rest_asked(&self) -> impl DoubleEndedIterator<Item = &RestAsked> {
        self.rest.asked.iter()
    }

    /// The telephone that rings for a click is lifted: it is answered, and the call goes out.
    ///
    /// # Errors
    /// Where no click waits there, or the call cannot be made.
    pub fn lift(&mut self, extension: &str, now: Duration) -> Result<CallId, Refused> {
        let id = self.extension(extension)?.id.clone();
        let waits = |click: &&mut Click| click.extension == id && click.code.is_none();
        let click = self.rest.clicks.iter_mut().find(waits).ok_or(Refused::NoSuchCall)?;
        click.code = Some("0000".into());
        let to = click.to.clone();
        self.dial(&id, &to, now)
    }

    /// A telephone rings for a click.
    pub fn rings_for_click(&self, extension: &str) -> bool {
        self.rest.clicks.iter().any(|click| click.extension == extension && click.code.is_none())
    }

    pub(crate) fn is_lifted(&self, id: u64) -> bool {
        self.rest.clicks.iter().any(|click| click.id == id && click.code.is_some())
    }

    pub(crate) fn take_click(&mut self, id: u64) -> Reply {
        let index = self.rest.clicks.iter().position(|click| click.id == id);
        let code = index.and_then(|index| self.rest.clicks.remove(index).code);
        coded(&code.unwrap_or_else(|| "4004".into()), Value::Null)
    }

    pub(crate) fn handle_rest(&mut self, request: &Request, now: Duration) -> Reply {
        if request.method != "POST" {
            return Reply::Now(405, String::new());
        }
        let method = request.path.rsplit('/').next().unwrap_or_default().to_owned();
        if !request.path.starts_with("/RestApi/") || !METHODS.contains(&method.as_str()) {
            return Reply::Now(404, String::new());
        }
        let fields = request.fields();
        let named = |name: &str| fields.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
        let kept: Vec<(String, String)> = fields.iter().filter(|(name, _)| name != "pass").cloned().collect();
        if self.rest.asked.len() >= COMMANDS_KEPT_MAX {
            self.rest.asked.pop_front();
        }
        self.rest.asked.push_back(RestAsked { method: method.clone(), fields: kept });
        let silent = match self.rest.orders.get_mut(&method).and_then(VecDeque::pop_front) {
            Some(RestAnswer::Code(code)) => return coded(&code, Value::Null),
            Some(RestAnswer::Http(status, body)) => return Reply::Now(status, body),
            Some(RestAnswer::Silence) => true,
            None => false,
        };
        let (id, pass) = (named("id"), named("pass"));
        let reply = match self.office.accounts.iter().find(|account| account.id == id) {
            _ if id.is_empty() || pass.is_empty() => coded("1001", Value::Null),
            None => coded("1003", Value::Null),
            Some(account) if hash(&account.password) != pass => coded("1004", Value::Null),
            Some(account) => {
                let extension = account.extension.clone();
                self.perform_rest(&method, &extension, &fields, now)
            }
        };
        if silent { Reply::Never } else { reply }
    }

    fn perform_rest(&mut self, method: &str, extension: &str, fields: &[(String, String)], now: Duration) -> Reply {
        let named = |name: &str| fields.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
        match method {
            "clickdial" => self.click(extension, named("destnumber")),
            "smssend" => self.send_text(extension, named("destnumber"), named("smsmsg"), now),
            "callhistory" => listed(self.rest_calls(extension, false)),
            "getinboundcall" => listed(self.rest_calls(extension, true)),
            "getrecvsmslist" => {
                let own = self.texts.iter().filter(|text| text.extension == extension);
                let record = |(number, text): (usize, &super::TextRecord)| json!({"NO": number + 1, "TIME": text.time, "SRC": text.from, "MNESSAGE": text.text});
                listed(own.enumerate().map(record).collect())
            }
            "channelstatus" => {
                let calls = self.calls_of(extension);
                let views = calls.into_iter().filter_map(|call| self.call_view(call));
                let channels: Vec<Value> = views
                    .map(|view| json!({"CHANNEL": view.from_channel, "DSTCHANNEL": view.to_channel, "SRC": view.from, "DST": view.to}))
                    .collect();
                if channels.is_empty() { coded("4004", Value::Null) } else { listed(channels) }
            }
            "userinfo" => match self.extension(extension) {
                Ok(own) => coded("0000", json!({"EXTEN": own.short, "NUMBER": own.number})),
                Err(_) => coded("1005", Value::Null),
            },
            "setringcallback" => {
                let own = fields.iter().filter(|(name, _)| name != "id" && name != "pass");
                self.rest.callback = Some(own.map(|(name, value)| (name.clone(), json!(value))).collect());
                coded("0000", Value::Null)
            }
            _ => coded("0000", self.rest.callback.clone().unwrap_or_default()),
        }
    }

    fn click(&mut self, extension: &str, to: &str) -> Reply {
        if to.is_empty() {
            return coded("1002", Value::Null);
        }
        if self.rest.clicks.len() >= ORDERS_MAX {
            return coded("3004", Value::Null);
        }
        self.rest.clicked += 1;
        let id = self.rest.clicked;
        self.rest.clicks.push(Click { id, extension: extension.into(), to: to.into(), code: None });
        Reply::Lifted(id)
    }

    fn send_text(&mut self, extension: &str, to: &str, text: &str, now: Duration) -> Reply {
        let peers: Vec<&str> = to.split(',').filter(|peer| !peer.is_empty()).collect();
        let code = match () {
            () if peers.is_empty() || text.is_empty() => "1002",
            () if encoding_rs::EUC_KR.encode(text).0.len() > REST_TEXT_BYTES_MAX => "3002",
            () if peers.len() > REST_RECIPIENTS_MAX => "3003",
            () => "0000",
        };
        if code == "0000" {
            let from = self.extension(extension).map_or(String::new(), |own| own.number.clone());
            for peer in peers {
                // A number of the world gets it elsewhere.
                let _ = self.receive_sms(&from, peer, text, now);
            }
        }
        coded(code, Value::Null)
    }

    fn rest_calls(&self, extension: &str, inbound: bool) -> Vec<Value> {
        let Ok(own) = self.extension(extension) else { return Vec::new() };
        let calls = self.history.iter().filter(|call| call.extension == own.short && (!inbound || call.inbound));
        let record = |(number, call): (usize, &super::CallRecord)| {
            let (src, dst) = match call.inbound {
                true => (&call.other, &own.number),
                false => (&own.number, &call.other),
            };
            let mut record = json!({
                "NO": number + 1, "TIME": call.time, "SRC": src, "DST": dst, "DURATION": call.total_s.to_string(),
            });
            if inbound {
                let status = match call.result.as_str() {
                    "OK" => "ANSWERED",
                    "BUSY" => "BUSY",
                    _ => "NO ANSWER",
                };
                record["STATUS"] = status.into();
                for empty in ["CHANNEL", "DSTCHANNEL", "ENDTIME", "APPDATA"] {
                    record[empty] = "".into();
                }
            } else {
                record["BILLSEC"] = call.talk_s.to_string().into();
                record["STATUS"] = if call.result == "OK" { "OK" } else { "FAIL" }.into();
                record["KIND"] = "1".into();
            }
            record
        };
        calls.enumerate().map(record).collect()
    }
}

fn coded(code: &str, datas: Value) -> Reply {
    Reply::Now(200, json!({"SVC_RT": code, "DATAS": datas, "LISTINFO": null}).to_string())
}

fn listed(records: Vec<Value>) -> Reply {
    let total = records.len();
    let pages = json!({"page": 1, "numperpage": total, "total": total});
    Reply::Now(200, json!({"SVC_RT": "0000", "DATAS": records, "LISTINFO": pages}).to_string())
}

fn hash(password: &str) -> String {
    Sha512::digest(password.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::centrex::{Office, Wire};

    fn request(method: &str, body: &str) -> Request {
        Request {
            method: "POST".into(),
            path: format!("/RestApi/{method}"),
            headers: vec![("Content-Type".into(), "application/x-www-form-urlencoded".into())],
            body: body.into(),
            ..Request::default()
        }
    }

    fn ask(pbx: &mut CentrexPbx, method: &str, fields: &str) -> Value {
        let body = format!("id=070xxxx0321&pass={}{fields}", hash("1234"));
        match pbx.handle_rest(&request(method, &body), Duration::ZERO) {
            Reply::Now(200, body) => serde_json::from_str(&body).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn who_does_not_know_the_password_is_told_by_code() {
        let mut pbx = CentrexPbx::new(Office::manual(), Wire::default(), 1);
        for (body, code) in [("", "1001"), ("id=x&pass=y", "1003"), ("id=070xxxx0321&pass=1234", "1004")] {
            let Reply::Now(200, answer) = pbx.handle_rest(&request("userinfo", body), Duration::ZERO) else { panic!() };
            assert!(answer.contains(&format!("\"SVC_RT\":\"{code}\"")), "{body}: {answer}");
        }
        assert_eq!(ask(&mut pbx, "userinfo", "")["DATAS"]["EXTEN"], "3321");
        assert!(pbx.rest_asked().all(|asked| asked.fields.iter().all(|(name, _)| name != "pass")));
    }

    #[test]
    fn a_click_is_answered_when_the_telephone_is_lifted() {
        let mut pbx = CentrexPbx::new(Office::manual(), Wire::default(), 1);
        let body = format!("id=070xxxx0321&pass={}&destnumber=01098765432", hash("1234"));
        assert_eq!(pbx.handle_rest(&request("clickdial", &body), Duration::ZERO), Reply::Lifted(1));
        assert!(pbx.rings_for_click("3321") && !pbx.is_lifted(1) && pbx.calls().is_empty());
        pbx.lift("3321", Duration::ZERO).unwrap();
        assert!(pbx.is_lifted(1));
        assert_eq!(pbx.calls().len(), 1);
        assert!(matches!(pbx.take_click(1), Reply::Now(200, body) if body.contains("0000")));
    }

    #[test]
    fn texts_have_their_limits_and_lists_their_keys() {
        let mut pbx = CentrexPbx::new(Office::manual(), Wire::default(), 1);
        let sms = |pbx: &mut CentrexPbx, to: &str, text: &str| {
            ask(pbx, "smssend", &format!("&destnumber={to}&smsmsg={text}"))["SVC_RT"].as_str().unwrap().to_owned()
        };
        assert_eq!(sms(&mut pbx, "070xxxx0321", "hello"), "0000");
        assert_eq!(sms(&mut pbx, "1", &"x".repeat(721)), "3002");
        assert_eq!(sms(&mut pbx, &"1,".repeat(99), "x"), "3003");
        assert_eq!(sms(&mut pbx, "", "x"), "1002");
        let list = ask(&mut pbx, "getrecvsmslist", "");
        assert_eq!((&list["DATAS"][0]["MNESSAGE"], &list["LISTINFO"]["total"]), (&json!("hello"), &json!(1)));
        assert_eq!(ask(&mut pbx, "channelstatus", "")["SVC_RT"], "4004");
        pbx.order_rest("userinfo", RestAnswer::Code("2002".into()));
        assert_eq!(ask(&mut pbx, "userinfo", "")["SVC_RT"], "2002");
        assert_eq!(ask(&mut pbx, "userinfo", "")["SVC_RT"], "0000");
    }
}
