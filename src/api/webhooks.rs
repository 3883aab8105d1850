//! Webhooks as status and metrics show them; each is written by its own task.

use serde::Serialize;
use tokio::sync::watch;

use crate::clock::Timestamp;
use crate::event::Seq;

/// One configured webhook.
#[derive(Clone, Debug)]
pub struct ApiWebhook {
    pub name: String,
    pub figures: watch::Receiver<WebhookFigures>,
}

/// Since its task began; counters end with the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhookFigures {
    pub state: WebhookWord,
    /// The last entry that was acknowledged, or that the filter left out.
    pub passed: Seq,
    /// Events acknowledged.
    pub delivered: u64,
    /// Attempts that were not.
    pub refused: u64,
    /// Entries that retention took before they were looked at.
    pub lost: u64,
    pub last_error: Option<String>,
    /// While it is not up.
    pub next_try: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WebhookWord {
    /// The last attempt was acknowledged, or there was none.
    #[default]
    Up,
    Retrying,
    Parked,
}

/// As status shows one.
#[derive(Clone, Debug, Serialize)]
pub(super) struct WebhookObject {
    pub(super) name: String,
    pub(super) state: WebhookWord,
    /// Entries flushed and not passed, those that the filter will leave out among them.
    pub(super) lag: u64,
    pub(super) delivered: u64,
    pub(super) refused: u64,
    pub(super) lost: u64,
    pub(super) last_error: Option<String>,
    pub(super) next_try: Option<Timestamp>,
}

pub(super) fn objects(webhooks: &[ApiWebhook], last: Seq) -> Vec<WebhookObject> {
    let object = |webhook: &ApiWebhook| {
        let figures = webhook.figures.borrow().clone();
        WebhookObject {
            name: webhook.name.clone(),
            state: figures.state,
            lag: last.0.saturating_sub(figures.passed.0),
            delivered: figures.delivered,
            refused: figures.refused,
            lost: figures.lost,
            last_error: figures.last_error,
            next_try: figures.next_try,
        }
    };
    webhooks.iter().map(object).collect()
}
