//! A whole day of the simulated Centrex in virtual time: busy, believable, and never larger than its bounds.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod centrex_lab;

use std::collections::BTreeMap;
use std::time::Duration;

use centrex_lab::{Lab, field};
use sim_pbx::centrex::{Convention, Day, Office, RingForm};

const HOUR: Duration = Duration::from_secs(3600);

/// What one extension's client heard, counted.
#[derive(Default)]
struct Heard {
    names: BTreeMap<String, u64>,
    rings: u64,
    outs: u64,
    by_hour: BTreeMap<u64, u64>,
}

fn work(lab: &mut Lab, day: &mut Day, until: Duration, clients: &[&str], heard: &mut Heard) {
    loop {
        let next = [lab.pbx.poll_timeout(), day.poll_timeout()].into_iter().flatten().min();
        let Some(at) = next.filter(|at| *at <= until) else { return };
        lab.now = at.max(lab.now);
        lab.pbx.handle_timeout(lab.now);
        day.handle_timeout(&mut lab.pbx, lab.now);
        for client in clients {
            for body in lab.hear(client) {
                let name = body.split('|').next().unwrap().to_owned();
                match name.as_str() {
                    "RINGEVENT" => heard.rings += 1,
                    "CHANNELOUT" => heard.outs += 1,
                    _ => {}
                }
                *heard.by_hour.entry(lab.now.as_secs() / 3600).or_default() += 1;
                *heard.names.entry(name).or_default() += 1;
            }
        }
        assert!(lab.pbx.calls().len() <= 64 && lab.pbx.rooms().len() <= 64, "{:?}", lab.pbx.calls());
        assert!(day.planned() < 512, "{}", day.planned());
    }
}

#[test]
fn a_day_of_24_hours_stays_within_its_bounds_and_ends_empty() {
    for convention in [Convention::manual(), Convention::captured_2020()] {
        let ring = convention.ring;
        let mut lab = Lab::new(Office { convention, ..Office::demo() });
        let clients = ["3451", "3452", "3460"];
        clients.iter().for_each(|client| drop(lab.log_in(client)));
        let mut day = Day::new(7, 1.0, Duration::ZERO);
        let mut heard = Heard::default();
        day.end(24 * HOUR);
        work(&mut lab, &mut day, 25 * HOUR, &clients, &mut heard);
        assert!(day.is_over());
        assert!(lab.pbx.calls().is_empty(), "{:?}", lab.pbx.calls());
        assert!(lab.pbx.rooms().is_empty(), "{:?}", lab.pbx.rooms());
        for name in ["RINGEVENT", "CHANNELLIST", "CHANNELOUT", "CONFERENCEEVENT", "RECVSMS", "RECVPEERMSG"] {
            assert!(heard.names.get(name).is_some_and(|count| *count > 50), "{name}: {:?}", heard.names);
        }
        assert!(heard.rings > 2000, "{}", heard.rings);
        assert_eq!(lab.pbx.history().count(), 1000, "the list keeps its bound");
        assert!(matches!(ring, RingForm::Manual | RingForm::Captured2020));
    }
}

#[test]
fn hours_make_the_night_quiet() {
    let mut lab = Lab::new(Office::demo());
    let clients = ["3451", "3452", "3453", "3454", "3455"];
    clients.iter().for_each(|client| drop(lab.log_in(client)));
    let mut day = Day::with_hours(3, 1.0, Duration::ZERO, Duration::ZERO);
    let mut heard = Heard::default();
    work(&mut lab, &mut day, 24 * HOUR, &clients, &mut heard);
    let count =
        |hours: std::ops::Range<u64>| hours.map(|hour| heard.by_hour.get(&hour).copied().unwrap_or(0)).sum::<u64>();
    let (night, morning) = (count(1..5), count(9..12));
    assert!(morning > 20 * night.max(1), "night {night}, morning {morning}");
}

#[test]
fn the_same_seed_is_the_same_day() {
    let told = |seed| {
        let mut lab = Lab::new(Office::demo());
        lab.log_in("3451");
        let mut day = Day::new(seed, 1.0, Duration::ZERO);
        let mut told = Vec::new();
        while lab.now < HOUR {
            lab.now = [lab.pbx.poll_timeout(), day.poll_timeout()].into_iter().flatten().min().unwrap().max(lab.now);
            lab.pbx.handle_timeout(lab.now);
            day.handle_timeout(&mut lab.pbx, lab.now);
            told.extend(lab.hear("3451"));
        }
        told
    };
    assert!(told(1) == told(1) && told(1) != told(2));
}

#[test]
fn every_ring_of_a_quiet_office_has_its_end() {
    let mut lab = Lab::new(Office::demo());
    lab.log_in("3451");
    let mut day = Day::new(11, 1.0, Duration::ZERO);
    day.end(HOUR);
    let mut open: BTreeMap<String, String> = BTreeMap::new();
    let mut ended = 0;
    while let Some(at) = [lab.pbx.poll_timeout(), day.poll_timeout()].into_iter().flatten().min() {
        lab.now = at.max(lab.now);
        lab.pbx.handle_timeout(lab.now);
        day.handle_timeout(&mut lab.pbx, lab.now);
        for body in lab.hear("3451") {
            match body.split('|').next().unwrap() {
                "RINGEVENT" => {
                    let own = if field(&body, "ISDIAL") == "0" { "CHANNEL" } else { "RECHANNEL" };
                    open.insert(field(&body, own).into(), body.clone());
                }
                "CHANNELLIST" => {
                    // The answered phone has another channel than the one that rang.
                    open.clear();
                    for own in ["CHANNEL1", "CHANNEL2"].map(|name| field(&body, name)) {
                        if own.starts_with("SIP/10013451-") {
                            open.insert(own.into(), body.clone());
                        }
                    }
                }
                "CHANNELOUT" if field(&body, "CHANNEL").starts_with("SIP/10013451-") => {
                    ended += 1;
                    open.remove(field(&body, "CHANNEL"));
                }
                _ => {}
            }
        }
    }
    assert!(open.is_empty(), "{open:?}");
    assert!(ended > 50, "{ended}");
}
