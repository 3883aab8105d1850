//! The lease's own line to the broker: what [`Tenure`] wants said is published, what is published it hears.
//!
//! It is apart from the uplink's, which a box that may not send does not keep. Trouble with it is told once; the uplink
//! tells of the broker itself.
//! Bounds: [`LEASE_BYTES_MAX`]; a line on which nothing is heard for [`LEASE_TTL`] is made anew.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep_until, timeout};

use crate::clock::{Clock, Instant};
use crate::config;
use crate::event::GatewayId;
use crate::follow::lease::{Lease, Progress, Tenure};
use crate::follow::plan::Judge;
use crate::limits::{LEASE_BYTES_MAX, LEASE_RENEW, LEASE_TTL, UPLINK_CONNACK_WAIT};
use crate::link::driver::{Connect, Stream};
use crate::uplink::packet::{self, Decoder, Heard, Outgoing};
use crate::uplink::topics::Topics;

/// What judging takes.
#[allow(missing_debug_implementations, reason = "made and given away at once")]
pub struct Judging {
    pub site: config::Uplink,
    pub connect: Connect,
    pub me: GatewayId,
    /// Whose log it is about.
    pub first: GatewayId,
    /// Becomes false once whatever the lease allowed has stopped: it is given back then.
    pub wanted: watch::Receiver<bool>,
    /// What the lease tells of how far the log was sent.
    pub progress: watch::Receiver<Progress>,
    pub clock: Clock,
    pub seed: u64,
    pub stop: watch::Receiver<bool>,
}

/// The judge at work.
#[derive(Debug)]
pub struct Judged {
    pub judge: watch::Receiver<Judge>,
    /// How far another box has sent the log; newest when the judge says that the lease is ours.
    pub others: watch::Receiver<Progress>,
    pub task: JoinHandle<()>,
}

pub fn spawn(judging: Judging) -> Judged {
    let Judging { site, connect, me, first, wanted, progress, clock, seed, stop } = judging;
    let (judge_told, judge) = watch::channel(Judge::Unseen);
    let (others_told, others) = watch::channel(Progress::default());
    let topic = Topics::new(&site.prefix, &first, false).lease();
    let desk = Desk {
        tenure: Tenure::new(me.as_str(), first.as_str(), seed),
        site,
        connect,
        topic,
        wanted,
        progress,
        clock,
        said: None,
        judge: judge_told,
        others: others_told,
    };
    Judged { judge, others, task: tokio::spawn(desk.run(stop)) }
}

struct Desk {
    tenure: Tenure,
    site: config::Uplink,
    connect: Connect,
    topic: String,
    wanted: watch::Receiver<bool>,
    progress: watch::Receiver<Progress>,
    clock: Clock,
    said: Option<String>,
    judge: watch::Sender<Judge>,
    others: watch::Sender<Progress>,
}

/// One connection.
struct Line {
    stream: Box<dyn Stream>,
    decoder: Decoder,
    next_id: u16,
    heard: Instant,
    wrote: Instant,
}

/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);

impl Desk {
    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let wanted = *self.wanted.borrow_and_update();
        self.tenure.handle_wanted(wanted, self.clock.now());
        loop {
            let end = self.attend(&mut stop).await;
            self.tenure.handle_closed(self.clock.now());
            self.show();
            let Err(said) = end else { return };
            if self.said.as_ref() == Some(&said) {
                tracing::debug!("lease {}: {said}", self.topic);
            } else {
                tracing::warn!("lease {}: {said}; nobody is judged meanwhile, tried again", self.topic);
                self.said = Some(said);
            }
            let again = self.clock.now() + PAUSE;
            loop {
                let wake = self.tenure.poll_timeout(self.clock.now()).map_or(again, |at| at.min(again));
                tokio::select! {
                    () = stopped(&mut stop) => return,
                    changed = self.wanted.changed() => self.handle_wanted(changed.is_ok()),
                    () = sleep_until(wake) => self.tenure.handle_timeout(self.clock.now()),
                }
                self.show();
                if self.clock.now() >= again {
                    break;
                }
            }
        }
    }

    /// One connection; `Ok` at the stop.
    async fn attend(&mut self, stop: &mut watch::Receiver<bool>) -> Result<(), String> {
        let mut opening = Box::pin(open(self.site.clone(), self.connect.clone(), self.topic.clone(), self.clock));
        let mut line = loop {
            let wake = self.tenure.poll_timeout(self.clock.now());
            let far = self.clock.now() + LEASE_TTL;
            tokio::select! {
                opened = &mut opening => break opened?,
                () = stopped(stop) => return Ok(()),
                changed = self.wanted.changed() => self.handle_wanted(changed.is_ok()),
                () = sleep_until(wake.unwrap_or(far)) => self.tenure.handle_timeout(self.clock.now()),
            }
            self.show();
        };
        self.tenure.handle_open(self.clock.now());
        let mut buffer = vec![0; LEASE_BYTES_MAX];
        loop {
            self.say(&mut line).await?;
            self.show();
            let now = self.clock.now();
            let silent = line.heard + LEASE_TTL;
            let ping = line.wrote + LEASE_RENEW;
            let wake = self.tenure.poll_timeout(now).map_or(silent, |at| at.min(silent)).min(ping);
            tokio::select! {
                biased;
                () = stopped(stop) => {
                    self.tenure.handle_release(&self.progress.borrow(), self.clock.now(), self.clock.timestamp());
                    self.say(&mut line).await?;
                    self.show();
                    line.write(&packet::disconnect(), self.clock.now()).await?;
                    return Ok(());
                }
                read = line.stream.read(&mut buffer) => match read {
                    Ok(0) => return Err("the broker hung up".to_owned()),
                    Ok(count) => {
                        let bytes = buffer.get(..count).unwrap_or_default();
                        self.hear(&mut line, bytes).await?;
                    }
                    Err(error) => return Err(format!("reading: {error}")),
                },
                changed = self.wanted.changed() => self.handle_wanted(changed.is_ok()),
                () = sleep_until(wake) => {
                    let now = self.clock.now();
                    self.tenure.handle_timeout(now);
                    if now >= line.heard + LEASE_TTL {
                        return Err(format!("the broker is silent for {} s, pings included", LEASE_TTL.as_secs()));
                    }
                    if now >= line.wrote + LEASE_RENEW {
                        line.write(&packet::ping(), now).await?;
                    }
                }
            }
        }
    }

    async fn say(&mut self, line: &mut Line) -> Result<(), String> {
        loop {
            let (now, wall) = (self.clock.now(), self.clock.timestamp());
            let progress = self.progress.borrow().clone();
            let Some(lease) = self.tenure.poll_send(&progress, now, wall) else { return Ok(()) };
            let payload = serde_json::to_vec(&lease).map_err(|error| error.to_string())?;
            let id = line.take_id();
            let outgoing = Outgoing {
                id,
                topic: &self.topic,
                payload,
                retain: true,
                content_type: "application/json",
                correlation: None,
                words: &[],
            };
            let bytes = packet::message(outgoing).map_err(|error| format!("the lease cannot be said ({error:?})"))?;
            line.write(&bytes, now).await?;
        }
    }

    async fn hear(&mut self, line: &mut Line, mut bytes: &[u8]) -> Result<(), String> {
        line.heard = self.clock.now();
        while let Some(heard) = line.decoder.next(&mut bytes)? {
            match heard {
                Heard::Message(message) => {
                    if let Some(id) = message.id.filter(|_| message.qos > 0) {
                        line.write(&packet::acknowledge(id), self.clock.now()).await?;
                    }
                    if message.topic == self.topic {
                        self.hear_lease(&message.payload, message.retained);
                    }
                }
                Heard::Acknowledged { code: 0x80.., said, .. } => {
                    return Err(format!("the broker refuses the lease ({said}); it has to let this box publish there"));
                }
                Heard::Subscribed { refused: Some(said), .. } => {
                    return Err(format!(
                        "the broker refuses the subscription ({said}); it has to let this box read it"
                    ));
                }
                Heard::Disconnected(refusal) => return Err(format!("the broker ended it ({})", refusal.said)),
                Heard::Subscribed { refused: None, .. } => self.said = None,
                Heard::Acknowledged { .. } | Heard::Pong => {}
                Heard::Accepted(_) | Heard::NotAccepted(_) | Heard::Unexpected { .. } => {
                    return Err("the broker says what a client is not sent".to_owned());
                }
            }
        }
        Ok(())
    }

    fn hear_lease(&mut self, payload: &[u8], retained: bool) {
        let lease = (payload.len() <= LEASE_BYTES_MAX).then(|| serde_json::from_slice::<Lease>(payload).ok()).flatten();
        match lease {
            Some(lease) => self.tenure.handle_lease(lease, retained, self.clock.now()),
            // Removed by hand, or another's: as if nothing stood there.
            None => tracing::debug!("lease {}: what stands there is none", self.topic),
        }
    }

    fn handle_wanted(&mut self, is_known: bool) {
        let wanted = is_known && *self.wanted.borrow_and_update();
        let (now, wall) = (self.clock.now(), self.clock.timestamp());
        if !wanted {
            self.tenure.handle_release(&self.progress.borrow(), now, wall);
        }
        self.tenure.handle_wanted(wanted, now);
    }

    fn show(&self) {
        let others = self.tenure.others_progress();
        self.others.send_if_modified(|told| {
            let differs = told != others;
            if differs {
                told.clone_from(others);
            }
            differs
        });
        let judge = self.tenure.judge(self.clock.now());
        self.judge.send_if_modified(|told| std::mem::replace(told, judge) != judge);
    }
}

impl Line {
    async fn write(&mut self, bytes: &[u8], now: Instant) -> Result<(), String> {
        self.wrote = now;
        let written = timeout(LEASE_RENEW, async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        });
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("writing: {error}")),
            Err(_) => Err("the broker takes no byte".to_owned()),
        }
    }

    fn take_id(&mut self) -> u16 {
        let id = self.next_id;
        self.next_id = id.checked_add(1).unwrap_or(1);
        id
    }
}

/// Logged in and subscribed; the answer to the latter is awaited by whoever listens.
async fn open(site: config::Uplink, connect: Connect, topic: String, clock: Clock) -> Result<Line, String> {
    let stream = connect(&site.url).await.map_err(|down| match down {
        crate::link::Down::Unreachable { found } => found,
        other => format!("{other:?}"),
    })?;
    let now = clock.now();
    let mut line = Line { stream, decoder: Decoder::new(), next_id: 2, heard: now, wrote: now };
    let client = format!("{}-lease", site.client_id);
    let keep_alive = u16::try_from(LEASE_TTL.as_secs() * 2).unwrap_or(u16::MAX);
    let said = |error| format!("the login cannot be said in MQTT ({error:?})");
    let login = packet::connect_without_will(&client, site.user.as_deref(), site.password.as_ref(), keep_alive);
    line.write(&login.map_err(said)?, now).await?;
    let accepted = timeout(UPLINK_CONNACK_WAIT, async {
        let mut buffer = [0; 512];
        loop {
            let count = line.stream.read(&mut buffer).await.map_err(|error| format!("reading: {error}"))?;
            let mut bytes = buffer.get(..count).filter(|bytes| !bytes.is_empty()).ok_or("the broker hung up")?;
            match line.decoder.next(&mut bytes)? {
                Some(Heard::Accepted(facts)) if facts.qos_max > 0 && facts.retains => return Ok(()),
                Some(Heard::Accepted(_)) => return Err("the broker keeps no retained messages of QoS 1".to_owned()),
                Some(Heard::NotAccepted(refusal)) => {
                    return Err(format!("the broker refuses the login ({})", refusal.said));
                }
                Some(_) => return Err("the broker says what a client is not sent".to_owned()),
                None => {}
            }
        }
    });
    accepted.await.unwrap_or_else(|_| Err("the broker does not answer the login".to_owned()))?;
    let subscribe = packet::subscribe_to_all_of(1, &topic).map_err(said)?;
    line.heard = clock.now();
    line.write(&subscribe, clock.now()).await?;
    Ok(line)
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await; // nobody can stop us any more: the same
}
