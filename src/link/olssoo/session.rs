//! One olssoo link: an AMI session, behind whichever door the address is.
//!
//! Source: the protocol document, sections 4 and 8.6; the AMI machine is [`crate::link::ami::session`].
//! Shape: over `tcp://` and `tls://` every byte goes through. Over `ws://` and `wss://` a message is one envelope or
//! more: it is opened, what is another PBX's or another client's is left out, and the AMI message in it is handed on;
//! what the AMI session sends is put into an envelope. The proxy is logged in already, so a first Ping answered is the
//! login. Each AMI Ping goes with one of the WebSocket's own: where only that is answered, the proxy has lost its AMI.
//! Several PBXs behind one proxy are told apart by `server_id`; where that is not configured and two of them speak, the
//! link goes down rather than mix two PBXs' calls.
//! Raw actions that would end or silence the proxy's one AMI connection for all its clients are refused.
//! Bounds: those of [`codec`](super::codec) and of the AMI session.

use std::collections::{BTreeMap, VecDeque};

use super::codec::{self, Content, Encoding, Envelope};
use super::service::{RestSide, SERVICES};
use super::translate;
use crate::clock::Instant;
use crate::config::{self, ActionForm, OlssooLink};
use crate::event::LinkId;
use crate::limits::AMI_SAID_BYTES_MAX;
use crate::link::ami;
use crate::link::ami::codec::Message;
use crate::link::known::Known;
use crate::link::service::{Service, ServiceCall, ServiceFault, bad};
use crate::link::session::{Abilities, HttpFailed, HttpResponse, RequestId, Tally, Tells, Transport};
use crate::link::{Down, Output};

/// What this PBX tells: what its Asterisk does.
pub const TELLS: Tells = ami::TELLS;

/// What came through the proxy and was not for us, since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Of PBXs that this link is not for.
    pub other_servers: u64,
    /// Other clients' actions.
    pub actions: u64,
    /// Banners of the proxy's own connection.
    pub prompts: u64,
    pub queue_lists: u64,
    /// Of no type and with no key that says what they are.
    pub unknown: u64,
    /// Misprints put right.
    pub repairs: u64,
}

#[derive(Debug)]
pub struct Session {
    asterisk: ami::session::Session,
    encoding: Encoding,
    strict: bool,
    rest: Option<RestSide>,
    connection: Connection,
    outputs: VecDeque<Output>,
    counts: Counts,
}

/// What is known of the connection there is, or the last there was.
#[derive(Debug, Default)]
struct Connection {
    proxied: bool,
    up: bool,
    /// The PBX said anything at all.
    spoke: bool,
    /// When the WebSocket's own ping was last sent and answered.
    pinged: Option<Instant>,
    ponged: Option<Instant>,
    /// The first PBX that spoke, where none is configured.
    server: Option<u64>,
}

/// Actions that are about the connection itself, which behind a proxy is everybody's.
const OF_THE_CONNECTION: [&str; 4] = ["Login", "Logoff", "Challenge", "Events"];

impl Session {
    pub fn new(link: LinkId, common: &config::Link, site: &OlssooLink, known: Known, seed: u64) -> Self {
        let asterisk = ami::configured(&link, common, &site.ami, known, seed, |model| {
            model.endpoints.clone_from(&site.endpoints);
            model.announced = Some(translate::announced);
        });
        let asterisk = asterisk.with_quiet_lists(site.list_quiet);
        let encoding = Encoding {
            bare: site.actions == ActionForm::Bare,
            strict_doc: site.strict_doc,
            server: site.server,
            server_name: site.server_name.clone(),
        };
        // Another stream of random numbers than the AMI session's, from the same seed.
        let rest = site.rest.clone().map(|rest| RestSide::new(rest, common.deadline, seed.rotate_left(32)));
        Self {
            asterisk,
            encoding,
            strict: site.strict,
            rest,
            connection: Connection::default(),
            outputs: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Events are coming and the snapshot is in.
    pub fn is_live(&self) -> bool {
        self.asterisk.is_live()
    }

    /// One WebSocket message.
    fn handle_frame(&mut self, bytes: &[u8], now: Instant) {
        let decoded = codec::decode(bytes, self.strict);
        self.counts.repairs += u64::from(decoded.repairs);
        for Envelope { server, content } in decoded.envelopes {
            if self.is_ours(server) {
                self.handle_content(content, now);
            }
        }
        for why in decoded.refused {
            self.asterisk.handle_unreadable(why);
        }
    }

    fn is_ours(&mut self, server: Option<u64>) -> bool {
        let Some(server) = server else { return true };
        if let Some(wanted) = self.encoding.server {
            let ours = server == u64::from(wanted);
            if !ours {
                self.counts.other_servers += 1;
                self.asterisk.count_noise(&format!("of server_id {server}"));
            }
            return ours;
        }
        let first = *self.connection.server.get_or_insert(server);
        if first != server {
            let found = format!(
                "expected one PBX behind the proxy, found server_id {first} and {server}; set `server` to the one this \
                 link is for"
            );
            self.asterisk.go_down(Down::Misbehaved { found });
        }
        first == server
    }

    fn handle_content(&mut self, content: Content, now: Instant) {
        match content {
            Content::Message(message) => self.asterisk.handle_proxied(&message, now),
            Content::Action => {
                self.counts.actions += 1;
                self.asterisk.count_noise("of other clients");
            }
            Content::Prompt => self.counts.prompts += 1,
            Content::QueueList(list) => {
                self.counts.queue_lists += 1;
                self.compare_queue(&list);
                self.asterisk.handle_other("QueueList", &list);
            }
            Content::Unknown(message) => {
                self.counts.unknown += 1;
                self.asterisk.handle_other("Unknown", &message);
            }
        }
    }

    /// A text list that counts otherwise than we do means that an event was lost.
    fn compare_queue(&mut self, list: &Message) {
        let Some((queue, waiting)) = translate::queue_waiting(list) else { return };
        let told = self.asterisk.known().queues.get(&queue).map(|told| told.waiting);
        if self.asterisk.is_live() && told.unwrap_or(0) != waiting {
            self.asterisk.ask_resync();
        }
    }

    /// Takes over what the AMI session wants done, in order.
    fn pump(&mut self, now: Instant) {
        while let Some(output) = crate::link::Session::poll_output(&mut self.asterisk) {
            match output {
                Output::Send(bytes) if self.connection.proxied => self.send(&bytes, now),
                Output::Up => {
                    self.connection.up = true;
                    self.outputs.push_back(Output::Up);
                    if let Some(rest) = &mut self.rest {
                        rest.ask_plan(&mut self.outputs);
                    }
                }
                Output::Event(event) => {
                    if let Some(rest) = &mut self.rest {
                        rest.notice(&event, &mut self.outputs);
                    }
                    self.outputs.push_back(Output::Event(event));
                }
                Output::Down(down) => {
                    self.connection.up = false;
                    self.outputs.push_back(Output::Down(self.seen_from_outside(down)));
                }
                other => self.outputs.push_back(other),
            }
        }
    }

    fn send(&mut self, bytes: &[u8], now: Instant) {
        let action = Message::parse(bytes);
        if action.get("Action") == Some(b"Ping") {
            self.connection.pinged = Some(now);
            self.outputs.push_back(Output::Ping);
        }
        self.outputs.push_back(Output::Send(self.encoding.encode(&action)));
    }

    /// Whose silence it is: the proxy's too, or only that of the AMI behind it; or that of a door of another kind.
    fn seen_from_outside(&self, down: Down) -> Down {
        let Connection { proxied, spoke, pinged, ponged, .. } = self.connection;
        match down {
            // A WebSocket server waits for the client to speak first, as AMI does not.
            Down::Silent { after } if !proxied && !spoke => {
                let waited = after.as_secs();
                let found = format!(
                    "expected AMI's banner, found nothing for {waited} s; if this is the proxy's WebSocket, its \
                     address begins with ws:// or wss://"
                );
                Down::Misbehaved { found }
            }
            Down::Silent { after } if proxied && pinged.is_some() && ponged >= pinged => {
                Down::SilentBehindProxy { after }
            }
            other => other,
        }
    }

    /// Why a raw action must not go through a proxy.
    fn refusal(&self, call: &ServiceCall) -> Option<ServiceFault> {
        if call.service != Service::Raw || !self.connection.proxied {
            return None;
        }
        let names = call.arguments.native.iter().filter(|(key, _)| key.eq_ignore_ascii_case("Action"));
        let name = names
            .filter_map(|(_, name)| name.as_str())
            .find(|name| OF_THE_CONNECTION.iter().any(|ours| name.trim().eq_ignore_ascii_case(ours)))?;
        let expected = "an action that leaves the proxy's AMI connection, which others share, as it is";
        Some(bad("native.Action", expected, format!("{name:?}")))
    }
}

impl crate::link::Session for Session {
    fn handle_connected(&mut self, address: &str, transport: Transport, now: Instant) {
        self.handle_closed(now);
        self.outputs.retain(|output| matches!(output, Output::Event(_) | Output::Served { .. }));
        let proxied = transport == Transport::WebSocket;
        self.connection = Connection { proxied, ..Connection::default() };
        match proxied {
            true => self.asterisk.handle_connected_behind_proxy(address, now),
            false => crate::link::Session::handle_connected(&mut self.asterisk, address, transport, now),
        }
        self.pump(now);
    }

    fn handle_bytes(&mut self, bytes: &[u8], now: Instant) {
        self.connection.spoke = true;
        match self.connection.proxied {
            true => self.handle_frame(bytes, now),
            false => crate::link::Session::handle_bytes(&mut self.asterisk, bytes, now),
        }
        self.pump(now);
    }

    fn handle_pong(&mut self, now: Instant) {
        self.connection.ponged = Some(now);
    }

    fn handle_close_code(&mut self, code: u16, reason: &str, now: Instant) {
        let reason: String = reason.chars().filter(|letter| !letter.is_control()).take(AMI_SAID_BYTES_MAX).collect();
        let colon = if reason.is_empty() { "" } else { ": " };
        let said = Some(format!("the proxy ended the WebSocket with code {code}{colon}{reason}"));
        self.asterisk.go_down(Down::Closed { said });
        self.pump(now);
    }

    fn handle_response(&mut self, id: RequestId, response: Result<HttpResponse, HttpFailed>, now: Instant) {
        if let Some(rest) = &mut self.rest {
            rest.handle_response(id, response, now, &mut self.outputs);
        }
    }

    fn handle_call(&mut self, call: ServiceCall, now: Instant) {
        let by_rest = self.rest.as_mut().filter(|_| SERVICES.contains(&call.service));
        match by_rest {
            Some(_) if !self.connection.up => {
                self.outputs.push_back(Output::Served { id: call.id, outcome: Err(ServiceFault::LinkDown) });
            }
            Some(rest) => rest.handle_call(call, self.asterisk.known(), now, &mut self.outputs),
            None => match self.refusal(&call) {
                Some(fault) => self.outputs.push_back(Output::Served { id: call.id, outcome: Err(fault) }),
                None => crate::link::Session::handle_call(&mut self.asterisk, call, now),
            },
        }
        self.pump(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        crate::link::Session::handle_timeout(&mut self.asterisk, now);
        self.pump(now);
        if let Some(rest) = &mut self.rest {
            rest.handle_timeout(now, &mut self.outputs);
        }
    }

    fn handle_closed(&mut self, now: Instant) {
        self.connection.up = false;
        crate::link::Session::handle_closed(&mut self.asterisk, now);
        if let Some(rest) = &mut self.rest {
            rest.handle_closed(&mut self.outputs);
        }
        self.pump(now);
    }

    fn handle_stop(&mut self, now: Instant) {
        crate::link::Session::handle_stop(&mut self.asterisk, now);
        self.pump(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let rest = self.rest.as_ref().and_then(RestSide::poll_timeout);
        [crate::link::Session::poll_timeout(&self.asterisk), rest].into_iter().flatten().min()
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn tally(&self) -> Tally {
        let of_asterisk = crate::link::Session::tally(&self.asterisk);
        let Counts { other_servers, actions, prompts, queue_lists, unknown, repairs: _ } = self.counts;
        Tally {
            messages: of_asterisk.messages + other_servers + actions + prompts + queue_lists + unknown,
            ..of_asterisk
        }
    }

    fn refused(&self) -> &str {
        crate::link::Session::refused(&self.asterisk)
    }

    fn warning(&self) -> Option<&str> {
        let of_rest = self.rest.as_ref().and_then(|rest| rest.warning.as_deref());
        of_rest.or_else(|| crate::link::Session::warning(&self.asterisk))
    }

    fn noise(&self) -> &BTreeMap<String, u64> {
        crate::link::Session::noise(&self.asterisk)
    }

    fn abilities(&self) -> Abilities {
        let mut services = crate::link::Session::abilities(&self.asterisk).services;
        if self.rest.is_some() {
            services.extend(SERVICES);
        }
        services.sort_unstable();
        services.dedup();
        Abilities { tells: TELLS, services }
    }
}
