//! The site's settings as each stage takes them.

use std::path::Path;
use std::sync::Arc;

use lamp_pattern::{Colour, Pattern};
use tokio::sync::watch;

use crate::api::{self, Scopes, TokenVerifier};
use crate::config::{self, AgentNames, AmiLink, Config, Dialect};
use crate::event::{LinkId, Seq};
use crate::lamp::{LampSettings, Patterns};
use crate::link::Session;
use crate::link::ami;
use crate::link::ami::model::{AgentNaming, Model, ModelSettings};
use crate::link::ami::session::{LoginMethod, SessionSettings};
use crate::link::centrex;
use crate::link::known::Known;
use crate::log::cursor::Cursors;
use crate::log::driver::{LogHealth, LogStats};
use crate::log::record::Entry;
use crate::log::{ReadError, Reader};
use crate::tokens::{Scope, TokenFile, TokensError};

pub(super) fn session(id: &LinkId, link: &config::Link, known: Known, seed: u64) -> Box<dyn Session> {
    match &link.dialect {
        Dialect::Ami(ami) => Box::new(ami_session(id, link, ami, known, seed)),
        Dialect::Centrex(site) => Box::new(centrex::Session::new(id.clone(), link, site, known, seed)),
    }
}

fn ami_session(id: &LinkId, link: &config::Link, ami: &AmiLink, known: Known, seed: u64) -> ami::session::Session {
    let model = ModelSettings {
        native: link.native.clone(),
        wrapup: ami.wrapup,
        agents: match ami.agents {
            AgentNames::MemberName => AgentNaming::MemberName,
            AgentNames::Device => AgentNaming::Device,
        },
        do_not_disturb: ami.do_not_disturb.clone().unwrap_or_default(),
        trunks: ami.trunks.clone(),
    };
    let settings = SessionSettings {
        link: id.clone(),
        user: ami.account.user.clone(),
        secret: ami.account.secret.clone(),
        login: match ami.login {
            config::Login::Md5 => LoginMethod::Md5 { plain_fallback: ami.plain_fallback },
            config::Login::Plain => LoginMethod::Plain,
        },
        event_mask: ami.event_mask.clone(),
        heartbeat: link.heartbeat,
        deadline: link.deadline,
        resync_every: ami.resync_every,
    };
    ami::session::Session::new(settings, Model::new(model, id.clone(), known), seed)
}

pub(super) fn lamp_settings(config: &Config) -> LampSettings {
    let patterns = config.patterns.iter().fold(Patterns::default(), |patterns, (state, site)| {
        let pattern = overridden(patterns.of(*state), site);
        patterns.with(*state, pattern)
    });
    LampSettings { lamps: config.lamps.clone(), patterns, links: config.links.keys().cloned().collect() }
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
    let file = TokenFile::open(data_dir)?;
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

    fn unflushed(&self) -> u64 {
        self.stats.unflushed()
    }

    fn consumers(&self) -> Vec<(String, Seq)> {
        self.cursors.positions().into_iter().collect()
    }
}
