//! Clients of the simulated Centrex that say anything at all: it neither panics nor grows.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod centrex_lab;

use std::time::Duration;

use centrex_lab::Lab;
use sim_pbx::centrex::{ByteOrder, Cipher, Office, Output, Watch, Wire};

const WORDS: [&str; 20] = [
    "CMD",
    "LOGIN",
    "ID=3321",
    "PWD=1234",
    "CLICKCALL",
    "AGENT=3321",
    "EXTEN=3322",
    "EXTEN=0101",
    "HANGUP",
    "TRANSFER",
    "ATXFER",
    "PICKUP",
    "REDIRECTCONFERENCE",
    "INVITECONFERENCE",
    "CALLWITHCONFERENCE",
    "ROOM=3321",
    "PEERS=3322,3456,1",
    "SETFORWARD",
    "USE=1",
    "가=나",
];

#[test]
fn random_bytes_and_random_commands_do_no_harm() {
    let mut rng = fastrand::Rng::with_seed(3);
    let order = ByteOrder::Little;
    let wires = [
        Wire::default(),
        Wire { reads: None, ..Wire::default() },
        Wire { order, reads: Some(order), cipher: Cipher::seed([1; 16], [2; 16]), ..Wire::default() },
        Wire { cipher: Cipher::basic(b"0123456789"), reads: None, ..Wire::default() },
    ];
    for wire in wires {
        let mut lab = Lab::new(Office::manual());
        lab.pbx.set_wire(wire.clone());
        let json = lab.pbx.open_json(&Watch::Everyone, lab.now).unwrap();
        for round in 0..3000 {
            let session = lab.open();
            let bytes: Vec<u8> = match round % 3 {
                0 => (0..rng.usize(0..64)).map(|_| rng.u8(..)).collect(),
                _ => {
                    let count = rng.usize(1..7);
                    let words: Vec<&str> = (0..count).map(|_| WORDS[rng.usize(..WORDS.len())]).collect();
                    let login = wire.frame(1, &wire.body("CMD|LOGIN|ID=3321|PWD=1234|"));
                    [login, wire.frame(1, &wire.body(&format!("CMD|{}", words.join("|"))))].concat()
                }
            };
            lab.pbx.handle_bytes(session, &bytes, lab.now);
            lab.pbx.handle_bytes(json, &bytes, lab.now);
            while let Some(Output::Send(_)) = lab.pbx.poll_output(session) {}
            while let Some(Output::Send(_)) = lab.pbx.poll_output(json) {}
            lab.pbx.close(session);
            lab.wait(Duration::from_secs(rng.u64(0..20)));
            assert!(lab.pbx.received().count() <= 1024 && lab.pbx.calls().len() <= 1024);
        }
        assert_eq!(lab.pbx.session_count(), 1);
        assert!(lab.pbx.tally().commands > 1000);
    }
}

#[test]
fn a_reader_that_never_reads_is_closed() {
    let mut lab = Lab::new(Office::manual());
    lab.log_in("3321");
    let session = lab.pbx.logins().next().unwrap().0;
    for _ in 0..20_000 {
        lab.pbx.say_raw("3321", "CDREVENT|CHANNEL:SIP/1").unwrap();
    }
    assert!(lab.pbx.is_ending(session));
    assert_eq!(lab.hear("3321").len(), 16 * 1024);
}

#[test]
fn sessions_and_calls_end_at_their_bounds() {
    let mut lab = Lab::new(Office::manual());
    let opened = (0..300).filter(|_| lab.pbx.open(lab.now).is_some()).count();
    assert_eq!(opened, 256);
    // A desk that rings is busy to the next caller, whose call ends at once: only the first stays.
    let taken = (0..2000).filter(|_| lab.pbx.inbound("01011112222", "3321", lab.now).is_ok()).count();
    assert_eq!((taken, lab.pbx.calls().len()), (2000, 1));
    assert_eq!(lab.pbx.history().count(), 0, "a phone that never rang has no record");
}

#[test]
fn an_unreadable_length_closes_the_connection() {
    use sim_pbx::centrex::Counts;
    let mut lab = Lab::new(Office::manual());
    lab.pbx.set_wire(Wire { counts: Counts::Whole, ..Wire::default() });
    let session = lab.open();
    lab.pbx.handle_bytes(session, &[0, 1, 0, 3], lab.now);
    assert_eq!(lab.pbx.poll_output(session), Some(Output::Close));
    assert_eq!(lab.pbx.tally().unreadable, 1);
}
