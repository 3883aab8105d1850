//! A dialogue on the way: the player, its carrier, and whoever looks at the far side.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use super::bytes::Bytes;
use super::frames::Frames;
use super::http::Http;
use super::{Captured, Carrier, Fault, Mark, Output, Player, Script};
use crate::limits::SCRIPT_PATIENCE;

/// What the connections of a dialogue are made of.
pub trait Carry {
    /// Waits for the first connection, where there is to be one.
    fn begin(&mut self) -> impl Future<Output = io::Result<()>> + Send;

    fn deliver(&mut self, output: Output) -> impl Future<Output = io::Result<()>> + Send;

    /// Dropped before it ends, it loses nothing.
    fn heard(&mut self) -> impl Future<Output = Heard> + Send;
}

/// What came of the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    Bytes(Vec<u8>),
    /// A text frame, a request, an answer.
    Message(String),
    Ping,
    Closed,
}

/// Looks at the far side of the other end.
pub trait Witness {
    /// Returns once it is as the dialogue says.
    ///
    /// # Errors
    /// What is found instead.
    fn look(
        &mut self,
        mark: Mark,
        text: &str,
        captured: &mut Captured,
    ) -> impl Future<Output = Result<(), String>> + Send;
}

/// Looks at nothing: everything may be.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Witness for Nobody {
    async fn look(&mut self, _: Mark, _: &str, _: &mut Captured) -> Result<(), String> {
        Ok(())
    }
}

/// Listens for the other end of dialogues.
#[derive(Debug)]
pub struct Stage {
    addr: SocketAddr,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Bytes(Bytes<TcpStream>),
    Frames(Box<Frames<TcpStream>>),
    Http(Http),
}

impl Stage {
    /// Listens for what a dialogue travels on; `reports` is where the PBX of an HTTP dialogue sends its own.
    ///
    /// # Errors
    /// The address cannot be taken.
    pub async fn open(carrier: &Carrier, listen: SocketAddr, reports: Option<SocketAddr>) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let addr = listener.local_addr()?;
        let kind = match carrier {
            Carrier::Lines | Carrier::Centrex(_) => Kind::Bytes(Bytes::listening(listener)),
            Carrier::Frames => Kind::Frames(Box::new(Frames::listening(listener))),
            Carrier::Http => Kind::Http(Http::listening(listener, reports)),
        };
        Ok(Self { addr, kind })
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Plays the dialogue. Its last connection stays open until the stage is dropped.
    ///
    /// # Errors
    /// The first departure from the dialogue.
    pub async fn play<W: Witness + Send>(
        &mut self,
        script: &Script,
        captured: Captured,
        witness: &mut W,
    ) -> Result<Captured, Fault> {
        match &mut self.kind {
            Kind::Bytes(carry) => perform(carry, script, captured, witness).await,
            Kind::Frames(carry) => perform(&mut **carry, script, captured, witness).await,
            Kind::Http(carry) => perform(carry, script, captured, witness).await,
        }
    }
}

/// Plays the dialogue on a carrier.
///
/// # Errors
/// The first departure from the dialogue.
pub async fn perform<C: Carry + Send, W: Witness + Send>(
    carry: &mut C,
    script: &Script,
    captured: Captured,
    witness: &mut W,
) -> Result<Captured, Fault> {
    let begun = patient(carry.begin()).await;
    let began = now();
    let mut player = Player::with(script.clone(), captured, Duration::ZERO)?;
    if let Err(error) = begun {
        return Err(player.fault(&error.to_string()));
    }
    loop {
        while let Some(output) = player.poll_output() {
            match output {
                Output::Look(mark, text) => {
                    let verdict = witness.look(mark, &text, player.captured_mut()).await;
                    player.handle_seen(verdict, now() - began)?;
                }
                Output::Accept => {
                    let accepted = patient(carry.deliver(Output::Accept)).await.map_err(|error| error.to_string());
                    player.handle_seen(accepted, now() - began)?;
                }
                output => {
                    if let Err(error) = patient(carry.deliver(output)).await {
                        return Err(player.fault(&format!("a connection that cannot be used: {error}")));
                    }
                }
            }
        }
        if player.is_done() {
            return Ok(player.captured().clone());
        }
        tokio::select! {
            heard = carry.heard(), if !player.is_closed() => {
                let at = now() - began;
                match heard {
                    Heard::Bytes(bytes) => player.handle_bytes(&bytes, at)?,
                    Heard::Message(text) => player.handle_frame(&text, at)?,
                    Heard::Ping => player.handle_ping(at)?,
                    Heard::Closed => player.handle_closed(at)?,
                }
            }
            () = due(&player, began) => player.handle_timeout(now() - began)?,
        }
    }
}

/// Where further connections come from, and what is made of each.
pub(super) type Again<S> = (TcpListener, fn(TcpStream) -> S);

pub(super) fn nobody_connects() -> io::Error {
    io::Error::other("nobody connects")
}

async fn patient(work: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    timeout(SCRIPT_PATIENCE, work).await.unwrap_or_else(|_| Err(nobody_connects()))
}

async fn due(player: &Player, began: Instant) {
    match player.poll_timeout() {
        Some(at) => tokio::time::sleep_until(began + at).await,
        None => std::future::pending().await,
    }
}

#[allow(clippy::disallowed_methods, reason = "the simulator's own clock; the gateway's is not used here on purpose")]
fn now() -> Instant {
    Instant::now()
}
