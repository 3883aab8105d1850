//! One event, and every way the proxy may spell it.

use super::office::{Ftime, Groups, Style};
use crate::civil::Civil;
use crate::ordered::Json;

/// Event numbers.
pub mod id {
    pub const CALL_CLEARED: u16 = 1;
    pub const CONFERENCED: u16 = 2;
    pub const CONNECTION_CLEARED: u16 = 3;
    pub const DELIVERED: u16 = 4;
    pub const DIVERTED: u16 = 5;
    pub const ESTABLISHED: u16 = 6;
    pub const FAILED: u16 = 7;
    pub const HELD: u16 = 8;
    pub const NETWORK_REACHED: u16 = 9;
    pub const ORIGINATED: u16 = 10;
    pub const QUEUED: u16 = 11;
    pub const RETRIEVED: u16 = 12;
    pub const SERVICE_INITIATED: u16 = 13;
    pub const TRANSFERRED: u16 = 14;
    pub const BACK_IN_SERVICE: u16 = 23;
    pub const OUT_OF_SERVICE: u16 = 24;
    pub const MONITOR_ENDED: u16 = 61;
    pub const DO_NOT_DISTURB: u16 = 102;
    pub const FORWARDING: u16 = 103;
    pub const LOGGED_ON: u16 = 201;
    pub const LOGGED_OFF: u16 = 202;
    pub const NOT_READY: u16 = 203;
    pub const READY: u16 = 204;
    pub const OTHER_WORK: u16 = 205;
    pub const AFTER_CALL_WORK: u16 = 206;
    pub const CTI_DISCONNECTED: u16 = 250;
    pub const CTI_CONNECTED: u16 = 251;
    pub const CTI_FAIL: u16 = 995;
    pub const PBX_LINK_FAIL: u16 = 996;
    pub const NO_ACTIVE_PBX: u16 = 997;
    pub const RECOVERY: u16 = 998;
    pub const CTI_DOWN: u16 = 999;

    /// Every number the document and the API's headers name.
    pub const ALL: [u16; 73] = [
        1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 23, 24, 25, 41, 42, 43, 44, 45, 46, 47, 61, 63,
        65, 66, 71, 72, 73, 101, 102, 103, 104, 105, 106, 107, 108, 110, 111, 200, 201, 202, 203, 204, 205, 206, 207,
        208, 209, 210, 240, 241, 242, 243, 244, 245, 250, 251, 252, 253, 254, 256, 995, 996, 997, 998, 999,
    ];
}

/// Causes (CSTA's, not Q.850's).
pub mod cause {
    pub const BUSY: i64 = 3;
    pub const CALL_CANCELLED: i64 = 5;
    pub const CALL_FORWARD_NO_ANSWER: i64 = 8;
    pub const CALL_FORWARD: i64 = 9;
    pub const CALL_NOT_ANSWERED: i64 = 10;
    pub const DEST_NOT_OBTAINABLE: i64 = 13;
    pub const DO_NOT_DISTURB: i64 = 14;
    pub const NEW_CALL: i64 = 22;
    pub const REDIRECTED: i64 = 28;
    pub const SILENT_MONITOR: i64 = 31;
    pub const TRANSFER: i64 = 32;
    pub const CONSULTATION: i64 = 37;
    pub const DISTRIBUTED: i64 = 38;
    pub const ENTERING_DISTRIBUTION: i64 = 42;
    pub const NORMAL_CLEARING: i64 = 48;
    pub const SINGLE_STEP_TRANSFER: i64 = 52;
}

/// What an event says, before it is spelled.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    pub id: u16,
    pub this: String,
    pub monitor: String,
    pub cnid: String,
    pub cnsq: i64,
    pub tag: i64,
    pub call: Option<CallFields>,
    pub queue: Option<QueueFields>,
    pub attach: Option<AttachFields>,
    pub agent: Option<AgentFields>,
    /// Further keys at the top level.
    pub more: Vec<(String, Json)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallFields {
    pub c1: i64,
    pub c2: i64,
    pub c3: i64,
    pub cause: i64,
    pub ctype: i64,
    pub other: String,
    pub third: String,
    pub called: String,
    pub origin: String,
    pub uui: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueFields {
    pub dn: String,
    /// Calls waiting.
    pub wqueue: i64,
    /// Seconds waited.
    pub wtime: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachFields {
    pub uei: String,
    pub ci: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentFields {
    pub id: String,
    pub reason: i64,
    pub wmode: i64,
}

impl Event {
    /// The message of one frame. `at_ms` is the office's local time.
    pub fn spell(&self, style: &Style, at_ms: u64) -> String {
        let whole = |number: i64| match style.string_integers {
            true => Json::Text(number.to_string()),
            false => Json::Number(number),
        };
        let full = style.groups == Groups::Full;
        let mut out = vec![("fname", Json::from("event")), ("id", whole(self.id.into()))];
        if full || self.call.is_some() {
            out.push(("msid", whole(style.msid)));
        }
        out.push(("this", self.this.clone().into()));
        if !style.no_monitor {
            out.push(("monitor", self.monitor.clone().into()));
        }
        if full || self.call.is_some() {
            out.push(("cnid", self.cnid.clone().into()));
            out.push(("cnsq", whole(self.cnsq)));
            out.push(("tag", whole(self.tag)));
        } else if self.tag != 0 || matches!(self.id, id::DO_NOT_DISTURB | id::FORWARDING) {
            // Of these two it says on or off.
            out.push(("tag", whole(self.tag)));
        }
        out.push(("ftime", ftime(style.ftime, at_ms).into()));
        if let (true, Some(call)) = (style.ctype_at_top, &self.call) {
            out.push(("ctype", whole(call.ctype)));
        }
        let call = self.call.as_ref().map(|call| call.spell(style, whole));
        group(&mut out, "call", call, style, || CallFields::default().spell(style, whole));
        let queue = |queue: &QueueFields| {
            Json::object([
                ("dn", device(&queue.dn, style)),
                ("wqueue", whole(queue.wqueue)),
                ("wtime", whole(queue.wtime)),
            ])
        };
        group(&mut out, "queue", self.queue.as_ref().map(queue), style, || queue(&QueueFields::default()));
        let attach = |attach: &AttachFields| {
            Json::object([("uei", attach.uei.clone().into()), ("ci", attach.ci.clone().into())])
        };
        group(&mut out, "attach", self.attach.as_ref().map(attach), style, || attach(&AttachFields::default()));
        let agent = |agent: &AgentFields| {
            Json::object([
                ("id", agent.id.clone().into()),
                ("reason", whole(agent.reason)),
                ("wmode", whole(agent.wmode)),
            ])
        };
        group(&mut out, "agent", self.agent.as_ref().map(agent), style, || agent(&AgentFields::default()));
        let mut members: Vec<(String, Json)> = out.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        members.extend(self.more.iter().cloned());
        if style.unknown_key {
            members.push(("xcube".to_owned(), Json::List(vec![Json::Null, Json::Bool(true)])));
        }
        Json::Object(members).to_string()
    }
}

impl CallFields {
    fn spell(&self, style: &Style, whole: impl Fn(i64) -> Json) -> Json {
        let mut out = vec![("c1", whole(self.c1)), ("c2", whole(self.c2)), ("c3", whole(self.c3))];
        out.push(("cause", whole(self.cause)));
        if !style.ctype_at_top {
            out.push(("ctype", whole(self.ctype)));
        }
        out.push((if style.ohter { "ohter" } else { "other" }, device(&self.other, style)));
        out.push(("third", device(&self.third, style)));
        out.push(("called", device(&self.called, style)));
        out.push(("origin", device(&self.origin, style)));
        out.push(("uui", self.uui.clone().into()));
        Json::Object(out.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }
}

/// A device's number, which the table declares Integer.
fn device(number: &str, style: &Style) -> Json {
    match number.parse::<i64>() {
        Ok(whole) if style.number_devices && whole.to_string() == number => Json::Number(whole),
        _ => number.into(),
    }
}

fn group(
    out: &mut Vec<(&'static str, Json)>,
    key: &'static str,
    said: Option<Json>,
    style: &Style,
    nothing: impl FnOnce() -> Json,
) {
    let value = match (said, style.groups) {
        (Some(said), _) => said,
        (None, Groups::Missing) => return,
        (None, Groups::Null) => Json::Null,
        (None, Groups::Empty) => Json::Object(Vec::new()),
        (None, Groups::Full) => nothing(),
    };
    out.push((key, value));
}

fn ftime(form: Ftime, at_ms: u64) -> String {
    let Civil { year, month, day, hour, minute, second } = Civil::at(at_ms / 1000);
    let milliseconds = format!("{:03}", at_ms % 1000);
    match form {
        Ftime::Sample(digits) => {
            let fraction = &milliseconds[..usize::from(digits.clamp(1, 3))];
            format!("{year:04}/{month:02}/{day:02} {hour:02}:{minute:02}:{second:02}.{fraction}")
        }
        Ftime::Pattern => {
            format!("{year:04}/{month:02}/{day:02}/{hour:02}/{minute:02}/{second:02}/{milliseconds}")
        }
    }
}

/// `20160204152843010001`: local time to the hundredth, then a count.
pub(super) fn cnid(at_ms: u64, count: u64) -> String {
    let Civil { year, month, day, hour, minute, second } = Civil::at(at_ms / 1000);
    let hundredths = at_ms % 1000 / 10;
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}{hundredths:02}{:04}", count % 10_000)
}
