//! The PBX: extensions, logins, and the reports on their way to whoever logged in.
//!
//! Who owns what: calls (`call.rs`) change and say reports through [`OpenvoxPbx::say`]; after each step
//! [`OpenvoxPbx::settle`] reports the extensions whose state has changed. Each live login gets each report, spelled in
//! its dialect, as a [`Push`]: one HTTP request on a connection of its own. A login that has expired gets nothing, and
//! nobody tells it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::api::Order;
use super::call::{Call, CallId};
use super::http;
use super::office::{Device, ExtensionPlan, Office, Product};
use super::report::{Dialect, ExtidForm, Report};
use crate::limits::{
    COMMANDS_KEPT_MAX, EXTENSIONS_MAX, ORDERS_QUEUED_MAX, PUSHES_IN_FLIGHT_MAX, PUSHES_KEPT_MAX, PUSHES_QUEUED_MAX,
    TIMERS_MAX, TOKENS_MAX,
};
use crate::ordered::Json;

/// A simulated OpenVox or Yeastar with its office.
#[derive(Debug)]
pub struct OpenvoxPbx {
    pub(super) office: Office,
    pub(super) rng: fastrand::Rng,
    pub(super) extensions: BTreeMap<String, Extension>,
    pub(super) calls: BTreeMap<CallId, Call>,
    pub(super) calls_made: u64,
    pub(super) sequence: u64,
    pub(super) tokens: BTreeMap<String, Token>,
    pub(super) tokens_given: u64,
    /// Wrong logins in a row of each source, and until when it is locked out.
    pub(super) wrong: BTreeMap<String, (u32, Option<Duration>)>,
    pub(super) orders: BTreeMap<String, VecDeque<Order>>,
    pub(super) timers: BTreeMap<(Duration, u64), Timer>,
    pub(super) applied: Option<Duration>,
    timers_set: u64,
    report_orders: BTreeMap<String, VecDeque<ReportOrder>>,
    queue: VecDeque<Push>,
    in_flight: BTreeMap<PushId, Push>,
    pushes_made: u64,
    pushed: VecDeque<Pushed>,
    counts: Counts,
    received: BTreeMap<String, u64>,
    commands: VecDeque<Received>,
}

/// Error numbers of the control API. Any can be ordered.
pub mod errno {
    pub const UNSUPPORTED_REQUEST: u32 = 10_003;
    pub const MISSING_PARAMETER: u32 = 10_004;
    pub const NO_EXTENSION: u32 = 10_006;
    pub const NO_CALL: u32 = 10_007;
    pub const EXTENSION_NOT_IDLE: u32 = 10_008;
    pub const NO_CALLED_NUMBER: u32 = 10_011;
    pub const NO_IVR: u32 = 10_012;
    pub const NO_QUEUE: u32 = 10_013;
    pub const NO_RING_GROUP: u32 = 10_014;
    pub const NOT_CONNECTED: u32 = 10_015;
    pub const TOO_LATE: u32 = 10_016;
    pub const APPLY_TOO_OFTEN: u32 = 10_025;
    pub const JSON_ONLY: u32 = 20_000;
    pub const POST_ONLY: u32 = 20_001;
    pub const LOCKED_OUT: u32 = 20_002;
    pub const BAD_LOGIN: u32 = 20_003;
    pub const NO_SUCH_TOKEN: u32 = 20_004;
    pub const TOKEN_MISSING: u32 = 20_005;
    pub const TOKEN_EXPIRED: u32 = 20_006;
    pub const EMPTY: u32 = 20_007;
    pub const WRONG_PORT: u32 = 20_008;
    pub const NO_RECORDING: u32 = 20_012;

    /// Every number the document names.
    pub const ALL: [u32; 40] = [
        10_002, 10_003, 10_004, 10_006, 10_007, 10_008, 10_009, 10_010, 10_011, 10_012, 10_013, 10_014, 10_015, 10_016,
        10_017, 10_018, 10_019, 10_020, 10_021, 10_022, 10_023, 10_024, 10_025, 10_027, 20_000, 20_001, 20_002, 20_003,
        20_004, 20_005, 20_006, 20_007, 20_008, 20_009, 20_010, 20_011, 20_012, 20_013, 20_014, 30_001,
    ];
}

/// Where reports go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// `host:port`
    pub authority: String,
    /// With its slash; `None` when no path was given.
    pub path: Option<String>,
}

impl Address {
    /// `host:port` or `host:port/path`, with or without `http://`.
    pub fn parse(text: &str) -> Self {
        let text = text.strip_prefix("http://").unwrap_or(text);
        match text.split_once('/') {
            Some((authority, path)) => Self { authority: authority.to_owned(), path: Some(format!("/{path}")) },
            None => Self { authority: text.to_owned(), path: None },
        }
    }
}

/// One report on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PushId(u64);

/// One HTTP request that carries a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    pub id: PushId,
    pub to: Address,
    pub action: String,
    pub body: String,
    /// 1 for the first time.
    pub attempt: u32,
}

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    pub at: Duration,
    pub action: String,
    pub body: String,
    pub attempt: u32,
    /// The HTTP status; `None` when there was no answer.
    pub status: Option<u16>,
}

/// What becomes of the next report of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReportOrder {
    /// It comes so much later, and what follows overtakes it.
    Late(Duration),
    Twice,
    Lose,
    /// This is sent instead.
    Instead(String),
}

/// One request of the control API. The password is masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub at: Duration,
    pub service: String,
    pub body: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    said: u64,
    lost: u64,
}

#[derive(Debug)]
pub(super) struct Extension {
    pub(super) plan: ExtensionPlan,
    pub(super) registered: bool,
    /// A state of its own: `Malfunction`, `Fxsnoport`.
    pub(super) fault: Option<String>,
    pub(super) muted: bool,
    /// What `extension/update` has set, as it came.
    pub(super) settings: BTreeMap<String, String>,
    told: &'static str,
}

/// One login.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) until: Duration,
    pub(super) given: u64,
    pub(super) to: Address,
    pub(super) dialect: Dialect,
}

#[derive(Clone, Debug)]
pub(super) enum Timer {
    Ring(CallId),
    NoAnswer(CallId, u32),
    Invite(CallId),
    Push(Push),
}

impl OpenvoxPbx {
    /// A PBX that has been up for a while, with everybody idle and nobody logged in.
    pub fn new(office: Office, seed: u64) -> Self {
        let mut extensions = BTreeMap::new();
        for plan in office.extensions.iter().take(EXTENSIONS_MAX) {
            let extension = Extension {
                registered: plan.registered,
                plan: plan.clone(),
                fault: None,
                muted: false,
                settings: BTreeMap::new(),
                told: "",
            };
            extensions.insert(plan.number.clone(), extension);
        }
        let mut pbx = Self {
            rng: fastrand::Rng::with_seed(seed),
            extensions,
            calls: BTreeMap::new(),
            calls_made: 0,
            sequence: office.first_sequence,
            tokens: BTreeMap::new(),
            tokens_given: 0,
            wrong: BTreeMap::new(),
            orders: BTreeMap::new(),
            timers: BTreeMap::new(),
            applied: None,
            timers_set: 0,
            report_orders: BTreeMap::new(),
            queue: VecDeque::new(),
            in_flight: BTreeMap::new(),
            pushes_made: 0,
            pushed: VecDeque::new(),
            counts: Counts::default(),
            received: BTreeMap::new(),
            commands: VecDeque::new(),
            office,
        };
        pbx.settle(Duration::ZERO);
        pbx
    }

    pub fn office(&self) -> &Office {
        &self.office
    }

    /// Changes what the office is like from here on: its style, head, times.
    pub fn office_mut(&mut self) -> &mut Office {
        &mut self.office
    }

    /// Calls begun so far.
    pub fn calls_made(&self) -> u64 {
        self.calls_made
    }

    /// Reports said so far, to whoever was logged in.
    pub fn reports_said(&self) -> u64 {
        self.counts.said
    }

    /// Reports dropped because nobody took them, or because it was ordered.
    pub fn reports_lost(&self) -> u64 {
        self.counts.lost
    }

    /// Requests of the API so far, by service; `""` stands for what is no service.
    pub fn received(&self) -> &BTreeMap<String, u64> {
        &self.received
    }

    /// The last requests of the API, oldest first.
    pub fn commands(&self) -> impl Iterator<Item = &Received> {
        self.commands.iter()
    }

    /// What became of the last pushes, oldest first.
    pub fn pushed(&self) -> impl Iterator<Item = &Pushed> {
        self.pushed.iter()
    }

    /// Logins whose token is still valid.
    pub fn logins(&self, now: Duration) -> usize {
        self.tokens.values().filter(|token| token.until > now).count()
    }

    /// What becomes of the next request of a service (`login`, `extension/query` …). Orders are taken in turn.
    pub fn order(&mut self, service: &str, order: Order) {
        line_up(&mut self.orders, service, order);
    }

    /// What becomes of the next report of an action (`RING`, `BYE` …). Orders are taken in turn.
    pub fn order_report(&mut self, action: &str, order: ReportOrder) {
        line_up(&mut self.report_orders, action, order);
    }

    pub(super) fn keep_command(&mut self, command: Received, known: bool) {
        let name = if known { command.service.as_str() } else { "" };
        *self.received.entry(name.to_owned()).or_default() += 1;
        if self.commands.len() >= COMMANDS_KEPT_MAX {
            self.commands.pop_front();
        }
        self.commands.push_back(command);
    }

    // ---- timers --------------------------------------------------------------------------------

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.timers.keys().next().map(|(at, _)| *at)
    }

    pub fn handle_timeout(&mut self, now: Duration) {
        while let Some(entry) = self.timers.first_entry() {
            let at = entry.key().0;
            if at > now {
                return;
            }
            match entry.remove() {
                Timer::Ring(call) => self.ring(call, at),
                Timer::NoAnswer(call, leg) => self.not_answered(call, leg, at),
                Timer::Invite(call) => self.go_on_uninvited(call, at),
                Timer::Push(push) => self.line_up_push(push),
            }
            self.settle(at);
        }
    }

    pub(super) fn set_timer(&mut self, at: Duration, timer: Timer) {
        if self.timers.len() < TIMERS_MAX {
            self.timers_set += 1;
            self.timers.insert((at, self.timers_set), timer);
        }
    }

    // ---- logins --------------------------------------------------------------------------------

    pub(super) fn give_token(&mut self, to: Address, version: Option<&str>, now: Duration) -> String {
        let token: String = (0..32).map(|_| self.rng.digit(16)).collect();
        self.tokens_given += 1;
        let dialect = match (self.office.style.dialect, self.office.product) {
            (Some(dialect), _) => dialect,
            (None, Product::OpenVox) => Dialect::Openvox,
            (None, Product::Yeastar) => Dialect::of_version(version),
        };
        let until = now + self.office.token_life;
        self.tokens.insert(token.clone(), Token { until, given: self.tokens_given, to, dialect });
        if self.tokens.len() > TOKENS_MAX {
            let oldest = self.tokens.iter().min_by_key(|(_, token)| token.given).map(|(token, _)| token.clone());
            oldest.and_then(|oldest| self.tokens.remove(&oldest));
        }
        token
    }

    /// Every token ends at once, as when half an hour has gone by.
    pub fn expire_tokens(&mut self, now: Duration) {
        for token in self.tokens.values_mut() {
            token.until = token.until.min(now);
        }
    }

    /// The PBX restarts: calls are gone, BootUp goes to whoever was logged in, and every token is lost.
    pub fn boot_up(&mut self, now: Duration) {
        self.calls.clear();
        self.timers.retain(|_, timer| matches!(timer, Timer::Push(_)));
        for extension in self.extensions.values_mut() {
            extension.told = "";
        }
        self.say(&Report::new("BootUp"), now);
        self.tokens.clear();
        self.wrong.clear();
        self.settle(now);
    }

    // ---- reports -------------------------------------------------------------------------------

    /// Says any report to every live login; two at the same address in the same dialect hear it once.
    pub fn say(&mut self, report: &Report, now: Duration) {
        let mut targets: Vec<(Address, Dialect)> = match &self.office.push_to {
            Some(fixed) => vec![(Address::parse(fixed), self.office.style.dialect.unwrap_or(Dialect::Openvox))],
            None => Vec::new(),
        };
        let live = self.tokens.values().filter(|token| token.until > now);
        targets.extend(live.map(|token| (token.to.clone(), token.dialect)));
        targets.sort();
        targets.dedup();
        if targets.is_empty() {
            return;
        }
        let order = take_order(&mut self.report_orders, &report.action);
        for (to, dialect) in targets {
            let Some(report) = self.in_dialect(report, dialect) else { continue };
            let style = &self.office.style;
            let mut body = report.spell(dialect, style.extid, style.sn, &self.office.serial);
            if let Some(ReportOrder::Instead(instead)) = &order {
                body.clone_from(instead);
            }
            self.counts.said += 1;
            self.pushes_made += 1;
            let push = Push { id: PushId(self.pushes_made), to, action: report.action.clone(), body, attempt: 1 };
            match order {
                Some(ReportOrder::Late(after)) => self.set_timer(now + after, Timer::Push(push)),
                Some(ReportOrder::Lose) => self.counts.lost += 1,
                Some(ReportOrder::Twice) => {
                    self.pushes_made += 1;
                    let again = Push { id: PushId(self.pushes_made), ..push.clone() };
                    self.line_up_push(push);
                    self.line_up_push(again);
                }
                Some(ReportOrder::Instead(_)) | None => self.line_up_push(push),
            }
        }
    }

    /// Version 2 says CallStatus for the steps of a call; the others never say it.
    fn in_dialect(&self, report: &Report, dialect: Dialect) -> Option<Report> {
        let step = matches!(report.action.as_str(), "ALERT" | "RING" | "ANSWER" | "ANSWERED" | "BYE");
        match (dialect, report.action.as_str()) {
            (Dialect::Yeastar200, _) if step && !self.office.both_v2 => {
                Some(Report { action: "CallStatus".to_owned(), ..report.clone() })
            }
            (Dialect::Yeastar200, "DTMF") => {
                // What they hold is not documented: the key once more, and nothing.
                let mut report = report.clone();
                let key = report.before.iter().find(|(key, _)| *key == "info").map(|(_, value)| value.clone());
                report.before.extend([("infos", key.unwrap_or_default()), ("flag", "".into())]);
                Some(report)
            }
            (Dialect::Yeastar200, _) => Some(report.clone()),
            (_, "CallStatus" | "uacstacall") => None,
            _ => Some(report.clone()),
        }
    }

    fn line_up_push(&mut self, push: Push) {
        if self.queue.len() >= PUSHES_QUEUED_MAX {
            self.queue.pop_front();
            self.counts.lost += 1;
        }
        self.queue.push_back(push);
    }

    /// The next report to send. It is in flight until [`Self::handle_pushed`].
    pub fn poll_push(&mut self) -> Option<Push> {
        if self.in_flight.len() >= PUSHES_IN_FLIGHT_MAX {
            return None;
        }
        let push = self.queue.pop_front()?;
        self.in_flight.insert(push.id, push.clone());
        Some(push)
    }

    /// How a report was answered; `None` when it was not. Anything but 200 repeats it.
    pub fn handle_pushed(&mut self, id: PushId, status: Option<u16>, now: Duration) {
        let Some(mut push) = self.in_flight.remove(&id) else { return };
        if self.pushed.len() >= PUSHES_KEPT_MAX {
            self.pushed.pop_front();
        }
        let (action, body, attempt) = (push.action.clone(), push.body.clone(), push.attempt);
        self.pushed.push_back(Pushed { at: now, action, body, attempt, status });
        match status {
            Some(200) => {}
            _ if push.attempt > self.office.repeats_max => self.counts.lost += 1,
            _ => {
                push.attempt += 1;
                self.set_timer(now + self.office.repeat_after, Timer::Push(push));
            }
        }
    }

    /// Reports that wait or are on their way.
    pub fn pushes_waiting(&self) -> usize {
        self.queue.len() + self.in_flight.len()
    }

    /// The whole request of a push, as it stands on the wire.
    pub fn wire(&self, push: &Push) -> Vec<u8> {
        http::report_request(&self.office.head, &push.to, &push.body, push.body.len())
    }

    // ---- extensions ----------------------------------------------------------------------------

    /// A telephone registers or loses its registration. Calls it has go on.
    pub fn set_registered(&mut self, extension: &str, is: bool, now: Duration) {
        let Some(known) = self.extensions.get_mut(extension) else { return };
        if std::mem::replace(&mut known.registered, is) != is && is {
            // Registered is said once; Idle is what it is afterwards.
            self.say_status(extension, "Registered", now);
            if let Some(known) = self.extensions.get_mut(extension) {
                known.told = self.office.style.idle_word;
            }
        }
        self.settle(now);
    }

    /// A state that queries tell instead of the real one: `Malfunction`, `Fxsnoport`.
    pub fn set_fault(&mut self, extension: &str, fault: Option<&str>) {
        if let Some(known) = self.extensions.get_mut(extension) {
            known.fault = fault.map(str::to_owned);
        }
    }

    pub fn is_registered(&self, extension: &str) -> bool {
        self.extensions.get(extension).is_some_and(|known| known.registered)
    }

    /// The state queries tell.
    pub fn query_status(&self, extension: &str) -> Option<String> {
        let known = self.extensions.get(extension)?;
        if let Some(fault) = &known.fault {
            return Some(fault.clone());
        }
        let idle = match (known.registered, known.plan.device) {
            (false, _) => "Unavailable",
            (true, Device::Sip) => "Registered",
            (true, Device::Fxs) => "Idle",
        };
        let state = self.call_state(extension).unwrap_or(idle);
        Some(if self.office.style.lower_case_states { state.to_lowercase() } else { state.to_owned() })
    }

    /// Reports the extensions whose state has changed.
    pub(super) fn settle(&mut self, now: Duration) {
        let numbers: Vec<String> = self.extensions.keys().cloned().collect();
        for number in numbers {
            let state = match self.call_state(&number) {
                Some("Ringing") => "Ringing",
                Some(_) => self.office.style.busy_word,
                None if self.is_registered(&number) => self.office.style.idle_word,
                None => "Unregistered",
            };
            let Some(known) = self.extensions.get_mut(&number) else { continue };
            let before = std::mem::replace(&mut known.told, state);
            if before != state && !before.is_empty() {
                self.say_status(&number, state, now);
            }
        }
    }

    fn say_status(&mut self, extension: &str, status: &str, now: Duration) {
        if !self.extensions.get(extension).is_some_and(|known| known.plan.monitored) {
            return;
        }
        let mut report = Report::new("ExtensionStatus");
        // The table declares the extension Int.
        let number = match (self.office.style.extid, extension.parse::<i64>()) {
            (ExtidForm::Number, Ok(whole)) if whole.to_string() == extension => Json::Number(whole),
            _ => extension.into(),
        };
        report.before = vec![("extension", number), ("status", status.into())];
        self.say(&report, now);
    }

    /// `ConfigChange` of an extension or a trunk; `operation` is `add`, `del` or `update`.
    pub fn config_change(&mut self, is_extension: bool, name: &str, operation: &str, now: Duration) {
        let (kind, key) = if is_extension { ("extension", "extid") } else { ("trunk", "trunkname") };
        let mut report = Report::new("ConfigChange");
        report.before = vec![("type", kind.into()), (key, name.into()), ("operation", operation.into())];
        self.say(&report, now);
    }

    /// `uacstacall`, which only version 2 has.
    pub fn csta_call(&mut self, extension: &str, operation: &str, cstacallid: &str, now: Duration) {
        let mut report = Report::new("uacstacall");
        report.before = vec![
            ("operation", operation.into()),
            ("extnumber", extension.into()),
            ("cstacallid", cstacallid.into()),
            ("ipaddress", "127.0.0.2".into()),
        ];
        self.say(&report, now);
    }
}

/// 32 lower-case hexadecimal digits of the password's MD5, as the login wants them.
pub fn password_digest(password: &str) -> String {
    use md5::Digest;
    let mut hash = md5::Md5::new();
    hash.update(password.as_bytes());
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn line_up<T>(orders: &mut BTreeMap<String, VecDeque<T>>, name: &str, order: T) {
    if orders.len() >= ORDERS_QUEUED_MAX && !orders.contains_key(name) {
        orders.pop_first();
    }
    let queue = orders.entry(name.to_owned()).or_default();
    if queue.len() >= ORDERS_QUEUED_MAX {
        queue.pop_front();
    }
    queue.push_back(order);
}

pub(super) fn take_order<T>(orders: &mut BTreeMap<String, VecDeque<T>>, name: &str) -> Option<T> {
    let queue = orders.get_mut(name)?;
    let order = queue.pop_front();
    if queue.is_empty() {
        orders.remove(name);
    }
    order
}
