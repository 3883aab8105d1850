//! The whole gateway in one thread and in virtual time: an office works, everything goes wrong, and what must always
//! hold is looked at all along.
//!
//! Shape: for each seed one runtime whose clock jumps to the next thing to do, with a gateway ([`house`]), an office
//! behind a bad network ([`exchange`]), a list of faults ([`script`]), a slow consumer ([`follower`]), a cloud ([`cloud`]) and what must be
//! so ([`truth`]). A seed repeats its run but for the order within a millisecond; a failure prints it.
//! `LAMPLIGHTER_SEED` runs one seed, `LAMPLIGHTER_SEEDS` so many, `LAMPLIGHTER_MINUTES` as many minutes of each;
//! [`month`] has the long form.

#![allow(clippy::unwrap_used, reason = "a simulation that cannot be set up is a failure")]

mod cloud;
mod exchange;
mod follower;
mod house;
mod month;
mod order;
mod script;
mod truth;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use lamplighter::limits::LOG_UNFLUSHED_ENTRIES_MAX;
use sim_pbx::ami::Office;
use tokio::time::{sleep, sleep_until};

use crate::house::House;
use crate::script::Act;

const SEEDS: u64 = 24;
const MINUTES: u64 = 60;
/// How busy the office is; 1 is a call every few seconds.
const SPEED: f64 = 0.35;
/// From the begin of the faults to a standstill at which everything is compared.
const STRETCH: Duration = Duration::from_secs(480);

#[test]
fn an_hour_of_faults_leaves_the_truth_for_every_seed() {
    house::count_panics();
    let minutes = Duration::from_secs(60 * setting("LAMPLIGHTER_MINUTES").unwrap_or(MINUTES));
    let seeds = match setting("LAMPLIGHTER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..setting("LAMPLIGHTER_SEEDS").unwrap_or(SEEDS),
    };
    println!("seeds {seeds:?}, {minutes:?} of virtual time each");
    let next = AtomicU64::new(seeds.start);
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get().min(8));
    let failed = std::thread::scope(|scope| {
        let one_after_the_other = || -> Vec<u64> {
            let mut failed = Vec::new();
            loop {
                let seed = next.fetch_add(1, Relaxed);
                if seed >= seeds.end {
                    return failed;
                }
                // A thread for each, so that a panic is counted to its seed.
                if std::thread::spawn(move || in_virtual_time(office_hour(seed, minutes))).join().is_err() {
                    failed.push(seed);
                }
            }
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(one_after_the_other)).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<u64>>()
    });
    assert!(failed.is_empty(), "seeds {failed:?} failed; LAMPLIGHTER_SEED={} repeats the first", failed[0]);
}

/// Without it a failing seed could not be looked at again. Two tasks that wake in the same millisecond may run in either
/// order, since tokio chooses at random, so their entries may change places; nothing else may differ.
#[test]
fn a_seed_repeats_its_run() {
    let run = || {
        in_virtual_time(async {
            let (mut house, mut rng) = (House::new(11, SPEED, Office::demo()).await, fastrand::Rng::with_seed(11));
            stretch(&mut house, &mut rng).await;
            house.come_to_rest().await;
            let mut marks = Vec::from(house.tail.marks().clone());
            marks.sort_unstable();
            marks
        })
    };
    let (first, second) = (run(), run());
    let differ = first.iter().filter(|mark| second.binary_search(mark).is_err()).count();
    assert_eq!((differ, first.len()), (0, second.len()), "entries of one run that the other does not have");
}

/// An office at work and then a silent one, over a network without a fault.
#[test]
fn nothing_but_a_fault_costs_a_link() {
    in_virtual_time(async {
        let mut house = House::new(3, SPEED, Office::demo()).await;
        for silent in [false, true] {
            if silent {
                house.exchange.freeze();
            }
            for _ in 0..900 {
                sleep(Duration::from_millis(1999)).await;
                house.look().await;
            }
        }
        assert_eq!(house.tail.downs, [""; 0], "the link went down by itself");
        assert_eq!(house.exchange.connects(), 1, "and was connected once");
        house.exchange.thaw();
        house.come_to_rest().await;
    });
}

/// More events than the log may hold unflushed: the link stops reading, the PBX waits, nobody is cut off.
#[test]
fn a_flood_over_a_store_that_fails_loses_nothing() {
    const EVENTS: usize = 20_000;
    in_virtual_time(async {
        let mut house = House::at_rest(0, Office::demo()).await;
        house.start().await;
        house.settle().await;
        house.act(Act::StoreFails).await;
        for _ in 0..2 {
            house.act(Act::Flood { events: EVENTS }).await;
            for _ in 0..30 {
                sleep(Duration::from_secs(1)).await;
                house.look().await;
            }
        }
        let unflushed = house.gateway.as_ref().map_or(0, |gateway| gateway.stats.unflushed());
        assert!(unflushed >= LOG_UNFLUSHED_ENTRIES_MAX as u64, "the log is full: {unflushed}");
        house.act(Act::StoreRecovers).await;
        house.come_to_rest().await;
        assert_eq!(house.tail.named("Flood"), 2 * EVENTS, "user events in the log");
        assert_eq!(house.tail.downs, [""; 0], "the link stood all the time");
    });
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

fn in_virtual_time<F: Future>(run: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(run)
}

async fn office_hour(seed: u64, length: Duration) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut office = Office::demo();
    office.noise = seed.is_multiple_of(5);
    office.list_pieces = rng.bool().then(|| rng.usize(1..6));
    let mut house = House::new(seed, SPEED, office).await;
    let began = house.clock.now();
    while house.clock.now() - began < length {
        stretch(&mut house, &mut rng).await;
        house.come_to_rest().await;
        house.exchange.thaw();
    }
    house.note("the day ends");
    house.exchange.end_of_day();
    sleep(Duration::from_secs(120)).await;
    house.exchange.office(|pbx, at| pbx.hang_up_all(at));
    house.come_to_rest().await;
    let lingering = house.link().map(|link| link.connections.clone());
    assert_eq!(lingering, Some(Default::default()), "no connection outlives the last call");
    house.compare_folds();
    house.end(true).await;
    println!(
        "seed {seed}: {} entries, {} connects, the follower lagged {} times",
        house.tail.last,
        house.exchange.connects(),
        house.follower.lags()
    );
}

/// Faults, with a look at everything after each and in between.
async fn stretch(house: &mut House, rng: &mut fastrand::Rng) {
    let began = house.clock.now();
    for (at, act) in script::acts(rng, STRETCH) {
        while house.clock.now() < began + at {
            let next = (house.clock.now() + Duration::from_millis(rng.u64(20..4000))).min(began + at);
            sleep_until(next).await;
            house.look().await;
        }
        house.act(act).await;
        house.look().await;
    }
}
