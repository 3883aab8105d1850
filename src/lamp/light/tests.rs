use super::*;
use crate::clock::Clock;
use crate::event::PatternView;
use lamp_pattern::Colour;

fn plan(state: LampState) -> Plan {
    Plan { state, why: Why { seq: Some(Seq(7)), rule: "because", link: None } }
}

/// A lamp that was begun at the origin of its own time.
struct Bench {
    light: Light,
    patterns: Patterns,
    now: Now,
}

impl Bench {
    fn new(player: Player, state: LampState) -> Self {
        Self::seen(player, state, None)
    }

    fn seen(player: Player, state: LampState, seen: Option<&LampSeen>) -> Self {
        let now = Now { instant: Clock::system().now(), timestamp: Timestamp(1_790_000_000_000) };
        let patterns = Patterns::default();
        Self { light: Light::new(player, plan(state), &patterns, seen, now), patterns, now }
    }

    fn pass(&mut self, span: Duration) -> Option<Broke> {
        self.now = Now { instant: self.now.instant + span, timestamp: self.now.timestamp.plus(span) };
        self.light.handle_timeout(&self.patterns, self.now)
    }

    fn plan(&mut self, state: LampState) {
        self.light.handle_plan(plan(state), &self.patterns, self.now);
    }

    fn order(&mut self) -> Option<Order> {
        self.light.poll_order(self.now.instant)
    }

    fn answer(&mut self, generation: u64, result: Result<(), &str>) -> Option<Broke> {
        let result = result.map_err(str::to_owned);
        self.light.handle_report(Report { generation, result }, self.now.instant)
    }

    fn event(&mut self) -> Option<(&'static str, LampState)> {
        let body = self.light.poll_event(&"lamp".into())?;
        match &body {
            Body::LampShown(event) | Body::LampFault(event) => Some((body.kind_name(), event.state)),
            other => panic!("a lamp told {other:?}"),
        }
    }

    /// Orders and answers as an output that works does.
    fn settle(&mut self) -> Option<(&'static str, LampState)> {
        while let Some(order) = self.order() {
            self.answer(order.generation, Ok(()));
        }
        self.event()
    }
}

#[test]
fn a_state_is_told_once_its_output_has_taken_it() {
    let mut bench = Bench::new(Player::Switched, LampState::Available);
    let order = bench.order().unwrap();
    assert!(order.ask);
    assert_eq!(order.frame.switched, Colour::new(0, 255, 0));
    assert_eq!(bench.event(), None, "not taken yet");
    bench.answer(order.generation, Ok(()));
    assert_eq!(bench.event(), Some(("lamp.shown", LampState::Available)));
    assert_eq!(bench.event(), None, "nothing is told twice");
    assert_eq!(bench.order(), None, "nothing is written twice");
    assert_eq!(bench.light.poll_timeout(), None, "a lamp at rest is no work");
}

#[test]
fn an_answer_to_an_older_state_does_not_count_for_the_newer() {
    let mut bench = Bench::new(Player::Switched, LampState::Available);
    let older = bench.order().unwrap();
    bench.plan(LampState::InCall);
    let newer = bench.order().unwrap();
    bench.answer(older.generation, Ok(()));
    assert_eq!(bench.event(), None);
    bench.answer(newer.generation, Ok(()));
    assert_eq!(bench.event(), Some(("lamp.shown", LampState::InCall)));
}

#[test]
fn only_the_newest_state_is_owed() {
    let mut bench = Bench::new(Player::Whole, LampState::Available);
    bench.settle();
    for state in [LampState::Ringing, LampState::InCall, LampState::OnHold] {
        bench.plan(state);
        let order = bench.order().unwrap();
        bench.answer(order.generation, Ok(()));
    }
    assert_eq!(bench.event(), Some(("lamp.shown", LampState::OnHold)));
    bench.plan(LampState::Available);
    bench.plan(LampState::OnHold);
    assert_eq!(bench.settle(), None, "it went and came back before it was told");
}

#[test]
fn what_the_log_last_told_is_not_told_again() {
    let pattern = pattern_view(&lamp_pattern::State::Lost.default_pattern());
    let mut seen =
        LampSeen { state: LampState::Lost, pattern, ok: true, fault: None, since: Timestamp::default(), seq: Seq(3) };
    assert_eq!(Bench::seen(Player::Whole, LampState::Lost, Some(&seen)).settle(), None);
    seen.pattern = PatternView { period: "a while".into(), ..seen.pattern };
    assert_eq!(
        Bench::seen(Player::Whole, LampState::Lost, Some(&seen)).settle(),
        Some(("lamp.shown", LampState::Lost)),
        "what cannot be read is told afresh"
    );
}

#[test]
fn a_moving_pattern_orders_its_frames_without_questions() {
    let mut bench = Bench::new(Player::Switched, LampState::Ringing);
    bench.settle();
    let period = bench.light.wanted().pattern.period_ms;
    let mut lit = Vec::new();
    for _ in 0..4 {
        let due = bench.light.poll_timeout().unwrap();
        bench.pass(due - bench.now.instant);
        let order = bench.order().unwrap();
        assert!(!order.ask);
        lit.push(order.frame.switched != Colour::BLACK);
    }
    assert_eq!(lit, [false, true, false, true]);
    assert_eq!(bench.now.timestamp, Timestamp(1_790_000_000_000).plus(Duration::from_millis(2 * u64::from(period))));
}

#[test]
fn a_lamp_that_plays_patterns_by_itself_is_told_once() {
    let mut bench = Bench::new(Player::Whole, LampState::Ringing);
    bench.settle();
    assert_eq!(bench.light.poll_timeout(), None);
}

#[test]
fn a_fault_is_told_once_and_the_recovery_with_the_state_of_then() {
    let mut bench = Bench::new(Player::Switched, LampState::Available);
    bench.settle();
    bench.plan(LampState::InCall);
    let order = bench.order().unwrap();
    let broke = bench.answer(order.generation, Err("unplugged")).unwrap();
    assert_eq!(broke, Broke { reason: "unplugged".into(), pause: LAMP_RETRY_MIN });
    assert_eq!(bench.event(), Some(("lamp.fault", LampState::InCall)));
    bench.plan(LampState::OnHold);
    assert_eq!(bench.order(), None, "not before its pause is over");
    assert_eq!(bench.event(), None);
    bench.pass(LAMP_RETRY_MIN);
    let order = bench.order().unwrap();
    assert!(order.ask);
    bench.answer(order.generation, Err("still unplugged"));
    assert_eq!(bench.event(), None, "told once");
    assert_eq!(bench.light.fault(), Some("still unplugged"));
    bench.pass(2 * LAMP_RETRY_MIN);
    assert_eq!(bench.settle(), Some(("lamp.shown", LampState::OnHold)));
    assert_eq!(bench.light.fault(), None);
}

#[test]
fn pauses_double_up_to_the_most_and_start_over_after_a_long_good_time() {
    let mut bench = Bench::new(Player::Switched, LampState::Available);
    let mut pauses = Vec::new();
    for _ in 0..7 {
        let order = bench.order().unwrap();
        let Broke { pause, .. } = bench.answer(order.generation, Err("unplugged")).unwrap();
        pauses.push(pause.as_secs());
        assert_eq!(bench.light.poll_timeout(), Some(bench.now.instant + pause));
        bench.pass(pause);
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
    bench.settle();
    let order = |bench: &mut Bench, state| {
        bench.plan(state);
        bench.order().unwrap().generation
    };
    let generation = order(&mut bench, LampState::InCall);
    assert_eq!(bench.answer(generation, Err("flaps")).unwrap().pause, LAMP_RETRY_MAX, "one good write is no repair");
    bench.pass(LAMP_RETRY_MAX);
    bench.settle();
    bench.pass(LAMP_RETRY_MAX + Duration::from_millis(1));
    let generation = order(&mut bench, LampState::Available);
    assert_eq!(bench.answer(generation, Err("unplugged")).unwrap().pause, LAMP_RETRY_MIN);
}

#[test]
fn an_output_that_says_nothing_is_broken_until_it_speaks() {
    let mut bench = Bench::new(Player::Switched, LampState::Available);
    let first = bench.order().unwrap();
    assert_eq!(bench.light.poll_timeout(), Some(bench.now.instant + LAMP_ANSWER_MAX));
    let broke = bench.pass(LAMP_ANSWER_MAX).unwrap();
    assert_eq!(broke.reason, "not answering for 2 s");
    assert_eq!(bench.event(), Some(("lamp.fault", LampState::Available)));
    bench.plan(LampState::InCall);
    assert!(bench.pass(LAMP_RETRY_MIN).is_none());
    let second = bench.order().unwrap();
    bench.answer(first.generation, Ok(()));
    assert_eq!(bench.event(), None, "it lives, and has not shown what is wanted");
    bench.answer(second.generation, Ok(()));
    assert_eq!(bench.event(), Some(("lamp.shown", LampState::InCall)));
}

#[test]
fn identify_stands_above_everything_until_its_time_is_over() {
    let mut bench = Bench::new(Player::Whole, LampState::Lost);
    bench.settle();
    bench.light.handle_identify(&bench.patterns, bench.now);
    assert_eq!(bench.settle(), Some(("lamp.shown", LampState::Identify)));
    assert_eq!(bench.light.why().rule, "identify: a person asked to find it");
    bench.plan(LampState::Ringing);
    assert_eq!(bench.settle(), None);
    assert_eq!(bench.light.poll_timeout(), Some(bench.now.instant + LAMP_IDENTIFY));
    bench.pass(LAMP_IDENTIFY);
    assert_eq!(bench.settle(), Some(("lamp.shown", LampState::Ringing)));
    assert_eq!(bench.light.why().rule, "because");
}

#[test]
fn a_test_shows_every_row_and_tells_none() {
    let mut bench = Bench::new(Player::Whole, LampState::Available);
    bench.settle();
    bench.light.handle_test(&bench.patterns, bench.now);
    let mut shown = Vec::new();
    while bench.light.wish != Wish::None {
        shown.push(bench.light.wanted().state);
        assert_eq!(bench.settle(), None);
        bench.pass(LAMP_TEST_STEP);
    }
    assert_eq!(shown, lamp_pattern::State::ALL.map(LampState::from));
    assert_eq!(bench.settle(), None, "it is back where it was");
    assert_eq!(bench.light.wanted().state, LampState::Available);
}

#[test]
fn a_pattern_of_the_site_is_shown_and_told_without_a_change_of_state() {
    let mut bench = Bench::new(Player::Whole, LampState::Available);
    bench.settle();
    let since = bench.light.wanted().since;
    bench.pass(Duration::from_secs(5));
    let dim = Pattern { brightness: 20, ..lamp_pattern::State::Available.default_pattern() };
    bench.patterns = Patterns::default().with(LampState::Available, dim);
    bench.plan(LampState::Available);
    assert_eq!(bench.settle(), Some(("lamp.shown", LampState::Available)));
    assert_eq!(bench.light.wanted().since, since, "the state is as old as it was");
}

#[test]
fn a_repair_writes_what_is_shown_already_and_asks() {
    let mut bench = Bench::new(Player::Dimmed, LampState::Available);
    bench.settle();
    bench.light.handle_repair();
    let order = bench.order().unwrap();
    assert!(order.repair && order.ask);
    bench.answer(order.generation, Ok(()));
    assert_eq!((bench.event(), bench.order()), (None, None));
}
