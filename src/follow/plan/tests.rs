use proptest::prelude::*;

use super::*;
use crate::clock::Clock;

const TERMS: Terms =
    Terms { take_over_after: Duration::from_secs(15), hand_back_after: Duration::from_secs(30), links_always: false };

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn begun() -> (Plan, Instant) {
    let now = Clock::system().now();
    (Plan::new(TERMS, now), now)
}

fn leading() -> (Plan, Instant) {
    let (mut plan, start) = begun();
    plan.handle_timeout(start + secs(15));
    assert_eq!(plan.poll_change().unwrap().role, Role::Leading);
    (plan, start + secs(15))
}

#[test]
fn a_first_that_is_silent_for_long_enough_is_taken_over_from() {
    let (mut plan, start) = begun();
    plan.handle_heard(start + secs(10));
    plan.handle_timeout(start + secs(24));
    assert_eq!((plan.role(), plan.duties().lamps), (Role::Standby, false));
    assert_eq!(plan.poll_timeout(), Some(start + secs(25)));
    plan.handle_timeout(start + secs(25));
    let change = plan.poll_change().unwrap();
    assert_eq!((change.role, change.previous), (Role::Leading, Role::Standby));
    assert!(change.reason.contains("nothing was heard of the first for 15 s"), "{}", change.reason);
    assert_eq!(plan.duties(), Duties::ALL);
    assert_eq!(plan.poll_change(), None);
}

#[test]
fn a_first_that_only_refuses_is_not_taken_over_from() {
    let (mut plan, start) = begun();
    for second in 0..600 {
        plan.handle_look(false, start + secs(second));
        plan.handle_heard(start + secs(second));
    }
    assert_eq!((plan.role(), plan.poll_change()), (Role::Standby, None));
}

#[test]
fn a_first_that_the_lease_names_is_alive_behind_a_cut_cable() {
    let (mut plan, start) = begun();
    plan.handle_judge(Judge::First, start);
    plan.handle_timeout(start + secs(3600));
    assert_eq!((plan.role(), plan.poll_timeout()), (Role::Standby, None));
    plan.handle_judge(Judge::Nobody, start + secs(3601));
    assert_eq!(plan.role(), Role::Leading);
    plan.handle_judge(Judge::First, start + secs(3700));
    assert_eq!(plan.role(), Role::HandingBack);
}

#[test]
fn a_first_that_is_back_leads_again_once_it_is_steady() {
    let (mut plan, since) = leading();
    for second in 1..40 {
        let now = since + secs(second);
        plan.handle_heard(now);
        plan.handle_look(second != 5, now); // one look at which a link was down
        let steady = second >= 6 + 30;
        assert_eq!(plan.role(), if steady { Role::HandingBack } else { Role::Leading }, "at {second}");
    }
    assert_eq!(plan.duties(), Duties { links: false, lamps: false, uplink: true });
    plan.handle_handed_back(since + secs(40));
    assert_eq!(plan.role(), Role::Standby);
    assert_eq!(plan.duties(), Duties { links: false, lamps: false, uplink: false });
}

#[test]
fn an_uplink_that_does_not_come_to_its_end_keeps_nobody_from_standing_by() {
    let (mut plan, since) = leading();
    plan.handle_judge(Judge::First, since + secs(1));
    plan.handle_heard(since + secs(2));
    assert_eq!(plan.poll_timeout(), Some(since + secs(1) + FOLLOW_HAND_BACK_MAX));
    plan.handle_timeout(since + secs(1) + FOLLOW_HAND_BACK_MAX);
    assert_eq!(plan.role(), Role::Standby);
}

#[test]
fn a_first_that_dies_while_it_is_handed_back_to_is_taken_over_from_again() {
    let (mut plan, since) = leading();
    let mut now = since;
    while plan.role() == Role::Leading {
        now += secs(1);
        plan.handle_heard(now);
        plan.handle_look(true, now);
    }
    let (mut longer, begun) = (plan.clone(), now);
    longer.terms.take_over_after = secs(5);
    longer.handle_timeout(begun + secs(5));
    assert_eq!(longer.role(), Role::Leading);
}

#[test]
fn links_that_are_always_on_stay_on_in_standby() {
    let now = Clock::system().now();
    let plan = Plan::new(Terms { links_always: true, ..TERMS }, now);
    assert_eq!(plan.duties(), Duties { links: true, lamps: false, uplink: false });
}

#[derive(Clone, Debug)]
enum Step {
    Heard,
    Look(bool),
    Judge(Judge),
    HandedBack,
    Nothing,
}

fn step() -> impl Strategy<Value = (Step, u64)> {
    let judge = prop_oneof![Just(Judge::Unseen), Just(Judge::Nobody), Just(Judge::First), Just(Judge::Ours)];
    let step = prop_oneof![
        3 => Just(Step::Heard),
        3 => any::<bool>().prop_map(Step::Look),
        2 => judge.prop_map(Step::Judge),
        1 => Just(Step::HandedBack),
        3 => Just(Step::Nothing),
    ];
    (step, 0..20_000_u64)
}

proptest! {
    /// Whatever happens in whatever order, no role begins without its reason, and no timer stands in the past.
    #[test]
    fn a_role_begins_for_its_reason_only(steps in proptest::collection::vec(step(), 1..200)) {
        let (mut plan, start) = begun();
        let (mut now, mut heard, mut judge) = (start, start, Judge::Unseen);
        for (step, millis) in steps {
            now += Duration::from_millis(millis);
            let before = plan.role();
            match step {
                Step::Heard => { heard = now; plan.handle_heard(now) }
                Step::Look(ready) => plan.handle_look(ready, now),
                Step::Judge(said) => { judge = said; plan.handle_judge(said, now) }
                Step::HandedBack => plan.handle_handed_back(now),
                Step::Nothing => plan.handle_timeout(now),
            }
            let change = plan.poll_change();
            prop_assert_eq!(change.is_some(), before != plan.role());
            if plan.role() == Role::Leading && before != Role::Leading {
                prop_assert!(now - heard >= TERMS.take_over_after && judge != Judge::First);
            }
            prop_assert!(plan.role() != Role::Leading || judge != Judge::First, "never against the judge");
            if plan.role() == Role::Standby && judge != Judge::First {
                prop_assert!(now - heard < TERMS.take_over_after, "never without a leader");
            }
            prop_assert!(plan.poll_timeout().is_none_or(|at| at > now));
        }
    }
}
