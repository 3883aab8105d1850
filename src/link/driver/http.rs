//! One HTTP request of a link beside its connection: a REST call, a control API.
//!
//! Each has a connection of its own: such requests are rare, and a kept one would have to be watched.
//! Bounds: the request's own deadline; [`LINK_RESPONSE_BYTES_MAX`].

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::Connect;
use crate::limits::LINK_RESPONSE_BYTES_MAX;
use crate::link::Down;
use crate::link::session::{HttpFailed, HttpRequest, HttpResponse};

pub(super) async fn perform(connect: Connect, request: HttpRequest) -> Result<HttpResponse, HttpFailed> {
    let deadline = request.deadline;
    timeout(deadline, exchange(connect, request)).await.unwrap_or(Err(HttpFailed::Deadline(deadline)))
}

async fn exchange(connect: Connect, request: HttpRequest) -> Result<HttpResponse, HttpFailed> {
    let HttpRequest { server, method, target, headers, body, .. } = request;
    let stream = connect(&server).await.map_err(|down| match down {
        Down::Unreachable { found } => HttpFailed::Unreachable(found),
        other => HttpFailed::Unreachable(format!("{other:?}")),
    })?;
    let mut request = Request::builder().method(method).uri(target).header(HOST, server.authority());
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| HttpFailed::Unreachable(format!("the request cannot be sent: {error}")))?;
    let broken = |error: hyper::Error| HttpFailed::Broken(format!("HTTP with {}: {error}", server.authority()));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let answer = async move {
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status().as_u16();
        let content_type = response.headers().get(CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = Limited::new(response.into_body(), LINK_RESPONSE_BYTES_MAX).collect().await;
        let body = body.map_err(|error| HttpFailed::Broken(format!("the answer's body: {error}")))?;
        Ok(HttpResponse { status, content_type, body: body.to_bytes().into() })
    };
    let mut answer = std::pin::pin!(answer);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        _ = &mut connection => answer.await, // what it carried before its end is there already
    }
}
