//! A desk phone: registers, calls, rings, answers, holds, transfers, hangs up. It sends no sound.
//!
//! Source: RFC 3261 over UDP; RFC 3264 for hold; RFC 3515 and 3891 for transfers.
//! Shape: one task reads the socket, answers what needs no decision, and hands the rest to the [`Call`] or the
//! request it belongs to. A test awaits states of a call; nothing here sleeps.
//! Bounds: every wait ends after [`PATIENCE`] with a panic that says who waited for what.
//! Not supported: forking, PRACK, TCP; a request is repeated, a response only when asked again.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use asterisk_lab::SIP_PORT;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::sip::{Credentials, Message, Start, address, parameter};
use crate::{PATIENCE, awaited};

/// First pause before a request is sent again, as RFC 3261's T1; it doubles.
const REPEAT: Duration = Duration::from_millis(500);

pub(crate) struct Phone {
    line: Arc<Line>,
    incoming: tokio::sync::Mutex<mpsc::UnboundedReceiver<Call>>,
    reader: JoinHandle<()>,
}

impl Phone {
    /// One of the desk phones, not registered yet.
    pub(crate) async fn new(number: &str) -> Self {
        Self::at(number, "127.0.0.1:0", Manners::AsTold).await
    }

    /// A desk phone that is registered.
    pub(crate) async fn registered(number: &str) -> Self {
        let phone = Self::new(number).await;
        phone.register().await;
        phone
    }

    /// The far end of the outside line: the PBX knows it by its address.
    pub(crate) async fn outside_line() -> Self {
        Self::at("0401234567", "127.0.0.2:15070", Manners::AsTold).await
    }

    /// One machine that answers for all storm phones.
    pub(crate) async fn answering_machine() -> Self {
        Self::at("storm", "127.0.0.5:15080", Manners::AnswersAtOnce).await
    }

    async fn at(number: &str, bind: &str, manners: Manners) -> Self {
        let socket = UdpSocket::bind(bind).await.unwrap_or_else(|error| panic!("phone {number} at {bind}: {error}"));
        let local = socket.local_addr().unwrap();
        let (ring, incoming) = mpsc::unbounded_channel();
        let line = Arc::new(Line {
            number: number.to_owned(),
            local,
            server: SocketAddr::from(([127, 0, 0, 1], SIP_PORT)),
            manners,
            socket,
            ring,
            awaiting: Mutex::default(),
            calls: Mutex::new(Some(HashMap::new())),
            answers: Mutex::default(),
            counter: Mutex::new(0),
        });
        let reader = tokio::spawn(Arc::clone(&line).read());
        Self { line, incoming: tokio::sync::Mutex::new(incoming), reader }
    }

    pub(crate) async fn register(&self) {
        self.line.register(3600).await;
    }

    pub(crate) async fn unregister(&self) {
        self.line.register(0).await;
    }

    /// Dials; the call goes on by itself, its states are awaited with [`Call`]'s own words.
    pub(crate) fn call(&self, number: &str) -> Call {
        let line = &self.line;
        let target = format!("sip:{number}@{}", line.server);
        let local = format!("<sip:{}@{}>;tag={}", line.number, line.local.ip(), line.word());
        let remote = format!("<sip:{number}@{}>", line.server.ip());
        let call = Call::new(line, line.word(), Dialog { local, remote, target, ..Dialog::default() }, None);
        tokio::spawn(call.clone().dial());
        call
    }

    /// The next call that reaches this phone.
    pub(crate) async fn incoming(&self) -> Call {
        let mut incoming = self.incoming.lock().await;
        let call = awaited(&format!("a call at phone {}", self.line.number), incoming.recv()).await;
        call.expect("the reader lives as long as the phone")
    }

    /// The next call that reaches this phone, ringing.
    pub(crate) async fn rings(&self) -> Call {
        let call = self.incoming().await;
        call.ring().await;
        call
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        self.reader.abort();
        // A call holds its line, and the line its calls: without this the socket and its port outlive the phone.
        // The reader may be at work on another one this moment, so the place for calls goes with them.
        self.line.calls.lock().unwrap().take();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manners {
    AsTold,
    AnswersAtOnce,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CallState {
    Trying,
    Ringing,
    Up,
    /// The code that ended it: 200 for a hang-up.
    Ended(u16),
}

/// One call of one phone.
#[derive(Clone)]
pub(crate) struct Call(Arc<Inner>);

struct Inner {
    line: Arc<Line>,
    id: String,
    dialog: Mutex<Dialog>,
    state: watch::Sender<CallState>,
    /// What the PBX told about a transfer we asked for: the last code.
    transfer: watch::Sender<Option<u16>>,
    invited_by: Option<Message>,
}

#[derive(Clone, Default)]
struct Dialog {
    local: String,
    remote: String,
    target: String,
    cseq: u32,
    invite_branch: String,
}

impl Call {
    fn new(line: &Arc<Line>, id: String, dialog: Dialog, invited_by: Option<Message>) -> Self {
        let (state, transfer) = (watch::Sender::new(CallState::Trying), watch::Sender::new(None));
        let inner = Inner { line: Arc::clone(line), id, dialog: Mutex::new(dialog), state, transfer, invited_by };
        let call = Self(Arc::new(inner));
        if let Some(calls) = &mut *line.calls.lock().unwrap() {
            calls.insert(call.0.id.clone(), call.clone());
        }
        call
    }

    // ---- what a person at the phone notices

    /// The far end rings.
    pub(crate) async fn rings_there(&self) {
        self.state_is(|state| matches!(state, CallState::Ringing | CallState::Up)).await;
    }

    pub(crate) async fn is_up(&self) {
        self.state_is(|state| state == CallState::Up).await;
    }

    /// The call is over; tells why: 200 hung up, 486 busy, 487 cancelled, ….
    pub(crate) async fn is_over(&self) -> u16 {
        match self.state_is(|state| matches!(state, CallState::Ended(_))).await {
            CallState::Ended(code) => code,
            _ => unreachable!("the wait was for this state"),
        }
    }

    async fn state_is(&self, wanted: impl Fn(CallState) -> bool) -> CallState {
        let mut state = self.0.state.subscribe();
        let what = format!("another state of the call at phone {} than {:?}", self.0.line.number, *state.borrow());
        *awaited(&what, state.wait_for(|state| wanted(*state))).await.expect("the call is held here")
    }

    // ---- what a person at the phone does

    pub(crate) async fn ring(&self) {
        self.reply_to_invite(180, "Ringing", "").await;
        self.0.state.send_replace(CallState::Ringing);
    }

    pub(crate) async fn answer(&self) {
        self.reply_to_invite(200, "OK", &self.0.line.sdp("sendrecv")).await;
        self.0.state.send_replace(CallState::Up);
    }

    pub(crate) async fn reject_busy(&self) {
        self.reply_to_invite(486, "Busy Here", "").await;
        self.0.state.send_replace(CallState::Ended(486));
    }

    pub(crate) async fn hang_up(&self) {
        self.request("BYE", "", "").await;
        self.0.state.send_replace(CallState::Ended(200));
    }

    /// Gives up while it still rings there.
    pub(crate) async fn cancel(&self) {
        let line = &self.0.line;
        let dialog = self.0.dialog.lock().unwrap().clone();
        let text = line.head(
            &format!("CANCEL {} SIP/2.0", dialog.target),
            &dialog.invite_branch,
            &dialog,
            &self.0.id,
            &format!("{} CANCEL", dialog.cseq),
        );
        line.send(&format!("{text}Content-Length: 0\r\n\r\n")).await;
    }

    pub(crate) async fn hold(&self) {
        self.reinvite("sendonly").await;
    }

    pub(crate) async fn retrieve(&self) {
        self.reinvite("sendrecv").await;
    }

    async fn reinvite(&self, direction: &str) {
        let line = &self.0.line;
        let answer = self.request("INVITE", "Content-Type: application/sdp\r\n", &line.sdp(direction)).await;
        assert_eq!(answer.code(), Some(200), "phone {}: hold or retrieve", line.number);
        self.acknowledge(&answer).await;
    }

    /// Sends the other party to `number`, without asking there first; what comes of it is [`Call::is_transferred`].
    pub(crate) async fn transfer_to(&self, number: &str) {
        let server = self.0.line.server;
        self.refer(&format!("<sip:{number}@{server}>")).await;
    }

    /// The PBX tells that a transfer of ours led somewhere: at once after asking, else when it is answered there.
    pub(crate) async fn is_transferred(&self) {
        let line = &self.0.line;
        let mut told = self.0.transfer.subscribe();
        let what = format!("the end of the transfer by phone {}", line.number);
        let code = *awaited(&what, told.wait_for(|code| code.is_some_and(|code| code >= 200))).await.unwrap();
        assert_eq!(code, Some(200), "phone {}: transfer failed", line.number);
    }

    /// Joins the parties of two calls of this phone.
    pub(crate) async fn transfer_into(&self, consultation: &Call) {
        let other = consultation.0.dialog.lock().unwrap().clone();
        let (to, from) = (parameter(&other.remote, "tag"), parameter(&other.local, "tag"));
        let replaces =
            format!("{};to-tag={};from-tag={}", consultation.0.id, to.unwrap_or_default(), from.unwrap_or_default());
        let replaces = replaces.replace('@', "%40").replace(';', "%3B").replace('=', "%3D");
        self.refer(&format!("<{}?Replaces={replaces}>", other.target)).await;
    }

    async fn refer(&self, to: &str) {
        let line = &self.0.line;
        let more = format!("Refer-To: {to}\r\nReferred-By: <sip:{}@{}>\r\n", line.number, line.local.ip());
        let answer = self.request("REFER", &more, "").await;
        assert_eq!(answer.code(), Some(202), "phone {}: transfer refused", line.number);
    }

    // ---- how it is said in SIP

    async fn dial(self) {
        let line = Arc::clone(&self.0.line);
        let body = line.sdp("sendrecv");
        let answer = line.request(Some(&self), "INVITE", "Content-Type: application/sdp\r\n", &body).await;
        match answer.code() {
            Some(200..300) => {
                self.join(&answer);
                self.acknowledge(&answer).await;
                self.0.state.send_replace(CallState::Up);
            }
            code => {
                self.0.state.send_replace(CallState::Ended(code.unwrap_or_default()));
            }
        }
    }

    /// Takes the far end's tag and contact from its answer.
    fn join(&self, answer: &Message) {
        let mut dialog = self.0.dialog.lock().unwrap();
        dialog.remote = answer.header("To").to_owned();
        dialog.target = address(answer.header("Contact")).to_owned();
    }

    async fn acknowledge(&self, answer: &Message) {
        let line = &self.0.line;
        let dialog = self.0.dialog.lock().unwrap().clone();
        let start = format!("ACK {} SIP/2.0", dialog.target);
        let text = line.head(&start, &line.branch(), &dialog, &self.0.id, &format!("{} ACK", answer.cseq().0));
        line.send(&format!("{text}Content-Length: 0\r\n\r\n")).await;
    }

    async fn request(&self, method: &str, more: &str, body: &str) -> Message {
        self.0.line.request(Some(self), method, more, body).await
    }

    async fn reply_to_invite(&self, code: u16, reason: &str, body: &str) {
        let invite = self.0.invited_by.as_ref().expect("only an incoming call is rung, answered or rejected");
        let tag = parameter(&self.0.dialog.lock().unwrap().local, "tag").unwrap_or_default().to_owned();
        self.0.line.reply(invite, code, reason, &tag, body).await;
    }

    /// A request of the far end within this call.
    async fn handle(&self, method: &str, message: &Message) {
        let line = &self.0.line;
        match method {
            "CANCEL" => {
                line.reply(message, 200, "OK", "", "").await;
                self.reply_to_invite(487, "Request Terminated", "").await;
                self.0.state.send_replace(CallState::Ended(487));
            }
            "BYE" => {
                line.reply(message, 200, "OK", "", "").await;
                self.0.state.send_replace(CallState::Ended(200));
            }
            "INVITE" => line.reply(message, 200, "OK", "", &line.sdp("sendrecv")).await,
            "NOTIFY" => {
                let code = message.body.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)?.parse().ok());
                if code.is_some() {
                    self.0.transfer.send_replace(code);
                }
                line.reply(message, 200, "OK", "", "").await;
            }
            _ => line.reply(message, 200, "OK", "", "").await,
        }
    }
}

/// Branch and method: a CANCEL has the branch of the INVITE it ends, and an answer of its own.
type TransactionKey = (String, String);

fn transaction_key(branch: &str, method: &str) -> TransactionKey {
    (branch.to_owned(), method.to_owned())
}

/// A phone's socket and what is under way on it.
struct Line {
    number: String,
    local: SocketAddr,
    server: SocketAddr,
    manners: Manners,
    socket: UdpSocket,
    ring: mpsc::UnboundedSender<Call>,
    /// Requests of ours.
    awaiting: Mutex<HashMap<TransactionKey, mpsc::UnboundedSender<Message>>>,
    /// None once the phone is gone.
    calls: Mutex<Option<HashMap<String, Call>>>,
    /// What was answered to which request, for one that comes again.
    answers: Mutex<HashMap<(String, String), String>>,
    counter: Mutex<u64>,
}

impl Line {
    async fn read(self: Arc<Self>) {
        let mut datagram = vec![0; 64 * 1024];
        while let Ok(length) = self.socket.recv(&mut datagram).await {
            let Some(message) = Message::parse(&datagram[..length]) else { continue };
            match &message.start {
                Start::Response { .. } => self.take_response(message).await,
                Start::Request { method } => self.take_request(&method.clone(), message).await,
            }
        }
    }

    async fn take_response(&self, message: Message) {
        let waiting = message.branch().map(|branch| transaction_key(branch, message.cseq().1));
        let waiting = waiting.and_then(|key| self.awaiting.lock().unwrap().get(&key).cloned());
        if let Some(waiting) = waiting {
            waiting.send(message).ok();
        } else if message.cseq().1 == "INVITE" && matches!(message.code(), Some(200..300)) {
            // It comes again when our acknowledgement was slow.
            let call = self.known_call(message.header("Call-ID"));
            if let Some(call) = call {
                call.acknowledge(&message).await;
            }
        }
    }

    async fn take_request(self: &Arc<Self>, method: &str, message: Message) {
        let id = message.header("Call-ID").to_owned();
        let again = self.answers.lock().unwrap().get(&(id.clone(), message.header("CSeq").to_owned())).cloned();
        if let Some(again) = again {
            return self.send(&again).await;
        }
        let call = self.known_call(&id);
        match (method, call) {
            ("ACK", _) => {}
            ("OPTIONS", _) => self.reply(&message, 200, "OK", &self.word(), "").await,
            ("INVITE", None) => self.take_call(id, message).await,
            (_, Some(call)) => call.handle(method, &message).await,
            (_, None) => self.reply(&message, 481, "Call Does Not Exist", &self.word(), "").await,
        }
    }

    fn known_call(&self, id: &str) -> Option<Call> {
        self.calls.lock().unwrap().as_ref()?.get(id).cloned()
    }

    async fn take_call(self: &Arc<Self>, id: String, invite: Message) {
        self.send(&self.response(&invite, 100, "Trying", "", "")).await;
        let dialog = Dialog {
            local: format!("{};tag={}", invite.header("To"), self.word()),
            remote: invite.header("From").to_owned(),
            target: address(invite.header("Contact")).to_owned(),
            ..Dialog::default()
        };
        let call = Call::new(self, id, dialog, Some(invite));
        match self.manners {
            Manners::AsTold => _ = self.ring.send(call),
            Manners::AnswersAtOnce => call.answer().await,
        }
    }

    async fn register(self: &Arc<Self>, seconds: u32) {
        let answer = self.request(None, "REGISTER", &format!("Expires: {seconds}\r\n"), "").await;
        assert_eq!(answer.code(), Some(200), "phone {} cannot register", self.number);
    }

    /// Sends a request until it is answered for good, with credentials where they are asked for.
    async fn request(&self, call: Option<&Call>, method: &str, more: &str, body: &str) -> Message {
        let mut authorization = String::new();
        loop {
            let (dialog, id) = self.next_request(call);
            let uri = dialog.target.clone();
            let branch = dialog.invite_branch.clone();
            let cseq = format!("{} {method}", dialog.cseq);
            let head = self.head(&format!("{method} {uri} SIP/2.0"), &branch, &dialog, &id, &cseq);
            let text = format!("{head}{authorization}{more}Content-Length: {}\r\n\r\n{body}", body.len());
            let what = format!("the answer to {method} of phone {}", self.number);
            let answer = awaited(&what, self.transaction(call, &branch, &text, method)).await;
            let code = answer.code().unwrap_or_default();
            if method == "INVITE" && code >= 300 {
                let refused = Dialog { remote: answer.header("To").to_owned(), ..dialog.clone() };
                let ack =
                    self.head(&format!("ACK {uri} SIP/2.0"), &branch, &refused, &id, &format!("{} ACK", dialog.cseq));
                self.send(&format!("{ack}Content-Length: 0\r\n\r\n")).await;
            }
            if !matches!(code, 401 | 407) || !authorization.is_empty() {
                return answer;
            }
            let (ask, tell) = if code == 401 {
                ("WWW-Authenticate", "Authorization")
            } else {
                ("Proxy-Authenticate", "Proxy-Authorization")
            };
            let password = format!("pw-{}", self.number);
            let credentials = Credentials { user: &self.number, password: &password };
            authorization =
                format!("{tell}: {}\r\n", credentials.answer(answer.header(ask), method, &uri, &self.word()));
        }
    }

    /// A fresh branch and number for a request, in its call's dialog or alone.
    fn next_request(&self, call: Option<&Call>) -> (Dialog, String) {
        let branch = self.branch();
        match call {
            Some(call) => {
                let mut dialog = call.0.dialog.lock().unwrap();
                dialog.cseq += 1;
                dialog.invite_branch = branch;
                (dialog.clone(), call.0.id.clone())
            }
            None => {
                let me = format!("<sip:{}@{}>", self.number, self.server.ip());
                let local = format!("{me};tag={}", self.word());
                let cseq = u32::try_from(*self.counter.lock().unwrap()).unwrap_or(u32::MAX);
                let target = format!("sip:{}", self.server);
                (Dialog { local, remote: me, target, cseq, invite_branch: branch }, format!("register-{}", self.local))
            }
        }
    }

    async fn transaction(&self, call: Option<&Call>, branch: &str, text: &str, method: &str) -> Message {
        let (answers, mut answered) = mpsc::unbounded_channel();
        let key = transaction_key(branch, method);
        self.awaiting.lock().unwrap().insert(key.clone(), answers);
        let mut pause = REPEAT;
        let mut heard = false;
        self.send(text).await;
        loop {
            let next = if heard { Ok(answered.recv().await) } else { timeout(pause, answered.recv()).await };
            let Ok(answer) = next else {
                pause *= 2;
                self.send(text).await;
                continue;
            };
            let answer = answer.expect("the sender is in the map");
            heard = heard || method == "INVITE";
            match answer.code() {
                Some(180 | 183) => {
                    if let Some(call) = call {
                        call.0.state.send_if_modified(|state| {
                            let rings = *state == CallState::Trying;
                            if rings {
                                *state = CallState::Ringing;
                            }
                            rings
                        });
                    }
                }
                Some(100..200) => {}
                _ => {
                    self.awaiting.lock().unwrap().remove(&key);
                    return answer;
                }
            }
        }
    }

    async fn reply(&self, request: &Message, code: u16, reason: &str, tag: &str, body: &str) {
        let text = self.response(request, code, reason, tag, body);
        let key = (request.header("Call-ID").to_owned(), request.header("CSeq").to_owned());
        self.answers.lock().unwrap().insert(key, text.clone());
        self.send(&text).await;
    }

    fn response(&self, request: &Message, code: u16, reason: &str, tag: &str, body: &str) -> String {
        let mut text = format!("SIP/2.0 {code} {reason}\r\n");
        for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"] {
            for value in request.headers(name) {
                let tagged = name == "To" && !tag.is_empty() && parameter(value, "tag").is_none();
                let tag = if tagged { format!(";tag={tag}") } else { String::new() };
                text.push_str(&format!("{name}: {value}{tag}\r\n"));
            }
        }
        text.push_str(&format!("Contact: {}\r\n", self.contact()));
        if !body.is_empty() {
            text.push_str("Content-Type: application/sdp\r\n");
        }
        text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        text
    }

    fn head(&self, start: &str, branch: &str, dialog: &Dialog, id: &str, cseq: &str) -> String {
        format!(
            "{start}\r\nVia: SIP/2.0/UDP {};branch={branch};rport\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\n\
             Call-ID: {id}\r\nCSeq: {cseq}\r\nContact: {}\r\nSupported: replaces\r\n\
             Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, NOTIFY, REFER\r\n",
            self.local,
            dialog.local,
            dialog.remote,
            self.contact()
        )
    }

    fn contact(&self) -> String {
        format!("<sip:{}@{}>", self.number, self.local)
    }

    /// An offer or answer of one G.711 stream, to a port nobody listens at: the PBX needs no sound.
    fn sdp(&self, direction: &str) -> String {
        let ip = self.local.ip();
        format!(
            "v=0\r\no=phone {0} {0} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n\
             a=rtpmap:0 PCMU/8000\r\na={direction}\r\n",
            self.count()
        )
    }

    async fn send(&self, text: &str) {
        self.socket.send_to(text.as_bytes(), self.server).await.ok();
    }

    fn branch(&self) -> String {
        format!("z9hG4bK{}", self.word())
    }

    /// A word no other phone of the run uses.
    fn word(&self) -> String {
        format!("{}x{}x{}", self.number, self.local.port(), self.count())
    }

    fn count(&self) -> u64 {
        let mut counter = self.counter.lock().unwrap();
        *counter += 1;
        *counter
    }
}

const _: () = assert!(REPEAT.as_millis() < PATIENCE.as_millis());
