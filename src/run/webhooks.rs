//! The configured webhooks: their cursors, their tasks, and what the API shows of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::outlets::Outlets;
use crate::api::webhooks::{ApiWebhook, WebhookFigures};
use crate::clock::Clock;
use crate::config::Webhook;
use crate::link::driver::net;
use crate::log::consumer::Consumers;
use crate::log::record::Identity;
use crate::webhook::driver::{CURSOR_PREFIX, WebhookDriver, cursor_of};

pub(super) struct Webhooks {
    pub(super) identity: Arc<Identity>,
    pub(super) consumers: Consumers,
    pub(super) clock: Clock,
    pub(super) seed: u64,
    /// The other end is the API.
    pub(super) shown: watch::Sender<Arc<[ApiWebhook]>>,
    pub(super) figures: BTreeMap<String, watch::Receiver<WebhookFigures>>,
    pub(super) outlets: Outlets<Webhook>,
}

impl Webhooks {
    /// Follows the configuration. A webhook keeps its cursor whatever else of it changes; one that is taken out loses it.
    pub(super) async fn want(&mut self, wanted: &BTreeMap<String, Webhook>) {
        let Self { identity, consumers, clock, seed, figures, outlets, .. } = self;
        outlets
            .want(wanted, |name, settings, stop| {
                let (written, read) = watch::channel(WebhookFigures::default());
                figures.insert(name.to_owned(), read);
                let driver = WebhookDriver {
                    name: name.to_owned(),
                    settings: settings.clone(),
                    identity: Arc::clone(identity),
                    consumers: consumers.clone(),
                    connect: net::connector_to("the receiver", settings.tls.clone()),
                    clock: *clock,
                    seed: name.bytes().fold(*seed, |seed, byte| seed.rotate_left(5) ^ u64::from(byte)),
                    figures: written,
                    stop,
                };
                // Before any link runs: what they tell is this webhook's to send.
                let consumer = consumers.consumer(&cursor_of(name));
                tokio::spawn(driver.run(consumer))
            })
            .await;
        figures.retain(|name, _| wanted.contains_key(name));
        self.shown.send_replace(
            self.figures
                .iter()
                .map(|(name, figures)| ApiWebhook { name: name.clone(), figures: figures.clone() })
                .collect(),
        );
        self.forget_unwanted(wanted);
    }

    /// A cursor that nobody moves would only make the log look behind.
    fn forget_unwanted(&self, wanted: &BTreeMap<String, Webhook>) {
        for (cursor, at) in self.consumers.cursors.positions() {
            let Some(name) = cursor.strip_prefix(CURSOR_PREFIX).filter(|name| !wanted.contains_key(*name)) else {
                continue;
            };
            match self.consumers.cursors.remove(&cursor) {
                Ok(()) => tracing::warn!(
                    "webhook {name} is configured no more: its cursor, at {at}, is removed; configured again, it begins \
                     behind the newest event"
                ),
                Err(error) => tracing::warn!("webhook {name} is configured no more: {error}"),
            }
        }
    }

    pub(super) async fn cut(self) {
        self.outlets.cut().await;
    }

    pub(super) fn tasks(&mut self) -> impl Iterator<Item = &mut JoinHandle<()>> {
        self.outlets.tasks()
    }
}
