use super::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lamp_pattern::Colour;
use tokio::task::JoinHandle;

use crate::event::{AgentState, Body, DeviceState};
use crate::lamp::output::VirtualBoard;
use crate::lamp::scene::{Scene, agent, device, down, link, resynced, up};
use crate::lamp::settings::{LedSettings, Patterns};
use crate::limits::{ENTRIES_QUEUED_MAX, LAMP_COMMANDS_QUEUED_MAX, LAMP_IDENTIFY, LAMP_RETRY_MAX, LAMP_TEST_STEP};

/// The stage with both ends of its channels.
struct Rig {
    scene: Scene,
    board: VirtualBoard,
    entries: mpsc::Sender<Logged>,
    events: mpsc::Receiver<Submitted>,
    commands: mpsc::Sender<LampCommand>,
    health: watch::Sender<LogHealth>,
    settings: watch::Sender<Arc<LampSettings>>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

struct Rigged {
    lamps: Vec<(&'static str, &'static str, OutputSettings)>,
    leds: PathBuf,
    threads: bool,
    events: usize,
    state: State,
}

impl Rigged {
    fn with(lamps: &[(&'static str, &'static str)]) -> Self {
        let lamps = lamps.iter().map(|(lamp, shows)| (*lamp, *shows, OutputSettings::Virtual)).collect();
        Self { lamps, leds: PathBuf::new(), threads: false, events: 64, state: State::default() }
    }

    fn led(mut self, root: &Path, lamp: &'static str, shows: &'static str, name: &str) -> Self {
        self.leds = root.to_owned();
        let led = LedSettings::Colours { red: Some(name.into()), green: Some(format!("{name}-green")), blue: None };
        self.lamps.push((lamp, shows, OutputSettings::Led(led)));
        self
    }

    fn start(self) -> Rig {
        let (entries, entries_end) = mpsc::channel(ENTRIES_QUEUED_MAX);
        let (events_end, events) = mpsc::channel(self.events);
        let (commands, commands_end) = mpsc::channel(LAMP_COMMANDS_QUEUED_MAX);
        let (health, health_end) = watch::channel(LogHealth::Good);
        let (settings, settings_end) = watch::channel(Arc::new(self.settings()));
        let (stop, stopped) = oneshot::channel();
        let channels = LampChannels {
            entries: entries_end,
            events: events_end,
            commands: commands_end,
            health: health_end,
            settings: settings_end,
        };
        let board = VirtualBoard::new();
        let rigging = Rigging { board: board.clone(), leds: self.leds, threads: self.threads };
        let clock = Clock::simulated(Timestamp(1_790_000_000_000));
        let stage = LampStage::new(self.state, channels, rigging, clock);
        let task = tokio::spawn(stage.run(async move { drop(stopped.await) }));
        Rig { scene: Scene::default(), board, entries, events, commands, health, settings, stop, task }
    }

    fn settings(&self) -> LampSettings {
        let site = |(lamp, shows, output): &(&'static str, &'static str, OutputSettings)| {
            (LampId::new(lamp), SiteLamp { shows: shows.parse().unwrap(), output: output.clone() })
        };
        let lamps = self.lamps.iter().map(site).collect();
        LampSettings { lamps, patterns: Patterns::default(), links: BTreeSet::from([link()]), standby: false }
    }
}

impl Rig {
    async fn send(&mut self, body: Body) {
        let logged = self.scene.log(body);
        self.entries.send(logged).await.unwrap();
    }

    async fn live(&mut self) {
        self.send(up()).await;
        self.send(resynced()).await;
    }

    /// Waits for a virtual lamp to show a state; in virtual time a stage that never gets there is seen at once.
    async fn shows(&self, lamp: &str, state: LampState) -> VirtualLamp {
        let mut changes = self.board.subscribe();
        loop {
            match self.board.lamp(&lamp.into()) {
                Some(shown) if shown.state == Some(state) => return shown,
                shown => tokio::time::timeout(Duration::from_secs(60), changes.changed())
                    .await
                    .unwrap_or_else(|_| panic!("{lamp} shows {shown:?}, expected {state:?}"))
                    .unwrap(),
            }
        }
    }

    async fn event(&mut self) -> (String, &'static str, LampState, Option<String>) {
        let submitted = tokio::time::timeout(Duration::from_secs(3600), self.events.recv()).await;
        told(submitted.expect("an event in time").unwrap())
    }

    /// Everything told until nothing more comes for a minute.
    async fn quiet(&mut self) -> Vec<(String, &'static str, LampState)> {
        let mut all = Vec::new();
        while let Ok(Some(submitted)) = tokio::time::timeout(Duration::from_secs(60), self.events.recv()).await {
            let (lamp, kind, state, _) = told(submitted);
            all.push((lamp, kind, state));
        }
        all
    }

    async fn command<T>(&self, make: impl FnOnce(oneshot::Sender<T>) -> LampCommand) -> T {
        let (reply, answer) = oneshot::channel();
        self.commands.send(make(reply)).await.unwrap();
        answer.await.unwrap()
    }

    async fn identify(&self, lamp: &str) -> Result<(), LampRefused> {
        self.command(|reply| LampCommand::Identify { lamp: lamp.into(), reply }).await
    }

    async fn view(&self, lamp: &str) -> LampView {
        let views = self.command(|reply| LampCommand::Query { reply }).await;
        views.into_iter().find(|view| view.lamp.as_str() == lamp).unwrap()
    }

    async fn stop(self) -> VirtualBoard {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
        self.board
    }
}

fn told(submitted: Submitted) -> (String, &'static str, LampState, Option<String>) {
    let kind = submitted.event.body.kind_name();
    match submitted.event.body {
        Body::LampShown(lamp) | Body::LampFault(lamp) => (lamp.lamp.to_string(), kind, lamp.state, lamp.reason),
        other => panic!("the lamp stage told {other:?}"),
    }
}

fn plug(root: &Path, name: &str) {
    for name in [name.to_owned(), format!("{name}-green")] {
        fs::create_dir(root.join(&name)).unwrap();
        fs::write(root.join(&name).join("max_brightness"), "255").unwrap();
        fs::write(root.join(&name).join("brightness"), "0").unwrap();
    }
}

fn unplug(root: &Path, name: &str) {
    fs::remove_dir_all(root.join(name)).unwrap();
    fs::remove_dir_all(root.join(format!("{name}-green"))).unwrap();
}

/// Red and green of an LED lamp.
fn levels(root: &Path, name: &str) -> (String, String) {
    let level = |name: &str| fs::read_to_string(root.join(name).join("brightness")).unwrap();
    (level(name), level(&format!("{name}-green")))
}

const DESK: [(&str, &str); 1] = [("lamp", "device:desk/0101")];

#[tokio::test(start_paused = true)]
async fn lamps_that_another_gateway_drives_are_dark_and_say_so_and_are_driven_when_it_is_gone() {
    let rigged = Rigged::with(&DESK);
    let (leading, standby) = (rigged.settings(), LampSettings { standby: true, ..rigged.settings() });
    let mut rig = rigged.start();
    rig.live().await;
    rig.send(device("0101", DeviceState::InUse)).await;
    rig.shows("lamp", LampState::InCall).await;

    rig.settings.send_replace(Arc::new(standby));
    let mut changes = rig.board.subscribe();
    changes.wait_for(|_| rig.board.lamp(&"lamp".into()).is_none()).await.unwrap();
    let view = rig.view("lamp").await;
    assert_eq!((view.state, view.ok, view.pattern.effect.as_str()), (LampState::LoggedOff, true, "off"));
    assert!(view.why.rule.starts_with("standby"), "{}", view.why.rule);
    assert!(
        matches!(rig.identify("lamp").await, Err(LampRefused::Broken { reason, .. }) if reason.contains("standby"))
    );
    assert!(matches!(rig.identify("lump").await, Err(LampRefused::Unknown { .. })));
    rig.send(device("0101", DeviceState::Ringing)).await;
    assert!(rig.board.lamp(&"lamp".into()).is_none());

    rig.settings.send_replace(Arc::new(leading));
    rig.shows("lamp", LampState::Ringing).await;
}

#[tokio::test(start_paused = true)]
async fn a_lamp_is_lost_until_its_link_is_resynced() {
    let mut scene = Scene::live();
    scene.tell(device("0101", DeviceState::NotInUse));
    let mut rig = Rigged { state: scene.state.clone(), ..Rigged::with(&DESK) }.start();
    rig.scene = scene;
    rig.shows("lamp", LampState::Lost).await;
    rig.send(up()).await;
    rig.send(device("0101", DeviceState::InUse)).await;
    assert_eq!(rig.quiet().await, [("lamp".into(), "lamp.shown", LampState::Lost)]);
    rig.send(resynced()).await;
    assert_eq!(rig.event().await.2, LampState::InCall);
}

#[tokio::test(start_paused = true)]
async fn a_call_takes_the_lamp_through_its_colours_at_once() {
    let mut rig = Rigged::with(&DESK).start();
    rig.live().await;
    for (told, state, colour) in [
        (DeviceState::NotInUse, LampState::Available, Colour::new(0, 255, 0)),
        (DeviceState::Ringing, LampState::Ringing, Colour::new(255, 176, 0)),
        (DeviceState::InUse, LampState::InCall, Colour::new(255, 0, 0)),
        (DeviceState::NotInUse, LampState::Available, Colour::new(0, 255, 0)),
    ] {
        let now = Clock::system().now();
        rig.send(device("0101", told)).await;
        let shown = rig.shows("lamp", state).await;
        assert_eq!(Clock::system().now(), now, "no timer stands between an event and its colour");
        assert_eq!((shown.colour(now), shown.since), (colour, now));
    }
    let states: Vec<LampState> = rig.quiet().await.into_iter().map(|(_, _, state)| state).collect();
    assert_eq!(states.last(), Some(&LampState::Available));
}

#[tokio::test(start_paused = true)]
async fn its_own_events_coming_back_change_and_tell_nothing() {
    let mut rig = Rigged::with(&DESK).start();
    rig.live().await;
    rig.send(device("0101", DeviceState::InUse)).await;
    rig.shows("lamp", LampState::InCall).await;
    let version = *rig.board.subscribe().borrow();
    while let Ok(Some(submitted)) = tokio::time::timeout(Duration::from_secs(5), rig.events.recv()).await {
        let logged = rig.scene.log_event(submitted.event);
        rig.entries.send(logged).await.unwrap();
    }
    assert_eq!(rig.quiet().await, []);
    assert_eq!(*rig.board.subscribe().borrow(), version);
}

#[tokio::test(start_paused = true)]
async fn what_the_log_told_last_is_not_told_again_after_a_restart() {
    let mut rig = Rigged::with(&DESK).start();
    let (_, _, state, _) = rig.event().await;
    assert_eq!(state, LampState::Lost);
    let mut scene = Scene::default();
    let event = crate::event::LampEvent {
        lamp: "lamp".into(),
        state,
        pattern: pattern_view(&Patterns::default().of(state)),
        reason: None,
    };
    scene.tell(Body::LampShown(event));
    let mut again = Rigged { state: scene.state, ..Rigged::with(&DESK) }.start();
    assert_eq!(again.quiet().await, []);
}

#[tokio::test(start_paused = true)]
async fn an_agent_s_lamp_follows_to_another_desk() {
    let mut rig = Rigged::with(&[("lamp", "agent:desk/kim")]).start();
    rig.live().await;
    for at in ["0101", "0102"] {
        rig.send(device(at, DeviceState::NotInUse)).await;
    }
    rig.send(agent("kim", Some("0101"), AgentState::Ready, &[])).await;
    rig.send(device("0101", DeviceState::Ringing)).await;
    rig.shows("lamp", LampState::Ringing).await;
    rig.send(agent("kim", Some("0102"), AgentState::Ready, &[])).await;
    rig.shows("lamp", LampState::Available).await;
    rig.send(device("0102", DeviceState::InUse)).await;
    rig.shows("lamp", LampState::InCall).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_link_and_a_failing_store_are_seen_and_so_is_their_end() {
    let mut rig = Rigged::with(&DESK).start();
    rig.live().await;
    rig.send(device("0101", DeviceState::NotInUse)).await;
    rig.shows("lamp", LampState::Available).await;
    rig.send(down()).await;
    rig.shows("lamp", LampState::Lost).await;
    rig.live().await;
    rig.shows("lamp", LampState::Available).await;
    rig.health.send_replace(LogHealth::Failing { since: Timestamp::default(), error: "disk full".into() });
    rig.shows("lamp", LampState::Lost).await;
    assert_eq!(rig.view("lamp").await.why.rule, "lost: the log cannot be written");
    rig.health.send_replace(LogHealth::Good);
    rig.shows("lamp", LampState::Available).await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_lamp_is_told_once_holds_nobody_up_and_recovers() {
    let root = tempfile::tempdir().unwrap();
    let mut rig = Rigged::with(&DESK).led(root.path(), "broken", "device:desk/0101", "status").start();
    let mut first = vec![rig.event().await, rig.event().await];
    first.sort();
    assert_eq!((first[0].0.as_str(), first[0].1), ("broken", "lamp.fault"));
    assert!(first[0].3.as_ref().unwrap().starts_with("led status: cannot read "), "{first:?}");
    assert_eq!((first[1].0.as_str(), first[1].1), ("lamp", "lamp.shown"));
    rig.live().await;
    rig.send(device("0101", DeviceState::InUse)).await;
    rig.shows("lamp", LampState::InCall).await;
    let others: Vec<_> = rig.quiet().await.into_iter().filter(|(lamp, ..)| lamp == "broken").collect();
    assert_eq!(others, [], "a fault is told once, however long it lasts");
    let view = rig.view("broken").await;
    assert!(!view.ok && view.fault.is_some());
    assert!(matches!(rig.identify("broken").await, Err(LampRefused::Broken { .. })));
    plug(root.path(), "status");
    let plugged = Clock::system().now();
    let (lamp, kind, state, _) = rig.event().await;
    assert_eq!((lamp.as_str(), kind, state), ("broken", "lamp.shown", LampState::InCall));
    assert!(Clock::system().now() - plugged <= LAMP_RETRY_MAX + LAMP_RECONCILE);
    assert_eq!(levels(root.path(), "status"), ("255".into(), "0".into()));
    assert!(rig.view("broken").await.ok);
}

#[tokio::test(start_paused = true)]
async fn an_output_unplugged_in_the_middle_comes_back_with_the_newest_state() {
    let root = tempfile::tempdir().unwrap();
    plug(root.path(), "status");
    let mut rig = Rigged::with(&[]).led(root.path(), "lamp", "device:desk/0101", "status").start();
    rig.live().await;
    rig.send(device("0101", DeviceState::NotInUse)).await;
    assert_eq!(rig.quiet().await.last().unwrap().2, LampState::Available);
    assert_eq!(levels(root.path(), "status"), ("0".into(), "255".into()));
    unplug(root.path(), "status");
    // A lamp at rest is written again only in its turn.
    let unplugged = Clock::system().now();
    assert_eq!(rig.event().await.1, "lamp.fault");
    assert!(Clock::system().now() - unplugged <= LAMP_RECONCILE * u32::try_from(LAMP_CHECK_ROUNDS).unwrap());
    rig.send(device("0101", DeviceState::Ringing)).await;
    rig.send(device("0101", DeviceState::InUse)).await;
    plug(root.path(), "status");
    let (_, kind, state, _) = rig.event().await;
    assert_eq!((kind, state), ("lamp.shown", LampState::InCall));
    assert_eq!(levels(root.path(), "status"), ("255".into(), "0".into()));
    assert_eq!(rig.quiet().await, []);
}

#[tokio::test(start_paused = true)]
async fn a_level_somebody_else_set_is_put_right_within_its_turn() {
    let root = tempfile::tempdir().unwrap();
    plug(root.path(), "status");
    let mut rig = Rigged::with(&[]).led(root.path(), "lamp", "link:desk", "status").start();
    rig.live().await;
    while rig.event().await.2 != LampState::Available {}
    fs::write(root.path().join("status/brightness"), "99").unwrap();
    tokio::time::sleep(LAMP_RECONCILE * u32::try_from(LAMP_CHECK_ROUNDS + 1).unwrap()).await;
    assert_eq!(levels(root.path(), "status"), ("0".into(), "255".into()));
    assert_eq!(rig.quiet().await, [], "nothing changed for anybody");
}

#[tokio::test(start_paused = true)]
async fn an_output_that_hangs_is_a_fault_and_costs_only_its_own_bus() {
    let root = tempfile::tempdir().unwrap();
    plug(root.path(), "stuck");
    let fifo = root.path().join("stuck/brightness");
    fs::remove_file(&fifo).unwrap();
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let rigged = Rigged { threads: true, ..Rigged::with(&DESK).led(root.path(), "stuck", "link:desk", "stuck") };
    let mut rig = rigged.start();
    rig.live().await;
    rig.send(device("0101", DeviceState::InUse)).await;
    rig.shows("lamp", LampState::InCall).await;
    let reason = loop {
        if let (lamp, "lamp.fault", _, reason) = rig.event().await {
            assert_eq!(lamp, "stuck");
            break reason.unwrap();
        }
    };
    assert_eq!(reason, "not answering for 2 s");
    rig.send(device("0101", DeviceState::NotInUse)).await;
    rig.shows("lamp", LampState::Available).await;
    // Somebody reads the pipe: the write that hung goes through. The bus's thread lives in real time.
    tokio::time::resume();
    let reader = fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    loop {
        if let (lamp, "lamp.shown", LampState::Available, _) = rig.event().await
            && lamp == "stuck"
        {
            break;
        }
    }
    drop(reader);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_takes_nothing_never_holds_up_a_lamp_and_gets_the_newest() {
    let mut rig = Rigged { events: 1, ..Rigged::with(&DESK) }.start();
    rig.live().await;
    for round in 0..50 {
        let (told, state) = match round % 2 {
            0 => (DeviceState::InUse, LampState::InCall),
            _ => (DeviceState::NotInUse, LampState::Available),
        };
        rig.send(device("0101", told)).await;
        rig.shows("lamp", state).await;
    }
    rig.send(device("0101", DeviceState::Ringing)).await;
    rig.shows("lamp", LampState::Ringing).await;
    let told: Vec<LampState> = rig.quiet().await.into_iter().map(|(_, _, state)| state).collect();
    assert_eq!(told, [LampState::Lost, LampState::Ringing]);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_gone_never_holds_up_a_lamp() {
    let mut rig = Rigged::with(&DESK).start();
    rig.events.close();
    rig.live().await;
    rig.send(device("0101", DeviceState::InUse)).await;
    rig.shows("lamp", LampState::InCall).await;
}

#[tokio::test(start_paused = true)]
async fn a_storm_ends_with_every_lamp_in_its_last_state() {
    const LAMPS: usize = crate::limits::LAMPS_MAX;
    const SEED: u64 = 20_261_122;
    let name = |number: usize| format!("{number:04}");
    let site = |number: usize| {
        let shows = Shows::Device(link(), name(number).as_str().into());
        (LampId::new(name(number)), SiteLamp { shows, output: OutputSettings::Virtual })
    };
    let mut rig = Rigged { events: 4, ..Rigged::with(&[]) }.start();
    let lamps = (0..LAMPS).map(site).collect();
    let links = BTreeSet::from([link()]);
    rig.settings.send_replace(Arc::new(LampSettings { lamps, patterns: Patterns::default(), links, standby: false }));
    rig.live().await;
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut last = vec![LampState::Lost; LAMPS];
    let states = [
        (DeviceState::NotInUse, LampState::Available),
        (DeviceState::Ringing, LampState::Ringing),
        (DeviceState::InUse, LampState::InCall),
        (DeviceState::OnHold, LampState::OnHold),
        (DeviceState::Unavailable, LampState::Unregistered),
    ];
    for _ in 0..20 * LAMPS {
        let (number, (told, state)) = (random.usize(..LAMPS), random.choice(states).unwrap());
        last[number] = state;
        rig.send(device(&name(number), told)).await;
    }
    let mut told = BTreeMap::new();
    for (lamp, _, state) in rig.quiet().await {
        assert_ne!(told.insert(lamp, state), Some(state), "told twice, seed {SEED}");
    }
    for (number, state) in last.into_iter().enumerate() {
        let shown = rig.board.lamp(&name(number).as_str().into()).unwrap();
        assert_eq!(shown.state, Some(state), "lamp {number}, seed {SEED}");
        assert_eq!(told[&name(number)], state, "lamp {number} as told, seed {SEED}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_stop_leaves_every_lamp_dark() {
    let root = tempfile::tempdir().unwrap();
    plug(root.path(), "status");
    for threads in [false, true] {
        if threads {
            tokio::time::resume(); // a bus's thread lives in real time
        }
        let rigged = Rigged { threads, ..Rigged::with(&DESK).led(root.path(), "led", "link:desk", "status") };
        let mut rig = rigged.start();
        rig.live().await;
        rig.send(device("0101", DeviceState::InUse)).await;
        rig.shows("lamp", LampState::InCall).await;
        while rig.event().await.2 != LampState::Available {}
        let board = rig.stop().await;
        let lamp = board.lamp(&"lamp".into()).unwrap();
        assert_eq!((lamp.state, lamp.pattern), (None, Pattern::OFF));
        assert_eq!(levels(root.path(), "status"), ("0".into(), "0".into()));
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_entries_ends_the_stage() {
    let rig = Rigged::with(&DESK).start();
    rig.shows("lamp", LampState::Lost).await;
    drop(rig.entries);
    rig.task.await.unwrap();
    assert_eq!(rig.board.lamp(&"lamp".into()).unwrap().state, None);
}

#[tokio::test(start_paused = true)]
async fn identify_blinks_for_its_time_and_an_unknown_lamp_is_refused() {
    let mut rig = Rigged::with(&DESK).start();
    rig.shows("lamp", LampState::Lost).await;
    let begun = Clock::system().now();
    rig.identify("lamp").await.unwrap();
    rig.shows("lamp", LampState::Identify).await;
    rig.shows("lamp", LampState::Lost).await;
    let lasted = Clock::system().now() - begun;
    assert!((LAMP_IDENTIFY..=LAMP_IDENTIFY + LAMP_FRAME).contains(&lasted), "{lasted:?}");
    let states: Vec<LampState> = rig.quiet().await.into_iter().map(|(_, _, state)| state).collect();
    assert_eq!(states, [LampState::Lost, LampState::Identify, LampState::Lost]);
    let refused = rig.identify("lamp-9").await.unwrap_err();
    assert_eq!(refused.to_string(), "no lamp lamp-9 is configured");
}

#[tokio::test(start_paused = true)]
async fn a_test_shows_every_pattern_and_tells_nothing() {
    let mut rig = Rigged::with(&DESK).start();
    assert_eq!(rig.quiet().await.len(), 1);
    let begun = Clock::system().now();
    rig.command(|reply| LampCommand::Test { lamp: "lamp".into(), reply }).await.unwrap();
    for state in lamp_pattern::State::ALL {
        rig.shows("lamp", state.into()).await;
    }
    rig.shows("lamp", LampState::Lost).await;
    assert!(Clock::system().now() - begun >= LAMP_TEST_STEP * 11);
    assert_eq!(rig.quiet().await, []);
}

#[tokio::test(start_paused = true)]
async fn a_view_says_what_is_shown_and_why() {
    let mut rig = Rigged::with(&DESK).start();
    rig.live().await;
    rig.send(device("0101", DeviceState::Ringing)).await;
    rig.shows("lamp", LampState::Ringing).await;
    let view = serde_json::to_value(rig.view("lamp").await).unwrap();
    assert_eq!(
        view,
        serde_json::json!({
            "lamp": "lamp", "shows": "device:desk/0101", "state": "ringing", "ok": true, "fault": null,
            "since": "2026-09-21T14:13:20.000Z",
            "pattern": {"colour": "#ffb000", "effect": "blink", "period": "500ms", "duty": 50, "brightness": 100},
            "why": {"seq": 3, "rule": "ringing: a call is alerting", "link": {
                "link": "desk", "up": true, "stale": false, "since": "2026-09-21T14:13:20.000Z", "last_error": null
            }}
        })
    );
}

#[tokio::test(start_paused = true)]
async fn a_reload_changes_patterns_lamps_and_outputs_and_leaves_the_rest() {
    let root = tempfile::tempdir().unwrap();
    plug(root.path(), "status");
    let rigged =
        Rigged::with(&[("kept", "link:desk"), ("gone", "link:desk")]).led(root.path(), "led", "link:desk", "status");
    let mut settings = rigged.settings();
    let mut rig = rigged.start();
    rig.live().await;
    rig.shows("kept", LampState::Available).await;
    while levels(root.path(), "status").1 != "255" {
        rig.event().await;
    }
    let since = rig.view("kept").await.since;
    settings.lamps.remove(&LampId::new("gone"));
    settings.lamps.insert("added".into(), SiteLamp { shows: Shows::Gateway, output: OutputSettings::Virtual });
    settings.lamps.get_mut(&LampId::new("led")).unwrap().output = OutputSettings::Virtual;
    let dim = Pattern { brightness: 10, ..lamp_pattern::State::Available.default_pattern() };
    settings.patterns = settings.patterns.with(LampState::Available, dim);
    rig.settings.send_replace(Arc::new(settings));
    rig.shows("added", LampState::Available).await;
    rig.shows("led", LampState::Available).await;
    assert_eq!(rig.shows("kept", LampState::Available).await.pattern, dim);
    assert_eq!(rig.view("kept").await.since, since);
    assert_eq!(rig.board.lamp(&"gone".into()), None);
    assert_eq!(levels(root.path(), "status"), ("0".into(), "0".into()));
}

#[tokio::test(start_paused = true)]
async fn a_house_at_rest_sets_no_timer() {
    let (_entries, entries) = mpsc::channel(1);
    let (events, _events) = mpsc::channel(8);
    let (_commands, commands) = mpsc::channel(1);
    let (_health, health) = watch::channel(LogHealth::Good);
    let settings = Rigged::with(&[("one", "device:desk/0101"), ("two", "gateway")]).settings();
    let (_settings, settings) = watch::channel(Arc::new(settings));
    let newest = Arc::clone(&settings.borrow());
    let channels = LampChannels { entries, events, commands, health, settings };
    let board = VirtualBoard::new();
    let rigging = Rigging { board, leds: PathBuf::new(), threads: false };
    let mut house = LampStage::new(State::default(), channels, rigging, Clock::system()).house;
    house.reload(newest);
    assert_eq!(house.wake(), None, "lost pulses, and the board plays it by itself");
    let mut scene = Scene::default();
    house.apply(&[scene.log(up()), scene.log(resynced()), scene.log(device("0101", DeviceState::InUse))]);
    assert_eq!(house.wake(), None);
}

#[tokio::test(start_paused = true)]
async fn five_hundred_moving_lamps_share_one_frame_grid() {
    let root = tempfile::tempdir().unwrap();
    plug(root.path(), "status");
    let mut rig = Rigged::with(&[]).led(root.path(), "lamp", "device:desk/0101", "status").start();
    rig.live().await;
    rig.send(device("0101", DeviceState::Ringing)).await;
    while rig.event().await.2 != LampState::Ringing {}
    // Half a period lit, half dark, each edge at most a frame late.
    let mut seen = Vec::new();
    for _ in 0..40 {
        seen.push(levels(root.path(), "status").0);
        tokio::time::sleep(LAMP_FRAME).await;
    }
    let lit = seen.iter().filter(|level| *level == "255").count();
    assert!((18..=22).contains(&lit), "{seen:?}");
}
