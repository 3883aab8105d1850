//! Queues: how many callers wait, and since when.
//!
//! Source: QueueCallerJoin, QueueCallerLeave, their `Count`; QueueParams and QueueEntry of a snapshot.
//! Units: `Wait` is seconds; the longest wait is told in whole seconds.
//! Bounds: [`AMI_QUEUES_MAX`] queues, [`AMI_CHANNELS_MAX`] callers in one; past either the new one is counted and left out.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use super::calls::{Calls, UniqueId};
use super::codec::Message;
use crate::clock::Instant;
use crate::event::QueueId;
use crate::limits::{AMI_CHANNELS_MAX, AMI_QUEUES_MAX};
use crate::link::known::KnownQueue;
use crate::link::tell::Tell;

#[derive(Debug, Default)]
pub(super) struct Queues {
    queues: BTreeMap<QueueId, Queue>,
    pub(super) left_out: u64,
}

#[derive(Clone, Debug, Default)]
struct Queue {
    callers: Vec<Caller>,
    waiting: u32,
}

#[derive(Clone, Debug)]
struct Caller {
    channel: UniqueId,
    seen: Instant,
    /// Waited before it was seen.
    before: Duration,
}

#[derive(Debug, Default)]
pub(super) struct ListedQueues {
    names: Vec<QueueId>,
    entries: Vec<(QueueId, UniqueId, Duration)>,
    joined: HashSet<UniqueId>,
    left: HashSet<UniqueId>,
}

impl Queues {
    #[cfg(test)]
    pub(super) fn has_callers(&self) -> bool {
        self.queues.values().any(|queue| !queue.callers.is_empty())
    }

    pub(super) fn joined(&mut self, message: &Message, id: &QueueId, tell: &mut Tell<'_>) {
        let Some(channel) = Calls::unique_of_caller(message) else { return };
        let now = tell.now;
        let Some(queue) = self.queue(id) else { return };
        if queue.callers.len() < AMI_CHANNELS_MAX && !queue.callers.iter().any(|caller| caller.channel == channel) {
            queue.callers.push(Caller { channel, seen: now, before: Duration::ZERO });
        }
        queue.waiting = count(message).unwrap_or(queue.callers.len() as u32);
        tell.queue(id, queue.view(now));
    }

    pub(super) fn left(&mut self, message: &Message, id: &QueueId, tell: &mut Tell<'_>) {
        let Some(channel) = Calls::unique_of_caller(message) else { return };
        let now = tell.now;
        let Some(queue) = self.queue(id) else { return };
        queue.callers.retain(|caller| caller.channel != channel);
        queue.waiting = count(message).unwrap_or(queue.callers.len() as u32);
        tell.queue(id, queue.view(now));
    }

    /// A caller whose channel ended waits no longer, whether the PBX said so or not.
    pub(super) fn channel_ended(&mut self, channel: &UniqueId, tell: &mut Tell<'_>) {
        for (id, queue) in &mut self.queues {
            let before = queue.callers.len();
            queue.callers.retain(|caller| caller.channel != *channel);
            if queue.callers.len() < before {
                queue.waiting = queue.waiting.saturating_sub(1);
                tell.queue(id, queue.view(tell.now));
            }
        }
    }

    // ---- snapshot ------------------------------------------------------------------------------

    pub(super) fn merge(&mut self, listed: ListedQueues, now: Instant) {
        let ListedQueues { names, entries, joined, left } = listed;
        let mut queues: BTreeMap<QueueId, Queue> = names.into_iter().map(|id| (id, Queue::default())).collect();
        for (id, queue) in std::mem::take(&mut self.queues) {
            let live: Vec<Caller> =
                queue.callers.into_iter().filter(|caller| joined.contains(&caller.channel)).collect();
            if let Some(queue) = queues.get_mut(&id) {
                queue.callers = live;
            }
        }
        for (id, channel, before) in entries {
            let Some(queue) = queues.get_mut(&id).filter(|_| !left.contains(&channel)) else { continue };
            if !queue.callers.iter().any(|caller| caller.channel == channel) {
                queue.callers.push(Caller { channel, seen: now, before });
            }
        }
        for queue in queues.values_mut() {
            queue.waiting = queue.callers.len() as u32;
        }
        self.queues = queues;
    }

    pub(super) fn waiting(&self) -> HashMap<UniqueId, QueueId> {
        let callers = self.queues.iter().flat_map(|(id, queue)| queue.callers.iter().map(move |caller| (id, caller)));
        callers.map(|(id, caller)| (caller.channel.clone(), id.clone())).collect()
    }

    pub(super) fn tell_all(&self, tell: &mut Tell<'_>) {
        for (id, queue) in &self.queues {
            if tell.told.queues.get(id).is_none_or(|told| told.waiting != queue.waiting) {
                tell.queue(id, queue.view(tell.now));
            }
        }
        let told = tell.told.queues.iter().filter(|(id, told)| told.waiting > 0 && !self.queues.contains_key(*id));
        let gone: Vec<QueueId> = told.map(|(id, _)| id.clone()).collect();
        for id in gone {
            tell.queue(&id, KnownQueue::default());
        }
    }

    fn queue(&mut self, id: &QueueId) -> Option<&mut Queue> {
        if self.queues.len() >= AMI_QUEUES_MAX && !self.queues.contains_key(id) {
            self.left_out += 1;
            return None;
        }
        Some(self.queues.entry(id.clone()).or_default())
    }
}

impl Queue {
    fn view(&self, now: Instant) -> KnownQueue {
        let waits = self.callers.iter().map(|caller| now.saturating_duration_since(caller.seen) + caller.before);
        let longest = waits.max().unwrap_or_default().as_secs();
        KnownQueue { waiting: self.waiting, longest_wait_s: u32::try_from(longest).unwrap_or(u32::MAX) }
    }
}

impl ListedQueues {
    pub(super) fn take(&mut self, message: &Message, event: &[u8]) {
        let Some(id) = message.text("Queue").map(|queue| QueueId::new(&*queue)) else { return };
        match event {
            b"QueueParams" if self.names.len() < AMI_QUEUES_MAX => self.names.push(id),
            b"QueueEntry" if self.entries.len() < AMI_CHANNELS_MAX => {
                let Some(channel) = Calls::unique_of_caller(message) else { return };
                let wait = message.text("Wait").and_then(|wait| wait.trim().parse().ok()).unwrap_or(0);
                self.left.remove(&channel);
                self.entries.push((id, channel, Duration::from_secs(wait)));
            }
            _ => {}
        }
    }

    /// A live event about a caller while the lists are gathered.
    pub(super) fn overtaken(&mut self, message: &Message, event: &[u8]) {
        let Some(channel) = Calls::unique_of_caller(message) else { return };
        if self.joined.len() + self.left.len() >= 2 * AMI_CHANNELS_MAX {
            return;
        }
        match event {
            b"QueueCallerJoin" => {
                self.left.remove(&channel);
                self.joined.insert(channel);
            }
            b"QueueCallerLeave" | b"Hangup" => {
                self.joined.remove(&channel);
                self.left.insert(channel);
            }
            _ => {}
        }
    }
}

fn count(message: &Message) -> Option<u32> {
    message.text("Count").and_then(|count| count.trim().parse().ok())
}
