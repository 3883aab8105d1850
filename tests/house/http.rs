//! As much of an HTTP client as the tests need.
//!
//! Shape: HTTP/1.0, so that an answer ends with its connection and a stream is not chunked.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;

/// Status and body.
pub(crate) async fn get(api: SocketAddr, path: &str, token: &str) -> std::io::Result<(u16, Vec<u8>)> {
    let (status, mut lines) = ask(api, path, token).await?;
    while lines.next_line().await?.is_some_and(|line| !line.is_empty()) {}
    let mut body = Vec::new();
    lines.into_inner().read_to_end(&mut body).await?;
    Ok((status, body))
}

/// Status and body of what was asked for with a JSON body.
pub(crate) async fn post(api: SocketAddr, path: &str, token: &str, json: &str) -> std::io::Result<(u16, Vec<u8>)> {
    let length = json.len();
    let head = format!("POST {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n");
    let (status, mut lines) = request(api, &format!("{head}Authorization: Bearer {token}\r\n\r\n{json}")).await?;
    while lines.next_line().await?.is_some_and(|line| !line.is_empty()) {}
    let mut body = Vec::new();
    lines.into_inner().read_to_end(&mut body).await?;
    Ok((status, body))
}

/// The lines of a stream's body, headers included.
pub(crate) async fn stream(api: SocketAddr, path: &str, token: &str) -> std::io::Result<Lines<BufReader<TcpStream>>> {
    let (status, lines) = ask(api, path, token).await?;
    match status {
        200 => Ok(lines),
        status => Err(std::io::Error::other(format!("GET {path} answered {status}"))),
    }
}

async fn ask(api: SocketAddr, path: &str, token: &str) -> std::io::Result<(u16, Lines<BufReader<TcpStream>>)> {
    request(api, &format!("GET {path} HTTP/1.0\r\nHost: {api}\r\nAuthorization: Bearer {token}\r\n\r\n")).await
}

async fn request(api: SocketAddr, request: &str) -> std::io::Result<(u16, Lines<BufReader<TcpStream>>)> {
    let mut connection = TcpStream::connect(api).await?;
    connection.write_all(request.as_bytes()).await?;
    let mut lines = BufReader::new(connection).lines();
    let first = lines.next_line().await?.unwrap_or_default();
    let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other(format!("no HTTP answer: `{first}`")))?;
    Ok((status, lines))
}
