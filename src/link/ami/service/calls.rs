//! Calls: made, cleared, transferred, recorded.

use std::fmt::Write as _;

use serde_json::Value;

use super::{Finish, Originated, Plan, Planner, Refused, Sign, Step};
use crate::event::{CallId, ConnectionId, ConnectionState};
use crate::link::ami::calls::SeenChannel;
use crate::link::ami::codec::Action;
use crate::link::service::{Arguments, ServiceFault, bad};

/// Longest extension Asterisk takes.
const EXTENSION_CHARS_MAX: usize = 79;

/// Where a call is sent in the dialplan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) exten: String,
    pub(super) context: String,
}

impl Planner<'_> {
    // ---- services ------------------------------------------------------------------------------

    pub(super) fn make_call(&mut self, arguments: &Arguments) -> Result<Plan, ServiceFault> {
        let device = self.device(arguments.device()?)?;
        let to = self.number("to", arguments.to()?)?;
        let mut action = self.originate(&device);
        if let Some(caller) = caller(arguments)? {
            action = action.header("CallerID", caller);
        }
        for (name, value) in variables(arguments)? {
            action = action.header("Variable", format!("{name}={value}"));
        }
        if let Some(account) = arguments.native_text("Account")? {
            action = action.header("Account", account);
        }
        Ok(self.called(action, &self.dialled(to)).finish(Finish::MakeCall))
    }

    pub(super) fn clear_connection(&mut self, arguments: &Arguments) -> Result<Plan, ServiceFault> {
        let channel = self.connection(arguments, |_| true)?;
        if self.services.consults(&channel) {
            let cancel = Action::new("CancelAtxfer").header("Channel", channel.name.as_str());
            return Ok(Plan::one(cancel).finish(Finish::NotConsulting(channel.name)));
        }
        let cause = if channel.state == ConnectionState::Alerting { "21" } else { "16" };
        Ok(Plan::one(hangup(&channel.name, cause)))
    }

    pub(super) fn clear_call(&mut self, arguments: &Arguments) -> Result<Plan, ServiceFault> {
        let call = self.call(arguments)?;
        let channels = self.model.channels().into_iter().filter(|channel| channel.call == call);
        // Telephones first: what ties them together goes with them.
        let (real, plumbing): (Vec<_>, Vec<_>) = channels.partition(|channel| channel.device.is_some());
        let all = real.into_iter().chain(plumbing);
        Ok(Plan::of(all.map(|channel| Step::new(hangup(&channel.name, "16")).or(Refused::GoneIsFine))))
    }

    pub(super) fn single_step_transfer(&mut self, arguments: &Arguments) -> Result<Plan, ServiceFault> {
        let target = self.dialled(self.number("to", arguments.to()?)?);
        let channel = self.connection(arguments, |channel| channel.is_up() && !channel.parties.is_empty())?;
        let transfer = Action::new("BlindTransfer")
            .header("Channel", channel.name.as_str())
            .header("Context", &target.context)
            .header("Exten", &target.exten);
        let step = Step::new(transfer);
        Ok(match channel.parties.first() {
            Some(party) => {
                Plan::of([step.or(Refused::Instead(Box::new(Step::new(self.redirect(party, None, &target)))))])
            }
            None => Plan::of([step]),
        })
    }

    pub(super) fn consult(&mut self, arguments: &Arguments) -> Result<Plan, ServiceFault> {
        let target = self.dialled(self.number("to", arguments.to()?)?);
        let fits = |channel: &SeenChannel| channel.is_up() && !channel.parties.is_empty();
        let channel = self.connection(arguments, fits)?;
        if self.services.consults(&channel) {
            let found = format!("{} consults already; transfer-call or clear-connection ends it", channel.name);
            return Err(ServiceFault::WrongState { found, pbx_code: None });
        }
        let atxfer = Action::new("Atxfer")
            .header("Channel", channel.name.as_str())
            .header("Context", &target.context)
            .header("Exten", &target.exten);
        let sign = Sign::Consulting {
            channel: channel.name.clone(),
            target: format!("Local/{}@{}", target.exten, target.context),
        };
        Ok(Plan::one(atxfer).sign(sign).finish(Finish::Consulting(channel.name)))
    }

    pub(super) fn transfer(&mut self, arguments: &Arguments) -> Result<Plan, ServiceFault> {
        let candidates = self.candidates(arguments)?;
        if let Some(channel) = candidates.iter().find(|channel| self.services.consults(channel)) {
            let finish = Finish::NotConsulting(channel.name.clone());
            return Ok(Plan::one(hangup(&channel.name, "16")).finish(finish));
        }
        // Two calls that the telephone keeps itself: those at their other ends are joined.
        let device = candidates.first().and_then(|channel| channel.device.clone());
        let of_device = self.model.channels().into_iter().filter(|channel| channel.device == device && channel.is_up());
        let (held, talking): (Vec<_>, Vec<_>) = of_device
            .filter(|channel| !channel.parties.is_empty())
            .partition(|channel| channel.state == ConnectionState::Hold);
        let ([held], [talking]) = (held.as_slice(), talking.as_slice()) else {
            let found = format!(
                "transfer-call joins one held and one talking connection; found {} held and {} talking, and no \
                 consultation-call under way",
                held.len(),
                talking.len()
            );
            return Err(ServiceFault::WrongState { found, pbx_code: None });
        };
        let bridge = Action::new("Bridge")
            .header("Channel1", held.parties[0].as_str())
            .header("Channel2", talking.parties[0].as_str())
            .header("Tone", "no");
        Ok(Plan::one(bridge))
    }

    pub(super) fn start_recording(&mut self, arguments: &Arguments) -> Result<Plan, ServiceFault> {
        let channel = self.connection(arguments, SeenChannel::is_up)?;
        let device = channel.device.as_ref().map_or("unknown", |device| device.as_str());
        let file = self
            .settings
            .recording
            .replace("{device}", &file_safe(device))
            .replace("{connection}", &file_safe(channel.name.as_str()))
            .replace("{call}", &file_safe(channel.call.as_str()));
        let action = Action::new("MixMonitor").header("Channel", channel.name.as_str()).header("File", &file);
        Ok(Plan::one(action).finish(Finish::Recording { connection: channel.name, file }))
    }

    pub(super) fn stop_recording(&mut self, arguments: &Arguments) -> Result<Plan, ServiceFault> {
        let channel = self.connection(arguments, SeenChannel::is_up)?;
        let mut action = Action::new("StopMixMonitor").header("Channel", channel.name.as_str());
        // Without it Asterisk stops whichever recording it finds, a site's own included.
        if let Some(id) = self.services.recordings.get(&channel.name) {
            action = action.header("MixMonitorID", id);
        }
        Ok(Plan::one(action).finish(Finish::NotRecording(channel.name)))
    }

    // ---- which device, which connection --------------------------------------------------------

    /// The PBX's own name of a device.
    pub(super) fn device(&self, device: &str) -> Result<String, ServiceFault> {
        self.model.pbx_name(device).map(str::to_owned).ok_or_else(|| ServiceFault::NotFound {
            what: format!("device {} is not known on this link; get-device-info lists those that are", shown(device)),
        })
    }

    /// The one connection that is meant; one that does not fit only where it is named itself, for the PBX to judge.
    pub(super) fn connection(
        &self,
        arguments: &Arguments,
        fits: impl Fn(&SeenChannel) -> bool,
    ) -> Result<SeenChannel, ServiceFault> {
        let candidates = self.candidates(arguments)?;
        if arguments.connection.is_some() {
            return candidates.into_iter().next().ok_or_else(|| no_connection(arguments));
        }
        let (fitting, others): (Vec<_>, Vec<_>) = candidates.into_iter().partition(fits);
        match <[SeenChannel; 1]>::try_from(fitting) {
            Ok([channel]) => Ok(channel),
            Err(none) if none.is_empty() => Err(ServiceFault::WrongState {
                found: format!("no connection fits; there is {}", listed(&others)),
                pbx_code: None,
            }),
            Err(many) => Err(ServiceFault::WrongState {
                found: format!("more than one connection fits; name one of {}", listed(&many)),
                pbx_code: None,
            }),
        }
    }

    /// Connections of telephones that the arguments may mean.
    pub(super) fn candidates(&self, arguments: &Arguments) -> Result<Vec<SeenChannel>, ServiceFault> {
        let device = match &arguments.device {
            Some(device) => self.model.device_id(&self.device(device)?),
            None => None,
        };
        let call = arguments.call.as_deref().map(|call| self.model.call_of(call));
        if device.is_none() && arguments.connection.is_none() {
            arguments.device()?;
        }
        let of_device = |channel: &SeenChannel| match &device {
            Some(device) => channel.device.as_ref() == Some(device),
            None => channel.device.is_some(),
        };
        let named = |channel: &SeenChannel| {
            arguments.connection.as_deref().is_none_or(|connection| channel.name.as_str() == connection)
                && call.as_ref().is_none_or(|call| channel.call == *call)
        };
        let found: Vec<_> =
            self.model.channels().into_iter().filter(|channel| of_device(channel) && named(channel)).collect();
        match found.is_empty() {
            true if arguments.connection.is_some() || arguments.call.is_some() => Err(no_connection(arguments)),
            true => Err(ServiceFault::WrongState {
                found: format!("device {} is in no call", shown(arguments.device()?)),
                pbx_code: None,
            }),
            false => Ok(found),
        }
    }

    /// The one call that is meant: `call`, or that of the connection that is.
    fn call(&self, arguments: &Arguments) -> Result<CallId, ServiceFault> {
        let Some(call) = &arguments.call else { return Ok(self.connection(arguments, |_| true)?.call) };
        let id = self.model.call_of(call);
        match self.model.channels().iter().any(|channel| channel.call == id) {
            true => Ok(id),
            false => Err(ServiceFault::NotFound { what: format!("there is no call {} on this link", shown(call)) }),
        }
    }

    // ---- what is dialled -----------------------------------------------------------------------

    /// A number to dial, or a device's by its id or by its PBX name.
    pub(super) fn number<'a>(&self, which: &str, to: &'a str) -> Result<&'a str, ServiceFault> {
        let to = match to.split_once('/') {
            Some((_, bare)) if self.model.pbx_name(to).is_some() => bare,
            _ => to,
        };
        extension(which, to)
    }

    pub(super) fn dialled(&self, exten: &str) -> Target {
        Target { exten: exten.to_owned(), context: self.settings.dial_context.clone() }
    }

    /// `EXTEN[@CONTEXT]` of the settings.
    pub(super) fn target(&self, text: &str) -> Target {
        let (exten, context) = text.split_once('@').unwrap_or((text, &self.settings.dial_context));
        Target { exten: exten.to_owned(), context: context.to_owned() }
    }

    /// An Originate on a channel, without where it leads.
    pub(super) fn originate(&self, channel: &str) -> Action {
        Action::new("Originate")
            .header("Channel", channel)
            .header("Async", "true")
            .header("Timeout", self.settings.ring_time.as_millis().to_string())
    }

    /// An Originate that leads to the dialplan, under an id of ours that nobody can guess.
    pub(super) fn called(&mut self, originate: Action, target: &Target) -> Plan {
        let (action, unique) = self.identified(self.led_to(originate, target));
        let sign = Sign::Originated(Originated::new(unique));
        Plan::one(action).sign(sign)
    }

    pub(super) fn led_to(&self, originate: Action, target: &Target) -> Action {
        originate
            .header("Context", &target.context)
            .header("Exten", &target.exten)
            .header("Priority", self.settings.dial_priority.to_string())
    }

    pub(super) fn identified(&mut self, originate: Action) -> (Action, String) {
        let unique = format!("lamp-{:016x}{:016x}", self.random.u64(..), self.random.u64(..));
        (originate.header("ChannelId", &unique), unique)
    }

    /// A Redirect of one channel, and of another with it.
    pub(super) fn redirect(&self, channel: &ConnectionId, extra: Option<&ConnectionId>, target: &Target) -> Action {
        let priority = self.settings.dial_priority.to_string();
        let action = Action::new("Redirect")
            .header("Channel", channel.as_str())
            .header("Context", &target.context)
            .header("Exten", &target.exten)
            .header("Priority", &priority);
        match extra {
            Some(extra) => action
                .header("ExtraChannel", extra.as_str())
                .header("ExtraContext", &target.context)
                .header("ExtraExten", &target.exten)
                .header("ExtraPriority", &priority),
            None => action,
        }
    }
}

pub(super) fn hangup(channel: &ConnectionId, cause: &str) -> Action {
    Action::new("Hangup").header("Channel", channel.as_str()).header("Cause", cause)
}

/// Letters, digits and what telephones have: a `&`, `/` or `,` would have a dialplan call somebody else too.
pub(super) fn extension<'a>(which: &str, text: &'a str) -> Result<&'a str, ServiceFault> {
    let dials = |c: char| c.is_ascii_alphanumeric() || matches!(c, '*' | '#' | '+' | '-' | '.' | '_');
    if text.is_empty() || text.len() > EXTENSION_CHARS_MAX || !text.chars().all(dials) {
        let expected = format!("1 to {EXTENSION_CHARS_MAX} letters, digits or * # + - . _");
        return Err(bad(which, expected, shown(text)));
    }
    Ok(text)
}

/// `"NAME" <NUMBER>`, of which either may be absent.
fn caller(arguments: &Arguments) -> Result<Option<String>, ServiceFault> {
    let number = arguments.caller_number.as_deref().map(|number| extension("caller_number", number)).transpose()?;
    let name = arguments.caller_name.as_deref().map(quotable).transpose()?;
    let mut caller = String::new();
    if let Some(name) = name {
        let _ = write!(caller, "\"{name}\" ");
    }
    if let Some(number) = number {
        let _ = write!(caller, "<{number}>");
    }
    Ok(Some(caller.trim_end().to_owned()).filter(|caller| !caller.is_empty()))
}

fn quotable(name: &str) -> Result<&str, ServiceFault> {
    let breaks = |c: char| c.is_control() || matches!(c, '"' | '<' | '>' | '\\');
    match name.contains(breaks) {
        true => Err(bad("caller_name", "a name without \" < > \\ and control characters", shown(name))),
        false => Ok(name),
    }
}

/// `native.Variable`, a list of `NAME=VALUE` or an object; and `user_data`, inherited by whom the dialplan calls.
fn variables(arguments: &Arguments) -> Result<Vec<(String, String)>, ServiceFault> {
    const EXPECTED: &str = "a list of \"NAME=VALUE\", or an object of texts";
    let known = ["Variable", "Account"];
    if let Some(other) = arguments.native.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(bad(&format!("native.{}", shown(other)), "Variable or Account; raw takes any header", "another"));
    }
    let mut all = Vec::new();
    match arguments.native.get("Variable") {
        None | Some(Value::Null) => {}
        Some(Value::Array(items)) => {
            for item in items {
                let split = item.as_str().and_then(|item| item.split_once('='));
                let (name, value) = split.ok_or_else(|| bad("native.Variable", EXPECTED, shown(&item.to_string())))?;
                all.push((name.to_owned(), value.to_owned()));
            }
        }
        Some(Value::Object(items)) => {
            for (name, value) in items {
                let value =
                    value.as_str().ok_or_else(|| bad("native.Variable", EXPECTED, shown(&value.to_string())))?;
                all.push((name.clone(), value.to_owned()));
            }
        }
        Some(other) => return Err(bad("native.Variable", EXPECTED, shown(&other.to_string()))),
    }
    if let Some(user_data) = &arguments.user_data {
        all.push(("__USER_DATA".to_owned(), user_data.clone()));
    }
    for (name, value) in &all {
        // A name with parentheses is a function of Asterisk's, which may write files.
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(bad("native.Variable", "names of letters, digits and _", shown(name)));
        }
        // Asterisk takes the value apart at these.
        if value.contains(|c: char| c.is_control() || matches!(c, ',' | '|' | '"' | '\\')) {
            let which = if name == "__USER_DATA" { "user_data" } else { "native.Variable" };
            return Err(bad(which, "values without , | \" \\ and control characters", shown(value)));
        }
    }
    Ok(all)
}

/// A name of ours in a file name: no way to another folder, and nothing a shell would read.
fn file_safe(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
    name.trim_start_matches('.').chars().map(safe).collect()
}

fn no_connection(arguments: &Arguments) -> ServiceFault {
    let mut what = "there is no".to_owned();
    match &arguments.connection {
        Some(connection) => what.push_str(&format!(" connection {}", shown(connection))),
        None => what.push_str(" connection"),
    }
    if let Some(device) = &arguments.device {
        what.push_str(&format!(" of device {}", shown(device)));
    }
    if let Some(call) = &arguments.call {
        what.push_str(&format!(" in call {}", shown(call)));
    }
    ServiceFault::NotFound { what }
}

/// Connections for a person to choose from.
fn listed(channels: &[SeenChannel]) -> String {
    let all: Vec<String> =
        channels.iter().map(|channel| format!("{} ({})", channel.name, channel.state.word())).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

/// Somebody's words in a fault: quoted, one line, short.
pub(super) fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(64).collect::<String>())
}
