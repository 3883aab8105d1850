//! What can be asked about phones: registration, channels, forwarding.
//!
//! Source: protocol reference 2.9.21, 2.9.22, 2.9.24. The application of a channel is cut off in the middle, as the
//! samples show it, and may have a bar in it.

use super::call::{Party, Stage};
use super::command::Command;
use super::message::peers;
use super::pbx::CentrexPbx;
use super::say::Event;

/// A forwarding that was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    pub kind: ForwardKind,
    pub to: String,
    /// `YYYYMMDDHH`, empty for always. Kept as given, not acted on.
    pub start: String,
    pub end: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardKind {
    Always,
    NoAnswer,
    Busy,
    /// Rings here too; the simulator only remembers it.
    Simultaneous,
}

impl ForwardKind {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "0" => Self::Always,
            "1" => Self::NoAnswer,
            "2" => Self::Busy,
            "3" => Self::Simultaneous,
            _ => return None,
        })
    }
}

impl CentrexPbx {
    pub fn forward_of(&self, extension: &str) -> Option<&Forward> {
        self.forwards.get(&self.extension(extension).ok()?.id)
    }

    pub(crate) fn forwarded(&self, extension: &str, kind: ForwardKind) -> Option<Party> {
        let forward = self.forwards.get(extension)?;
        (forward.kind == kind).then(|| self.party(&forward.to))
    }

    pub(crate) fn set_forward(&mut self, extension: &str, command: &Command) -> String {
        let Some(own) = self.office.extensions.iter().find(|own| own.id == extension) else { return String::new() };
        let (user, domain) = (own.user().to_owned(), own.domain.clone().unwrap_or_default());
        let number = command.named("NUM").to_owned();
        let event = Event::result("SETFORWARD");
        let text = match (command.named("USE"), ForwardKind::parse(command.named("TYPE"))) {
            ("1", Some(kind)) if !number.is_empty() => {
                let (start, end) = (command.named("START").to_owned(), command.named("END").to_owned());
                self.forwards.insert(extension.into(), Forward { kind, to: number.clone(), start, end });
                format!("IFW userid:({user})-({domain})-({number})")
            }
            ("0", _) => {
                self.forwards.remove(extension);
                format!("DFW userid:({user})-()")
            }
            _ => return event.field("RES", "ERR").text(),
        };
        let breaks = if self.office.convention.forward_breaks_line { "\n" } else { "" };
        event.field("RES", format_args!("{breaks}{text}")).text()
    }

    pub(crate) fn peer_info(&self, command: &Command) -> String {
        peers(command)
            .fold(Event::result("GETPEERINFO"), |event, peer| {
                let extension = self.office.extension(peer);
                let registered = extension.is_some_and(|extension| extension.registered);
                let connected = extension.is_some_and(|extension| self.has_session(&extension.id));
                let words = (if registered { "OK" } else { "NOT" }, if connected { "CONN" } else { "NOT" });
                event.field(peer, format_args!("{}:{}", words.0, words.1))
            })
            .text()
    }

    /// One item for each channel of each peer; all extensions where none is named.
    pub(crate) fn status_of_peers(&self, command: &Command) -> String {
        let mut named: Vec<&str> = peers(command).collect();
        if named.is_empty() {
            named = self.office.extensions.iter().map(|extension| extension.short.as_str()).collect();
        }
        let mut event = Event::result("GETSTATUSPEERS");
        for peer in named {
            let Some(extension) = self.office.extension(peer) else { continue };
            let channels = self.channels_of(&extension.id);
            if channels.is_empty() && self.office.convention.status_lists_idle {
                event = event.field(&extension.short, "Down:");
            }
            for (state, application) in channels {
                event = event.field(&extension.short, format_args!("{state}:{application}"));
            }
        }
        event.text()
    }

    /// State and application of each channel of a desk.
    fn channels_of(&self, extension: &str) -> Vec<(&'static str, String)> {
        let mut channels = Vec::new();
        for call in self.calls.values() {
            if call.to.party.is_desk(extension) {
                channels.push(match call.stage {
                    // The document's own cut: "Line))" is missing.
                    Stage::Ringing => ("Ringing", "AppDial((Outgoing".into()),
                    Stage::Talking => ("Up", format!("Link_Channel({})", call.from.channel)),
                });
            }
            if call.from.party.is_desk(extension) {
                let peer = match &call.to.party {
                    Party::Desk(id) => format!("SIP/{id}"),
                    Party::Outside { number, .. } => format!("SIP/{number}@{}", self.office.gateway_out),
                };
                let state = if call.stage == Stage::Ringing { "Ring" } else { "Up" };
                // Cut after the time, with its bars.
                channels.push((state, format!("Dial({peer}|90|")));
            }
        }
        for (name, room) in &self.rooms {
            if room.members.iter().any(|leg| leg.party.is_desk(extension)) {
                channels.push(("Up", format!("MeetMe({name}")));
            }
            if room.invited.iter().any(|invited| invited.leg.party.is_desk(extension)) {
                channels.push(("Ringing", "AppDial((Outgoing".into()));
            }
        }
        channels
    }
}
