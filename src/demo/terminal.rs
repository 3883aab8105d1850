//! The terminal under the demonstration's picture: raw mode, the alternate screen, keys, and plain lines where stdout
//! is no terminal.
//!
//! Shape: one blocking loop on a thread of its own draws a frame every [`LAMP_FRAME`] with the newest [`View`] and
//! looks for keys. Whatever ends it, a panic included, the terminal is given back as it was.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::watch;

use super::screen::{Depth, Lamp, Look, Rgb, View, changes, draw};
use crate::limits::LAMP_FRAME;

/// Why the picture ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The person pressed q, Esc or Ctrl-C.
    ByPerson,
    /// `stop` became true, or nobody sends views any more.
    Stopped,
}

/// What stdout can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    Picture(Depth),
    Lines,
}

/// What this process's stdout can show.
pub fn shows() -> Shows {
    let variable = |name| std::env::var(name).ok();
    what_it_shows(io::stdout().is_terminal(), variable("NO_COLOR"), variable("COLORTERM"), variable("TERM"))
}

fn what_it_shows(
    is_terminal: bool,
    no_color: Option<String>,
    colorterm: Option<String>,
    term: Option<String>,
) -> Shows {
    let term = term.unwrap_or_default();
    let colorterm = colorterm.unwrap_or_default();
    if !is_terminal || term == "dumb" {
        return Shows::Lines;
    }
    Shows::Picture(match () {
        () if no_color.is_some_and(|value| !value.is_empty()) => Depth::None,
        () if colorterm.contains("truecolor") || colorterm.contains("24bit") || term.ends_with("-direct") => {
            Depth::True
        }
        () if term.contains("color") || term.contains("xterm") || term.contains("tmux") => Depth::Indexed,
        () => Depth::None,
    })
}

/// Shows views until the person leaves or `stop` becomes true. `colour` says what a lamp shows at this moment; it is
/// asked for every lamp in every frame.
///
/// # Errors
/// The terminal cannot be written to or read from.
pub async fn run(
    views: watch::Receiver<Arc<View>>,
    colour: impl Fn(&Lamp) -> Rgb + Send + 'static,
    stop: watch::Receiver<bool>,
) -> io::Result<Left> {
    match shows() {
        Shows::Lines => lines(views, stop, &mut io::stdout()).await,
        Shows::Picture(depth) => {
            let picture = tokio::task::spawn_blocking(move || picture(&views, depth, &colour, &stop));
            picture.await.unwrap_or_else(|error| Err(io::Error::other(error)))
        }
    }
}

/// The terminal, given back as it was when this is dropped; ratatui's own hook does it on a panic.
struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    fn open() -> io::Result<Self> {
        Ok(Self { terminal: ratatui::try_init()? })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // There is no one left to tell if the terminal is gone.
        ratatui::try_restore().ok();
    }
}

fn picture(
    views: &watch::Receiver<Arc<View>>,
    depth: Depth,
    colour: &dyn Fn(&Lamp) -> Rgb,
    stop: &watch::Receiver<bool>,
) -> io::Result<Left> {
    let mut screen = Screen::open()?;
    let look = Look { depth, colour };
    while !*stop.borrow() && views.has_changed().is_ok() {
        let view = Arc::clone(&views.borrow());
        screen.terminal.draw(|frame| draw(frame, &view, &look))?;
        if leaves(LAMP_FRAME)? {
            return Ok(Left::ByPerson);
        }
    }
    Ok(Left::Stopped)
}

/// Waits for a key until the next frame; true where it was one that leaves.
fn leaves(wait: Duration) -> io::Result<bool> {
    if !event::poll(wait)? {
        return Ok(false);
    }
    Ok(matches!(event::read()?, Event::Key(key) if is_leave(&key)))
}

fn is_leave(key: &KeyEvent) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press
        && match key.code {
            KeyCode::Char('c' | 'C') => control,
            KeyCode::Char('q' | 'Q') => !control,
            KeyCode::Esc => true,
            _ => false,
        }
}

/// One line per change, for pipes and logs.
async fn lines(
    mut views: watch::Receiver<Arc<View>>,
    mut stop: watch::Receiver<bool>,
    out: &mut impl Write,
) -> io::Result<Left> {
    let mut before: Option<Arc<View>> = None;
    loop {
        let view = Arc::clone(&views.borrow_and_update());
        if before.is_none() && !view.url.is_empty() {
            writeln!(out, "{} API {} token {}", view.clock, view.url, view.token)?;
        }
        for line in changes(before.as_deref(), &view) {
            writeln!(out, "{line}")?;
        }
        out.flush()?;
        before = Some(view);
        tokio::select! {
            changed = views.changed() => if changed.is_err() { return Ok(Left::Stopped) },
            _ = stop.wait_for(|stop| *stop) => return Ok(Left::Stopped),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Option<String> {
        Some(value.into())
    }

    #[test]
    fn the_picture_follows_what_the_terminal_has() {
        let term = || text("xterm-256color");
        assert_eq!(what_it_shows(false, None, text("truecolor"), term()), Shows::Lines);
        assert_eq!(what_it_shows(true, None, None, text("dumb")), Shows::Lines);
        assert_eq!(what_it_shows(true, None, text("truecolor"), term()), Shows::Picture(Depth::True));
        assert_eq!(what_it_shows(true, None, None, term()), Shows::Picture(Depth::Indexed));
        assert_eq!(what_it_shows(true, text("1"), text("truecolor"), term()), Shows::Picture(Depth::None));
        assert_eq!(what_it_shows(true, text(""), text("truecolor"), term()), Shows::Picture(Depth::True));
        assert_eq!(what_it_shows(true, None, None, text("vt100")), Shows::Picture(Depth::None));
    }

    #[test]
    fn q_escape_and_control_c_leave_and_nothing_else() {
        let key = |code, modifiers| KeyEvent::new(code, modifiers);
        assert!(is_leave(&key(KeyCode::Char('q'), KeyModifiers::NONE)));
        assert!(is_leave(&key(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        assert!(is_leave(&key(KeyCode::Esc, KeyModifiers::NONE)));
        assert!(!is_leave(&key(KeyCode::Char('c'), KeyModifiers::NONE)));
        assert!(!is_leave(&key(KeyCode::Char('x'), KeyModifiers::NONE)));
    }

    #[tokio::test]
    async fn lines_end_when_told_to_stop() {
        let view = View { clock: "10:00:00".into(), url: "http://127.0.0.1:1/".into(), ..View::default() };
        let (_views, view) = watch::channel(Arc::new(view));
        let (_stop, stop) = watch::channel(true);
        let mut out = Vec::new();
        assert_eq!(lines(view, stop, &mut out).await.unwrap(), Left::Stopped);
        assert_eq!(String::from_utf8(out).unwrap(), "10:00:00 API http://127.0.0.1:1/ token \n");
    }
}
