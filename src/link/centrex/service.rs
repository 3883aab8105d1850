//! Services: the interface's names and arguments → LGUBaseOpenApi's commands.
//!
//! Source: the service table of the protocol document, column `centrex`; how each ends is in [`super::session`].
//! Shape: every argument is checked, then the call it is about is found, then one command is written; a login acts for its
//! own extension only.
//! What goes over the REST side channel is in [`super::rest`].
//! Not supported: finishing an attended transfer by a command of its own; the telephone does it, by hanging up, which
//! is what transfer-call sends.

use serde_json::Value;

use super::calls::Call;
use super::command::{CommandFault, Method};
use super::session::Session;
use super::session::commands::{Awaited, Serving, Task};
use crate::clock::Instant;
use crate::config::{CentrexApi, HistoryDates};
use crate::event::{ConnectionId, ConnectionState, DeviceId};
use crate::limits::{CENTREX_COMMANDS_PENDING_MAX, CENTREX_SMS_CHARS_MAX};
use crate::link::service::{Arguments, CallId, Service, ServiceCall, ServiceFault, bad};

/// Whether a Centrex has this service; what the document withdrew only where the site asks for it.
pub(super) fn offers(service: Service, withdrawn: bool) -> bool {
    use Service as S;
    match service {
        S::MakeCall
        | S::AnswerCall
        | S::ClearConnection
        | S::ClearCall
        | S::HoldCall
        | S::RetrieveCall
        | S::SingleStepTransferCall
        | S::ConsultationCall
        | S::TransferCall
        | S::ConferenceCall
        | S::ConferenceAdd
        | S::DirectedPickupCall
        | S::GroupPickupCall
        | S::SetForwarding
        | S::StartRecording
        | S::StopRecording
        | S::SendMessage
        | S::GetCallHistory
        | S::GetMessages
        | S::GetDeviceInfo
        | S::GetCallState
        | S::Raw => true,
        S::JoinCall => withdrawn,
        S::SetAgentState | S::SetDoNotDisturb | S::MonitorStart | S::MonitorStop => false,
    }
}

/// A command that is longer than the wire takes.
pub(super) fn too_long(found: usize, most: usize) -> ServiceFault {
    bad("(command)", format!("at most {most} bytes, as `body_max` says"), format!("{found}"))
}

/// Which argument a template's place is filled from.
fn argument_of(place: &str) -> &str {
    match place {
        "exten" | "num" => "to",
        "cid" => "caller_number",
        "context" => "native.context",
        "peers" => "members",
        "msg" => "text",
        "room" => "conference",
        "channel" | "my_channel" | "peer_channel" => "connection",
        "type" => "native.type",
        "info" => "native.info",
        "inout" => "native.inout",
        "search" => "native.search",
        "page" => "native.page",
        "command" => "native.command",
        other => other,
    }
}

impl Session {
    pub(super) fn begin_service(&mut self, call: ServiceCall, now: Instant) -> Result<(), ServiceFault> {
        if self.is_by_rest(&call) {
            return self.begin_by_rest(&call);
        }
        let Some(api) = self.api().cloned() else {
            let besides = if self.site.rest.is_some() { ", and `rest` has no such method" } else { "" };
            return Err(ServiceFault::NotSupported {
                why: format!("{} needs a login, and events come republished here{besides}", call.service),
            });
        };
        if !offers(call.service, api.withdrawn) {
            let why = match call.service {
                Service::JoinCall => {
                    "join-call is withdrawn by the PBX's maker; `withdrawn = true` offers it".to_owned()
                }
                service => format!("{service} is not among a Centrex's methods"),
            };
            return Err(ServiceFault::NotSupported { why });
        }
        if self.commands_waiting() >= CENTREX_COMMANDS_PENDING_MAX {
            return Err(ServiceFault::Busy);
        }
        let (id, arguments) = (call.id, &call.arguments);
        match call.service {
            Service::MakeCall => self.make_call(id, arguments, now),
            Service::AnswerCall => self.answer_call(id, arguments, now),
            Service::ClearConnection => self.clear_connection(id, arguments, now),
            Service::ClearCall => self.clear_call(id, arguments, now),
            Service::HoldCall => self.hold_call(id, arguments, true, now),
            Service::RetrieveCall => self.hold_call(id, arguments, false, now),
            Service::SingleStepTransferCall => self.single_step_transfer(id, arguments, now),
            Service::ConsultationCall => self.consultation_call(id, arguments, now),
            Service::TransferCall => self.transfer_call(id, arguments, now),
            Service::ConferenceCall => self.conference_call(id, arguments, now),
            Service::ConferenceAdd => self.conference_add(id, arguments, now),
            Service::JoinCall => self.join_call(id, arguments, now),
            Service::DirectedPickupCall => self.pickup(id, arguments, Some(arguments.to()?), now),
            Service::GroupPickupCall => self.pickup(id, arguments, None, now),
            Service::SetForwarding => self.set_forwarding(id, arguments, &api, now),
            Service::StartRecording => self.recording(id, arguments, true, now),
            Service::StopRecording => self.recording(id, arguments, false, now),
            Service::SendMessage => self.send_message(id, arguments, now),
            Service::GetCallHistory => self.call_history(id, arguments, &api, now),
            Service::GetMessages => self.get_messages(id, arguments, now),
            Service::GetDeviceInfo => self.ask_peers(id, arguments, Method::GetPeerInfo, Serving::Infos, now),
            Service::GetCallState => self.ask_peers(id, arguments, Method::GetStatusPeers, Serving::Statuses, now),
            Service::Raw => self.raw(id, arguments, now),
            Service::SetAgentState | Service::SetDoNotDisturb | Service::MonitorStart | Service::MonitorStop => Ok(()),
        }
    }

    // ---- calls ---------------------------------------------------------------------------------

    fn make_call(&mut self, id: CallId, arguments: &Arguments, now: Instant) -> Result<(), ServiceFault> {
        self.acting(arguments)?;
        let to = arguments.to()?;
        let cid = arguments.caller_number.as_deref().unwrap_or_default();
        let context = arguments.native_text("context")?.unwrap_or_default();
        let values = [("exten", to), ("cid", cid), ("context", context)];
        self.order(id, Method::Click2Call, &values, happens(Awaited::Originated), now)
    }

    fn answer_call(&mut self, id: CallId, arguments: &Arguments, now: Instant) -> Result<(), ServiceFault> {
        let call = self.call(arguments, "ringing", |state| state == ConnectionState::Alerting)?;
        let (mine, peer) = (own_channel(&call)?, call.peer.clone().unwrap_or_default());
        let context = arguments.native_text("context")?.unwrap_or_default();
        let values = [("my_channel", mine.as_str()), ("peer_channel", &peer), ("context", context)];
        self.order(id, Method::Answer, &values, happens(Awaited::Established(Some(call.connection))), now)
    }

    /// The own leg; with `connection` also the other side's, a consultation's; with `native.channel` any channel.
    fn clear_connection(&mut self, id: CallId, arguments: &Arguments, now: Instant) -> Result<(), ServiceFault> {
        if let Some(channel) = arguments.native_text("channel")? {
            let calls = self.model.calls.open().iter();
            let ended = calls.rev().find(|call| call.is_named(channel)).map(|call| call.connection.clone());
            let ended = ended.unwrap_or_else(|| ConnectionId::new(channel));
            return self.order(
                id,
                Method::HangUpChannel,
                &[("channel", channel)],
                happens(Awaited::Cleared(ended)),
                now,
            );
        }
        let device = self.acting(arguments)?;
        if let Some(named) = arguments.connection.as_deref() {
            let is = |connection: &ConnectionId| connection.as_str() == named;
            let calls = || self.model.calls.of(&device);
            let far = calls().find(|call| call.far.as_ref().is_some_and(is));
            let peer = far.map(|call| call.peer.clone().unwrap_or_else(|| named.to_owned()));
            let consulted = calls().any(|call| call.consultations.iter().any(|leg| is(&leg.connection)));
            let ended = happens(Awaited::Cleared(ConnectionId::new(named)));
            if let Some(peer) = peer {
                return self.order(id, Method::HangUpDst, &[("peer_channel", &peer)], ended, now);
            }
            if consulted {
                return self.order(id, Method::HangUpChannel, &[("channel", named)], ended, now);
            }
        }
        let call = self.call(arguments, "in progress", |_| true)?;
        let mine = own_channel(&call)?;
        self.order(id, Method::HangUp, &[("my_channel", &mine)], happens(Awaited::Cleared(call.connection)), now)
    }

    fn clear_call(&mut self, id: CallId, arguments: &Arguments, now: Instant) -> Result<(), ServiceFault> {
        let call = self.call(arguments, "in progress", |_| true)?;
        let mine = own_channel(&call)?;
        let text = self.written(Method::HangUp, &[("my_channel", &mine)])?;
        let also = match call.peer.as_deref() {
            Some(peer) => Some(self.written(Method::HangUpDst, &[("peer_channel", peer)])?),
            None => None,
        };
        let verb = self.verb(Method::HangUp);
        let task = Task::Serve(id, happens(Awaited::Cleared(call.connection)));
        self.command_as(verb, text, also, task, now);
        Ok(())
    }

    fn hold_call(&mut self, id: CallId, arguments: &Arguments, on: bool, now: Instant) -> Result<(), ServiceFault> {
        let (method, word, before) = match on {
            true => (Method::Hold, "connected", ConnectionState::Connected),
            false => (Method::Unhold, "held", ConnectionState::Hold),
        };
        let call = self.call(arguments, word, |state| state == before)?;
        let (mine, peer) = (own_channel(&call)?, call.peer.unwrap_or_default());
        let values = [("my_channel", mine.as_str()), ("peer_channel", &peer)];
        self.order(id, method, &values, Serving::Held { on, connection: call.connection }, now)
    }

    fn single_step_transfer(&mut self, id: CallId, arguments: &Arguments, now: Instant) -> Result<(), ServiceFault> {
        let to = arguments.to()?;
        let call = self.call(arguments, "connected or held", is_talking)?;
        let mine = call.channel.clone().unwrap_or_default();
        let Some(peer) = &call.peer else {
            return Err(wrong(format!("the other side's channel of call {} is not known", call.id)));
        };
        let values = [("exten", to), ("my_channel", &mine), ("peer_channel", peer)];
        self.order(id, Method::Transfer, &values, happens(Awaited::Cleared(call.connection)), now)
    }

    fn consultation_call(&mut self, id: CallId, arguments: &Arguments, now: Instant) -> Result<(), ServiceFault> {
        let to = arguments.to()?;
        let call = self.call(arguments, "connected or held", is_talking)?;
        if let Some(leg) = call.consultations.first() {
            return Err(wrong(format!("call {} already has a consultation, connection {}", call.id, leg.connection)));
        }
        self.consult(id, arguments, to, &call, now)
    }

    fn consult(
        &mut self,
        id: CallId,
        arguments: &Arguments,
        to: &str,
        call: &Call,
        now: Instant,
    ) -> Result<(), ServiceFault> {
        let withdrawn = self.api().is_some_and(|api| api.withdrawn);
        let cid = arguments.caller_number.as_deref().filter(|_| withdrawn);
        let mine = call.channel.clone().unwrap_or_default();
        let peer = call.peer.clone().unwrap_or_default();
        let values =
            [("exten", to), ("cid", cid.unwrap_or_default()), ("my_channel", mine.as_str()), ("peer_channel", &peer)];
        let method = if cid.is_some() { Method::AtXferCid } else { Method::AtXfer };
        self.order(id, method, &values, happens(Awaited::Consulting), now)
    }

    /// With a consultation under way the own side hangs up, which completes it; else, with `to`, one is begun, and the
    /// telephone completes it.
    fn transfer_call(&mut self, id: CallId, arguments: &Arguments, now: Instant) -> Result<(), ServiceFault> {
        let call = self.call(arguments, "connected or held", is_talking)?;
        if call.consultations.is_empty() {
            let to = arguments.to().map_err(|_| {
                wrong(format!(
                    "call {} has no consultation to be joined with; call consultation-call first, or name `to`",
                    call.id
                ))
            })?;
            return self.consult(id, arguments, to, &call, now);
        }
        let (mine, peer) = (own_channel(&call)?, call.peer.unwrap_or_default());
        let values = [("my_channel", mine.as_str()), ("peer_channel", &peer)];
        self.order(id, Method::CompleteTransfer, &values, happens(Awaited::Cleared(call.connection)), now)
    }

    fn conference_call(&mut self, id: CallId, arguments: &Arguments, now: Instant) -> Result<(), ServiceFault> {
        let call = self.call(arguments, "connected or held", is_talking)?;
        let room = self.room(arguments, None);
        let (mine, peer) = (call.channel.unwrap_or_default(), call.peer.unwrap_or_default());
        let values = [("room", room.as_str()), ("my_channel", &mine), ("peer_channel", &peer)];
        self.order(id, Method::RedirectConference, &values, happens(Awaited::Conferenced), now)
    }

    /// Invited into a conference that the own extension is in; else called together with it. `native.method` chooses.
    fn conference_add(&mut self, id: CallId, arguments: &Arguments, now: Instant) -> Result<(), ServiceFault> {
        let device = self.acting_or_own(arguments)?;
        let peers = peers(arguments)?.join(",");
        let within = self.model.calls.of(&device).find_map(|call| call.conference.clone());
        let method = match arguments.native_text("method")? {
            Some("invite") => Method::InviteConference,
            Some("call") => Method::CallWithConference,
            Some(other) => return Err(bad("native.method", "invite or call", format!("{other:?}"))),
            None if within.is_some() => Method::InviteConference,
            None => Method::CallWithConference,
        };
        let room = self.room(arguments, within);
        let values = [("room", room.as_str()), ("peers", &peers)];
        self.order(id, method, &values, happens(Awaited::Conferenced), now)
    }

    fn join_call(&mut self, id: CallId, arguments: &Arguments, now: Instant) -> Result<(), ServiceFault> {
        self.acting(arguments)?;
        let room = self.room(arguments, None);
        self.order(id, Method::JoinConference, &[("room", &room)], happens(Awaited::Conferenced), now)
    }

    fn pickup(
        &mut self,
        id: CallId,
        arguments: &Arguments,
        to: Option<&str>,
        now: Instant,
    ) -> Result<(), ServiceFault> {
        self.acting(arguments)?;
        let exten = match to {
            // The PBX wants a short extension of three digits with a nought before it.
            Some(to) if to.len() == 3 && to.bytes().all(|digit| digit.is_ascii_digit()) => format!("0{to}"),
            Some(to) => to.to_owned(),
            None => String::new(),
        };
        self.order(id, Method::Pickup, &[("exten", &exten)], happens(Awaited::Established(None)), now)
    }

    fn recording(&mut self, id: CallId, arguments: &Arguments, on: bool, now: Instant) -> Result<(), ServiceFault> {
        let call = self.call(arguments, "connected or held", is_talking)?;
        let method = if on { Method::StartRecord } else { Method::StopRecord };
        let mine = call.channel.unwrap_or_default();
        self.order(id, method, &[("my_channel", &mine)], Serving::Recording { on }, now)
    }

    // ---- the rest ------------------------------------------------------------------------------

    fn set_forwarding(
        &mut self,
        id: CallId,
        arguments: &Arguments,
        api: &CentrexApi,
        now: Instant,
    ) -> Result<(), ServiceFault> {
        self.acting_or_own(arguments)?;
        let Some(to) = arguments.to.as_deref().filter(|to| !to.is_empty()) else {
            return self.order(id, Method::SetForward, &[("use", "0")], Serving::Forwarding, now);
        };
        let kind = match arguments.reason.as_deref().unwrap_or("always") {
            "always" => "0",
            "no-answer" => "1",
            "busy" => "2",
            "simultaneous" => "3",
            other => {
                return Err(bad("reason", "always, busy, no-answer or simultaneous", format!("{other:?}")));
            }
        };
        let hour = |which: &str, text: Option<&str>| -> Result<String, ServiceFault> {
            let Some(text) = text else { return Ok(String::new()) };
            let at = local(api, which, text)?;
            Ok(format!("{:04}{:02}{:02}{:02}", at.year(), at.month(), at.day(), at.hour()))
        };
        let (start, end) = (hour("from", arguments.from.as_deref())?, hour("until", arguments.until.as_deref())?);
        let values = [("use", "1"), ("type", kind), ("num", to), ("start", start.as_str()), ("end", &end)];
        self.order(id, Method::SetForward, &values, Serving::Forwarding, now)
    }

    fn send_message(&mut self, id: CallId, arguments: &Arguments, now: Instant) -> Result<(), ServiceFault> {
        self.acting_or_own(arguments)?;
        let peers = peers(arguments)?;
        let text = arguments.text()?;
        if text.contains(['\r', '\n', '|']) {
            return Err(bad("text", "a text without line breaks and bars", "one with them"));
        }
        let kind = arguments.native_text("type")?.unwrap_or("0");
        if !is_digits(kind) {
            return Err(bad("native.type", "digits", format!("{kind:?}")));
        }
        let info = arguments.native_text("info")?.unwrap_or_default();
        let list = peers.join(",");
        let values = [("type", kind), ("info", info), ("peers", list.as_str()), ("msg", text)];
        match arguments.kind.as_deref() {
            Some("sms") | None => {
                let count = text.chars().count();
                if count > CENTREX_SMS_CHARS_MAX {
                    return Err(bad("text", format!("at most {CENTREX_SMS_CHARS_MAX} characters"), count.to_string()));
                }
                self.order(id, Method::SendSms, &values, Serving::Sms { peers, got: Vec::new() }, now)
            }
            Some("peer") => self.order(id, Method::SendPeerMsg, &values, Serving::PeerMessage { peers }, now),
            Some(other) => Err(bad("kind", "sms or peer", format!("{other:?}"))),
        }
    }

    /// Both directions are asked for one after the other, unless `native.inout` says which.
    fn call_history(
        &mut self,
        id: CallId,
        arguments: &Arguments,
        api: &CentrexApi,
        now: Instant,
    ) -> Result<(), ServiceFault> {
        let own = arguments.device.is_some();
        self.acting_or_own(arguments)?;
        let [start, end] =
            [("from", &arguments.from, "1970-01-01T00:00:00Z"), ("until", &arguments.until, "2099-12-30T23:59:59Z")]
                .map(|(which, given, default)| local(api, which, given.as_deref().unwrap_or(default)));
        let (start, end) = (start?, end?);
        if start > end {
            return Err(bad("until", "a time after `from`", "an earlier one"));
        }
        let shown = |at: jiff::civil::DateTime| match api.history_dates {
            HistoryDates::Compact => format!("{:04}{:02}{:02}", at.year(), at.month(), at.day()),
            HistoryDates::Dashed => format!(
                "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
                at.year(),
                at.month(),
                at.day(),
                at.hour(),
                at.minute(),
                at.second()
            ),
        };
        let (start, end) = (shown(start), shown(end));
        let search = arguments.native_text("search")?.unwrap_or("9");
        let directions = match arguments.native_text("inout")? {
            Some(one @ ("0" | "1" | "9")) => vec![one],
            Some(other) => return Err(bad("native.inout", "0, 1 or 9", format!("{other:?}"))),
            None => vec!["0", "1"],
        };
        let mut texts = Vec::new();
        for inout in directions {
            let values = [
                ("cat", if own { "1" } else { "0" }),
                ("inout", inout),
                ("start", start.as_str()),
                ("end", &end),
                ("search", search),
            ];
            texts.push(self.written(Method::GetCallHistory, &values)?);
        }
        let first = texts.remove(0);
        let task = Task::Serve(id, Serving::History { rest: texts, records: Vec::new() });
        self.command(Method::GetCallHistory, first, task, now);
        Ok(())
    }

    fn get_messages(&mut self, id: CallId, arguments: &Arguments, now: Instant) -> Result<(), ServiceFault> {
        self.acting_or_own(arguments)?;
        let page = arguments.native_text("page")?.unwrap_or("1");
        if !is_digits(page) {
            return Err(bad("native.page", "digits", format!("{page:?}")));
        }
        self.order(id, Method::GetRecvSmsList, &[("page", page)], Serving::Messages, now)
    }

    fn ask_peers(
        &mut self,
        id: CallId,
        arguments: &Arguments,
        method: Method,
        serving: Serving,
        now: Instant,
    ) -> Result<(), ServiceFault> {
        let peers = match arguments.device.as_deref() {
            Some(device) if self.is_own(device) => self.own_peer().to_owned(),
            Some("") => return Err(bad("device", "a device", "an empty text")),
            Some(device) if device.contains(',') => return Err(bad("device", "one device", "a comma")),
            Some(device) => device.to_owned(),
            None => self.watched().join(","),
        };
        let room = arguments.conference.as_deref().unwrap_or_default();
        self.order(id, method, &[("peers", &peers), ("room", room)], serving, now)
    }

    /// `native.command`, without its `CMD|`; `native.await = "none"` where the PBX answers with an event only.
    fn raw(&mut self, id: CallId, arguments: &Arguments, now: Instant) -> Result<(), ServiceFault> {
        const EXPECTED: &str = "a command, such as HOLD|AGENT=3321";
        let Some(command) = arguments.native_text("command")? else {
            return Err(bad("native.command", EXPECTED, "nothing"));
        };
        let command = command.strip_prefix("CMD|").unwrap_or(command);
        let verb = command.split('|').next().unwrap_or_default().trim().to_ascii_uppercase();
        if verb.is_empty() {
            return Err(bad("native.command", EXPECTED, "no verb"));
        }
        if verb == "LOGIN" {
            return Err(bad("native.command", "a command beside the login, which is the gateway's own", "LOGIN"));
        }
        let text = self.written(Method::SendSipCommand, &[("command", command)])?;
        match arguments.native_text("await")? {
            None | Some("result") => self.command_as(verb, text, None, Task::Serve(id, Serving::Raw), now),
            Some("none") => self.send_unanswered(id, &text)?,
            Some(other) => return Err(bad("native.await", "result or none", format!("{other:?}"))),
        }
        Ok(())
    }

    // ---- who and which -------------------------------------------------------------------------

    /// The device that acts can only be the one that logged in; a person may call it by its number too.
    fn acting(&self, arguments: &Arguments) -> Result<DeviceId, ServiceFault> {
        let device = arguments.device()?;
        if !self.is_own(device) {
            let what = format!(
                "device {device:?} is not this link's own; a Centrex login acts for its own extension, {}",
                self.own_device()
            );
            return Err(ServiceFault::NotFound { what });
        }
        Ok(self.own_device())
    }

    fn acting_or_own(&self, arguments: &Arguments) -> Result<DeviceId, ServiceFault> {
        if arguments.device.is_some() { self.acting(arguments) } else { Ok(self.own_device()) }
    }

    /// The call that is meant: by its connection, its id, or as the only one that fits.
    fn call(
        &self,
        arguments: &Arguments,
        word: &str,
        fits: impl Fn(ConnectionState) -> bool,
    ) -> Result<Call, ServiceFault> {
        let device = self.acting(arguments)?;
        let named: Vec<&Call> = self
            .model
            .calls
            .of(&device)
            .filter(|call| arguments.connection.as_deref().is_none_or(|connection| call.is_named(connection)))
            .filter(|call| arguments.call.as_deref().is_none_or(|id| call.id.as_str() == id))
            .collect();
        let which = || match (&arguments.connection, &arguments.call) {
            (Some(connection), _) => format!("connection {connection:?}"),
            (None, Some(call)) => format!("call {call:?}"),
            (None, None) => "call".to_owned(),
        };
        if named.is_empty() && (arguments.connection.is_some() || arguments.call.is_some()) {
            return Err(ServiceFault::NotFound { what: format!("device {device} has no {}", which()) });
        }
        let fitting: Vec<&&Call> = named.iter().filter(|call| fits(call.state)).collect();
        match fitting.as_slice() {
            [call] => Ok((**call).clone()),
            [] if named.is_empty() => Err(wrong(format!("device {device} has no call"))),
            [] => {
                let states: Vec<String> = named.iter().map(|call| described(call)).collect();
                Err(wrong(format!("expected a call that is {word}, found {}", states.join(", "))))
            }
            several => {
                let candidates: Vec<String> = several.iter().map(|call| described(call)).collect();
                Err(wrong(format!(
                    "device {device} has {} calls that are {word}: {}; name one as `connection`",
                    several.len(),
                    candidates.join(", ")
                )))
            }
        }
    }

    /// By the document's convention a room is named as the login that made it.
    fn room(&self, arguments: &Arguments, within: Option<String>) -> String {
        let named = arguments.conference.clone().filter(|room| !room.is_empty());
        let login = || self.api().map(|api| api.login_id.clone()).unwrap_or_default();
        named.or(within).unwrap_or_else(login)
    }

    // ---- writing -------------------------------------------------------------------------------

    fn order(
        &mut self,
        id: CallId,
        method: Method,
        values: &[(&'static str, &str)],
        serving: Serving,
        now: Instant,
    ) -> Result<(), ServiceFault> {
        let text = self.written(method, values)?;
        self.command(method, text, Task::Serve(id, serving), now);
        Ok(())
    }

    fn written(&self, method: Method, values: &[(&'static str, &str)]) -> Result<String, ServiceFault> {
        let Some(api) = self.api() else { return Err(ServiceFault::LinkDown) };
        let agent = self.own_device();
        let mut all = vec![("agent", agent.as_str())];
        all.extend_from_slice(values);
        api.commands.write(method, &all).map_err(|fault| match fault {
            CommandFault::Injection { place, found } => {
                bad(argument_of(place), "a text without bars and control characters", format!("one with {found}"))
            }
            CommandFault::TooLong { .. } => bad("(command)", "a shorter one", fault.to_string()),
        })
    }

    fn verb(&self, method: Method) -> String {
        self.api().map(|api| api.commands.verb(method)).unwrap_or_default()
    }

    fn send_unanswered(&mut self, id: CallId, text: &str) -> Result<(), ServiceFault> {
        self.send_text(text).map_err(|fault| too_long(fault.found, fault.most))?;
        self.serve(id, Ok(Value::Object(serde_json::Map::new())));
        Ok(())
    }
}

fn happens(what: Awaited) -> Serving {
    Serving::Happens { what, accepted: false }
}

fn is_talking(state: ConnectionState) -> bool {
    matches!(state, ConnectionState::Connected | ConnectionState::Hold)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit())
}

fn wrong(found: String) -> ServiceFault {
    ServiceFault::WrongState { found, pbx_code: None }
}

fn described(call: &Call) -> String {
    format!("{} ({})", call.connection, call.state.word())
}

fn own_channel(call: &Call) -> Result<String, ServiceFault> {
    call.channel.clone().ok_or_else(|| wrong(format!("the own channel of call {} is not known", call.id)))
}

/// `members`, else `to`; each is one item of a comma list.
pub(super) fn peers(arguments: &Arguments) -> Result<Vec<String>, ServiceFault> {
    let peers = match arguments.members.is_empty() {
        true => vec![arguments.to()?.to_owned()],
        false => arguments.members.clone(),
    };
    let which = if arguments.members.is_empty() { "to" } else { "members" };
    if peers.iter().any(|peer| peer.is_empty() || peer.contains(',')) {
        return Err(bad(which, "numbers without commas", "an empty one, or one with a comma"));
    }
    Ok(peers)
}

/// The PBX's own wall clock.
fn local(api: &CentrexApi, which: &str, text: &str) -> Result<jiff::civil::DateTime, ServiceFault> {
    const EXPECTED: &str = "a time of RFC 3339, such as 2026-11-22T04:26:00Z";
    let at: jiff::Timestamp = text.parse().map_err(|_| bad(which, EXPECTED, format!("{text:?}")))?;
    Ok(api.utc_offset.to_datetime(at))
}
