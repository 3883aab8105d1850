//! MQTT 5 as far as a plain publisher and a plain subscriber need it: the yardstick beside the uplink and the stream.
//!
//! Source: OASIS MQTT Version 5.0. Nothing of the gateway's own codec is used.
//! Not supported: QoS 2, retained messages, keep-alive, anything a broker on loopback does not ask for.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use lamplighter::clock::Clock;

const CONNACK: u8 = 2;
const PUBACK: u8 = 4;
const SUBACK: u8 = 9;

/// A message as the uplink sends it: one content type, one user property.
#[derive(Clone, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) topic: &'a str,
    pub(crate) content_type: &'a str,
    pub(crate) seq: &'a str,
    pub(crate) payload: &'a [u8],
}

impl Message<'_> {
    /// With QoS 1 where it has a packet id, else with QoS 0.
    pub(crate) fn packet(&self, id: Option<u16>) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.payload.len() + 128);
        put_text(&mut body, self.topic);
        body.extend(id.into_iter().flat_map(u16::to_be_bytes));
        let mut properties = vec![0x03];
        put_text(&mut properties, self.content_type);
        properties.push(0x26);
        put_text(&mut properties, "seq");
        put_text(&mut properties, self.seq);
        put_length(&mut body, properties.len());
        body.extend(properties);
        body.extend(self.payload);
        packet(0x30 | if id.is_some() { 2 } else { 0 }, &body)
    }
}

/// A clean start.
pub(crate) fn connect(broker: SocketAddr, name: &str) -> Result<TcpStream> {
    let mut body = Vec::new();
    put_text(&mut body, "MQTT");
    body.extend([5, 2, 0, 0, 0]);
    put_text(&mut body, name);
    let mut stream = TcpStream::connect(broker)?;
    stream.set_nodelay(true)?;
    stream.write_all(&packet(0x10, &body))?;
    let answer = read_packet(&mut stream)?;
    ensure!(answer.0 == CONNACK && answer.1.get(1) == Some(&0), "the broker refuses {name}: {answer:?}");
    Ok(stream)
}

/// One filter, QoS 0.
pub(crate) fn subscribe(stream: &mut TcpStream, filter: &str) -> Result<()> {
    let mut body = vec![0, 1, 0];
    put_text(&mut body, filter);
    body.push(0);
    stream.write_all(&packet(0x82, &body))?;
    let answer = read_packet(stream)?;
    ensure!(answer.0 == SUBACK && answer.1.last() == Some(&0), "the broker refuses {filter}: {answer:?}");
    Ok(())
}

/// One publisher as fast as a broker lets it: so many messages, QoS 1, at most `window` unacknowledged. An acknowledged
/// one makes room for the next; what there is room for is written at once.
pub(crate) fn publish_all(broker: SocketAddr, message: &Message<'_>, count: usize, window: usize) -> Result<Duration> {
    let mut stream = connect(broker, "yardstick")?;
    let packets: Vec<Vec<u8>> = (1..=window).map(|id| message.packet(Some(id as u16))).collect();
    let clock = Clock::system();
    let begun = clock.now();
    let (mut sent, mut acknowledged) = (0, 0);
    let (mut out, mut input, mut buffer) = (Vec::new(), Vec::new(), vec![0; 64 * 1024]);
    while acknowledged < count {
        out.clear();
        while sent < count && sent - acknowledged < window {
            out.extend_from_slice(&packets[sent % window]); // acknowledged in order, so the id is free again
            sent += 1;
        }
        stream.write_all(&out)?;
        let length = stream.read(&mut buffer)?;
        ensure!(length > 0, "the broker left after {acknowledged} of {count} messages");
        input.extend_from_slice(&buffer[..length]);
        acknowledged += take_pubacks(&mut input)?;
    }
    Ok(clock.now() - begun)
}

/// Whole packets leave the front.
fn take_pubacks(input: &mut Vec<u8>) -> Result<usize> {
    let (mut at, mut taken) = (0, 0);
    while let [first, length, ..] = &input[at..] {
        let end = at + 2 + usize::from(*length);
        if input.len() < end {
            break;
        }
        let reason = input[at + 2..end].get(2).copied().unwrap_or(0);
        if first >> 4 != PUBACK || reason >= 0x80 {
            bail!("expected a PUBACK, found {:02x?}", &input[at..end]);
        }
        taken += 1;
        at = end;
    }
    input.drain(..at);
    Ok(taken)
}

fn read_packet(stream: &mut TcpStream) -> Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    ensure!(head[1] < 0x80, "an answer longer than any that is expected: {head:02x?}");
    let mut body = vec![0; usize::from(head[1])];
    stream.read_exact(&mut body)?;
    Ok((head[0] >> 4, body))
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    put_length(&mut bytes, body.len());
    bytes.extend_from_slice(body);
    bytes
}

fn put_length(bytes: &mut Vec<u8>, mut length: usize) {
    loop {
        let byte = (length & 0x7f) as u8;
        length >>= 7;
        bytes.push(if length > 0 { byte | 0x80 } else { byte });
        if length == 0 {
            return;
        }
    }
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u16).to_be_bytes());
    bytes.extend(text.as_bytes());
}
