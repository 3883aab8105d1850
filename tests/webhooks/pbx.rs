//! A PBX that says what it is told to.

use std::io;
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};

use crate::gateway::Gateway;
use crate::peer::{Manager, Peer, user_event};

pub(crate) struct Pbx {
    peer: Peer,
    say: mpsc::UnboundedSender<String>,
}

impl Pbx {
    pub(crate) async fn start() -> Self {
        let (say, said) = mpsc::unbounded_channel::<String>();
        let said = Arc::new(Mutex::new(said));
        let peer = Peer::start(move |stream, _| {
            let said = Arc::clone(&said);
            async move {
                let mut manager = Manager::in_step(stream).await?;
                let mut said = said.lock().await;
                loop {
                    tokio::select! {
                        // The other end asks for nothing meanwhile, but it may hang up.
                        request = manager.next_request() => drop(request?),
                        text = said.recv() => match text {
                            Some(text) => manager.say(&text).await?,
                            None => return Err(io::ErrorKind::UnexpectedEof.into()),
                        },
                    }
                }
            }
        })
        .await;
        Self { peer, say }
    }

    /// Its link `pbx`, which sends no keep-alive for as long as a test takes.
    pub(crate) fn link(&self) -> String {
        format!(
            "[links.pbx]\ndialect = \"ami\"\naddresses = [\"{}\"]\nuser = \"gw\"\nsecret = \"gw-secret\"\n\
             heartbeat = \"10m\"\nresync_every = \"0s\"\n",
            self.peer.tcp()
        )
    }

    /// Says values, an event each; a gateway that is not there hears them when it comes.
    pub(crate) fn says(&self, values: impl IntoIterator<Item = usize>) {
        for value in values {
            self.say.send(user_event("Count", &value.to_string())).unwrap();
        }
    }

    /// A gateway with this link and what else is configured, once the link is in step.
    pub(crate) async fn gateway(&self, site: &str) -> Gateway {
        let gateway = Gateway::started(&format!("{}{site}", self.link())).await;
        gateway.feed(0, "&type=link.").of("link.resynced", "pbx").await;
        gateway
    }
}
