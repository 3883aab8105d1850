//! MQTT 5 packets, as a broker reads and writes them.
//!
//! Source: OASIS MQTT 5.0, sections 2 and 3.
//! Bounds: [`PACKET_BYTES_MAX`]; a longer packet is an error.

/// Longest packet read; past it the client is broken.
pub const PACKET_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    Connect(Box<Connect>),
    Publish(Box<Publish>),
    Puback { id: u16, code: u8 },
    Subscribe { id: u16, filters: Vec<(String, u8)> },
    Unsubscribe { id: u16 },
    Pingreq,
    Disconnect { code: u8 },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connect {
    pub client_id: String,
    pub clean_start: bool,
    pub keep_alive: u16,
    pub user: Option<String>,
    pub password: Option<Vec<u8>>,
    pub will: Option<Publish>,
    pub properties: Properties,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publish {
    pub dup: bool,
    pub qos: u8,
    pub retain: bool,
    pub topic: String,
    /// 0 where the QoS is.
    pub id: u16,
    pub properties: Properties,
    pub payload: Vec<u8>,
}

/// The properties that are used here; all others are checked and passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    pub content_type: Option<String>,
    pub response_topic: Option<String>,
    pub correlation: Option<Vec<u8>>,
    pub user: Vec<(String, String)>,
    pub session_expiry: Option<u32>,
    pub receive_maximum: Option<u16>,
    pub maximum_packet: Option<u32>,
    pub keep_alive: Option<u16>,
    pub assigned_client_id: Option<String>,
    pub maximum_qos: Option<u8>,
    pub retain_available: Option<u8>,
    pub wildcard_available: Option<u8>,
    pub reason: Option<String>,
    pub server_reference: Option<String>,
}

impl Properties {
    /// The first user property of this name.
    pub fn word(&self, name: &str) -> Option<&str> {
        self.user.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The first packet of `bytes` and its length; `None` while it is not there whole.
///
/// # Errors
/// What makes it none that a client may send.
pub fn decode(bytes: &[u8]) -> Result<Option<(Packet, usize)>, String> {
    let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
    let Some((length, digits)) = variable(rest)? else { return Ok(None) };
    if length > PACKET_BYTES_MAX {
        return Err(format!("a packet of {length} bytes"));
    }
    let Some(body) = rest.get(digits..digits + length) else { return Ok(None) };
    let mut body = Body { rest: body };
    let packet = packet(first >> 4, first & 0x0F, &mut body)?;
    if !body.rest.is_empty() {
        return Err(format!("{} bytes too many in a packet of type {}", body.rest.len(), first >> 4));
    }
    Ok(Some((packet, 1 + digits + length)))
}

fn packet(kind: u8, flags: u8, body: &mut Body<'_>) -> Result<Packet, String> {
    let expected = match kind {
        3 => flags,
        8 | 10 => 2,
        _ => 0,
    };
    if flags != expected {
        return Err(format!("flags {flags:#x} in a packet of type {kind}"));
    }
    Ok(match kind {
        1 => Packet::Connect(Box::new(connect(body)?)),
        3 => Packet::Publish(Box::new(publish(flags, body)?)),
        4 => {
            let id = body.u16()?;
            let code = if body.rest.is_empty() { 0 } else { body.u8()? };
            if !body.rest.is_empty() {
                body.properties()?;
            }
            Packet::Puback { id, code }
        }
        8 => {
            let id = body.u16()?;
            body.properties()?;
            let mut filters = Vec::new();
            while !body.rest.is_empty() {
                filters.push((body.text()?, body.u8()?));
            }
            if id == 0 || filters.is_empty() {
                return Err("a SUBSCRIBE without an identifier or without filters".into());
            }
            Packet::Subscribe { id, filters }
        }
        10 => {
            let id = body.u16()?;
            body.properties()?;
            while !body.rest.is_empty() {
                body.text()?;
            }
            Packet::Unsubscribe { id }
        }
        12 => Packet::Pingreq,
        14 => {
            let code = if body.rest.is_empty() { 0 } else { body.u8()? };
            if !body.rest.is_empty() {
                body.properties()?;
            }
            Packet::Disconnect { code }
        }
        kind => return Err(format!("a packet of type {kind} from a client")),
    })
}

fn connect(body: &mut Body<'_>) -> Result<Connect, String> {
    let (name, version) = (body.text()?, body.u8()?);
    if (name.as_str(), version) != ("MQTT", 5) {
        return Err(format!("protocol {name:?} version {version}"));
    }
    let flags = body.u8()?;
    if flags & 1 != 0 {
        return Err("the reserved flag of CONNECT is set".into());
    }
    let keep_alive = body.u16()?;
    let properties = body.properties()?;
    let client_id = body.text()?;
    let mut will = None;
    if flags & 4 != 0 {
        let properties = body.properties()?;
        let (topic, payload) = (body.text()?, body.binary()?);
        will = Some(Publish {
            qos: (flags >> 3) & 3,
            retain: flags & 0x20 != 0,
            topic,
            payload,
            properties,
            ..Publish::default()
        });
    }
    let user = if flags & 0x80 != 0 { Some(body.text()?) } else { None };
    let password = if flags & 0x40 != 0 { Some(body.binary()?) } else { None };
    Ok(Connect { client_id, clean_start: flags & 2 != 0, keep_alive, user, password, will, properties })
}

fn publish(flags: u8, body: &mut Body<'_>) -> Result<Publish, String> {
    let qos = (flags >> 1) & 3;
    if qos > 1 {
        return Err(format!("a PUBLISH of QoS {qos}"));
    }
    let topic = body.text()?;
    if topic.is_empty() || topic.contains(['+', '#', '\0']) {
        return Err(format!("topic name {topic:?}"));
    }
    let id = if qos == 0 { 0 } else { body.u16()? };
    if qos == 1 && id == 0 {
        return Err("a PUBLISH of QoS 1 with identifier 0".into());
    }
    let properties = body.properties()?;
    let payload = std::mem::take(&mut body.rest).to_vec();
    Ok(Publish { dup: flags & 8 != 0, qos, retain: flags & 1 != 0, topic, id, properties, payload })
}

/// A variable byte integer and how many bytes it takes; `None` while it is not whole.
fn variable(bytes: &[u8]) -> Result<Option<(usize, usize)>, String> {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate().take(4) {
        value |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err("a length of more than four bytes".into()) }
}

struct Body<'a> {
    rest: &'a [u8],
}

impl<'a> Body<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or("a packet ends before its fields do")?;
        self.rest = rest;
        Ok(head)
    }

    fn u8(&mut self) -> Result<u8, String> {
        Ok(self.bytes(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, String> {
        let bytes = self.bytes(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> Result<u32, String> {
        let bytes = self.bytes(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn binary(&mut self) -> Result<Vec<u8>, String> {
        let length = self.u16()?;
        Ok(self.bytes(usize::from(length))?.to_vec())
    }

    fn text(&mut self) -> Result<String, String> {
        String::from_utf8(self.binary()?).map_err(|_| "a text that is not UTF-8".into())
    }

    fn properties(&mut self) -> Result<Properties, String> {
        let (length, digits) = variable(self.rest)?.ok_or("properties without their length")?;
        self.bytes(digits)?;
        let mut of = Body { rest: self.bytes(length)? };
        let mut properties = Properties::default();
        while !of.rest.is_empty() {
            match of.u8()? {
                0x01 | 0x17 | 0x19 => drop(of.u8()?),
                0x02 | 0x18 => drop(of.u32()?),
                0x03 => properties.content_type = Some(of.text()?),
                0x08 => properties.response_topic = Some(of.text()?),
                0x09 => properties.correlation = Some(of.binary()?),
                0x11 => properties.session_expiry = Some(of.u32()?),
                0x15 => drop(of.text()?),
                0x16 => drop(of.binary()?),
                0x1F => properties.reason = Some(of.text()?),
                0x21 => properties.receive_maximum = Some(of.u16()?),
                0x22 | 0x23 => drop(of.u16()?),
                0x26 => properties.user.push((of.text()?, of.text()?)),
                0x27 => properties.maximum_packet = Some(of.u32()?),
                id => return Err(format!("property {id:#x} from a client")),
            }
        }
        Ok(properties)
    }
}

// ---- what a broker sends ----

pub fn connack(code: u8, properties: &Properties) -> Vec<u8> {
    let mut body = vec![0, code];
    put_properties(&mut body, properties);
    framed(0x20, &body)
}

pub fn puback(id: u16, code: u8) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if code != 0 {
        body.push(code);
    }
    framed(0x40, &body)
}

pub fn suback(id: u16, codes: &[u8]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.push(0);
    body.extend(codes);
    framed(0x90, &body)
}

pub fn unsuback(id: u16) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend([0, 0]);
    framed(0xB0, &body)
}

pub fn pingresp() -> Vec<u8> {
    vec![0xD0, 0]
}

pub fn disconnect(code: u8, properties: &Properties) -> Vec<u8> {
    let mut body = vec![code];
    put_properties(&mut body, properties);
    framed(0xE0, &body)
}

pub fn publish_packet(message: &Publish) -> Vec<u8> {
    let mut body = Vec::new();
    put_text(&mut body, message.topic.as_bytes());
    if message.qos > 0 {
        body.extend(message.id.to_be_bytes());
    }
    put_properties(&mut body, &message.properties);
    body.extend(&message.payload);
    framed(0x30 | u8::from(message.dup) << 3 | message.qos << 1 | u8::from(message.retain), &body)
}

fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    put_variable(&mut packet, body.len());
    packet.extend(body);
    packet
}

fn put_variable(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let digit = u8::try_from(value & 0x7F).unwrap_or(0);
        value >>= 7;
        out.push(if value > 0 { digit | 0x80 } else { digit });
        if value == 0 {
            return;
        }
    }
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend(length.to_be_bytes());
    out.extend(&text[..usize::from(length)]);
}

fn put_properties(out: &mut Vec<u8>, of: &Properties) {
    let mut body = Vec::new();
    let mut text = |id: u8, text: Option<&[u8]>| {
        if let Some(text) = text {
            body.push(id);
            put_text(&mut body, text);
        }
    };
    text(0x03, of.content_type.as_deref().map(str::as_bytes));
    text(0x08, of.response_topic.as_deref().map(str::as_bytes));
    text(0x09, of.correlation.as_deref());
    text(0x12, of.assigned_client_id.as_deref().map(str::as_bytes));
    text(0x1C, of.server_reference.as_deref().map(str::as_bytes));
    text(0x1F, of.reason.as_deref().map(str::as_bytes));
    for (id, value) in [(0x21, of.receive_maximum), (0x13, of.keep_alive)] {
        body.extend(value.into_iter().flat_map(|value| [&[id][..], &value.to_be_bytes()].concat()));
    }
    body.extend(of.maximum_packet.into_iter().flat_map(|value| [&[0x27][..], &value.to_be_bytes()].concat()));
    for (id, value) in [(0x24, of.maximum_qos), (0x25, of.retain_available), (0x28, of.wildcard_available)] {
        body.extend(value.into_iter().flat_map(|value| [id, value]));
    }
    for (name, value) in &of.user {
        body.push(0x26);
        put_text(&mut body, name.as_bytes());
        put_text(&mut body, value.as_bytes());
    }
    put_variable(out, body.len());
    out.extend(body);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_the_standards_shape_are_read() {
        // CONNECT, keep alive 10, clean start, client identifier "c", receive maximum 5.
        let bytes = b"\x10\x11\x00\x04MQTT\x05\x02\x00\x0a\x03\x21\x00\x05\x00\x01c";
        let (packet, length) = decode(bytes).unwrap().unwrap();
        let Packet::Connect(connect) = packet else { panic!("{packet:?}") };
        assert_eq!((length, connect.client_id.as_str(), connect.keep_alive), (bytes.len(), "c", 10));
        assert_eq!((connect.clean_start, connect.properties.receive_maximum), (true, Some(5)));
        let bytes = b"\x32\x0a\x00\x03a/b\x00\x07\x00hi";
        let (packet, _) = decode(bytes).unwrap().unwrap();
        let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
        assert_eq!((publish.topic.as_str(), publish.id, publish.payload.as_slice()), ("a/b", 7, &b"hi"[..]));
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]).unwrap(), None, "cut at {cut}");
        }
    }

    #[test]
    fn what_no_client_may_send_is_an_error() {
        for bytes in [
            &b"\x20\x03\x00\x00\x00"[..],
            b"\x34\x07\x00\x01a\x00\x01\x00x",
            b"\x32\x06\x00\x01a\x00\x00\x00",
            b"\x30\x04\x00\x01#\x00",
            b"\xc1\x00",
            b"\x30\xff\xff\xff\xff\x01",
            b"\x10\x06\x00\x04MQTT",
        ] {
            assert!(decode(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_long_message_has_its_length_in_several_bytes() {
        let message = Publish { topic: "t".into(), payload: vec![b'x'; 300], ..Publish::default() };
        let bytes = publish_packet(&message);
        assert_eq!(bytes[..3], [0x30, 0xB0, 0x02]);
        assert_eq!(bytes.len(), 3 + 304);
    }
}
