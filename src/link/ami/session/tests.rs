use super::*;
use crate::clock::Clock;
use crate::event::DeviceState;
use crate::limits::{
    AMI_ACTIONS_PENDING_MAX, AMI_LIST_ITEMS_MAX, AMI_RESYNC_PAUSE, AMI_SNAPSHOT_EVENTS_MAX, AMI_SNAPSHOT_WAIT,
    AMI_STORM_BYTES,
};
use crate::link::ami::model::ModelSettings;
use crate::link::known::Known;
use crate::link::service::{Arguments, CallId, Outcome, Service, ServiceCall};

/// A session and its time; whatever it sends is kept as messages.
pub(crate) struct Bench {
    pub(crate) session: Session,
    pub(crate) now: Instant,
    pub(crate) sent: Vec<Message>,
    pub(crate) told: Vec<Event>,
    pub(crate) downs: Vec<Down>,
    pub(crate) ups: u32,
    pub(crate) served: Vec<(CallId, Outcome)>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let settings = SessionSettings {
            link: LinkId::new("front-desk"),
            user: "gw".into(),
            secret: Secret::new("hunter2"),
            login: LoginMethod::Plain,
            event_mask: "on".into(),
            heartbeat: Duration::from_secs(20),
            deadline: Duration::from_secs(10),
            resync_every: None,
        };
        let model = Model::new(ModelSettings::default(), settings.link.clone(), Known::default());
        Self {
            session: Session::new(settings, model, 1),
            now: Clock::system().now(),
            sent: Vec::new(),
            told: Vec::new(),
            downs: Vec::new(),
            ups: 0,
            served: Vec::new(),
        }
    }

    /// Logged in, its snapshot complete.
    pub(crate) fn live() -> Self {
        let mut bench = Self::new();
        bench.connect();
        bench.answer_lists();
        assert!(bench.session.is_live());
        bench.sent.clear();
        bench.told.clear();
        bench
    }

    /// Up to the first list.
    pub(crate) fn connect(&mut self) {
        self.session.handle_connected("10.0.4.2:5038", self.now);
        self.receive("Asterisk Call Manager/11.0.0\r\n");
        self.answer("Response: Success\nMessage: Authentication accepted");
        self.message("Event: FullyBooted\nPrivilege: system,all");
    }

    pub(crate) fn answer_lists(&mut self) {
        while !self.session.is_live() {
            self.answer("Response: Success\nEventList: start");
            self.answer("Event: Complete\nEventList: Complete\nListItems: 0");
        }
    }

    pub(crate) fn receive(&mut self, bytes: impl AsRef<[u8]>) {
        self.session.handle_bytes(bytes.as_ref(), self.now);
        self.drain();
    }

    pub(crate) fn message(&mut self, text: &str) {
        self.receive(text.replace('\n', "\r\n") + "\r\n\r\n");
    }

    /// A message with the ActionID of what was sent last.
    pub(crate) fn answer(&mut self, text: &str) {
        let id = self.last_id();
        self.message(&format!("{text}\nActionID: {id}"));
    }

    pub(crate) fn last_id(&self) -> String {
        self.sent.last().and_then(|sent| sent.text("ActionID")).unwrap().into_owned()
    }

    pub(crate) fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.session.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.session.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
        self.drain();
    }

    pub(crate) fn send(&mut self, action: Action) -> Result<ActionId, Refusal> {
        let id = self.session.send_action(action, self.now);
        self.drain();
        id
    }

    /// A service call; its outcome, where it has one at once.
    pub(crate) fn call(&mut self, service: Service, arguments: serde_json::Value) -> Option<Outcome> {
        let id = CallId(self.served.len() as u64 + 1);
        let arguments = Arguments::parse(arguments).unwrap();
        self.session.handle_call(ServiceCall { id, service, arguments }, self.now);
        self.drain();
        self.outcome()
    }

    /// The outcome of the call that ended last.
    pub(crate) fn outcome(&mut self) -> Option<Outcome> {
        self.served.pop().map(|(_, outcome)| outcome)
    }

    pub(crate) fn answers(&mut self) -> Vec<Answer> {
        std::iter::from_fn(|| self.session.poll_answer()).collect()
    }

    pub(crate) fn sent_names(&self) -> Vec<String> {
        self.sent.iter().map(|sent| sent.text("Action").unwrap().into_owned()).collect()
    }

    pub(crate) fn user_events(&self) -> usize {
        self.told.iter().filter(|event| event.body.subject() == Some("UserEvent")).count()
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            assert!(!format!("{output:?}").contains("hunter2"));
            match output {
                Output::Send(bytes) => self.sent.push(Message::parse(&bytes)),
                Output::Up => self.ups += 1,
                Output::Event(event) => self.told.push(event),
                Output::Down(down) => self.downs.push(down),
                Output::Served { id, outcome } => self.served.push((id, outcome)),
                other => panic!("{other:?} is not this machine's to ask for"),
            }
        }
    }
}

const USER_EVENT: &str = "Event: UserEvent\nPrivilege: user,all\nUserEvent: x";

#[test]
fn answers_find_their_actions_in_any_order() {
    let mut bench = Bench::live();
    let first = bench.send(Action::new("Getvar").header("Variable", "A")).unwrap();
    let first_id = bench.last_id();
    let second = bench.send(Action::new("Getvar").header("Variable", "B")).unwrap();
    bench.answer("Response: Error\nMessage: No such channel");
    bench.message(&format!("Response: Success\nActionID: {first_id}\nValue: a"));
    let answers = bench.answers();
    assert_eq!(answers.iter().map(|answer| answer.id).collect::<Vec<_>>(), [second, first]);
    assert_eq!(answers[0].reply.as_ref().unwrap().response.get("Message"), Some(&b"No such channel"[..]));
    assert_eq!(answers[1].reply.as_ref().unwrap().response.get("Value"), Some(&b"a"[..]));
}

#[test]
fn a_list_is_gathered_to_its_end_among_live_events() {
    let mut bench = Bench::live();
    bench.send(Action::new("Status")).unwrap();
    bench.answer("Response: Success\nEventList: start");
    bench.answer("Event: Status\nPrivilege: Call\nChannel: a");
    bench.message(USER_EVENT);
    bench.answer("Event: Status\nChannel: b");
    assert!(bench.answers().is_empty());
    bench.answer("Event: StatusComplete\nEventList: Complete\nListItems: 2");
    let reply = bench.answers().remove(0).reply.unwrap();
    let channels: Vec<_> = reply.items.iter().map(|item| item.text("Channel").unwrap()).collect();
    assert_eq!(channels, ["a", "b"]);
    assert_eq!(bench.user_events(), 1);
    assert_eq!(bench.session.counts().suspect, 0);
}

#[test]
fn a_list_that_lacks_an_item_is_no_answer() {
    let mut bench = Bench::live();
    bench.send(Action::new("Status")).unwrap();
    bench.answer("Response: Success\nEventList: start");
    bench.answer("Event: StatusComplete\nEventList: Complete\nListItems: 2");
    assert_eq!(bench.answers()[0].reply, Err(Unanswered::ListCut));
}

#[test]
fn a_list_past_its_bound_fails_and_is_not_kept() {
    let mut bench = Bench::live();
    bench.send(Action::new("Status")).unwrap();
    bench.answer("Response: Success\nEventList: start");
    for _ in 0..=AMI_LIST_ITEMS_MAX {
        bench.answer("Event: Status\nChannel: a");
    }
    assert_eq!(bench.answers()[0].reply, Err(Unanswered::ListTooLong));
    bench.answer("Event: Status\nChannel: a");
    assert_eq!(bench.session.counts().late, 1);
    assert!(bench.session.is_live());
}

#[test]
fn an_action_without_an_answer_ends_at_its_deadline_and_a_late_answer_is_counted() {
    let mut bench = Bench::live();
    let id = bench.send(Action::new("Getvar")).unwrap();
    let text = bench.last_id();
    bench.pass(Duration::from_secs(9));
    assert!(bench.answers().is_empty());
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.answers(), [Answer { id, reply: Err(Unanswered::Deadline) }]);
    bench.message(&format!("Response: Success\nActionID: {text}"));
    assert!(bench.answers().is_empty());
    assert_eq!(bench.session.counts().late, 1);
}

#[test]
fn the_action_after_the_last_there_is_room_for_is_refused() {
    let mut bench = Bench::live();
    for _ in 0..AMI_ACTIONS_PENDING_MAX {
        bench.send(Action::new("Getvar")).unwrap();
    }
    assert_eq!(bench.send(Action::new("Getvar")), Err(Refusal::TooMany));
    assert_eq!(bench.sent.len(), AMI_ACTIONS_PENDING_MAX);
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.answers().len(), AMI_ACTIONS_PENDING_MAX);
    assert!(bench.send(Action::new("Getvar")).is_ok());
}

#[test]
fn an_originate_that_would_hold_up_the_connection_is_refused() {
    let mut bench = Bench::live();
    let originate = Action::new("originate").header("Channel", "PJSIP/0101");
    assert_eq!(bench.send(originate.clone()), Err(Refusal::Blocking));
    assert!(bench.send(originate.header("async", "True")).is_ok());
}

#[test]
fn an_unsendable_action_is_refused_and_the_link_stays() {
    let mut bench = Bench::live();
    let forged = Action::new("Ping").header("Variable", "a\r\nAction: Command");
    assert!(matches!(bench.send(forged), Err(Refusal::Unsendable(_))));
    assert!(bench.sent.is_empty() && bench.session.is_live());
}

#[test]
fn a_forged_event_is_suspect_and_moves_nothing() {
    let mut bench = Bench::live();
    bench.message("Event: Shutdown\nRestart: True");
    bench.message("Event: FullyBooted");
    bench.message("Event: StatusComplete\nActionID: lamp-0000000000000000-1\nEventList: Complete");
    assert_eq!(bench.session.counts().suspect, 3);
    bench.pass(AMI_RESYNC_PAUSE / 2);
    assert!(bench.session.is_live() && bench.downs.is_empty() && bench.sent.is_empty());
}

#[test]
fn a_storm_that_overtakes_every_snapshot_costs_neither_the_link_nor_an_event() {
    let restarted = || {
        let mut bench = Bench::live();
        bench.message("Event: FullyBooted\nPrivilege: system,all");
        (bench, 1)
    };
    let connected = || {
        let mut bench = Bench::new();
        bench.connect();
        (bench, 0)
    };
    for (mut bench, resynced_before) in [connected(), restarted()] {
        let first = bench.last_id();
        assert_eq!(bench.session.warning(), None);
        for _ in 0..5 * AMI_SNAPSHOT_EVENTS_MAX {
            bench.message(USER_EVENT);
        }
        assert!(bench.downs.is_empty(), "{:?}", bench.downs);
        assert_eq!(bench.user_events(), 5 * AMI_SNAPSHOT_EVENTS_MAX);
        assert!(bench.session.warning().is_some_and(|warning| warning.contains("event_mask")));
        assert_ne!(bench.last_id(), first, "the lists are asked again");
        assert_eq!(bench.session.counts().snapshots_failed, 1, "once: what is told needs no room");
        assert!(!bench.told.iter().any(|event| event.body.kind_name() == "link.resynced"));
        bench.answer_lists();
        assert_eq!(bench.told.last().unwrap().body.kind_name(), "link.resynced");
        assert_eq!(bench.session.counts().snapshots, resynced_before + 1);
        assert_eq!(bench.session.warning(), None);
    }
}

#[test]
fn in_a_storm_the_last_word_counts_be_it_an_event_or_a_list() {
    let mut bench = Bench::new();
    let state = |device: &str, state: &str| format!("Event: DeviceStateChange\nDevice: PJSIP/{device}\nState: {state}");
    bench.connect();
    for _ in 0..AMI_SNAPSHOT_EVENTS_MAX {
        bench.message(USER_EVENT);
    }
    while bench.sent_names().last().unwrap() != "DeviceStateList" {
        bench.answer("Response: Error\nMessage: none");
    }
    bench.message(&(state("0101", "INUSE") + "\nPrivilege: call,all"));
    bench.answer("Response: Success\nEventList: start");
    bench.answer(&state("0101", "NOT_INUSE"));
    bench.answer(&state("0102", "INUSE"));
    bench.message(&(state("0102", "NOT_INUSE") + "\nPrivilege: call,all"));
    bench.answer_lists();
    let known = &bench.session.known().devices;
    assert_eq!(known["0101"].state, DeviceState::NotInUse);
    assert_eq!(known["0102"].state, DeviceState::NotInUse);
}

#[test]
fn an_answer_behind_a_storm_is_waited_for() {
    let mut bench = Bench::new();
    bench.connect();
    let piece = format!("{USER_EVENT}\nText: {}", "x".repeat(4000));
    let blow = |bench: &mut Bench, span: Duration| {
        for _ in 0..span.as_secs() / 5 {
            (0..=AMI_STORM_BYTES / piece.len()).for_each(|_| bench.message(&piece));
            bench.pass(Duration::from_secs(5));
        }
    };
    blow(&mut bench, Duration::from_secs(20));
    assert_eq!(bench.session.counts().snapshots_failed, 1, "once there was no room");
    let list = bench.last_id();
    blow(&mut bench, Duration::from_secs(60));
    assert_eq!(bench.last_id(), list, "its deadline alone is 10 s");
    blow(&mut bench, 3 * AMI_SNAPSHOT_WAIT);
    assert!(bench.downs.is_empty(), "{:?}", bench.downs);
    assert!((3..=5).contains(&bench.session.counts().snapshots_failed), "asked again, at leisure");
    // A PBX that answers nothing although nothing is in its way is another matter.
    bench.pass(Duration::from_secs(25));
    assert_eq!(bench.downs.len(), 1);
}

#[test]
fn events_kept_for_a_resync_are_told_even_when_the_connection_ends_in_it() {
    let mut bench = Bench::live();
    bench.message("Event: Reload\nPrivilege: system,all");
    bench.pass(AMI_RESYNC_PAUSE);
    assert!(!bench.session.is_live());
    bench.message(USER_EVENT);
    assert_eq!(bench.user_events(), 0);
    bench.session.handle_closed(bench.now);
    bench.drain();
    assert_eq!(bench.user_events(), 1);
    assert_eq!(bench.downs, [Down::Closed { said: None }]);
}

#[test]
fn an_answer_for_an_earlier_connection_answers_nothing() {
    let mut bench = Bench::live();
    let id = bench.send(Action::new("Getvar")).unwrap();
    let text = bench.last_id();
    bench.session.handle_closed(bench.now);
    assert_eq!(bench.answers(), [Answer { id, reply: Err(Unanswered::LinkLost) }]);
    bench.connect();
    bench.answer_lists();
    bench.message(&format!("Response: Success\nActionID: {text}"));
    assert!(bench.answers().is_empty());
    assert_eq!(bench.session.counts().unmatched, 1);
}

#[test]
fn a_block_of_raw_text_is_read_only_while_a_command_is_out() {
    let mut bench = Bench::live();
    bench.message("Response: Follows\nPrivilege: Command");
    bench.message(USER_EVENT);
    assert_eq!(bench.user_events(), 1);
    bench.send(Action::new("Command").header("Command", "core show version")).unwrap();
    let id = bench.last_id();
    bench.receive(format!(
        "Response: Follows\r\nPrivilege: Command\r\nActionID: {id}\r\nEvent: text\n\n--END COMMAND--\r\n\r\n"
    ));
    let reply = bench.answers().remove(0).reply.unwrap();
    assert_eq!(reply.response.all("Output").collect::<Vec<_>>(), [&b"Event: text"[..], b""]);
}

#[test]
fn the_secret_shows_nowhere() {
    let bench = Bench::live();
    assert!(!format!("{:?}", bench.session).contains("hunter2"));
}

#[test]
fn a_user_name_that_would_forge_an_action_is_not_sent() {
    let mut bench = Bench::new();
    bench.session.settings.user = "gw\r\nAction: Command".into();
    bench.session.handle_connected("a", bench.now);
    bench.receive("Asterisk Call Manager/11.0.0\r\n");
    assert!(bench.sent.is_empty());
    assert!(matches!(&bench.downs[..], [Down::Refused { said }] if said.contains("Username")));
}
