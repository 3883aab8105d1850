//! One HTTP connection of the REST services.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::chop::Chopped;
use super::http::{BadRequest, Request, answer};
use super::rest::{Answer, Ending};
use super::server::Control;
use crate::limits::READ_BYTES;

pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(control: &Control, stream: S) {
    let mut stream = Chopped::new(stream, control.shared.chop.clone(), 11);
    // A client that goes away in the middle is no concern of the services.
    let _ = attend(control, &mut stream).await;
}

async fn attend<S: AsyncRead + AsyncWrite + Unpin>(control: &Control, stream: &mut Chopped<S>) -> io::Result<()> {
    let mut input = Vec::new();
    loop {
        let request = match Request::take(&mut input) {
            Ok(Some(request)) => request,
            Ok(None) => {
                let mut bytes = [0; READ_BYTES];
                let count = stream.read(&mut bytes).await?;
                if count == 0 {
                    return Ok(());
                }
                input.extend_from_slice(&bytes[..count]);
                continue;
            }
            Err(BadRequest(status)) => {
                let refusal = Answer::error(status, "this is no request this service reads");
                stream.write_all(&answer(status, refusal.content_type, &refusal.body, false)).await?;
                return stream.shutdown().await;
            }
        };
        let reply = control.shared.core().answer(&request);
        control.shared.wake();
        if reply.delay > Duration::ZERO {
            tokio::time::sleep(reply.delay).await;
        }
        let bytes = answer(reply.status, reply.content_type, &reply.body, request.keeps_alive);
        match reply.ending {
            Ending::Whole => stream.write_all(&bytes).await?,
            Ending::Cut => {
                let body = reply.body.len().max(2);
                stream.write_all(&bytes[..bytes.len().saturating_sub(body / 2).min(bytes.len() - 1)]).await?;
                return stream.shutdown().await;
            }
            Ending::Never => {
                while stream.read(&mut [0; READ_BYTES]).await? > 0 {}
                return Ok(());
            }
        }
        if !request.keeps_alive {
            return stream.shutdown().await;
        }
    }
}
