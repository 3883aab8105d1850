//! The control API: every service, and its refusals.

use std::time::Duration;

use super::call::{Call, CallId, Direction, Side, Stage};
use super::http::unescaped;
use super::office::Device;
use super::pbx::{Address, OpenvoxPbx, Received, errno, password_digest, take_order};
use crate::civil::Civil;
use crate::limits::WRONG_SOURCES_MAX;
use crate::ordered::Json;

/// Every service there is.
const SERVICES: [&str; 44] = [
    "login",
    "logout",
    "heartbeat",
    "apply",
    "deviceinfo/query",
    "extensionlist/query",
    "trunklist/query",
    "extension/list",
    "extension/query",
    "extension/query_call",
    "extension/update",
    "extension/dial_extension",
    "extension/dial_outbound",
    "extension/hangup",
    "extension/hold",
    "extension/unhold",
    "extension/mute",
    "extension/unmute",
    "extension/listen",
    "extension/whisper",
    "extension/barge",
    "outbound/dial_outbound",
    "outbound/hangup",
    "outbound/query",
    "inbound/hangup",
    "inbound/query",
    "inbound/accept",
    "inbound/refuse",
    "inbound/transfer_extension",
    "inbound/transfer_outbound",
    "inbound/transfer_ivr",
    "inbound/transfer_queue",
    "inbound/transfer_ringgroup",
    "inbound/transfer_number",
    "outbound/transfer_extension",
    "outbound/transfer_outbound",
    "outbound/transfer_ivr",
    "outbound/transfer_queue",
    "outbound/transfer_ringgroup",
    "outbound/transfer_number",
    "recording/get_random",
    "recording/download",
    "calltransfer",
    "cdr/get_random",
];

/// Wrong logins after which a source is locked out.
const WRONG_LOGINS_MAX: u32 = 5;
/// `apply` more often than this is refused.
const APPLY_PAUSE: Duration = Duration::from_secs(10);

/// One request, as the server read it.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// `/api/v1.1.0/login?type=json`
    pub target: String,
    pub body: String,
    /// IP address of the client.
    pub source: String,
}

/// What the server does with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Answer {
        status: u16,
        body: String,
        after: Duration,
    },
    /// The connection stays, and nothing comes.
    Silence,
    /// The connection is closed without an answer.
    Cut,
}

/// What becomes of the next request of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Nothing is done, and this is the `errno`.
    Error(u32),
    /// It is done, and yet this is the `errno`.
    DoneBut(u32),
    /// It is done, and answered after so long.
    Late(Duration),
    /// It is done, and never answered.
    Silence,
    /// It is done, and the connection is closed.
    Cut,
    /// Nothing is done, and this is the HTTP status.
    Status(u16),
    /// Nothing is done, and this is the body.
    Text(String),
}

type Answer = Result<Vec<(&'static str, Json)>, u32>;

impl OpenvoxPbx {
    /// One request of the control API.
    pub fn handle_request(&mut self, request: &Request, now: Duration) -> Reply {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        // `/api/v1.1.0/<service>`, whatever the version.
        let service = path.strip_prefix("/api/v").and_then(|rest| rest.split_once('/')).map_or("", |(_, name)| name);
        let known = SERVICES.contains(&service);
        let body = Json::parse(&request.body);
        let shown = body.as_ref().map_or_else(|_| format!("({} bytes)", request.body.len()), masked);
        self.keep_command(Received { at: now, service: service.to_owned(), body: shown }, known);
        let order = take_order(&mut self.orders, service);
        let plain = |status, body| Reply::Answer { status, body, after: Duration::ZERO };
        match order {
            Some(Order::Error(errno)) => return plain(200, refused(errno)),
            Some(Order::Status(status)) => return plain(status, String::new()),
            Some(Order::Text(text)) => return plain(200, text),
            _ => {}
        }
        let asked = if known { service } else { "" };
        let answer = self.obey(asked, query, request, body, now);
        self.settle(now);
        let body = match (answer, &order) {
            (_, Some(Order::DoneBut(errno))) => refused(*errno),
            (Err(errno), _) => refused(errno),
            (Ok(fields), _) => succeeded(fields),
        };
        match order {
            Some(Order::Late(after)) => Reply::Answer { status: 200, body, after },
            Some(Order::Silence) => Reply::Silence,
            Some(Order::Cut) => Reply::Cut,
            _ => plain(200, body),
        }
    }

    fn obey(
        &mut self,
        service: &str,
        query: &str,
        request: &Request,
        body: Result<Json, String>,
        now: Duration,
    ) -> Answer {
        if request.method != "POST" && service != "recording/download" {
            return Err(errno::POST_ONLY);
        }
        if self.is_locked_out(&request.source, now) {
            return Err(errno::LOCKED_OUT);
        }
        if service.is_empty() {
            return Err(errno::UNSUPPORTED_REQUEST);
        }
        if value_of(query, "type").is_some_and(|kind| kind == "xml") {
            return Err(errno::JSON_ONLY);
        }
        let body = match body {
            Ok(body @ Json::Object(_)) => body,
            Err(_) if request.body.trim().is_empty() => Json::object([]),
            Ok(_) | Err(_) => return Err(errno::JSON_ONLY),
        };
        if service == "login" {
            return self.login(&body, &request.source, now);
        }
        let token = value_of(query, "token").filter(|token| !token.is_empty()).ok_or(errno::TOKEN_MISSING)?;
        let life = self.office.token_life;
        let known = self.tokens.get_mut(&token).ok_or(errno::NO_SUCH_TOKEN)?;
        if known.until <= now {
            return Err(errno::TOKEN_EXPIRED);
        }
        known.until = now + life;
        match service {
            "logout" => {
                self.tokens.remove(&token);
                Ok(vec![])
            }
            "heartbeat" => self.heartbeat(&token, &body, &request.source),
            "apply" => self.apply(now),
            "deviceinfo/query" => Ok(self.device_info(now)),
            "extensionlist/query" | "extension/list" => Ok(vec![("extlist", self.extension_list())]),
            "trunklist/query" => Ok(vec![("trunklist", self.trunk_list())]),
            "extension/query" => self.extension_query(&body),
            "extension/query_call" => Ok(vec![("calllist", self.extension_calls(&body))]),
            "extension/update" => self.extension_update(&body),
            "inbound/query" => Ok(vec![("inbound", self.trunk_calls(&body, Direction::Inbound))]),
            "outbound/query" => Ok(vec![("outbound", self.trunk_calls(&body, Direction::Outbound))]),
            "recording/get_random" | "cdr/get_random" => {
                let random: String = (0..32).map(|_| self.rng.digit(16)).collect();
                let recording = body.word_of("recording").unwrap_or_default();
                Ok(vec![("recording", recording.into()), ("random", random.into())])
            }
            "recording/download" => Err(errno::NO_RECORDING),
            _ if body == Json::object([]) => Err(errno::EMPTY),
            _ => self.call_service(service, &body, now),
        }
    }

    // ---- logins --------------------------------------------------------------------------------

    fn login(&mut self, body: &Json, source: &str, now: Duration) -> Answer {
        let name = body.word_of("username").ok_or(errno::MISSING_PARAMETER)?;
        let digest = body.word_of("password").ok_or(errno::MISSING_PARAMETER)?;
        let right = |user: &super::office::ApiUser| user.name == name && password_digest(&user.password) == digest;
        if !self.office.users.iter().any(right) {
            self.count_wrong(source, now);
            return Err(errno::BAD_LOGIN);
        }
        let to = address(body, source, None)?;
        self.wrong.remove(source);
        let token = self.give_token(to, body.word_of("version").as_deref(), now);
        Ok(vec![("token", token.into())])
    }

    fn count_wrong(&mut self, source: &str, now: Duration) {
        if self.wrong.len() >= WRONG_SOURCES_MAX && !self.wrong.contains_key(source) {
            self.wrong.pop_first();
        }
        let lockout = self.office.lockout;
        let (count, until) = self.wrong.entry(source.to_owned()).or_default();
        *count += 1;
        if *count >= WRONG_LOGINS_MAX {
            (*count, *until) = (0, Some(now + lockout));
        }
    }

    /// Whether a source must wait after its wrong logins.
    pub fn is_locked_out(&self, source: &str, now: Duration) -> bool {
        self.wrong.get(source).and_then(|(_, until)| *until).is_some_and(|until| until > now)
    }

    fn heartbeat(&mut self, token: &str, body: &Json, source: &str) -> Answer {
        let source = body.word_of("ipaddr").unwrap_or_else(|| source.to_owned());
        let Some(known) = self.tokens.get_mut(token) else { return Err(errno::NO_SUCH_TOKEN) };
        known.to = address(body, &source, Some(&known.to))?;
        Ok(vec![])
    }

    fn apply(&mut self, now: Duration) -> Answer {
        if self.applied.is_some_and(|at| now < at + APPLY_PAUSE) {
            return Err(errno::APPLY_TOO_OFTEN);
        }
        self.applied = Some(now);
        Ok(vec![])
    }

    // ---- queries -------------------------------------------------------------------------------

    fn device_info(&self, now: Duration) -> Vec<(&'static str, Json)> {
        let at = self.office.epoch_s + self.office.zone_s + now.as_secs();
        let Civil { year, month, day, hour, minute, second } = Civil::at(at);
        let busy = self.extensions.keys().filter(|number| self.is_registered(number)).count();
        let (up, count) = (now.as_secs(), self.extensions.len());
        vec![
            ("devicename", "sim-pbx".into()),
            ("sn", self.office.serial.as_str().into()),
            ("firmwarever", "30.10.0.37".into()),
            ("systemtime", format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}").into()),
            ("uptime", format!("{} days {:02}:{:02}", up / 86_400, up / 3600 % 24, up / 60 % 60).into()),
            ("extensionstatus", format!("{busy}/{count}").into()),
        ]
    }

    fn extension_fields(&self, number: &str) -> Option<Vec<(String, Json)>> {
        let known = self.extensions.get(number)?;
        let kind = if known.plan.device == Device::Sip { "SIP" } else { "FXS" };
        let fields = [
            ("extnumber", number.to_owned()),
            ("username", known.plan.name.clone()),
            ("status", self.query_status(number)?),
            ("type", kind.to_owned()),
            ("port", String::new()),
            ("agentid", String::new()),
            ("muted", if known.muted { "yes" } else { "no" }.to_owned()),
        ];
        let mut fields: Vec<(String, Json)> = fields.map(|(key, value)| (key.to_owned(), value.into())).to_vec();
        fields.extend(known.settings.iter().map(|(key, value)| (key.clone(), value.as_str().into())));
        Some(fields)
    }

    fn extension_list(&self) -> Json {
        let each = self.extensions.keys().filter_map(|number| self.extension_fields(number));
        Json::List(
            each.map(|mut fields| {
                fields.truncate(6);
                Json::Object(fields)
            })
            .collect(),
        )
    }

    fn extension_query(&self, body: &Json) -> Answer {
        let mut found = Vec::new();
        for number in wanted(body, "extid").unwrap_or_else(|| self.extensions.keys().cloned().collect()) {
            found.push(Json::Object(self.extension_fields(&number).ok_or(errno::NO_EXTENSION)?));
        }
        Ok(vec![("extinfos", Json::List(found))])
    }

    /// Keys as they come (`alwaysforward`, `atransferto`, `dnd` …) become settings of the extension.
    fn extension_update(&mut self, body: &Json) -> Answer {
        let names = ["extid", "extnumber", "number"];
        let number = names.iter().find_map(|key| body.word_of(key)).ok_or(errno::MISSING_PARAMETER)?;
        let known = self.extensions.get_mut(&number).ok_or(errno::NO_EXTENSION)?;
        if let Json::Object(members) = body {
            for (key, value) in members.iter().filter(|(key, _)| !names.contains(&key.as_str())) {
                if known.settings.len() < 64 || known.settings.contains_key(key) {
                    known.settings.insert(key.clone(), value.word().unwrap_or_default());
                }
            }
        }
        Ok(vec![])
    }

    fn trunk_list(&self) -> Json {
        let each = self.office.trunks.iter().map(|trunk| {
            Json::object([
                ("trunkname", trunk.name.as_str().into()),
                ("status", "Registered".into()),
                ("type", "SIP".into()),
            ])
        });
        Json::List(each.collect())
    }

    fn trunk_calls(&self, body: &Json, direction: Direction) -> Json {
        let key = if direction == Direction::Inbound { "inboundid" } else { "outboundid" };
        let wanted = wanted(body, key);
        let each = self.calls.values().filter_map(|call| {
            let sides = [&call.caller, &call.called];
            let (id, from, to, trunk, other) = sides.iter().enumerate().find_map(|(index, side)| {
                let other = sides[1 - index].name();
                match (side, direction) {
                    (Side::In { number, to, trunk }, Direction::Inbound) => {
                        Some((call.first_id(), number, to, trunk, other))
                    }
                    (Side::Out { number, from, trunk }, Direction::Outbound) => {
                        Some((call.outbound_id(), from, number, trunk, other))
                    }
                    _ => None,
                }
            })?;
            if wanted.as_ref().is_some_and(|wanted| !wanted.contains(&id)) {
                return None;
            }
            let status = match call.stage {
                Stage::Talking => "Talking",
                Stage::Ringing | Stage::Dialled => "Progress",
                Stage::Invited | Stage::CallerRings => "Wait",
            };
            Some(Json::object([
                (key, id.into()),
                ("from", from.as_str().into()),
                ("to", to.as_str().into()),
                ("trunk", trunk.as_str().into()),
                ("status", status.into()),
                ("callee", Json::List(vec![Json::object([("extid", other.into())])])),
            ]))
        });
        Json::List(each.collect())
    }

    fn extension_calls(&self, body: &Json) -> Json {
        let wanted = wanted(body, "number").or_else(|| wanted(body, "extid"));
        let is = |call: &&Call| wanted.as_ref().is_none_or(|all| all.iter().any(|number| call.has(number)));
        let each = self.calls.values().filter(is).map(|call| {
            let member = |side: &Side, status: &str| match side {
                Side::Ext(number) => {
                    let held = call.held_by.as_deref() == Some(number.as_str());
                    let status = if held { "HOLD" } else { status };
                    let fields = [("number", number.as_str().into()), ("memberstatus", status.into())];
                    Json::object([("ext", Json::object(fields))])
                }
                Side::In { number, to, .. } => {
                    let fields = [("from", number.as_str().into()), ("to", to.as_str().into())];
                    Json::object([("inbound", Json::object(fields))])
                }
                Side::Out { number, from, .. } => {
                    let fields = [("from", from.as_str().into()), ("to", number.as_str().into())];
                    Json::object([("outbound", Json::object(fields))])
                }
            };
            let (caller, called) = match call.stage {
                Stage::Talking => ("ANSWERED", "ANSWER"),
                Stage::CallerRings => ("RING", ""),
                _ => ("ALERT", "RING"),
            };
            let members = vec![member(&call.caller, caller), member(&call.called, called)];
            Json::object([("callid", call.second_id().into()), ("members", Json::List(members))])
        });
        Json::List(each.collect())
    }

    // ---- calls ---------------------------------------------------------------------------------

    fn call_service(&mut self, service: &str, body: &Json, now: Duration) -> Answer {
        let word = |key: &str| body.word_of(key).filter(|word| !word.is_empty()).ok_or(errno::MISSING_PARAMETER);
        let auto = body.word_of("autoanswer").is_some_and(|word| word.eq_ignore_ascii_case("yes"));
        match service {
            "extension/dial_extension" => {
                let (caller, callee) = (word("caller")?, word("callee")?);
                if !self.extensions.contains_key(&callee) {
                    return Err(errno::NO_CALLED_NUMBER);
                }
                self.dial(&caller, &callee, auto, now)
            }
            "extension/dial_outbound" => self.dial(&word("extid")?, &word("outto")?, auto, now),
            "outbound/dial_outbound" => {
                word("caller")?;
                self.dial(&word("fromext")?, &word("outto")?, auto, now)
            }
            "extension/hangup" => {
                let extension = self.extension(body)?;
                let call = self.call_of(&extension).ok_or(errno::NO_CALL)?;
                self.hang_up(call, &extension, now).map(|()| vec![])
            }
            "extension/hold" | "extension/unhold" => {
                let extension = self.extension(body)?;
                let held = service == "extension/unhold";
                let is = |call: &Call| call.has(&extension) && (call.held_by.as_deref() == Some(&extension)) == held;
                let call = self.calls.iter().find(|(_, call)| is(call)).map(|(id, _)| *id).ok_or(errno::NO_CALL)?;
                let done = if held { self.unhold(call, &extension, now) } else { self.hold(call, &extension, now) };
                done.map(|()| vec![])
            }
            "extension/mute" | "extension/unmute" => {
                let extension = self.extension(body)?;
                self.call_of(&extension).ok_or(errno::NO_CALL)?;
                if let Some(known) = self.extensions.get_mut(&extension) {
                    known.muted = service == "extension/mute";
                }
                Ok(vec![])
            }
            "extension/listen" => self.monitor(&word("listener")?, &word("listenedext")?, now),
            "extension/whisper" => self.monitor(&word("whisperer")?, &word("whisperedext")?, now),
            "extension/barge" => self.monitor(&word("bargein")?, &word("bargedext")?, now),
            "inbound/hangup" | "outbound/hangup" => {
                let (call, side) = self.trunk_side(service, body)?;
                self.hang_up(call, side.name(), now).map(|()| vec![])
            }
            "inbound/accept" => {
                self.trunk_side(service, body).and_then(|(call, _)| self.accept(call, now)).map(|()| vec![])
            }
            "inbound/refuse" => {
                self.trunk_side(service, body).and_then(|(call, _)| self.refuse(call, now)).map(|()| vec![])
            }
            "calltransfer" => {
                let (transferor, to) = (word("transferor")?, word("transferto")?);
                let call = self.call_of(&transferor).ok_or(errno::NO_CALL)?;
                self.transfer(call, &transferor, &to, now).map(|()| vec![])
            }
            _ => self.transfer_service(service, body, now),
        }
    }

    fn dial(&mut self, from: &str, to: &str, auto: bool, now: Duration) -> Answer {
        let call = self.call_for(from, to, auto, now)?;
        let callid = self.calls.get(&call).map(Call::first_id).unwrap_or_default();
        Ok(vec![("callid", callid.into())])
    }

    fn monitor(&mut self, listener: &str, listened: &str, now: Duration) -> Answer {
        for extension in [listener, listened] {
            self.extensions.get(extension).ok_or(errno::NO_EXTENSION)?;
        }
        if !self.is_idle(listener) {
            return Err(errno::EXTENSION_NOT_IDLE);
        }
        let talks = |call: &Call| call.has(listened) && call.stage == Stage::Talking;
        let call = self.calls.iter().find(|(_, call)| talks(call)).map(|(id, _)| *id).ok_or(errno::NO_CALL)?;
        self.listen(listener, call, now);
        Ok(vec![])
    }

    /// `inbound/transfer_…` and `outbound/transfer_…`.
    fn transfer_service(&mut self, service: &str, body: &Json, now: Duration) -> Answer {
        let (call, side) = self.trunk_side(service, body)?;
        let (key, missing) = match service.rsplit_once('_').map_or("", |(_, what)| what) {
            "extension" => ("extid", errno::NO_EXTENSION),
            "outbound" => ("outto", errno::NO_CALLED_NUMBER),
            "ivr" => ("ivrid", errno::NO_IVR),
            "queue" => ("queueid", errno::NO_QUEUE),
            "ringgroup" => ("ringgroupid", errno::NO_RING_GROUP),
            _ => ("number", errno::NO_CALLED_NUMBER),
        };
        let to = body.word_of(key).ok_or(errno::MISSING_PARAMETER)?;
        let known = match key {
            "extid" => self.extensions.contains_key(&to),
            "ivrid" => self.office.ivrs.contains(&to),
            "queueid" => self.office.queues.contains_key(&to),
            "ringgroupid" => self.office.ring_groups.contains_key(&to),
            _ => true,
        };
        if !known {
            return Err(missing);
        }
        let callid = self.calls.get(&call).map(Call::second_id).unwrap_or_default();
        if key != "ivrid" {
            // An IVR talks by itself: the call stays as it is.
            self.transfer_silently(call, side, &to, now)?;
        }
        Ok(vec![("callid", callid.into())])
    }

    fn extension(&self, body: &Json) -> Result<String, u32> {
        let extension = body.word_of("extid").ok_or(errno::MISSING_PARAMETER)?;
        if self.extensions.contains_key(&extension) { Ok(extension) } else { Err(errno::NO_EXTENSION) }
    }

    /// The call of an `inboundid` or `outboundid`, and its trunk's side.
    fn trunk_side(&self, service: &str, body: &Json) -> Result<(CallId, Side), u32> {
        let inbound = service.starts_with("inbound");
        let id = body.word_of(if inbound { "inboundid" } else { "outboundid" }).ok_or(errno::MISSING_PARAMETER)?;
        let call = self.call_by_trunk_id(&id).ok_or(errno::NO_CALL)?;
        let known = self.calls.get(&call).ok_or(errno::NO_CALL)?;
        let is = |side: &&Side| match side {
            Side::In { .. } => inbound,
            Side::Out { .. } => !inbound,
            Side::Ext(_) => false,
        };
        let side = [&known.caller, &known.called].into_iter().find(is).cloned();
        side.map(|side| (call, side)).ok_or(errno::NO_CALL)
    }
}

/// Where a login wants its reports: `url` absolute, or a path at the caller's address, or nothing but the port.
fn address(body: &Json, source: &str, before: Option<&Address>) -> Result<Address, u32> {
    let url = body.word_of("url").filter(|url| !url.is_empty());
    let absolute = body.word_of("urltag").is_some_and(|tag| tag == "1");
    if let (Some(url), true) = (&url, absolute) {
        return Ok(Address::parse(url));
    }
    let port = match (body.word_of("port"), before) {
        (Some(port), _) => port.parse::<u16>().ok().filter(|port| *port > 0).ok_or(errno::WRONG_PORT)?,
        (None, Some(before)) => return Ok(before.clone()),
        (None, None) => return Err(errno::MISSING_PARAMETER),
    };
    let host = if source.contains(':') { format!("[{source}]") } else { source.to_owned() };
    let path = url.map(|path| format!("/{}", path.trim_start_matches('/')));
    Ok(Address { authority: format!("{host}:{port}"), path })
}

/// A comma list; `None` for all.
fn wanted(body: &Json, key: &str) -> Option<Vec<String>> {
    let list = body.word_of(key).filter(|list| !list.is_empty())?;
    Some(list.split(',').map(|number| number.trim().to_owned()).collect())
}

fn value_of(query: &str, key: &str) -> Option<String> {
    query.split('&').find_map(|pair| pair.split_once('=').filter(|(name, _)| *name == key)).map(|(_, v)| unescaped(v))
}

fn refused(errno: u32) -> String {
    Json::object([("status", "Failed".into()), ("errno", errno.to_string().into())]).to_string()
}

fn succeeded(fields: Vec<(&'static str, Json)>) -> String {
    let mut answer = Json::object([("status", "Success".into())]);
    for (key, value) in fields {
        answer.set(key, value);
    }
    answer.to_string()
}

fn masked(body: &Json) -> String {
    let mut shown = body.clone();
    if shown.get("password").is_some() {
        shown.set("password", "***".into());
    }
    shown.to_string()
}
