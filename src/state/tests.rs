use super::*;
use crate::event::{
    AgentState, AgentStateEvent, CallEvent, CallKind, ConnectionState, DeviceState, DeviceStateEvent, DownReason,
    LinkDownEvent, LinkResyncedEvent, LinkUpEvent,
};

/// Feeds bodies of one link as entries one second apart.
struct Fold {
    state: State,
    link: LinkId,
    last: Changes,
}

impl Fold {
    fn new() -> Self {
        Self { state: State::default(), link: LinkId::new("front-desk"), last: Changes::default() }
    }

    fn tell(&mut self, body: Body) -> &LinkState {
        let event = Event::link(&self.link, body);
        let seq = self.state.seq.next();
        let entry = entry(seq, &event);
        self.last = self.state.apply(&entry, &event);
        &self.state.links[&self.link]
    }

    fn call(&mut self, kind: CallKind, device: &str, call: &str, connection: &str) -> &LinkState {
        self.tell(Body::Call(
            kind,
            CallEvent {
                device: Some(device.into()),
                call: Some(call.into()),
                connection: Some(connection.into()),
                ..CallEvent::default()
            },
        ))
    }
}

fn entry(seq: Seq, event: &Event) -> Entry {
    let mut data = Vec::new();
    event.write_data(&mut data).unwrap();
    Entry {
        seq,
        at: Timestamp(seq.0 as i64 * 1000),
        clock_unset: false,
        kind: event.body.kind(),
        link: event.source.link().cloned(),
        subject: None,
        data: data.into(),
    }
}

fn up() -> Body {
    Body::LinkUp(LinkUpEvent { address: "tcp://10.0.4.2:5038".into() })
}

fn down() -> Body {
    Body::LinkDown(LinkDownEvent {
        address: None,
        reason: DownReason::Closed,
        retry_in_s: Some(1),
        detail: "the PBX closed the connection".into(),
    })
}

fn device(state: DeviceState) -> Body {
    Body::DeviceState(DeviceStateEvent {
        device: "0101".into(),
        state,
        previous: None,
        pbx_name: Some("PJSIP/0101".into()),
        do_not_disturb: false,
    })
}

#[test]
fn everything_is_stale_until_a_snapshot_was_merged() {
    let mut fold = Fold::new();
    assert!(fold.tell(up()).stale());
    assert!(!fold.tell(Body::LinkResynced(LinkResyncedEvent::default())).stale());
    let link = fold.tell(device(DeviceState::InUse));
    assert_eq!(link.devices["0101"].state, DeviceState::InUse);
    let link = fold.tell(down());
    assert!(link.stale());
    assert_eq!(link.devices["0101"].state, DeviceState::InUse, "the last state is kept");
    assert_eq!(fold.last.touched, [Touched::Link(LinkId::new("front-desk"))]);
}

#[test]
fn a_failed_retry_does_not_move_the_time_the_link_went_down() {
    let mut fold = Fold::new();
    fold.tell(up());
    let since = fold.tell(down()).since;
    assert_eq!(fold.tell(down()).since, since);
}

#[test]
fn a_call_moves_through_its_states_and_is_gone_when_its_last_connection_is() {
    let mut fold = Fold::new();
    fold.call(CallKind::Originated, "0101", "c1", "PJSIP/0101-1");
    fold.call(CallKind::Delivered, "0102", "c1", "PJSIP/0102-2");
    let link = fold.call(CallKind::Established, "0102", "c1", "PJSIP/0102-2");
    assert_eq!(link.connections["PJSIP/0102-2"].state, ConnectionState::Connected);
    assert_eq!(link.connections["PJSIP/0101-1"].state, ConnectionState::Initiated);
    assert_eq!(link.calls().len(), 1);
    assert_eq!(link.calls_of(&"0101".into()), [crate::event::CallId::new("c1")]);
    fold.call(CallKind::Held, "0101", "c1", "PJSIP/0101-1");
    let link = fold.call(CallKind::Retrieved, "0101", "c1", "PJSIP/0101-1");
    assert_eq!(link.connections["PJSIP/0101-1"].state, ConnectionState::Connected);
    fold.call(CallKind::Cleared, "0101", "c1", "PJSIP/0101-1");
    assert!(fold.call(CallKind::Cleared, "0102", "c1", "PJSIP/0102-2").calls().is_empty());
}

#[test]
fn a_transfer_makes_two_calls_one() {
    let mut fold = Fold::new();
    fold.call(CallKind::Established, "trunk", "c1", "PJSIP/trunk-1");
    fold.call(CallKind::Established, "0102", "c2", "PJSIP/0102-2");
    let link = fold.tell(Body::Call(
        CallKind::Transferred,
        CallEvent { from: Some("c2".into()), to: Some("c1".into()), ..CallEvent::default() },
    ));
    assert_eq!(link.calls().len(), 1);
    assert_eq!(fold.last.touched, [Touched::Device(LinkId::new("front-desk"), "0102".into())]);
}

#[test]
fn an_ending_without_a_beginning_is_legal() {
    let mut fold = Fold::new();
    assert!(fold.call(CallKind::Cleared, "0101", "c9", "PJSIP/0101-9").calls().is_empty());
}

#[test]
fn an_agent_keeps_since_when_only_the_reason_is_told_again() {
    let mut fold = Fold::new();
    let agent = |reason: &str| {
        Body::AgentState(AgentStateEvent {
            agent: "Agent Five".into(),
            device: Some("0105".into()),
            state: AgentState::NotReady,
            previous: None,
            reason: Some(reason.into()),
            group: None,
            groups: vec!["support".into()],
        })
    };
    let since = fold.tell(agent("lunch")).agents["Agent Five"].since;
    let link = fold.tell(agent("meeting"));
    assert_eq!(link.agents["Agent Five"].since, since);
    assert_eq!(link.agents["Agent Five"].reason.as_deref(), Some("meeting"));
}

#[test]
fn a_fold_of_a_checkpoint_and_the_rest_is_the_fold_of_all() {
    let bodies = || [up(), device(DeviceState::Ringing), down(), up(), device(DeviceState::InUse)];
    let mut whole = Fold::new();
    let mut first = Fold::new();
    for (at, body) in bodies().into_iter().enumerate() {
        whole.tell(body.clone());
        if at < 3 {
            first.tell(body);
        }
    }
    let checkpoint = serde_json::to_vec(&first.state).unwrap();
    let mut rest = Fold { state: serde_json::from_slice(&checkpoint).unwrap(), ..Fold::new() };
    for body in bodies().into_iter().skip(3) {
        rest.tell(body);
    }
    assert_eq!(rest.state, whole.state);
}

#[test]
fn an_entry_applied_twice_changes_nothing() {
    let mut fold = Fold::new();
    fold.tell(up());
    let before = fold.state.clone();
    let event = Event::link(&fold.link, down());
    let changes = fold.state.apply(&entry(Seq(1), &event), &event);
    assert_eq!(changes, Changes::default());
    assert_eq!(fold.state, before);
}
