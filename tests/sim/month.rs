//! A month of an office, most of it uneventful: days of work, nights, weekends; some faults on each; retention that takes
//! what is old; a cloud that is away for minutes or nights; and memory that is at the end what it was in the first week.
//!
//! Shape: the house of the hour with a longer keep-alive and a shorter retention. People come at eight and leave at
//! seven; every evening all faults end and everything is compared. `LAMPLIGHTER_MONTHS` runs so many seeds, from
//! `LAMPLIGHTER_SEED` on (0 unless said), one after the other, since memory is the process's; `LAMPLIGHTER_MONTH_DAYS`
//! shortens each. `cargo xtask month` shares seeds among processes.

use std::fs;
use std::time::Duration;

use sim_pbx::ami::Office;
use tokio::time::{sleep, sleep_until};

use crate::cloud::Weather;
use crate::house::{House, Site};
use crate::script::Act;
use crate::{house, in_virtual_time, script, setting};

const DAYS: u64 = 30;
/// Talks of minutes, and a call every eight minutes or so: as a dozen telephones make them.
const SPEED: f64 = 0.1;
const PAUSES: f64 = 20.0;
const SITE: Site = Site {
    heartbeat: Duration::from_secs(60),
    keep: Duration::from_secs(2 * 24 * 3600),
    cloud: true,
    pace: Duration::from_secs(60),
};
const HOUR: Duration = Duration::from_secs(3600);
/// By which memory may grow between the second week and the last days of a month, and over all months of a process. A
/// flood of twenty thousand events leaves up to 18 MiB with the allocator; a leak of 40 bytes an entry is more than this
/// within ten months.
const GROWTH_MAX: u64 = 24 << 20;
/// Evenings until the log holds as much as retention lets it, twice over, and every table has been used.
const WARM: usize = 6;

#[test]
fn a_month_of_an_office_leaves_the_truth_and_flat_memory() {
    house::count_panics();
    let days = setting("LAMPLIGHTER_MONTH_DAYS").unwrap_or(3);
    let first = setting("LAMPLIGHTER_SEED").unwrap_or(0);
    let seeds = first..first + setting("LAMPLIGHTER_MONTHS").unwrap_or(1);
    let mut ends: Vec<u64> = Vec::new();
    for seed in seeds {
        let evenings = in_virtual_time(month(seed, days.min(DAYS)));
        if let (Some(warm), Some(last)) = (evenings.get(WARM..WARM + 5), evenings.last_chunk::<5>())
            && evenings.len() >= WARM + 10
        {
            let (early, late) = (median(warm), median(last));
            assert!(
                late <= early + GROWTH_MAX,
                "seed {seed}: memory grows within the month, {} MiB in the second week, {} MiB at its end",
                early >> 20,
                late >> 20
            );
        }
        ends.extend(evenings.last());
        let (first, last) = (ends[0], ends[ends.len() - 1]);
        assert!(
            last <= first + GROWTH_MAX,
            "seed {seed}: memory grows from month to month, {} MiB and {} MiB",
            first >> 20,
            last >> 20
        );
    }
}

/// Resident bytes of each evening, without what the log in memory holds: on a box that lies on the disk.
async fn month(seed: u64, days: u64) -> Vec<u64> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut office = Office::demo();
    office.noise = seed.is_multiple_of(5);
    office.list_pieces = rng.bool().then(|| rng.usize(1..6));
    let mut house = House::of(seed, SPEED, office, SITE).await;
    house.exchange.end_of_day();
    let began = house.clock.now();
    let mut evenings = Vec::new();
    for day in 0..days {
        let midnight = began + 24 * HOUR * u32::try_from(day).unwrap_or(u32::MAX);
        house.note(&format!("day {day}"));
        let mut acts = script::acts_of_a_day(&mut rng);
        let weekend = day % 7 > 4;
        if weekend {
            acts.truncate(2);
        }
        let mut acts = acts.into_iter().peekable();
        let mut at_work = false;
        let mut at = Duration::ZERO;
        while at < 19 * HOUR {
            let pause = Duration::from_secs(rng.u64(60..900));
            let next = acts.peek().map_or(19 * HOUR, |(at, _)| *at).min(at + pause).min(19 * HOUR);
            sleep_until(midnight + next).await;
            at = (house.clock.now() - midnight).max(next);
            if !at_work && !weekend && at >= 8 * HOUR {
                at_work = true;
                house.exchange.begin_day(rng.u64(..), SPEED, PAUSES);
            }
            house.look().await;
            while let Some((_, act)) = acts.next_if(|(due, _)| *due <= at) {
                house.act(act).await;
                house.look().await;
            }
        }
        if at_work {
            house.exchange.end_of_day();
            sleep(HOUR / 2).await;
            house.exchange.office(|pbx, at| pbx.hang_up_all(at));
        }
        house.come_to_rest().await;
        house.exchange.thaw();
        // Now and then the cloud stays away over the night, or for longer than the log is kept.
        if rng.u32(0..5) > 0 || day + 1 == days {
            house.cloud_catches_up().await;
        } else {
            house.act(Act::Cloud(Weather::Gone)).await;
        }
        house.compare_folds();
        evenings.push(resident().saturating_sub(house.store.payload()));
    }
    house.end(true).await;
    println!(
        "seed {seed}: {days} days, {} entries, {} of them trimmed, {} connects, the follower lagged {} times, the cloud got \
         {} messages, {} of them repeats, and missed {}, {} MiB",
        house.tail.last,
        house.tail.trimmed(),
        house.exchange.connects(),
        house.follower.lags(),
        house.cloud.messages,
        house.cloud.repeats,
        house.cloud.missed,
        evenings.last().unwrap_or(&0) >> 20
    );
    evenings
}

fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

fn median(of: &[u64]) -> u64 {
    let mut sorted = of.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}
