//! Peers made by hand: plain sockets, and as much AMI as a login and empty lists take.
//!
//! Nothing of the gateway's codec is used, or both would be wrong together.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

pub(crate) const BANNER: &str = "Asterisk Call Manager/11.0.0\r\n";

/// Something that listens; every connection is given to a script with its number, from 0 on.
pub(crate) struct Peer {
    pub(crate) addr: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Peer {
    pub(crate) async fn start<F>(script: impl Fn(TcpStream, usize) -> F + Send + 'static) -> Self
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let accepting = tokio::spawn(async move {
            let mut scripts = JoinSet::new();
            let mut count = 0;
            while let Ok((stream, _)) = listener.accept().await {
                scripts.spawn(script(stream, count)); // that the gateway hangs up is no fault of a script
                count += 1;
            }
        });
        Self { addr, accepting }
    }

    /// Says this to everyone, then listens for ever.
    pub(crate) async fn saying(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::start(move |mut stream, _| {
            let bytes = bytes.clone();
            async move {
                stream.write_all(&bytes).await?;
                hear_out(stream).await
            }
        })
        .await
    }

    pub(crate) fn tcp(&self) -> String {
        format!("tcp://{}", self.addr)
    }

    pub(crate) fn tls(&self) -> String {
        format!("tls://localhost:{}", self.addr.port())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Listens and says nothing until the other end closes.
pub(crate) async fn hear_out(mut stream: impl AsyncRead + Unpin) -> io::Result<()> {
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(drop)
}

/// The PBX's end of a manager connection.
pub(crate) struct Manager<S> {
    requests: BufReader<ReadHalf<S>>,
    pub(crate) out: WriteHalf<S>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) action: String,
    pub(crate) id: String,
}

impl<S: AsyncRead + AsyncWrite> Manager<S> {
    /// Says the banner and takes the login, right or wrong, as a PBX that has booted.
    pub(crate) async fn logged_in(stream: S) -> io::Result<Self> {
        let mut manager = Self::new(stream);
        manager.say(BANNER).await?;
        while manager.answer_next().await?.action != "Login" {}
        Ok(manager)
    }

    /// [`Self::logged_in`], and every list of the first snapshot answered as empty.
    pub(crate) async fn in_step(stream: S) -> io::Result<Self> {
        let mut manager = Self::logged_in(stream).await?;
        while manager.answer_next().await?.action != "Agents" {}
        Ok(manager)
    }

    pub(crate) fn new(stream: S) -> Self {
        let (read, out) = tokio::io::split(stream);
        Self { requests: BufReader::new(read), out }
    }

    pub(crate) async fn say(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes()).await
    }

    pub(crate) async fn next_request(&mut self) -> io::Result<Request> {
        let mut request = Request::default();
        loop {
            let mut line = String::new();
            if self.requests.read_line(&mut line).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match line.trim_end().split_once(": ") {
                Some(("Action", action)) => request.action = action.to_owned(),
                Some(("ActionID", id)) => request.id = id.to_owned(),
                Some(_) => {}
                None if request.action.is_empty() => {}
                None => return Ok(request),
            }
        }
    }

    /// Answers one request as a PBX where nothing goes on.
    pub(crate) async fn answer_next(&mut self) -> io::Result<Request> {
        let request = self.next_request().await?;
        let id = &request.id;
        let success = format!("Response: Success\r\nActionID: {id}\r\n");
        let list = |complete: &str| {
            format!(
                "{success}EventList: start\r\n\r\nEvent: {complete}\r\nActionID: {id}\r\nEventList: Complete\r\nListItems: 0\r\n\r\n"
            )
        };
        let answer = match request.action.as_str() {
            "Challenge" => format!("{success}Challenge: 12345\r\n\r\n"),
            "Login" => format!(
                "{success}Message: Authentication accepted\r\n\r\nEvent: FullyBooted\r\nPrivilege: system,all\r\nStatus: Fully Booted\r\n\r\n"
            ),
            "DeviceStateList" => list("DeviceStateListComplete"),
            "CoreShowChannels" => list("CoreShowChannelsComplete"),
            "QueueStatus" => list("QueueStatusComplete"),
            "Logoff" => format!("Response: Goodbye\r\nActionID: {id}\r\n\r\n"),
            "Ping" => format!("{success}Ping: Pong\r\n\r\n"),
            _ => format!("Response: Error\r\nActionID: {id}\r\nMessage: No such thing here\r\n\r\n"),
        };
        self.say(&answer).await?;
        Ok(request)
    }

    /// Listens and says nothing until the other end closes.
    pub(crate) async fn fall_silent(mut self) -> io::Result<()> {
        tokio::io::copy(&mut self.requests, &mut tokio::io::sink()).await.map(drop)
    }

    /// Answers whatever comes until the other end closes.
    pub(crate) async fn go_on(mut self) -> io::Result<()> {
        loop {
            self.answer_next().await?;
        }
    }
}

pub(crate) fn user_event(name: &str, value: &str) -> String {
    format!("Event: UserEvent\r\nPrivilege: user,all\r\nUserEvent: {name}\r\nValue: {value}\r\n\r\n")
}
