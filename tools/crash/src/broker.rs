//! Just enough of an MQTT 5 broker to be an uplink's far end: takes what is published, records it, acknowledges it.
//!
//! Source: MQTT 5.0 (OASIS), sections 3.1 to 3.15. Written without the gateway's own packets.
//! Shape: one task a connection. A message counts as acknowledged to the gateway, and is recorded, before its PUBACK is
//! written: what was recorded may come again, and then must say so.
//! Bounds: [`PACKET_BYTES_MAX`]; a longer packet ends the connection.
//! Not supported: QoS 2, delivery to subscribers, topic aliases, sessions that last.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::ledger::Ledger;

const PACKET_BYTES_MAX: usize = 4 * 1024 * 1024;
const CONSUMER: &str = "uplink";

/// Listens until it is dropped.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Broker {
    pub(crate) async fn start(ledger: Arc<Mutex<Ledger>>) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let addr = listener.local_addr()?;
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(attend(stream, Arc::clone(&ledger)));
            }
        });
        Ok(Self { addr, task })
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn attend(stream: TcpStream, ledger: Arc<Mutex<Ledger>>) {
    if let Err(error) = serve(stream, &ledger).await
        && !error.is::<std::io::Error>()
    {
        ledger.lock().unwrap_or_else(PoisonError::into_inner).fault(format!("the uplink misbehaves: {error:#}"));
    }
}

/// Until the connection ends, which is an error of the socket.
async fn serve(stream: TcpStream, ledger: &Mutex<Ledger>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    loop {
        let head = stream.read_u8().await?;
        let mut body = vec![0; length(&mut stream).await?];
        stream.read_exact(&mut body).await?;
        let mut rest = &body[..];
        match head >> 4 {
            1 => stream.write_all(&[0x20, 3, 0, 0, 0]).await?, // CONNACK: success, no properties
            3 => {
                let _topic = text(&mut rest)?;
                let id = if head & 0b110 == 0 { None } else { Some(number(&mut rest)?) };
                let resent = resent(&mut rest)?;
                if rest.starts_with(b"{\"specversion\"") {
                    let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
                    match resent {
                        true => ledger.served_again(CONSUMER, rest),
                        false => ledger.served(CONSUMER, rest),
                    }
                }
                if let Some([high, low]) = id.map(u16::to_be_bytes) {
                    stream.write_all(&[0x40, 2, high, low]).await?;
                }
            }
            8 => {
                let [high, low] = number(&mut rest)?.to_be_bytes();
                properties(&mut rest)?;
                let mut granted = Vec::new();
                while !rest.is_empty() {
                    text(&mut rest)?;
                    granted.push(take(&mut rest, 1)?[0] & 1);
                }
                let mut answer = vec![0x90, 3 + granted.len() as u8, high, low, 0];
                answer.extend(granted);
                stream.write_all(&answer).await?;
            }
            12 => stream.write_all(&[0xd0, 0]).await?,
            4 | 10 | 14 => {}
            other => bail!("a packet of type {other}"),
        }
    }
}

/// The remaining length: seven bits a byte, the lowest first.
async fn length(stream: &mut BufReader<TcpStream>) -> Result<usize> {
    let mut length = 0;
    for shift in [0, 7, 14, 21] {
        let byte = stream.read_u8().await?;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            if length > PACKET_BYTES_MAX {
                bail!("a packet of {length} bytes");
            }
            return Ok(length);
        }
    }
    bail!("a length of more than four bytes")
}

fn take<'a>(rest: &mut &'a [u8], bytes: usize) -> Result<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(bytes).context("a packet that ends too early")?;
    *rest = left;
    Ok(taken)
}

fn number(rest: &mut &[u8]) -> Result<u16> {
    let bytes = take(rest, 2)?;
    Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
}

fn text<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8]> {
    let bytes = number(rest)?;
    take(rest, bytes.into())
}

fn properties<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8]> {
    let (mut bytes, mut shift) = (0, 0);
    loop {
        let byte = take(rest, 1)?[0];
        bytes |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 || shift > 21 {
            return take(rest, bytes);
        }
    }
}

/// Whether a PUBLISH carries the user property `resent` = `true`.
fn resent(rest: &mut &[u8]) -> Result<bool> {
    let mut properties = properties(rest)?;
    let mut resent = false;
    while !properties.is_empty() {
        match take(&mut properties, 1)?[0] {
            0x01 => drop(take(&mut properties, 1)?),            // payload format
            0x02 => drop(take(&mut properties, 4)?),            // expiry
            0x23 => drop(take(&mut properties, 2)?),            // topic alias
            0x03 | 0x08 | 0x09 => drop(text(&mut properties)?), // content type, response topic, correlation
            0x26 => {
                let (name, value) = (text(&mut properties)?, text(&mut properties)?);
                resent |= (name, value) == (b"resent", b"true");
            }
            other => bail!("property {other:#x} of a PUBLISH"),
        }
    }
    Ok(resent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn property(name: &str, value: &str) -> Vec<u8> {
        let mut bytes = vec![0x26];
        for word in [name, value] {
            bytes.extend((word.len() as u16).to_be_bytes());
            bytes.extend(word.as_bytes());
        }
        bytes
    }

    #[test]
    fn a_message_that_was_sent_before_says_so() {
        for (properties, expected) in [
            (property("seq", "7"), false),
            ([property("seq", "7"), property("resent", "true")].concat(), true),
            ([vec![1, 1, 3, 0, 1, b'x'], property("resent", "false")].concat(), false),
            (Vec::new(), false),
        ] {
            let bytes = [vec![properties.len() as u8], properties, b"payload".to_vec()].concat();
            let mut rest = &bytes[..];
            assert_eq!(resent(&mut rest).unwrap(), expected);
            assert_eq!(rest, b"payload");
        }
        assert!(resent(&mut &[3, 0x26, 0, 9][..]).is_err());
    }
}
