//! Scenarios on a real Asterisk: real phones call each other, the real gateway tells and shows it.
//!
//! Shape: the program starts itself again in network, mount and process namespaces of its own. So ports never
//! clash, nothing leaves the loopback, what Asterisk writes is on a tmpfs, and whatever ends this program ends
//! Asterisk, gateways and all. Scenarios run one after the other; each starts a fresh Asterisk and a fresh gateway.
//! Needs: root, and the Asterisk root that `cargo xtask lab build` makes; `cargo xtask test` sees to both. The scenario
//! with a broker is passed over, and counted as that, where there is no Mosquitto (`cargo xtask lab broker`).
//! Bounds: [`PATIENCE`] for any one thing awaited, [`SCENARIO_MAX`] for a scenario.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a scenario that cannot go on fails by a panic")]

mod agents;
mod cable;
mod calls;
mod cloud;
#[path = "../uplink/ear.rs"]
#[allow(dead_code, reason = "shared; each suite uses what it needs of it")]
mod ear;
mod expect;
mod faults;
mod gateway;
mod http;
mod links;
mod manager;
mod office;
mod olssoo;
mod phone;
mod services;
mod sip;
#[path = "../uplink/wire.rs"]
#[allow(dead_code, reason = "shared")]
mod wire;

use std::env;
use std::future::Future;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use asterisk_lab::Root;
use libtest_mimic::{Arguments, Trial};
use tokio::time::timeout;

/// How long anything is awaited. Far above what it takes, so that a busy machine fails nothing.
const PATIENCE: Duration = Duration::from_secs(20);
const SCENARIO_MAX: Duration = Duration::from_secs(600);
const INSIDE: &str = "LAMPLIGHTER_E2E_INSIDE";

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    if !arguments.list {
        if env::var_os(INSIDE).is_none() {
            return start_again_inside();
        }
        settle_in();
    }
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, scenarios()).exit_code()
}

fn scenarios() -> Vec<Trial> {
    vec![
        scenario("two_phones_talk_and_asterisk_knows", calls::two_phones_talk_and_asterisk_knows),
        scenario("a_storm_keeps_calls_coming", calls::a_storm_keeps_calls_coming),
        scenario("a_phone_registers_and_unregisters", calls::a_phone_registers_and_unregisters),
        scenario("a_call_rings_is_answered_and_hung_up", calls::a_call_rings_is_answered_and_hung_up),
        scenario("a_call_over_tls_shows_as_well", calls::a_call_over_tls_shows_as_well),
        scenario("a_call_from_outside_rings_the_front_desk", calls::a_call_from_outside_rings_the_front_desk),
        scenario("a_busy_phone_fails_the_call", calls::a_busy_phone_fails_the_call),
        scenario("nobody_answers", calls::nobody_answers),
        scenario("the_caller_gives_up", calls::the_caller_gives_up),
        scenario("a_held_call_is_retrieved", calls::a_held_call_is_retrieved),
        scenario("a_call_is_transferred_blind", calls::a_call_is_transferred_blind),
        scenario("a_call_is_transferred_after_asking", calls::a_call_is_transferred_after_asking),
        scenario("three_phones_confer", calls::three_phones_confer),
        scenario("a_user_event_is_kept_as_native", calls::a_user_event_is_kept_as_native),
        scenario("an_agent_logs_on_and_off", agents::an_agent_logs_on_and_off),
        scenario("an_agent_pauses_with_a_reason", agents::an_agent_pauses_with_a_reason),
        scenario("a_queue_call_reaches_an_agent", agents::a_queue_call_reaches_an_agent),
        scenario("a_queue_call_is_wrapped_up", agents::a_queue_call_is_wrapped_up),
        scenario("an_agent_with_a_rest_of_their_own_takes_it", agents::an_agent_with_a_rest_of_their_own_takes_it),
        scenario("the_pbx_loses_power_in_the_middle_of_a_call", faults::the_pbx_loses_power_in_the_middle_of_a_call),
        scenario("the_pbx_is_restarted_in_the_middle_of_a_call", faults::the_pbx_is_restarted_in_the_middle_of_a_call),
        scenario("calls_begin_and_end_while_the_cable_is_out", links::calls_begin_and_end_while_the_cable_is_out),
        scenario("a_backup_serves_until_the_primary_is_back", links::a_backup_serves_until_the_primary_is_back),
        scenario("a_wrong_password_costs_only_its_own_link", links::a_wrong_password_costs_only_its_own_link),
        scenario("a_pbx_that_still_boots_is_waited_for", links::a_pbx_that_still_boots_is_waited_for),
        scenario("a_reload_changes_nothing", links::a_reload_changes_nothing),
        scenario("a_call_outlives_a_killed_gateway", faults::a_call_outlives_a_killed_gateway),
        scenario("the_gateway_stops_when_told", faults::the_gateway_stops_when_told),
        scenario("a_killed_gateway_loses_nothing_it_served", faults::a_killed_gateway_loses_nothing_it_served),
        scenario("a_service_makes_a_call", services::a_service_makes_a_call),
        scenario("a_call_that_cannot_be_made_says_why", services::a_call_that_cannot_be_made_says_why),
        scenario("a_service_ends_calls", services::a_service_ends_calls),
        scenario("a_service_transfers_a_call_blind", services::a_service_transfers_a_call_blind),
        scenario("a_service_transfers_a_call_after_asking", services::a_service_transfers_a_call_after_asking),
        scenario("a_consultation_is_given_up", services::a_consultation_is_given_up),
        scenario("a_call_without_transfers_cannot_consult", services::a_call_without_transfers_cannot_consult),
        scenario("two_calls_of_one_phone_become_one", services::two_calls_of_one_phone_become_one),
        scenario("a_service_makes_a_conference", services::a_service_makes_a_conference),
        scenario("a_consultation_becomes_a_conference", services::a_consultation_becomes_a_conference),
        scenario("a_service_joins_a_call", services::a_service_joins_a_call),
        scenario("a_service_sets_agents", services::a_service_sets_agents),
        scenario("a_service_records", services::a_service_records),
        scenario("a_service_tells_of_devices_and_calls", services::a_service_tells_of_devices_and_calls),
        scenario("a_service_sends_any_action", services::a_service_sends_any_action),
        scenario("codes_of_the_dialplan_are_services", services::codes_of_the_dialplan_are_services),
        scenario(
            "a_call_made_by_the_cloud_is_told_to_it_though_the_broker_was_away",
            cloud::a_call_made_by_the_cloud_is_told_to_it_though_the_broker_was_away,
        )
        .with_ignored_flag(!cloud::is_possible()),
        scenario("olssoo_a_call_shows", olssoo::a_call_shows),
        scenario("olssoo_a_held_call_shows", olssoo::a_held_call_shows),
        scenario("olssoo_a_transfer_after_asking_shows", olssoo::a_transfer_after_asking_shows),
        scenario("olssoo_a_conference_shows", olssoo::a_conference_shows),
        scenario("olssoo_a_queue_call_shows", olssoo::a_queue_call_shows),
        scenario("olssoo_a_service_makes_a_call", olssoo::a_service_makes_a_call),
        scenario("olssoo_a_service_ends_calls", olssoo::a_service_ends_calls),
        scenario("olssoo_a_service_transfers_a_call_after_asking", olssoo::a_service_transfers_a_call_after_asking),
        scenario("olssoo_a_service_makes_a_conference", olssoo::a_service_makes_a_conference),
        scenario("olssoo_a_service_joins_a_call", olssoo::a_service_joins_a_call),
        scenario("olssoo_a_service_sets_agents", olssoo::a_service_sets_agents),
        scenario("olssoo_a_service_records", olssoo::a_service_records),
        scenario("olssoo_a_service_tells_of_devices_and_calls", olssoo::a_service_tells_of_devices_and_calls),
        scenario("olssoo_codes_of_the_dialplan_are_services", olssoo::codes_of_the_dialplan_are_services),
        scenario("olssoo_a_call_is_made_over_rest", olssoo::a_call_is_made_over_rest),
        scenario("olssoo_asterisk_loses_power_behind_the_proxy", olssoo::asterisk_loses_power_behind_the_proxy),
        scenario("olssoo_asterisk_is_restarted_behind_the_proxy", olssoo::asterisk_is_restarted_behind_the_proxy),
        scenario("olssoo_the_proxy_is_away_while_a_call_ends", olssoo::the_proxy_is_away_while_a_call_ends),
    ]
}

fn scenario<S, F>(name: &'static str, play: S) -> Trial
where
    S: FnOnce() -> F + Send + 'static,
    F: Future<Output = ()>,
{
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async { timeout(SCENARIO_MAX, play()).await })?;
        Ok(())
    })
}

/// Waits for `what` to happen; panics where it does not.
async fn awaited<T>(what: &str, happens: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, happens).await {
        Ok(outcome) => outcome,
        Err(_) => panic!("waited {PATIENCE:?} for {what}"),
    }
}

fn start_again_inside() -> ExitCode {
    let Ok(program) = env::current_exe() else {
        eprintln!("e2e: cannot find out what program this is");
        return ExitCode::FAILURE;
    };
    // Whatever ends this process (Ctrl-C, a time limit) kills `unshare`, which kills the first process inside,
    // and with that one the kernel ends all others of the namespace.
    let mut inside = Command::new("setpriv");
    inside.args(["--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--mount-proc", "--fork"]);
    inside.args(["--kill-child=KILL", "--"]).arg(program).args(env::args_os().skip(1)).env(INSIDE, "1");
    match inside.stdin(Stdio::null()).status() {
        Ok(ended) => match ended.code().and_then(|code| u8::try_from(code).ok()) {
            Some(code) => ExitCode::from(code),
            None => ExitCode::FAILURE,
        },
        Err(error) => {
            eprintln!("e2e: cannot start setpriv (package util-linux): {error}");
            ExitCode::FAILURE
        }
    }
}

/// The kept Asterisk root.
fn root() -> Root {
    Root::kept().expect("the Asterisk root is not built; `cargo xtask lab build` makes it")
}

/// The loopback up, and a tmpfs over what Asterisk writes.
fn settle_in() {
    let root = root();
    std::fs::create_dir_all(root.lab()).expect("the Asterisk root can be written");
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "mode=755", "lab"]).arg(root.lab()).status();
    assert!(mount.is_ok_and(|ended| ended.success()), "cannot mount a tmpfs: the scenarios need root");
    let up = root.command("ip").args(["link", "set", "lo", "up"]).status();
    assert!(up.is_ok_and(|ended| ended.success()), "cannot bring up the loopback of the new network");
}
