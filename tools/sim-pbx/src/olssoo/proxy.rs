//! The proxy between AMI and WebSocket: one connection to each PBX, any number of clients, everybody hears everything.
//!
//! Source: protocol 4.3.
//! Shape: pure. Bytes of AMI connections and frames of clients in, bytes and frames out. The proxy logs in by itself;
//! whatever AMI says goes to every client, answers to other clients' actions and to the login included. A client has
//! no login and is told nothing when AMI is lost; its actions meanwhile go nowhere.
//! Orders of a test: [`Proxy::refuse_next`], [`Proxy::ignore_next`].
//! Bounds: [`PROXY_CLIENTS_MAX`], [`CLIENT_BYTES_MAX`] (past it the client is cut), [`UPSTREAM_BYTES_MAX`] (past it
//! requests are dropped), [`REMEMBERED_MAX`], [`ORDERS_MAX`].

use std::collections::{BTreeMap, VecDeque};

use super::envelope::{Origin, Wanted, wrap};
use super::packet::{Packet, PacketKind, Packets};
use crate::limits::{CLIENT_BYTES_MAX, ORDERS_MAX, PROXY_CLIENTS_MAX, REMEMBERED_MAX, UPSTREAM_BYTES_MAX};

/// A WebSocket client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// The name and login of one AMI connection.
#[derive(Clone)]
pub struct AmiAccount {
    /// `server_name` of its frames.
    pub name: String,
    pub user: String,
    pub secret: String,
    /// What `ssl` of its frames says.
    pub ssl: bool,
}

impl AmiAccount {
    pub fn new(name: &str, user: &str, secret: &str) -> Self {
        Self { name: name.into(), user: user.into(), secret: secret.into(), ssl: false }
    }
}

impl std::fmt::Debug for AmiAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AmiAccount").field("name", &self.name).field("user", &self.user).finish_non_exhaustive()
    }
}

/// What was received and said so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub clients_opened: u64,
    pub clients_cut: u64,
    pub frames_in: u64,
    /// Frames that are no JSON object.
    pub frames_unreadable: u64,
    /// Frames for a PBX that was not connected, or whose queue was full.
    pub frames_lost: u64,
    pub frames_out: u64,
    pub ami_logins: u64,
    pub ami_losses: u64,
    pub ami_packets: u64,
    /// AMI packets that were malformed or too long.
    pub ami_dropped: u64,
}

/// The pure proxy.
#[derive(Debug)]
pub struct Proxy {
    upstreams: Vec<Upstream>,
    clients: BTreeMap<ClientId, Client>,
    /// The banner of AMI is broadcast too, as type 1.
    pub says_banner: bool,
    orders: VecDeque<(String, Order)>,
    received: VecDeque<String>,
    heard: VecDeque<(usize, Packet)>,
    counts: Counts,
}

#[derive(Debug)]
struct Upstream {
    account: AmiAccount,
    origin: Origin,
    packets: Packets,
    connected: bool,
    to_send: Vec<u8>,
}

#[derive(Debug, Default)]
struct Client {
    frames: VecDeque<String>,
    size: usize,
    cut: bool,
}

#[derive(Debug)]
enum Order {
    Refuse(String),
    Ignore,
}

impl Proxy {
    /// Server ids are given from 1, in the order of `accounts`.
    pub fn new(accounts: impl IntoIterator<Item = AmiAccount>) -> Self {
        let upstream = |(index, account): (usize, AmiAccount)| Upstream {
            origin: Origin { server_id: index + 1, server_name: account.name.clone(), ssl: account.ssl },
            account,
            packets: Packets::default(),
            connected: false,
            to_send: Vec::new(),
        };
        Self {
            upstreams: accounts.into_iter().enumerate().map(upstream).collect(),
            clients: BTreeMap::new(),
            says_banner: false,
            orders: VecDeque::new(),
            received: VecDeque::new(),
            heard: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    // ---- clients -------------------------------------------------------------------------------

    /// `None` where [`PROXY_CLIENTS_MAX`] is reached.
    pub fn open_client(&mut self) -> Option<ClientId> {
        if self.clients.len() >= PROXY_CLIENTS_MAX {
            return None;
        }
        let id = ClientId(self.counts.clients_opened);
        self.counts.clients_opened += 1;
        self.clients.insert(id, Client::default());
        Some(id)
    }

    pub fn close_client(&mut self, id: ClientId) {
        self.clients.remove(&id);
    }

    pub fn client_count(&self) -> usize {
        self.clients.len()
    }

    /// A text frame of a client.
    pub fn handle_frame(&mut self, text: &str) {
        self.counts.frames_in += 1;
        remember(&mut self.received, text.to_owned());
        let Some(wanted) = Wanted::read(text) else {
            self.counts.frames_unreadable += 1;
            return;
        };
        let order = wanted.value("Action").and_then(|action| self.take_order(action));
        let request = wanted.request();
        for index in 0..self.upstreams.len() {
            let upstream = &mut self.upstreams[index];
            let selected = wanted.server_id.as_ref().is_none_or(|id| *id == upstream.origin.server_id.to_string());
            if !selected {
                continue;
            }
            match &order {
                Some(Order::Refuse(text)) => self.refuse(index, &wanted, text.clone()),
                Some(Order::Ignore) => {}
                None if upstream.connected && upstream.to_send.len() + request.len() <= UPSTREAM_BYTES_MAX => {
                    upstream.to_send.extend_from_slice(request.as_bytes());
                }
                None => self.counts.frames_lost += 1,
            }
        }
    }

    /// The next frame for a client.
    pub fn poll_frame(&mut self, id: ClientId) -> Option<String> {
        let client = self.clients.get_mut(&id)?;
        let frame = client.frames.pop_front()?;
        client.size -= frame.len();
        self.counts.frames_out += 1;
        Some(frame)
    }

    /// True for a client that read too slowly; its connection ends.
    pub fn is_cut(&self, id: ClientId) -> bool {
        self.clients.get(&id).is_none_or(|client| client.cut)
    }

    // ---- AMI -----------------------------------------------------------------------------------

    pub fn upstream_count(&self) -> usize {
        self.upstreams.len()
    }

    /// The connection to AMI number `index` (from 0) stands; the login goes out.
    pub fn ami_opened(&mut self, index: usize) {
        let Some(upstream) = self.upstreams.get_mut(index) else { return };
        (upstream.connected, upstream.packets) = (true, Packets::default());
        let AmiAccount { user, secret, .. } = &upstream.account;
        upstream.to_send = format!("Action: Login\r\nUsername: {user}\r\nSecret: {secret}\r\n\r\n").into_bytes();
        self.counts.ami_logins += 1;
    }

    /// The connection is gone; nobody is told.
    pub fn ami_lost(&mut self, index: usize) {
        let Some(upstream) = self.upstreams.get_mut(index) else { return };
        if std::mem::replace(&mut upstream.connected, false) {
            self.counts.ami_losses += 1;
        }
        upstream.to_send.clear();
    }

    pub fn is_connected(&self, index: usize) -> bool {
        self.upstreams.get(index).is_some_and(|upstream| upstream.connected)
    }

    /// Bytes from AMI; what they say is broadcast.
    pub fn handle_ami(&mut self, index: usize, bytes: &[u8]) {
        let Some(upstream) = self.upstreams.get_mut(index) else { return };
        let before = upstream.packets.dropped();
        let packets = upstream.packets.handle_bytes(bytes);
        self.counts.ami_dropped += upstream.packets.dropped() - before;
        for packet in packets {
            self.counts.ami_packets += 1;
            if packet.kind != PacketKind::Prompt || self.says_banner {
                self.broadcast(index, &packet);
            }
            remember(&mut self.heard, (index, packet));
        }
    }

    /// The next bytes for AMI.
    pub fn poll_ami(&mut self, index: usize) -> Option<Vec<u8>> {
        let upstream = self.upstreams.get_mut(index)?;
        (!upstream.to_send.is_empty()).then(|| std::mem::take(&mut upstream.to_send))
    }

    /// A request of the PBX's own services, beside those of clients. False where AMI is not connected.
    pub fn send_ami(&mut self, index: usize, request: &str) -> bool {
        let Some(upstream) = self.upstreams.get_mut(index) else { return false };
        let room = upstream.connected && upstream.to_send.len() + request.len() <= UPSTREAM_BYTES_MAX;
        if room {
            upstream.to_send.extend_from_slice(request.as_bytes());
        }
        room
    }

    // ---- a test's hand -------------------------------------------------------------------------

    /// The next `action` of a client is answered with an error of this text instead of being done.
    pub fn refuse_next(&mut self, action: &str, text: &str) {
        self.order(action, Order::Refuse(text.into()));
    }

    /// The next `action` of a client gets no answer and is not done.
    pub fn ignore_next(&mut self, action: &str) {
        self.order(action, Order::Ignore);
    }

    /// Frames received from clients, the newest last; the oldest are forgotten.
    pub fn received(&self) -> impl Iterator<Item = &str> {
        self.received.iter().map(String::as_str)
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Packets that AMI said since the last time, by number of connection from 0.
    pub(crate) fn take_heard(&mut self) -> VecDeque<(usize, Packet)> {
        std::mem::take(&mut self.heard)
    }

    fn order(&mut self, action: &str, order: Order) {
        if self.orders.len() >= ORDERS_MAX {
            self.orders.pop_front();
        }
        self.orders.push_back((action.to_ascii_lowercase(), order));
    }

    fn take_order(&mut self, action: &str) -> Option<Order> {
        let at = self.orders.iter().position(|(name, _)| name.eq_ignore_ascii_case(action))?;
        self.orders.remove(at).map(|(_, order)| order)
    }

    fn refuse(&mut self, index: usize, wanted: &Wanted, text: String) {
        let mut pairs = vec![("Response".to_owned(), "Error".to_owned())];
        pairs.extend(wanted.value("ActionID").map(|id| ("ActionID".to_owned(), id.to_owned())));
        pairs.push(("Message".to_owned(), text));
        self.broadcast(index, &Packet { kind: PacketKind::Response, pairs });
    }

    fn broadcast(&mut self, index: usize, packet: &Packet) {
        let frame = wrap(&self.upstreams[index].origin, packet);
        for client in self.clients.values_mut().filter(|client| !client.cut) {
            if client.size + frame.len() > CLIENT_BYTES_MAX {
                client.cut = true;
                self.counts.clients_cut += 1;
                client.frames.clear();
                client.size = 0;
                continue;
            }
            client.size += frame.len();
            client.frames.push_back(frame.clone());
        }
    }
}

/// Keeps the newest [`REMEMBERED_MAX`].
pub(crate) fn remember<T>(kept: &mut VecDeque<T>, newest: T) {
    if kept.len() >= REMEMBERED_MAX {
        kept.pop_front();
    }
    kept.push_back(newest);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy() -> Proxy {
        Proxy::new([AmiAccount::new("one", "gw", "s1"), AmiAccount::new("two", "gw", "s2")])
    }

    fn frames(proxy: &mut Proxy, id: ClientId) -> Vec<String> {
        std::iter::from_fn(|| proxy.poll_frame(id)).collect()
    }

    #[test]
    fn everything_ami_says_goes_to_every_client() {
        let mut proxy = proxy();
        let (a, b) = (proxy.open_client().unwrap(), proxy.open_client().unwrap());
        proxy.ami_opened(1);
        assert_eq!(proxy.poll_ami(1).unwrap(), b"Action: Login\r\nUsername: gw\r\nSecret: s2\r\n\r\n");
        proxy.handle_ami(1, b"Asterisk Call Manager/1.1\r\nResponse: Success\r\nActionID: of somebody else\r\n\r\n");
        let expected = r#"{"type":4,"server_id":2,"server_name":"two","ssl":false,"data":{"Response":"Success","ActionID":"of somebody else"}}"#;
        assert_eq!(frames(&mut proxy, a), [expected]);
        assert_eq!(frames(&mut proxy, b), [expected]);
    }

    #[test]
    fn the_banner_is_said_where_ordered() {
        let mut proxy = proxy();
        proxy.says_banner = true;
        let id = proxy.open_client().unwrap();
        proxy.handle_ami(0, b"Asterisk Call Manager/1.1\r\n");
        assert!(frames(&mut proxy, id)[0].starts_with("{\"type\":1,"));
    }

    #[test]
    fn a_server_id_selects_one_pbx_and_its_absence_all() {
        let mut proxy = proxy();
        proxy.ami_opened(0);
        proxy.ami_opened(1);
        assert!(proxy.poll_ami(0).is_some() && proxy.poll_ami(1).is_some());
        proxy.handle_frame(r#"{"Action":"Ping","AMIServerID":2}"#);
        assert_eq!(proxy.poll_ami(0), None);
        assert_eq!(proxy.poll_ami(1).unwrap(), b"Action: Ping\r\n\r\n");
        proxy.handle_frame(r#"{"type":2,"server_id":1,"server_name":"one","ssl":false,"data":{"Action":"Ping"}}"#);
        let enveloped = b"type: 2\r\nserver_id: 1\r\nserver_name: one\r\nssl: false\r\nAction: Ping\r\n\r\n";
        assert_eq!(proxy.poll_ami(0).unwrap(), enveloped);
        assert_eq!(proxy.poll_ami(1).unwrap(), enveloped);
    }

    #[test]
    fn while_ami_is_lost_actions_go_nowhere_and_nobody_is_told() {
        let mut proxy = proxy();
        let id = proxy.open_client().unwrap();
        proxy.ami_opened(0);
        proxy.poll_ami(0);
        proxy.ami_lost(0);
        proxy.handle_frame(r#"{"Action":"Ping","AMIServerID":"1"}"#);
        assert_eq!((proxy.poll_ami(0), frames(&mut proxy, id).len()), (None, 0));
        assert_eq!((proxy.counts().frames_lost, proxy.counts().ami_losses), (1, 1));
        proxy.ami_opened(0);
        assert!(proxy.poll_ami(0).unwrap().starts_with(b"Action: Login"));
    }

    #[test]
    fn an_ordered_refusal_answers_in_the_pbx_s_place_once() {
        let mut proxy = proxy();
        let id = proxy.open_client().unwrap();
        proxy.ami_opened(0);
        proxy.poll_ami(0);
        proxy.refuse_next("Hangup", "No such channel");
        proxy.handle_frame(r#"{"Action":"hangup","ActionID":"7","AMIServerID":1}"#);
        assert_eq!(proxy.poll_ami(0), None);
        let said = frames(&mut proxy, id);
        assert!(said[0].ends_with(r#""data":{"Response":"Error","ActionID":"7","Message":"No such channel"}}"#));
        proxy.handle_frame(r#"{"Action":"Hangup","AMIServerID":1}"#);
        assert!(proxy.poll_ami(0).is_some());
    }

    #[test]
    fn a_client_that_reads_too_slowly_is_cut() {
        let mut proxy = proxy();
        let id = proxy.open_client().unwrap();
        let event = format!("Event: Big\r\nText: {}\r\n\r\n", "x".repeat(10_000));
        while !proxy.is_cut(id) {
            proxy.handle_ami(0, event.as_bytes());
        }
        assert_eq!(proxy.counts().clients_cut, 1);
        assert!(proxy.counts().ami_packets as usize > CLIENT_BYTES_MAX / 20_000);
    }
}
