//! MQTT 5 on the wire, as much of it as a broker's clients and a sick broker need.
//!
//! Source: OASIS MQTT Version 5.0, written from the standard alone. Nothing of the gateway's or of its client's codec is
//! used, or both would be wrong together.
//! Shape: a packet is a first byte (type, flags), a length of one to four bytes, and a body.
//! Not supported: QoS 2, AUTH.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest packet taken from a peer: far above what is sent in any test.
const PACKET_BYTES_MAX: usize = 64 * 1024 * 1024;

pub(crate) const CONNECT: u8 = 1;
pub(crate) const CONNACK: u8 = 2;
pub(crate) const PUBLISH: u8 = 3;
pub(crate) const PUBACK: u8 = 4;
pub(crate) const SUBSCRIBE: u8 = 8;
pub(crate) const SUBACK: u8 = 9;
pub(crate) const PINGREQ: u8 = 12;
pub(crate) const PINGRESP: u8 = 13;
pub(crate) const DISCONNECT: u8 = 14;

/// One packet, its body not looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) first: u8,
    pub(crate) body: Vec<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Publish {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    /// 0 with QoS 0.
    pub(crate) id: u16,
    pub(crate) content_type: Option<String>,
    pub(crate) response_topic: Option<String>,
    pub(crate) correlation: Option<Vec<u8>>,
    pub(crate) user: Vec<(String, String)>,
}

impl Packet {
    pub(crate) fn new(kind: u8, flags: u8, body: Vec<u8>) -> Self {
        Self { first: kind << 4 | flags, body }
    }

    pub(crate) fn kind(&self) -> u8 {
        self.first >> 4
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.first];
        put_length(&mut bytes, self.body.len());
        bytes.extend_from_slice(&self.body);
        bytes
    }

    pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let first = stream.read_u8().await?;
        let mut length = 0;
        for place in 0.. {
            let byte = stream.read_u8().await?;
            length |= usize::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                break;
            }
            if place == 3 {
                return Err(broken("a length of more than four bytes"));
            }
        }
        if length > PACKET_BYTES_MAX {
            return Err(broken("a packet longer than any test's"));
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        Ok(Self { first, body })
    }

    /// The first whole packet, taken off the front.
    pub(crate) fn take(bytes: &mut Vec<u8>) -> Option<Self> {
        let (mut length, mut at) = (0, 1);
        loop {
            let byte = *bytes.get(at)?;
            length |= usize::from(byte & 0x7f) << (7 * (at - 1));
            at += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        if bytes.len() < at + length {
            return None;
        }
        let rest = bytes.split_off(at + length);
        let body = bytes.split_off(at);
        let first = bytes[0];
        *bytes = rest;
        Some(Self { first, body })
    }

    /// The packet identifier a body begins with (PUBACK, SUBSCRIBE, SUBACK).
    pub(crate) fn id(&self) -> u16 {
        Fields(&self.body).u16().unwrap_or_default()
    }

    /// The reason code of a PUBACK, CONNACK or DISCONNECT.
    pub(crate) fn reason(&self) -> u8 {
        let at = match self.kind() {
            PUBACK => 2,
            CONNACK => 1,
            _ => 0,
        };
        self.body.get(at).copied().unwrap_or_default()
    }

    pub(crate) fn publish(&self) -> io::Result<Publish> {
        let mut fields = Fields(&self.body);
        let qos = self.first >> 1 & 3;
        let mut publish = Publish { qos, retain: self.first & 1 != 0, dup: self.first & 8 != 0, ..Publish::default() };
        publish.topic = fields.text()?;
        if qos > 0 {
            publish.id = fields.u16()?;
        }
        let length = fields.length()?;
        let mut properties = Fields(fields.take(length)?);
        while !properties.0.is_empty() {
            match properties.u8()? {
                0x01 => drop(properties.u8()?),
                0x02 => drop(properties.take(4)?),
                0x03 => publish.content_type = Some(properties.text()?),
                0x08 => publish.response_topic = Some(properties.text()?),
                0x09 => publish.correlation = Some(properties.binary()?.to_vec()),
                0x0b => drop(properties.length()?),
                0x23 => drop(properties.u16()?),
                0x26 => publish.user.push((properties.text()?, properties.text()?)),
                other => return Err(broken(&format!("property {other:#04x} in a PUBLISH"))),
            }
        }
        publish.payload = fields.0.to_vec();
        Ok(publish)
    }
}

impl Publish {
    pub(crate) fn packet(&self) -> Packet {
        let mut body = Vec::new();
        put_text(&mut body, &self.topic);
        if self.qos > 0 {
            body.extend(self.id.to_be_bytes());
        }
        let mut properties = Vec::new();
        if let Some(content_type) = &self.content_type {
            properties.push(0x03);
            put_text(&mut properties, content_type);
        }
        if let Some(topic) = &self.response_topic {
            properties.push(0x08);
            put_text(&mut properties, topic);
        }
        if let Some(correlation) = &self.correlation {
            properties.push(0x09);
            put_binary(&mut properties, correlation);
        }
        for (key, value) in &self.user {
            properties.push(0x26);
            put_text(&mut properties, key);
            put_text(&mut properties, value);
        }
        put_length(&mut body, properties.len());
        body.extend(properties);
        body.extend(&self.payload);
        let flags = u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain);
        Packet::new(PUBLISH, flags, body)
    }

    pub(crate) fn user(&self, key: &str) -> Option<&str> {
        self.user.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// A clean start, no will, no keep-alive.
pub(crate) fn connect(client: &str, login: Option<(&str, &str)>) -> Packet {
    let mut body = Vec::new();
    put_text(&mut body, "MQTT");
    let flags = 0x02 | if login.is_some() { 0xc0 } else { 0 };
    body.extend([5, flags, 0, 0, 0]);
    put_text(&mut body, client);
    if let Some((user, password)) = login {
        put_text(&mut body, user);
        put_binary(&mut body, password.as_bytes());
    }
    Packet::new(CONNECT, 0, body)
}

/// One filter, QoS 1, what the broker retains is told first.
pub(crate) fn subscribe(id: u16, filter: &str) -> Packet {
    let mut body = id.to_be_bytes().to_vec();
    body.push(0);
    put_text(&mut body, filter);
    body.push(1);
    Packet::new(SUBSCRIBE, 2, body)
}

pub(crate) fn puback(id: u16, reason: u8) -> Packet {
    let mut body = id.to_be_bytes().to_vec();
    body.extend([reason, 0]);
    Packet::new(PUBACK, 0, body)
}

/// What a body is read from.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(|| broken("a body that ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> io::Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> io::Result<u16> {
        let taken = self.take(2)?;
        Ok(u16::from_be_bytes([taken[0], taken[1]]))
    }

    fn length(&mut self) -> io::Result<usize> {
        let mut length = 0;
        for place in 0..4 {
            let byte = self.u8()?;
            length |= usize::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return Ok(length);
            }
        }
        Err(broken("a length of more than four bytes"))
    }

    fn binary(&mut self) -> io::Result<&'a [u8]> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    fn text(&mut self) -> io::Result<String> {
        String::from_utf8(self.binary()?.to_vec()).map_err(|_| broken("text that is no UTF-8"))
    }
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

fn put_binary(bytes: &mut Vec<u8>, value: &[u8]) {
    let length = u16::try_from(value.len()).expect("a field of MQTT is shorter than 64 KiB");
    bytes.extend(length.to_be_bytes());
    bytes.extend(value);
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_binary(bytes, text.as_bytes());
}

pub(crate) fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
