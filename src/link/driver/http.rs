//! HTTP/1.1 as a client: a link's requests beside its connection (a REST call, a control API), and calls of receivers.
//!
//! A link's request has a connection of its own: such requests are rare, and a kept one would have to be watched. Who
//! calls one place again and again keeps its [`HttpConnection`].
//! Bounds: the request's own deadline; [`LINK_RESPONSE_BYTES_MAX`], or what the caller says.

use std::future::Future;
use std::pin::{Pin, pin};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::{Connect, Stream};
use crate::config::Address;
use crate::limits::LINK_RESPONSE_BYTES_MAX;
use crate::link::Down;
use crate::link::session::{HttpFailed, HttpRequest, HttpResponse};

type Wire = http1::Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>;

/// A connection that carries one request after another. Drop it when a request was given up, or when it says
/// [`HttpConnection::is_over`].
pub struct HttpConnection {
    sender: http1::SendRequest<Full<Bytes>>,
    wire: Pin<Box<Wire>>,
    /// The wire has come to its end; what it carried before is there already.
    over: bool,
}

impl HttpConnection {
    /// # Errors
    /// Nothing listens there, or it does not shake hands.
    pub async fn open(connect: &Connect, server: &Address) -> Result<Self, HttpFailed> {
        let stream = connect(server).await.map_err(|down| match down {
            Down::Unreachable { found } => HttpFailed::Unreachable(found),
            other => HttpFailed::Unreachable(format!("{other:?}")),
        })?;
        let (sender, wire) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
        Ok(Self { sender, wire: Box::pin(wire), over: false })
    }

    /// Sends, and waits for the head of the answer.
    ///
    /// # Errors
    /// The connection ended before; the request may have been done all the same.
    pub async fn head(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, HttpFailed> {
        let Self { sender, wire, over } = self;
        let asked = async {
            sender.ready().await?;
            sender.send_request(request).await
        };
        driven(wire, over, asked).await.map_err(|error| broken(&error))
    }

    /// The body of an answer.
    ///
    /// # Errors
    /// It is longer than `most` bytes, or the connection ended before it did.
    pub async fn body(&mut self, body: Incoming, most: usize) -> Result<Bytes, HttpFailed> {
        let collected = driven(&mut self.wire, &mut self.over, Limited::new(body, most).collect()).await;
        let collected = collected.map_err(|error| HttpFailed::Broken(format!("the answer's body: {error}")))?;
        Ok(collected.to_bytes())
    }

    /// Reads the body of an answer and keeps nothing of it. False where it is longer than `most` bytes or ends too
    /// early: nothing more can be asked over this connection.
    pub async fn discard(&mut self, body: Incoming, most: usize) -> bool {
        let read = async {
            let mut body = pin!(body);
            let mut bytes = 0;
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return false };
                bytes += frame.data_ref().map_or(0, Bytes::len);
                if bytes > most {
                    return false;
                }
            }
            true
        };
        driven(&mut self.wire, &mut self.over, read).await
    }

    /// The other end has closed it, or wants no further request over it.
    pub fn is_over(&self) -> bool {
        self.over || self.sender.is_closed()
    }

    /// Resolves when it is over. Nothing may be under way.
    pub async fn closed(&mut self) {
        if !self.over {
            let _ = self.wire.as_mut().await; // why an idle connection ended is nobody's trouble
            self.over = true;
        }
    }
}

impl std::fmt::Debug for HttpConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpConnection").field("over", &self.over).finish_non_exhaustive()
    }
}

/// The wire moves only while somebody waits for it.
async fn driven<T>(wire: &mut Pin<Box<Wire>>, over: &mut bool, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    if *over {
        return work.await;
    }
    tokio::select! {
        biased;
        done = &mut work => done,
        _ = wire.as_mut() => {
            *over = true;
            work.await // what it carried before its end is there already
        }
    }
}

fn broken(error: &hyper::Error) -> HttpFailed {
    HttpFailed::Broken(match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    })
}

pub(super) async fn perform(connect: Connect, request: HttpRequest) -> Result<HttpResponse, HttpFailed> {
    let deadline = request.deadline;
    timeout(deadline, exchange(connect, request)).await.unwrap_or(Err(HttpFailed::Deadline(deadline)))
}

async fn exchange(connect: Connect, request: HttpRequest) -> Result<HttpResponse, HttpFailed> {
    let HttpRequest { server, method, target, headers, body, .. } = request;
    let named = |failed| match failed {
        HttpFailed::Broken(found) => HttpFailed::Broken(format!("HTTP with {}: {found}", server.authority())),
        other => other,
    };
    let mut connection = HttpConnection::open(&connect, &server).await.map_err(named)?;
    let mut request = Request::builder().method(method).uri(target).header(HOST, server.authority());
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| HttpFailed::Unreachable(format!("the request cannot be sent: {error}")))?;
    let response = connection.head(request).await.map_err(named)?;
    let status = response.status().as_u16();
    let content_type = response.headers().get(CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = connection.body(response.into_body(), LINK_RESPONSE_BYTES_MAX).await?;
    Ok(HttpResponse { status, content_type, body: body.into() })
}
