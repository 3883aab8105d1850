//! The demonstration's picture: a [`View`] drawn into a frame, or told as plain lines where there is no screen.
//!
//! Shape: pure; [`draw`] knows no terminal, no clock and no lamp pattern. What a lamp shows at this moment comes from
//! the caller as a colour ([`Look::colour`]), so it blinks by the same sampling as every other lamp.
//! Bounds: draws what fits; text is cut to its column with an ellipsis, lamps and events that do not fit are counted.
//! Without colour, a lamp's brightness shows as shading.

use std::fmt;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

/// Everything the picture shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// The gateway's name.
    pub gateway: String,
    /// Wall time, `HH:MM:SS`.
    pub clock: String,
    pub links: Vec<Link>,
    /// Newest last.
    pub events: Vec<Event>,
    pub events_per_s: f64,
    pub events_total: u64,
    pub url: String,
    pub token: String,
}

impl View {
    fn lamps(&self) -> impl Iterator<Item = &Lamp> {
        self.links.iter().flat_map(|link| &link.lamps)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    pub name: String,
    pub dialect: String,
    pub health: Health,
    /// Address in use, or what is wrong.
    pub detail: String,
    /// Of the desks whose telephones are behind it.
    pub lamps: Vec<Lamp>,
    pub queues: Vec<Queue>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Up,
    /// Up, and its state is being gathered.
    Syncing,
    Down,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lamp {
    /// The lamp's name in the configuration, as the caller's colour is looked up.
    pub lamp: String,
    /// Who sits there.
    pub name: String,
    pub device: String,
    /// A lamp state's word, as the API says it: `ringing`, `in-call`, …
    pub state: String,
    /// With whom, why, or for how long; may be empty.
    pub detail: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Queue {
    pub name: String,
    pub waiting: u32,
    pub longest_wait_s: u32,
    /// Agents that would take a call.
    pub ready: u32,
    pub agents: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub seq: u64,
    pub clock: String,
    pub kind: String,
    pub subject: String,
    pub text: String,
}

/// A colour as lamps show it.
pub type Rgb = (u8, u8, u8);

/// How many colours the terminal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    True,
    Indexed,
    None,
}

/// How to draw: the terminal's colours, and what each lamp shows at this moment.
pub struct Look<'a> {
    pub depth: Depth,
    pub colour: &'a dyn Fn(&Lamp) -> Rgb,
}

impl fmt::Debug for Look<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Look").field("depth", &self.depth).finish_non_exhaustive()
    }
}

/// Tiles are as wide and as high as the height allows, and never smaller than the last.
const TILE_WIDTHS: [u16; 4] = [38, 32, 25, 20];
const TILE_HEIGHTS: [u16; 2] = [3, 2];
const LAMP_WIDTH: u16 = 4;
/// Lines for events, their rule among them: wished for, and at least.
const EVENTS_HEIGHTS: (u16, u16) = (9, 4);
const SMALLEST: (u16, u16) = (40, 10);

const TEXT: Rgb = (222, 222, 228);
const FAINT: Rgb = (128, 130, 142);
const LINE: Rgb = (92, 94, 106);
const GLASS: Rgb = (40, 42, 50);
const WARM: Rgb = (255, 176, 0);
const GOOD: Rgb = (64, 200, 112);
const BAD: Rgb = (240, 80, 72);

/// Draws the whole picture.
pub fn draw(frame: &mut Frame<'_>, view: &View, look: &Look<'_>) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let text = format!("{}×{} is too small; {}×{} at least", area.width, area.height, SMALLEST.0, SMALLEST.1);
        frame.render_widget(Line::raw(text), area);
        return;
    }
    let paint = Paint { depth: look.depth };
    let fixed = 4;
    let board = Board::fitting(view, area.width, area.height.saturating_sub(fixed));
    let height = board.height.min(area.height.saturating_sub(fixed + EVENTS_HEIGHTS.1));
    let [title, _, tiles, events, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(height),
        Constraint::Min(1),
        Constraint::Length(2),
    ])
    .areas(area);
    paint.title(frame, title, view);
    paint.board(frame, tiles, view, board, look.colour);
    paint.events(frame, events, &view.events);
    paint.foot(frame, foot, view);
}

/// How the lamps of all links are laid out.
#[derive(Clone, Copy, Debug)]
struct Board {
    columns: u16,
    tile_height: u16,
    /// Lines between rows, and between links.
    gap: u16,
    height: u16,
}

impl Board {
    /// The roomiest layout that leaves the events their lines; the tightest where none does.
    fn fitting(view: &View, width: u16, height: u16) -> Self {
        let mut tightest = Self::of(view, 1, TILE_HEIGHTS[0], 0);
        let (wished, least) = EVENTS_HEIGHTS;
        let [high, low] = TILE_HEIGHTS;
        for (tile_height, gap, events) in [(high, 1, wished), (high, 0, wished), (high, 0, least), (low, 0, least)] {
            for tile_width in TILE_WIDTHS {
                tightest = Self::of(view, (width / tile_width).max(1), tile_height, gap);
                if tightest.height.saturating_add(events) <= height {
                    return tightest;
                }
            }
        }
        tightest
    }

    fn of(view: &View, columns: u16, tile_height: u16, gap: u16) -> Self {
        let rows = |link: &Link| u16::try_from(link.lamps.len()).unwrap_or(u16::MAX).div_ceil(columns);
        let of_link = |link: &Link| 1 + u32::from(rows(link)) * u32::from(tile_height + gap);
        let height: u32 = view.links.iter().map(of_link).sum();
        Self { columns, tile_height, gap, height: u16::try_from(height).unwrap_or(u16::MAX) }
    }
}

/// What changed between two views, as lines for a log or a pipe.
pub fn changes(before: Option<&View>, after: &View) -> Vec<String> {
    let mut lines = Vec::new();
    for link in &after.links {
        let was = before.and_then(|view| view.links.iter().find(|other| other.name == link.name));
        if was.is_none_or(|was| was.health != link.health) {
            lines.push(format!("{} link {}: {} {}", after.clock, link.name, link.health.word(), link.detail));
        }
    }
    for lamp in after.lamps() {
        let was = before.and_then(|view| view.lamps().find(|other| other.lamp == lamp.lamp));
        if was.is_none_or(|was| was.state != lamp.state) {
            let detail = if lamp.detail.is_empty() { String::new() } else { format!(" ({})", lamp.detail) };
            lines.push(format!("{} lamp {} {}: {}{detail}", after.clock, lamp.lamp, lamp.name, lamp.state));
        }
    }
    for link in &after.links {
        let was = before.and_then(|view| view.links.iter().find(|other| other.name == link.name));
        for queue in &link.queues {
            let was = was.and_then(|link| link.queues.iter().find(|other| other.name == queue.name));
            if was.is_none_or(|was| was.waiting != queue.waiting) {
                lines.push(format!("{} queue {}/{}: {} waiting", after.clock, link.name, queue.name, queue.waiting));
            }
        }
    }
    // Names come from outside; a control character must not reach the terminal.
    lines.iter().map(|line| line.trim_end().replace(char::is_control, "\u{fffd}")).collect()
}

impl Health {
    fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Syncing => "syncing",
            Self::Down => "down",
        }
    }
}

/// The steady colour a state's word is written in.
fn tint(state: &str) -> Rgb {
    match state {
        "ringing" | "working-after-call" => WARM,
        "in-call" | "on-hold" | "dialing" => BAD,
        "not-ready" => (190, 120, 255),
        "available" => GOOD,
        "identify" => (255, 255, 255),
        "lost" => (96, 140, 255),
        _ => FAINT,
    }
}

fn event_tint(kind: &str) -> Rgb {
    match kind.split_once('.').map_or(kind, |(family, _)| family) {
        "call" => (120, 190, 255),
        "agent" => (190, 120, 255),
        "queue" => WARM,
        "lamp" => (255, 220, 150),
        "link" => GOOD,
        "device" => (150, 220, 190),
        _ => FAINT,
    }
}

/// Writes into the frame with the colours the terminal has.
#[derive(Clone, Copy)]
struct Paint {
    depth: Depth,
}

impl Paint {
    fn title(self, frame: &mut Frame<'_>, area: Rect, view: &View) {
        let left = Line::from(vec![
            Span::raw(" "),
            self.ink("✦ ", WARM),
            self.bold("Lamplighter", TEXT),
            self.ink(" demo", FAINT),
            self.ink(format!("  {}", view.gateway), TEXT),
        ]);
        let right = Line::from(vec![
            self.bold(format!("{:.1}", view.events_per_s), TEXT),
            self.ink(" events/s   ", FAINT),
            self.bold(grouped(view.events_total), TEXT),
            self.ink(" in the log   ", FAINT),
            self.ink(view.clock.clone(), TEXT),
            Span::raw(" "),
        ]);
        self.both(frame, area, left, right);
    }

    fn board(self, frame: &mut Frame<'_>, area: Rect, view: &View, board: Board, colour: &dyn Fn(&Lamp) -> Rgb) {
        let width = area.width / board.columns;
        let mut left_out = 0;
        let mut y = area.y;
        for link in &view.links {
            if y < area.bottom() {
                self.both(frame, Rect { y, height: 1, ..area }, self.link(link), self.queues(&link.queues));
            }
            y = y.saturating_add(1);
            for row in link.lamps.chunks(usize::from(board.columns)) {
                if y.saturating_add(board.tile_height) > area.bottom() {
                    left_out += row.len();
                    continue;
                }
                for (lamp, column) in row.iter().zip(0..) {
                    let tile = Rect { x: area.x + column * width, y, width, height: board.tile_height };
                    self.tile(frame, tile, lamp, colour(lamp));
                }
                y += board.tile_height + board.gap;
            }
        }
        if left_out > 0 {
            let spot = Rect { y: area.bottom().saturating_sub(1), height: 1, ..area };
            let text = format!(" and {left_out} more lamps ");
            frame.render_widget(Line::from(self.ink(text, FAINT)).right_aligned(), spot);
        }
    }

    fn link(self, link: &Link) -> Line<'_> {
        let (mark, colour) = match link.health {
            Health::Up => ("●", GOOD),
            Health::Syncing => ("◐", WARM),
            Health::Down => ("○", BAD),
        };
        Line::from(vec![
            self.ink(format!(" {mark} "), colour),
            self.bold(link.name.clone(), TEXT),
            self.ink(format!(" {} ", link.dialect), FAINT),
            self.ink(link.health.word(), colour),
            self.ink(format!(" {}", link.detail), LINE),
        ])
    }

    fn tile(self, frame: &mut Frame<'_>, tile: Rect, lamp: &Lamp, colour: Rgb) {
        let block = Rect { x: tile.x + 1, width: LAMP_WIDTH, ..tile };
        self.lamp(frame, block, colour);
        let text = Rect { x: block.right() + 1, width: tile.width.saturating_sub(LAMP_WIDTH + 3), ..tile };
        let width = usize::from(text.width);
        let name = cut(&lamp.name, width.saturating_sub(lamp.device.len() + 1));
        let name = Line::from(vec![self.bold(name, TEXT), self.ink(format!(" {}", lamp.device), FAINT)]);
        let state = cut(&lamp.state.replace('-', " "), width);
        let lines = match tile.height {
            ..=2 => {
                let room = width.saturating_sub(Span::raw(&state).width() + 1);
                let detail = self.ink(format!(" {}", cut(&lamp.detail, room)), FAINT);
                vec![name, Line::from(vec![self.ink(state, tint(&lamp.state)), detail])]
            }
            _ => vec![
                name,
                Line::from(self.ink(state, tint(&lamp.state))),
                Line::from(self.ink(cut(&lamp.detail, width), FAINT)),
            ],
        };
        for (line, y) in lines.into_iter().zip(text.y..) {
            frame.render_widget(line, Rect { y, height: 1, ..text });
        }
    }

    /// The lamp itself: a block in its colour, glass where it is dark, shading where there is no colour.
    fn lamp(self, frame: &mut Frame<'_>, area: Rect, colour: Rgb) {
        let bright = u16::from(colour.0.max(colour.1).max(colour.2));
        let (glyph, shown) = match (self.depth, bright) {
            (Depth::None, 128..) => ("█", colour),
            (Depth::None, 40..) => ("▒", colour),
            (Depth::None, _) => ("·", colour),
            _ => ("█", through_glass(colour, bright)),
        };
        // The last line is half a block, so that lamps above each other stay apart.
        let last = if glyph == "█" { "▀" } else { " " };
        for y in area.top()..area.bottom() {
            let row = Rect { y, height: 1, ..area };
            let glyph = if y + 1 == area.bottom() { last } else { glyph };
            frame.render_widget(Line::from(self.ink(glyph.repeat(usize::from(area.width)), shown)), row);
        }
    }

    fn queues(self, queues: &[Queue]) -> Line<'_> {
        let mut spans = Vec::new();
        for queue in queues {
            let colour = if queue.waiting == 0 { FAINT } else { WARM };
            spans.push(self.ink(format!("{} ", queue.name), FAINT));
            spans.push(self.ink(format!("{} waiting", queue.waiting), colour));
            if queue.waiting > 0 {
                spans.push(self.ink(format!(" {} s", queue.longest_wait_s), colour));
            }
            if queue.agents > 0 {
                spans.push(self.ink(format!(", {}/{} ready", queue.ready, queue.agents), FAINT));
            }
            spans.push(Span::raw("  "));
        }
        Line::from(spans)
    }

    fn events(self, frame: &mut Frame<'_>, area: Rect, events: &[Event]) {
        let rule = format!(" events {}", "─".repeat(usize::from(area.width.saturating_sub(9))));
        frame.render_widget(Line::from(self.ink(rule, LINE)), Rect { height: 1, ..area });
        let room = usize::from(area.height.saturating_sub(1));
        let last = &events[events.len().saturating_sub(room)..];
        for (event, y) in last.iter().zip(area.y + 1..) {
            let line = Line::from(vec![
                self.ink(format!(" {:>7} ", event.seq), LINE),
                self.ink(format!("{:<8} ", event.clock), FAINT),
                self.ink(format!("{:<16} ", cut(&event.kind, 16)), event_tint(&event.kind)),
                self.ink(format!("{:<9} ", cut(&event.subject, 9)), TEXT),
                self.ink(event.text.clone(), FAINT),
            ]);
            frame.render_widget(line, Rect { y, height: 1, ..area });
        }
    }

    fn foot(self, frame: &mut Frame<'_>, area: Rect, view: &View) {
        let page = Line::from(vec![self.ink(" API    ", FAINT), self.bold(view.url.clone(), TEXT)]);
        let quit = Line::from(vec![self.bold("q", TEXT), self.ink(" or Ctrl-C ends ", FAINT)]);
        self.both(frame, Rect { height: 1, ..area }, page, quit);
        let token = Line::from(vec![self.ink(" token  ", FAINT), self.ink(view.token.clone(), TEXT)]);
        frame.render_widget(token, Rect { y: area.y + 1, height: 1, ..area });
    }

    /// One line with two ends; the right one goes where both do not fit.
    fn both(self, frame: &mut Frame<'_>, area: Rect, left: Line<'_>, right: Line<'_>) {
        let fits = left.width() + right.width() < usize::from(area.width);
        frame.render_widget(left, area);
        if fits {
            let width = right.width() as u16;
            frame.render_widget(right, Rect { x: area.right() - width, width, ..area });
        }
    }

    fn ink<'t>(self, text: impl Into<std::borrow::Cow<'t, str>>, colour: Rgb) -> Span<'t> {
        Span::styled(text, self.style(colour))
    }

    fn bold<'t>(self, text: impl Into<std::borrow::Cow<'t, str>>, colour: Rgb) -> Span<'t> {
        Span::styled(text, self.style(colour).add_modifier(Modifier::BOLD))
    }

    fn style(self, (r, g, b): Rgb) -> Style {
        match self.depth {
            Depth::True => Style::new().fg(Color::Rgb(r, g, b)),
            Depth::Indexed => Style::new().fg(Color::Indexed(indexed((r, g, b)))),
            Depth::None => Style::new(),
        }
    }
}

/// A lamp that is dim or dark still shows its glass; a bright one outshines it.
fn through_glass((r, g, b): Rgb, bright: u16) -> Rgb {
    let glass = |glass: u8| (u16::from(glass) * (255 - bright) / 255) as u8;
    (r.saturating_add(glass(GLASS.0)), g.saturating_add(glass(GLASS.1)), b.saturating_add(glass(GLASS.2)))
}

/// The nearest of the 256 colours most terminals have: the grey ramp, or the 6×6×6 cube.
fn indexed((r, g, b): Rgb) -> u8 {
    let (low, high) = (r.min(g).min(b), r.max(g).max(b));
    if high - low < 16 {
        return match high {
            0..8 => 16,
            8..=238 => 232 + (high - 8) / 10,
            _ => 231,
        };
    }
    let step = |value: u8| match value {
        0..48 => 0,
        48..115 => 1,
        _ => (value - 35) / 40,
    };
    16 + 36 * step(r) + 6 * step(g) + step(b)
}

/// `text` in at most `width` columns, with an ellipsis where it was longer.
fn cut(text: &str, width: usize) -> String {
    if Span::raw(text).width() <= width {
        return text.into();
    }
    let mut short = String::new();
    let mut used = 1;
    for letter in text.chars() {
        used += Span::raw(letter.to_string()).width();
        if used > width {
            break;
        }
        short.push(letter);
    }
    if width > 0 {
        short.push('…');
    }
    short
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    /// A busy moment of the demonstration.
    fn a_view() -> View {
        let lamps = [
            ("Front Desk", "0101", "ringing", "from 090 1234 5678"),
            ("Hanako Suzuki", "0102", "in-call", "with 0103 Taro Tanaka"),
            ("Taro Tanaka", "0103", "in-call", "with 0102 Hanako Suzuki"),
            ("田中 太郎", "0104", "on-hold", "with 03 1234 0000"),
            ("Mina Park", "0105", "working-after-call", "support"),
            ("Jonas Weber", "0106", "not-ready", "lunch"),
            ("Meeting Room", "0107", "available", ""),
            ("Warehouse", "0108", "unregistered", ""),
            ("Pat O'Brien, a very long name", "0109", "dialing", "to 03 5555 1212"),
            ("Lena Rossi", "0110", "lost", "link down"),
        ];
        let lamp = |(name, device, state, detail): (&str, &str, &str, &str)| Lamp {
            lamp: format!("desk-{device}"),
            name: name.into(),
            device: device.into(),
            state: state.into(),
            detail: detail.into(),
        };
        let event = |(seq, kind, subject, text): (u64, &str, &str, &str)| Event {
            seq,
            clock: "13:26:07".into(),
            kind: kind.into(),
            subject: subject.into(),
            text: text.into(),
        };
        let mut lamps = lamps.into_iter().map(lamp);
        let mut link = |name: &str, dialect: &str, health, detail: &str, desks| Link {
            name: name.into(),
            dialect: dialect.into(),
            health,
            detail: detail.into(),
            lamps: lamps.by_ref().take(desks).collect(),
            queues: Vec::new(),
        };
        let mut office = link("office", "ami", Health::Up, "tcp://127.0.0.1:40513", 4);
        office.queues = vec![
            Queue { name: "support".into(), waiting: 2, longest_wait_s: 41, ready: 1, agents: 3 },
            Queue { name: "sales".into(), waiting: 0, longest_wait_s: 0, ready: 2, agents: 2 },
        ];
        View {
            gateway: "demo".into(),
            clock: "13:26:07".into(),
            links: vec![
                office,
                link("branch", "olssoo", Health::Up, "ws://127.0.0.1:40515", 3),
                link("warehouse", "openvox", Health::Down, "closed, next try in 2 s", 3),
            ],
            events: [
                (1197, "call.queued", "trunk", "090 7777 1234 waits in support"),
                (1198, "call.delivered", "0101", "090 1234 5678 → 0101"),
                (1199, "device.state", "0101", "not-in-use → ringing"),
                (1200, "lamp.shown", "desk-0101", "ringing, amber blink"),
                (1201, "call.held", "0104", "03 1234 0000 on hold"),
                (1202, "agent.state", "0105", "busy → working-after-call"),
                (1203, "queue.state", "support", "2 waiting, longest 41 s"),
                (1204, "link.down", "branch", "closed"),
            ]
            .map(event)
            .to_vec(),
            events_per_s: 12.4,
            events_total: 12_204,
            url: "http://127.0.0.1:8080/".into(),
            token: "pT3dJx0mB8yQe5rKfV7sWn1uHc2gLz9aTqRvYbXoNiM".into(),
        }
    }

    fn shown(lamp: &Lamp) -> Rgb {
        match lamp.state.as_str() {
            "unregistered" => (0, 0, 0),
            "lost" => (0, 0, 60),
            state => tint(state),
        }
    }

    fn text(view: &View, depth: Depth, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let look = Look { depth, colour: &shown };
        terminal.draw(|frame| draw(frame, view, &look)).unwrap();
        let buffer = terminal.backend().buffer();
        let row = |y| {
            let mut line = String::new();
            let mut x = 0;
            while x < width {
                let symbol = buffer[(x, y)].symbol();
                line += symbol;
                x += (Span::raw(symbol).width() as u16).max(1);
            }
            line.trim_end().to_owned() + "\n"
        };
        (0..height).map(row).collect()
    }

    /// Compares with a file beside this one; `UPDATE_GOLDEN=1` writes it.
    fn same_as_golden(name: &str, text: &str) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/demo/golden").join(name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, text).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap();
        assert!(golden == text, "{name} differs; shown:\n{text}\nUPDATE_GOLDEN=1 accepts it");
    }

    #[test]
    fn the_picture_fits_eighty_by_twenty_four() {
        same_as_golden("80x24.txt", &text(&a_view(), Depth::True, 80, 24));
    }

    #[test]
    fn a_wide_window_shows_more() {
        same_as_golden("132x36.txt", &text(&a_view(), Depth::True, 132, 36));
    }

    #[test]
    fn without_colour_brightness_is_shading() {
        same_as_golden("80x24-plain.txt", &text(&a_view(), Depth::None, 80, 24));
    }

    #[test]
    fn a_small_window_says_so_and_none_panics() {
        assert!(text(&a_view(), Depth::True, 39, 9).contains("too small"));
        for (width, height) in [(1, 1), (40, 10), (41, 11), (60, 12), (200, 60), (300, 10)] {
            text(&a_view(), Depth::Indexed, width, height);
            text(&View::default(), Depth::True, width, height);
        }
    }

    #[test]
    fn many_lamps_are_counted_where_they_do_not_fit() {
        let mut view = a_view();
        view.links[1].lamps = (0..512).map(|index| Lamp { name: format!("Desk {index}"), ..Lamp::default() }).collect();
        let picture = text(&view, Depth::True, 80, 24);
        assert!(picture.contains("more lamps"), "{picture}");
        assert!(picture.contains("token"), "{picture}");
    }

    #[test]
    fn lamps_are_drawn_in_the_callers_colour_and_dark_ones_as_glass() {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        let colour = |lamp: &Lamp| if lamp.device == "0101" { (1, 255, 3) } else { (0, 0, 0) };
        let look = Look { depth: Depth::True, colour: &colour };
        terminal.draw(|frame| draw(frame, &a_view(), &look)).unwrap();
        let buffer = terminal.backend().buffer();
        assert_eq!(buffer[(1, 3)].fg, Color::Rgb(1, 255, 3));
        assert_eq!(buffer[(27, 3)].fg, Color::Rgb(GLASS.0, GLASS.1, GLASS.2));
    }

    #[test]
    fn only_what_changed_is_told_as_lines() {
        let before = a_view();
        let mut after = a_view();
        assert!(changes(Some(&before), &after).is_empty());
        assert_eq!(changes(None, &after).len(), 3 + 10 + 2);
        after.links[1].lamps[2].state = "ringing".into();
        after.links[1].lamps[2].detail = "from 0101\u{1b}[2J".into();
        after.links[2].health = Health::Up;
        after.links[2].detail = "127.0.0.1:5039".into();
        let told = changes(Some(&before), &after);
        assert_eq!(
            told,
            [
                "13:26:07 link warehouse: up 127.0.0.1:5039",
                "13:26:07 lamp desk-0107 Meeting Room: ringing (from 0101\u{fffd}[2J)"
            ]
        );
    }

    #[test]
    fn colours_go_to_the_nearest_of_256() {
        assert_eq!(indexed((255, 0, 0)), 196);
        assert_eq!(indexed((0, 0, 0)), 16);
        assert_eq!(indexed((255, 255, 255)), 231);
        assert_eq!(indexed((128, 128, 128)), 244);
    }
}
