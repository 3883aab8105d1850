//! HTTP with the first: answers read whole within a deadline, and the stream that has no end.
//!
//! Bounds: [`FOLLOW_ANSWER_BYTES_MAX`]; the connection's own deadline is `LINK_CONNECT_TIMEOUT`.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, AUTHORIZATION, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::config::Address;
use crate::limits::FOLLOW_ANSWER_BYTES_MAX;
use crate::link::Down;
use crate::link::driver::Connect;
use crate::secret::Secret;

/// The way to the first's API.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) address: Address,
    pub(super) connect: Connect,
    pub(super) token: Secret,
}

/// A connection that is kept; dropped, it is closed.
pub(super) struct Line {
    sender: SendRequest<Empty<Bytes>>,
    carried: JoinHandle<()>,
}

/// Why there was no answer, for a person.
pub(super) type NoAnswer = String;

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.carried.abort();
    }
}

impl Door {
    async fn open(&self) -> Result<Line, NoAnswer> {
        let stream = (self.connect)(&self.address).await.map_err(|down| match down {
            Down::Unreachable { found } => found,
            other => format!("{other:?}"),
        })?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        let carried = tokio::spawn(async move { drop(connection.await) });
        Ok(Line { sender, carried })
    }

    fn request(&self, path: &str) -> Result<Request<Empty<Bytes>>, NoAnswer> {
        let bearer = HeaderValue::try_from(format!("Bearer {}", self.token.expose()));
        let mut bearer = bearer.map_err(|_| "`follow.token` holds what no token has; check it".to_owned())?;
        bearer.set_sensitive(true);
        let request = Request::get(path)
            .header(HOST, self.address.authority())
            .header(USER_AGENT, concat!("lamplighter/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "*/*")
            .header(AUTHORIZATION, bearer);
        request.body(Empty::new()).map_err(|error| error.to_string())
    }

    /// Asks over the kept line; one that broke since the last answer is made anew, once.
    pub(super) async fn ask(
        &self,
        line: &mut Option<Line>,
        path: &str,
        deadline: Duration,
    ) -> Result<Answer, NoAnswer> {
        let kept = line.take().filter(|line| !line.sender.is_closed());
        let was_kept = kept.is_some();
        let first = timeout(deadline, self.ask_once(kept, path)).await;
        let answered = match first {
            Ok(Err(_)) if was_kept => timeout(deadline, self.ask_once(None, path)).await,
            first => first,
        };
        let seconds = deadline.as_secs_f32();
        let (answer, kept) = answered.unwrap_or_else(|_| Err(format!("no answer within {seconds} s")))?;
        *line = Some(kept);
        Ok(answer)
    }

    async fn ask_once(&self, line: Option<Line>, path: &str) -> Result<(Answer, Line), NoAnswer> {
        let mut line = match line {
            Some(line) => line,
            None => self.open().await?,
        };
        line.sender.ready().await.map_err(|error| error.to_string())?;
        let response = line.sender.send_request(self.request(path)?).await.map_err(|error| error.to_string())?;
        Ok((whole(response).await?, line))
    }

    /// A body without an end: its status and itself. The line is to be kept as long as the body is read.
    pub(super) async fn stream(&self, path: &str, deadline: Duration) -> Result<(Line, Response<Incoming>), NoAnswer> {
        let begun = timeout(deadline, async {
            let mut line = self.open().await?;
            let response = line.sender.send_request(self.request(path)?).await.map_err(|error| error.to_string())?;
            Ok((line, response))
        });
        begun.await.unwrap_or_else(|_| Err(format!("no answer within {} s", deadline.as_secs_f32())))
    }
}

pub(super) async fn whole(response: Response<Incoming>) -> Result<Answer, NoAnswer> {
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), FOLLOW_ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| format!("the answer's body: {error}"))?.to_bytes();
    Ok(Answer { status, body })
}
