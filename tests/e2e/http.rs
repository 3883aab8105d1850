//! As much of an HTTP client as the scenarios need.
//!
//! Shape: HTTP/1.0, so that an answer ends with its connection and a stream is not chunked.

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;

use crate::gateway::API;

/// Status and JSON body (null where it is none).
pub(crate) async fn get(path: &str, token: &str) -> std::io::Result<(u16, Value)> {
    whole(ask("GET", path, token, "").await?).await
}

/// Status and JSON body of the answer.
pub(crate) async fn post(path: &str, token: &str, body: &Value) -> std::io::Result<(u16, Value)> {
    whole(ask("POST", path, token, &body.to_string()).await?).await
}

async fn whole((status, mut lines): (u16, Lines<BufReader<TcpStream>>)) -> std::io::Result<(u16, Value)> {
    while lines.next_line().await?.is_some_and(|line| !line.is_empty()) {}
    let mut body = Vec::new();
    lines.into_inner().read_to_end(&mut body).await?;
    Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
}

/// The lines of a stream's body, headers included.
pub(crate) async fn stream(path: &str, token: &str) -> std::io::Result<Lines<BufReader<TcpStream>>> {
    let (status, lines) = ask("GET", path, token, "").await?;
    if status != 200 {
        return Err(std::io::Error::other(format!("GET {path} answered {status}")));
    }
    Ok(lines)
}

async fn ask(method: &str, path: &str, token: &str, body: &str) -> std::io::Result<(u16, Lines<BufReader<TcpStream>>)> {
    let mut connection = TcpStream::connect(API).await?;
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.0\r\nHost: {API}\r\nAuthorization: Bearer {token}\r\n");
    let request = format!("{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}");
    connection.write_all(request.as_bytes()).await?;
    let mut lines = BufReader::new(connection).lines();
    let first = lines.next_line().await?.unwrap_or_default();
    let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other(format!("no HTTP answer: `{first}`")))?;
    Ok((status, lines))
}
