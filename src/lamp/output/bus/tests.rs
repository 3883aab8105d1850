use super::*;
use crate::lamp::output::VirtualBoard;
use crate::lamp::settings::LedSettings;
use lamp_pattern::Colour;
use std::fs;
use std::path::Path;

fn led_class(names: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    names.iter().for_each(|name| plug(root.path(), name));
    root
}

fn plug(root: &Path, name: &str) {
    fs::create_dir(root.join(name)).unwrap();
    fs::write(root.join(name).join("max_brightness"), "255").unwrap();
    fs::write(root.join(name).join("brightness"), "0").unwrap();
}

fn buses(root: &Path, threads: bool) -> Buses {
    Buses::new(Rigging { board: VirtualBoard::new(), leds: root.to_owned(), threads })
}

fn led(name: &str) -> OutputSettings {
    OutputSettings::Led(LedSettings::Single(name.into()))
}

fn order(generation: u64, red: u8, ask: bool) -> Order {
    let colour = Colour::new(red, 0, 0);
    Order { generation, frame: Frame { dimmed: colour, switched: colour }, ask, repair: false }
}

fn brightness(root: &Path, name: &str) -> String {
    fs::read_to_string(root.join(name).join("brightness")).unwrap()
}

#[test]
fn an_answer_comes_where_it_was_asked_for_and_where_things_changed() {
    let root = led_class(&["r"]);
    let mut buses = buses(root.path(), false);
    buses.attach(0, &led("r"));
    let reports = buses.reports();
    buses.order(0, order(1, 10, false));
    assert_eq!(reports.take()[&0], Report { generation: 1, result: Ok(()) }, "it began to work");
    buses.order(0, order(2, 20, false));
    assert!(reports.take().is_empty());
    buses.order(0, order(3, 30, true));
    assert_eq!(reports.take()[&0].generation, 3);
    fs::remove_dir_all(root.path().join("r")).unwrap();
    buses.order(0, order(4, 40, false));
    assert!(reports.take()[&0].result.as_ref().unwrap_err().starts_with("led r: cannot write "));
    plug(root.path(), "r");
    buses.order(0, order(5, 50, false));
    assert_eq!(reports.take()[&0], Report { generation: 5, result: Ok(()) });
    assert_eq!(brightness(root.path(), "r"), "50");
}

#[test]
fn what_is_shown_already_is_not_written_again_unless_to_put_it_right() {
    let root = led_class(&["r"]);
    let mut buses = buses(root.path(), false);
    buses.attach(0, &led("r"));
    buses.order(0, order(1, 10, false));
    fs::write(root.path().join("r/brightness"), "99").unwrap();
    buses.order(0, order(2, 10, true));
    assert_eq!(brightness(root.path(), "r"), "99");
    buses.order(0, Order { repair: true, ..order(3, 10, true) });
    assert_eq!(brightness(root.path(), "r"), "10");
}

#[test]
fn a_device_let_go_of_is_dark() {
    let root = led_class(&["r"]);
    let mut buses = buses(root.path(), false);
    buses.attach(0, &led("r"));
    buses.order(0, order(1, 10, false));
    buses.detach(0);
    assert_eq!(brightness(root.path(), "r"), "0");
    buses.order(0, order(2, 10, true));
    assert_eq!(brightness(root.path(), "r"), "0", "its slot is gone");
}

#[test]
fn the_newest_order_waits_and_keeps_an_older_one_s_question() {
    let inbox = Inbox::default();
    let settings = Arc::new(led("r"));
    let show = |order| Work::Show { settings: Arc::clone(&settings), order };
    inbox.put(7, show(order(1, 10, true)));
    inbox.put(7, show(order(2, 20, false)));
    inbox.close();
    let Some((7, Work::Show { order: taken, .. })) = inbox.take() else { panic!("an order waits") };
    assert_eq!(taken, order(2, 20, true));
    inbox.rest();
    assert!(inbox.take().is_none());
}

#[test]
fn slots_are_served_in_turn_so_that_a_busy_one_starves_nobody() {
    let inbox = Inbox::default();
    let settings = Arc::new(led("r"));
    let put = |slot| inbox.put(slot, Work::Show { settings: Arc::clone(&settings), order: order(1, 1, false) });
    (0..3).for_each(put);
    let mut served = Vec::new();
    for _ in 0..6 {
        let slot = inbox.take().unwrap().0;
        served.push(slot);
        put(slot);
    }
    assert_eq!(served, [1, 2, 0, 1, 2, 0]);
}

#[test]
fn more_chips_than_threads_share_the_last() {
    let root = led_class(&[]);
    let mut buses = buses(root.path(), false);
    for chip in 0..LAMP_BUSES_MAX as u64 + 5 {
        let red = Some(format!("gpiochip{chip}:1").parse().unwrap());
        let settings = OutputSettings::Gpio(crate::lamp::settings::GpioSettings { red, ..Default::default() });
        buses.attach(chip, &settings);
    }
    assert_eq!(buses.buses.len(), LAMP_BUSES_MAX);
    assert_eq!(buses.slots.len(), LAMP_BUSES_MAX + 5);
}

#[tokio::test]
async fn a_bus_with_a_thread_writes_and_comes_to_rest() {
    let root = led_class(&["r", "g"]);
    let mut buses = buses(root.path(), true);
    let reports = buses.reports();
    for (slot, name) in [(0, "r"), (1, "g")] {
        buses.attach(slot, &led(name));
        buses.order(slot, order(1, 10, true));
    }
    let mut told = BTreeMap::new();
    while told.len() < 2 {
        reports.told.notified().await;
        told.extend(reports.take());
    }
    assert!(told.values().all(|report| report.result.is_ok()));
    assert_eq!((brightness(root.path(), "r"), brightness(root.path(), "g")), ("10".into(), "10".into()));
    buses.detach(0);
    buses.detach(1);
    while !buses.at_rest() {
        reports.told.notified().await;
    }
    assert_eq!((brightness(root.path(), "r"), brightness(root.path(), "g")), ("0".into(), "0".into()));
}
