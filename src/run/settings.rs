//! The site's settings as each stage takes them.

use std::path::Path;
use std::sync::Arc;

use lamp_pattern::{Colour, Pattern};
use tokio::sync::watch;

use crate::api::{self, Scopes, TokenVerifier};
use crate::config::{self, Config, Dialect};
use crate::event::{LinkId, Seq};
use crate::lamp::{LampSettings, Patterns};
use crate::link::Session;
use crate::link::ami;
use crate::link::centrex;
use crate::link::driver::Handshake;
use crate::link::known::Known;
use crate::link::nexuscube;
use crate::link::olssoo;
use crate::link::openvox;
use crate::link::session::Abilities;
use crate::log::cursor::Cursors;
use crate::log::driver::{LogHealth, LogStats};
use crate::log::record::Entry;
use crate::log::retention::Capacity;
use crate::log::{ReadError, Reader};
use crate::tokens::{Scope, TokenFile, TokensError};

pub(super) fn session(id: &LinkId, link: &config::Link, known: Known, seed: u64) -> Box<dyn Session> {
    match &link.dialect {
        Dialect::Ami(ami) => Box::new(ami::configured(id, link, ami, known, seed, |_| {})),
        Dialect::Olssoo(site) => Box::new(olssoo::Session::new(id.clone(), link, site, known, seed)),
        Dialect::Centrex(site) => Box::new(centrex::Session::new(id.clone(), link, site, known, seed)),
        Dialect::Openvox(site) => Box::new(openvox::Session::new(id.clone(), link, site, known, seed)),
        Dialect::Nexuscube(site) => Box::new(nexuscube::Session::new(id.clone(), link, site, known, seed)),
    }
}

/// What a link can tell and do as it is configured, before its PBX has said a word.
pub fn abilities(link: &config::Link) -> Abilities {
    session(&LinkId::new("link"), link, Known::default(), 0).abilities()
}

/// What a link adds to the handshake of its WebSockets.
pub(super) fn handshake(link: &config::Link) -> Handshake {
    match &link.dialect {
        Dialect::Olssoo(site) => Handshake {
            subprotocol: site.subprotocol.clone(),
            headers: site.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        },
        Dialect::Ami(_) | Dialect::Centrex(_) | Dialect::Nexuscube(_) | Dialect::Openvox(_) => Handshake::default(),
    }
}

/// `standby`: another gateway drives the lamps.
pub(super) fn lamp_settings(config: &Config, standby: bool) -> LampSettings {
    let patterns = config.patterns.iter().fold(Patterns::default(), |patterns, (state, site)| {
        let pattern = overridden(patterns.of(*state), site);
        patterns.with(*state, pattern)
    });
    LampSettings { lamps: config.lamps.clone(), patterns, links: config.links.keys().cloned().collect(), standby }
}

fn overridden(default: Pattern, site: &config::PatternOverride) -> Pattern {
    let millis = |period: std::time::Duration| u32::try_from(period.as_millis()).unwrap_or(u32::MAX);
    Pattern {
        colour: site.colour.map_or(default.colour, |[r, g, b]| Colour { r, g, b }),
        effect: site.effect.unwrap_or(default.effect),
        period_ms: site.period.map_or(default.period_ms, millis),
        duty: site.duty.unwrap_or(default.duty),
        brightness: site.brightness.unwrap_or(default.brightness),
    }
}

/// Tokens of the data folder, followed as `lamplighter token` changes them.
///
/// # Errors
/// The file is there and cannot be read.
pub fn token_verifier(data_dir: &Path) -> Result<TokenVerifier, TokensError> {
    let file = TokenFile::open_anyway(data_dir)?;
    Ok(Arc::new(move |presented| {
        let tokens = file.tokens();
        let token = tokens.verify(presented)?;
        let joined =
            [(Scope::Read, api::Scope::Read), (Scope::Call, api::Scope::Call), (Scope::Admin, api::Scope::Admin)];
        let scopes = joined.into_iter().filter(|(stored, _)| token.scopes.contains(stored));
        Some(scopes.fold(Scopes::NONE, |scopes, (_, scope)| scopes.with(scope)))
    }))
}

/// The log as the API reads it.
pub(super) struct FlushedLog {
    reader: Reader,
    stats: LogStats,
    cursors: Cursors,
    health: watch::Receiver<LogHealth>,
}

impl FlushedLog {
    pub(super) fn new(
        reader: &Reader,
        stats: &LogStats,
        cursors: &Cursors,
        health: watch::Receiver<LogHealth>,
    ) -> Self {
        Self { reader: reader.clone(), stats: stats.clone(), cursors: cursors.clone(), health }
    }
}

impl api::LogReader for FlushedLog {
    fn read(&self, after: Seq, limit: usize, max_bytes: usize) -> Result<Vec<Arc<Entry>>, api::ReadError> {
        self.reader.read(after, limit, max_bytes).map_err(|error| match error {
            ReadError::Trimmed { oldest } => api::ReadError::Trimmed { oldest },
            other => api::ReadError::Failed(other.to_string()),
        })
    }

    fn first(&self) -> Seq {
        self.stats.first()
    }

    fn last(&self) -> Seq {
        self.stats.flushed()
    }

    fn bytes(&self) -> u64 {
        self.stats.bytes_on_disk()
    }

    fn fault(&self) -> Option<String> {
        match &*self.health.borrow() {
            LogHealth::Good => None,
            LogHealth::Failing { error, .. } => Some(error.to_string()),
        }
    }

    fn capacity(&self) -> Option<Capacity> {
        self.stats.capacity()
    }

    fn commits(&self) -> (u64, u64) {
        (self.stats.commits(), self.stats.failed_commits())
    }

    fn unflushed(&self) -> u64 {
        self.stats.unflushed()
    }

    fn consumers(&self) -> Vec<(String, Seq)> {
        self.cursors.positions().into_iter().collect()
    }
}
