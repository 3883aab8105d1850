//! Actions that begin or change calls, and a few answers in plain text.
//!
//! Source: the recordings `originate-*`, `errors`, `dtmf`, `bridge-two-calls`, `command-output` of Asterisk 22; where
//! none has an action, the reference (protocol 5.2, 5.3) and a plain `Success`.
//! Not supported: `Originate` without `Async`, which is done as if it had it; recording, digits, texts and variables
//! leave no trace but the answer.

use std::time::Duration;

use super::call::{Call, CallId, Phase, Refused};
use super::device::DeviceState;
use super::originate::{Asked, Target, Wish};
use super::pbx::{AmiPbx, Party};
use super::session::{Request, SessionId};
use super::wire::Message;
use crate::limits::CALLS_MAX;

impl AmiPbx {
    /// Does `action` (in lower case), or says with `false` that it is none of these.
    pub(crate) fn serve_call(&mut self, id: SessionId, action: &str, request: &Request, now: Duration) -> bool {
        match action {
            "originate" => self.originate(id, request, now),
            "redirect" => self.redirect(id, request, now),
            "blindtransfer" => self.blind_transfer_request(id, request, now),
            "atxfer" => self.consult(id, request, now),
            "cancelatxfer" => self.cancel_consultation(id, request, now),
            "bridge" => self.bridge_request(id, request, now),
            "park" => self.park_request(id, request, now),
            "setvar" if custom_state(request).is_some() => self.set_custom_state(id, request),
            "mixmonitor" | "stopmixmonitor" | "monitor" | "stopmonitor" | "muteaudio" | "sendtext" | "setvar" => {
                self.on_channel(id, request, "Success");
            }
            "playdtmf" => self.on_channel(id, request, "DTMF successfully queued"),
            "getvar" => self.get_variable(id, request),
            "extensionstate" => self.extension_request(id, request),
            "queuepenalty" => self.queue_penalty(id, request),
            "queues" => self.queue_texts(id),
            "command" => self.command(id, request),
            _ => return false,
        }
        true
    }

    /// Rings the phone of `Channel`, then goes on to `Exten` or `Application`.
    fn originate(&mut self, id: SessionId, request: &Request, now: Duration) {
        let action_id = request.value("ActionID");
        let Some(channel) = request.value("Channel").filter(|channel| !channel.is_empty()) else {
            return self.error(id, action_id, "Channel not specified");
        };
        let phone = channel.split_once('/').map_or(channel, |(_, name)| name);
        let phone = phone.split_once('@').map_or(phone, |(name, _)| name);
        let to = match request.value("Application").filter(|application| !application.is_empty()) {
            Some(application) => Target::Application(application.into(), request.text("Data").into()),
            None if request.text("Exten").is_empty() => {
                return self.error(id, action_id, "Extension does not exist.");
            }
            None => Target::Exten(request.text("Exten").into()),
        };
        let asked = Asked {
            action_id: action_id.map(Into::into),
            context: request.text("Context").into(),
            exten: request.text("Exten").into(),
        };
        let shown = request.value("CallerID").map(caller_id);
        if channel.starts_with("Local/") {
            let (name, number) = request.value("CallerID").map(caller_id).unwrap_or_default();
            let shown = Party { number: number.into(), name: name.into() };
            self.success(id, action_id, "Originate successfully queued");
            return self.dial_by_local(channel, &shown, &asked, now);
        }
        let wish = Wish {
            caller: phone,
            to,
            shown,
            rings: request.text("Timeout").parse().ok().map(Duration::from_millis),
            unique_id: request.value("ChannelId").filter(|id| !id.is_empty()),
            asked: Some(asked.clone()),
        };
        self.success(id, action_id, "Originate successfully queued");
        if self.begin_origination(wish, now).is_err() {
            let (name, number) = shown.unwrap_or_default();
            let party = Party { number: number.into(), name: name.into() };
            self.say_originated(&asked, false, 0, (channel, "<null>"), &party);
        }
    }

    fn redirect(&mut self, id: SessionId, request: &Request, now: Duration) {
        let action_id = request.value("ActionID");
        let (wanted, exten) = (request.text("Channel").to_owned(), request.text("Exten").to_owned());
        let Some((call, endpoint)) = self.call_with(&wanted) else {
            return self.error(id, action_id, &format!("Channel does not exist: {wanted}"));
        };
        let extra = request.value("ExtraChannel").filter(|extra| !extra.is_empty());
        let moved = match extra {
            Some(extra) if self.call_with(extra).is_some_and(|(other, _)| other == call) => {
                self.redirect_both(call, &exten, now)
            }
            Some(_) => Err(Refused::WrongState),
            None => {
                // The channel named is the one that moves; the other side is the one that leaves.
                let other = self.channel_of(call, &endpoint).ok().and_then(|key| self.other_side(call, key));
                let by =
                    other.and_then(|key| self.channel(key)).map(|channel| channel.endpoint.clone()).unwrap_or_default();
                self.blind_transfer(call, &by, &exten, now)
            }
        };
        match moved {
            Ok(()) => self.success(id, action_id, "Redirect successful"),
            Err(_) => self.error(id, action_id, "Redirect failed"),
        }
    }

    /// The channel named is the one that transfers and is out.
    fn blind_transfer_request(&mut self, id: SessionId, request: &Request, now: Duration) {
        let action_id = request.value("ActionID");
        let Some((call, endpoint)) = self.call_with(request.text("Channel")) else {
            return self.error(id, action_id, "No such channel");
        };
        match self.blind_transfer(call, &endpoint, request.text("Exten"), now) {
            Ok(()) => self.success(id, action_id, "Transfer succeeded"),
            Err(_) => self.error(id, action_id, "Transfer invalid"),
        }
    }

    /// Both sides of a talk leave it for `exten`, each as a call of its own.
    fn redirect_both(&mut self, id: CallId, exten: &str, now: Duration) -> Result<(), Refused> {
        if self.calls.len() >= CALLS_MAX {
            return Err(Refused::Full);
        }
        let call = self.calls.get_mut(&id).ok_or(Refused::NoSuchCall)?;
        let Phase::Talking { bridge, served, .. } = &call.phase else { return Err(Refused::WrongState) };
        let (bridge, served) = (*bridge, served.clone());
        let (caller, leg) = (call.caller, call.legs.first().ok_or(Refused::WrongState)?.channel);
        call.legs.clear();
        call.phase = Phase::Application;
        let other = CallId(self.calls_made);
        self.calls_made += 1;
        self.calls.insert(other, Call { caller: leg, legs: Vec::new(), phase: Phase::Application });
        if let Some(served) = &served {
            self.agent_completes(caller, leg, served, "transfer", now);
        }
        for key in [caller, leg] {
            self.leave(key);
        }
        self.destroy_bridge(bridge);
        for (id, key) in [(id, caller), (other, leg)] {
            self.change(key, |channel| (channel.context, channel.held) = ("phones", false));
            self.route(id, key, exten, now);
        }
        self.settle();
        if let Some(served) = served {
            self.begin_wrap_up(&served, now);
        }
        Ok(())
    }

    fn park_request(&mut self, id: SessionId, request: &Request, now: Duration) {
        let (action_id, wanted) = (request.value("ActionID"), request.text("Channel"));
        let Some((call, endpoint)) = self.call_with(wanted) else {
            return self.error(id, action_id, &format!("Channel does not exist: {wanted}"));
        };
        // The channel named is the one that is parked; the other side parks it.
        let other = self.channel_of(call, &endpoint).ok().and_then(|key| self.other_side(call, key));
        let by = other.and_then(|key| self.channel(key)).map(|channel| channel.endpoint.clone()).unwrap_or_default();
        match self.park(call, &by, now) {
            Ok(_) => self.success(id, action_id, "Park successfully queued"),
            Err(_) => self.error(id, action_id, "Park failed"),
        }
    }

    /// An action on a channel that leaves no trace here.
    fn on_channel(&mut self, id: SessionId, request: &Request, text: &str) {
        let action_id = request.value("ActionID");
        let wanted = request.text("Channel");
        let global = wanted.is_empty() && request.text("Action").eq_ignore_ascii_case("setvar");
        match global || self.channels.values().any(|channel| channel.name == wanted) {
            true => self.success(id, action_id, text),
            false if wanted.is_empty() => self.error(id, action_id, "No channel specified"),
            false => self.error(id, action_id, "No such channel"),
        }
    }

    fn get_variable(&mut self, id: SessionId, request: &Request) {
        let (action_id, wanted) = (request.value("ActionID"), request.text("Channel"));
        if !wanted.is_empty() && !self.channels.values().any(|channel| channel.name == wanted) {
            return self.error(id, action_id, "No such channel");
        }
        let state = custom_state(request).map(|number| match self.disturbs_not(number) {
            true => DeviceState::InUse,
            false => DeviceState::NotInUse,
        });
        let mut message = Message::response("Success", action_id);
        message.line("Variable", request.text("Variable"));
        message.line("Value", state.map_or("", DeviceState::word));
        self.reply(id, message);
    }

    /// The custom device state of do-not-disturb; of any other nothing is known.
    fn set_custom_state(&mut self, id: SessionId, request: &Request) {
        let on = request.text("Value").eq_ignore_ascii_case("INUSE");
        if let Some(number) = custom_state(request) {
            let endpoint = self.endpoint_of(number).to_owned();
            self.do_not_disturb(&endpoint, on).ok();
        }
        self.success(id, request.value("ActionID"), "Variable Set");
    }

    fn extension_request(&mut self, id: SessionId, request: &Request) {
        let exten = request.text("Exten");
        let endpoint = self.endpoint_of(exten).to_owned();
        let state = self.phones.contains_key(&endpoint).then(|| self.extension_state(&endpoint)).flatten();
        let (status, text) = state.map_or((-1, "Unknown"), DeviceState::extension);
        let hint = if state.is_some() { format!("PJSIP/{endpoint}&Custom:DND{endpoint}") } else { String::new() };
        let mut message = Message::response("Success", request.value("ActionID"));
        message.line("Message", "Extension Status");
        message.line("Exten", exten);
        message.line("Context", request.text("Context"));
        message.line("Hint", hint);
        message.line("Status", status);
        message.line("StatusText", text);
        self.reply(id, message);
    }

    fn queue_penalty(&mut self, id: SessionId, request: &Request) {
        let (action_id, wanted) = (request.value("ActionID"), request.text("Interface"));
        let member = |number: &String| format!("PJSIP/{number}") == wanted;
        let known = self.queues.iter().flat_map(|queue| &queue.members).any(|own| member(&own.number));
        match known {
            true => self.success(id, action_id, "Interface penalty set successfully"),
            false => self.error(id, action_id, "Invalid interface, queuename or penalty"),
        }
    }

    /// One text for each queue, as `queue show` prints it.
    fn queue_lines(&self) -> Vec<Vec<String>> {
        let texts = self.queues.iter().map(|queue| {
            let waiting = queue.waiting.len();
            let mut lines = vec![
                format!(
                    "{} has {waiting} calls (max unlimited) in '{}' strategy (0s holdtime, 0s talktime), W:0, C:{}, A:{}, SL:0.0%, SL2:0.0% within 10s",
                    queue.plan.name,
                    queue.plan.strategy.word(),
                    queue.completed,
                    queue.abandoned
                ),
                "   Members: ".to_owned(),
            ];
            lines.extend(
                queue.members.iter().map(|member| format!("      {} (PJSIP/{})", member.name, member.number)),
            );
            let callers = queue.waiting.iter().enumerate().map(|(at, call)| {
                let channel = self.calls.get(call).and_then(|call| self.channel(call.caller));
                format!("      {}. {}", at + 1, channel.map_or("", |channel| channel.name.as_str()))
            });
            lines.push(if waiting == 0 { "   No Callers" } else { "   Callers: " }.to_owned());
            lines.extend(callers);
            lines
        });
        texts.collect()
    }

    /// `Queues`: text without any header.
    fn queue_texts(&mut self, id: SessionId) {
        let text: String = self.queue_lines().iter().map(|lines| lines.join("\r\n") + "\r\n\r\n").collect();
        self.inject(id, text.as_bytes());
    }

    /// `Command`: queues, or nothing worth printing.
    fn command(&mut self, id: SessionId, request: &Request) {
        let mut message = Message::response("Success", request.value("ActionID"));
        message.line("Message", "Command output follows");
        match request.text("Command").strip_prefix("queue show") {
            Some(_) => {
                for line in self.queue_lines().into_iter().flatten() {
                    message.line("Output", line);
                }
                message.line("Output", "");
            }
            None => message.line("Output", ""),
        }
        self.reply(id, message);
    }
}

/// `DEVICE_STATE(Custom:DND0103)` → `0103`.
fn custom_state(request: &Request) -> Option<&str> {
    request.text("Variable").strip_prefix("DEVICE_STATE(Custom:DND")?.strip_suffix(')')
}

/// `Click To Call <0102>` → name and number.
fn caller_id(text: &str) -> (&str, &str) {
    match text.split_once('<') {
        Some((name, number)) => (name.trim().trim_matches('"'), number.trim().trim_end_matches('>')),
        None => ("", text.trim()),
    }
}
