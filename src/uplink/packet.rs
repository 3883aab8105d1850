//! Between the session's words and MQTT 5 packets.
//!
//! Source: OASIS MQTT 5.0, sections 2 and 3, through `mqtt-protocol-core`'s packets and their framing.
//! Bounds: [`UPLINK_PACKET_BYTES_MAX`] for what is read, decided before anything is allocated for it.
//! What a broker may not send at all (a request, a second CONNACK, an unasked answer) is the session's to refuse.

use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{PacketBuildResult, PacketBuilder, PacketData, RawPacket};
use mqtt_protocol_core::mqtt::packet::v5_0::{
    Connack, Connect, Disconnect, Pingreq, Puback, Publish, Suback, Subscribe,
};
use mqtt_protocol_core::mqtt::packet::{
    ContentType, CorrelationData, MaximumPacketSize, Property, Qos, ReceiveMaximum, RetainHandling,
    SessionExpiryInterval, SubEntry, SubOpts, UserProperty,
};
use mqtt_protocol_core::mqtt::result_code::{DisconnectReasonCode, MqttError};

use crate::limits::{UPLINK_CALLS_MAX, UPLINK_PACKET_BYTES_MAX};
use crate::secret::Secret;

/// What a broker said.
#[derive(Debug)]
pub(super) enum Heard {
    Accepted(Facts),
    /// The login's end, with the code's name.
    NotAccepted(Refusal),
    Acknowledged {
        id: u16,
        code: u8,
        said: String,
    },
    Subscribed {
        id: u16,
        /// The codes' names where one is an error.
        refused: Option<String>,
    },
    Message(Box<Message>),
    Pong,
    Disconnected(Refusal),
    /// Well formed, and nothing a client is sent.
    Unexpected {
        kind: u8,
    },
}

/// What the broker's CONNACK says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) receive_maximum: u16,
    pub(super) packet_bytes_max: u32,
    pub(super) keep_alive_s: Option<u16>,
    pub(super) client_id: Option<String>,
    pub(super) qos_max: u8,
    pub(super) retains: bool,
    pub(super) wildcards: bool,
}

/// An end or a no, by its code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: u8,
    /// The code's name, the broker's own words, and where it sends us.
    pub(super) said: String,
}

/// A message for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) qos: u8,
    pub(super) retained: bool,
    /// Where it is to be acknowledged.
    pub(super) id: Option<u16>,
    pub(super) response_topic: Option<String>,
    pub(super) correlation: Option<Vec<u8>>,
}

/// A message of ours.
#[derive(Debug)]
pub(super) struct Outgoing<'a> {
    pub(super) id: u16,
    pub(super) topic: &'a str,
    pub(super) payload: Vec<u8>,
    pub(super) retain: bool,
    pub(super) content_type: &'a str,
    pub(super) correlation: Option<&'a [u8]>,
    /// User properties.
    pub(super) words: &'a [(&'a str, &'a str)],
}

/// Who we are, for CONNECT.
pub(super) struct Login<'a> {
    pub(super) client_id: &'a str,
    pub(super) user: Option<&'a str>,
    pub(super) password: Option<&'a Secret>,
    pub(super) keep_alive_s: u16,
    pub(super) will_topic: &'a str,
    pub(super) will: Vec<u8>,
}

/// Bytes of one connection to packets.
pub(super) struct Decoder(PacketBuilder);

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decoder")
    }
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self(PacketBuilder::with_maximum_packet_size(UPLINK_PACKET_BYTES_MAX))
    }

    /// The next packet of `bytes`, which shrink by what was taken. `None` where they end before it does.
    ///
    /// # Errors
    /// What makes the bytes no packet; nothing after them can be read.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Heard>, String> {
        loop {
            let mut cursor = Cursor::new(*bytes);
            let built = self.0.feed(&mut cursor);
            let taken = usize::try_from(cursor.position()).unwrap_or(usize::MAX).min(bytes.len());
            *bytes = &bytes[taken..];
            match built {
                PacketBuildResult::Complete(packet) => return read(&packet).map(Some),
                PacketBuildResult::Incomplete if bytes.is_empty() => return Ok(None),
                PacketBuildResult::Incomplete => {}
                PacketBuildResult::Error(MqttError::PacketTooLarge) => {
                    return Err(format!("expected packets of at most {UPLINK_PACKET_BYTES_MAX} bytes, found a longer one"));
                }
                PacketBuildResult::Error(_) => return Err("expected an MQTT packet, found bytes that are none".to_owned()),
            }
        }
    }
}

fn read(packet: &RawPacket) -> Result<Heard, String> {
    let kind = packet.packet_type();
    let broken = |error: MqttError| format!("expected a sound {}, found {error:?}", name(kind));
    let plain_flags = packet.flags() == 0;
    if kind != 3 && !plain_flags {
        return Err(format!("expected a {} without flags, found {:#x}", name(kind), packet.flags()));
    }
    Ok(match kind {
        2 => connack(&packet.parse_exact(Connack::parse).map_err(broken)?),
        3 => publish(packet).map_err(broken)?,
        4 => {
            let puback = packet.parse_exact(Puback::parse).map_err(broken)?;
            let code = puback.reason_code();
            let words = puback.props().as_ref().and_then(|props| reason(props));
            Heard::Acknowledged {
                id: puback.packet_id(),
                code: code.map_or(0, |code| code as u8),
                said: said(&code.map_or("Success".to_owned(), |code| code.to_string()), words, None),
            }
        }
        9 => {
            let suback = packet.parse_exact(Suback::parse).map_err(broken)?;
            let codes = suback.reason_codes();
            let refused = codes.iter().find(|code| code.is_failure()).map(ToString::to_string);
            let none = codes.is_empty().then(|| "no code at all".to_owned());
            Heard::Subscribed { id: suback.packet_id(), refused: refused.or(none) }
        }
        13 if packet.remaining_length() == 0 => Heard::Pong,
        14 => {
            let end = packet.parse_exact(Disconnect::parse).map_err(broken)?;
            let code = end.reason_code().unwrap_or(DisconnectReasonCode::NormalDisconnection);
            let props = end.props().as_ref();
            let words = props.and_then(|props| reason(props));
            let elsewhere = props.and_then(|props| server(props));
            Heard::Disconnected(Refusal { code: code as u8, said: said(&code.to_string(), words, elsewhere) })
        }
        kind => Heard::Unexpected { kind },
    })
}

fn connack(connack: &Connack) -> Heard {
    let code = connack.reason_code();
    let props = connack.props();
    if code as u8 != 0 {
        let said = said(&code.to_string(), reason(props), server(props));
        return Heard::NotAccepted(Refusal { code: code as u8, said });
    }
    let mut facts = Facts {
        receive_maximum: u16::MAX,
        packet_bytes_max: u32::MAX,
        keep_alive_s: None,
        client_id: None,
        qos_max: 2,
        retains: true,
        wildcards: true,
    };
    for property in props {
        match property {
            Property::ReceiveMaximum(it) => facts.receive_maximum = it.val().max(1),
            Property::MaximumPacketSize(it) => facts.packet_bytes_max = it.val().max(1),
            Property::ServerKeepAlive(it) => facts.keep_alive_s = Some(it.val()),
            Property::AssignedClientIdentifier(it) => facts.client_id = Some(it.val().to_owned()),
            Property::MaximumQos(it) => facts.qos_max = it.val(),
            Property::RetainAvailable(it) => facts.retains = it.val() != 0,
            Property::WildcardSubscriptionAvailable(it) => facts.wildcards = it.val() != 0,
            _ => {}
        }
    }
    Heard::Accepted(facts)
}

fn publish(packet: &RawPacket) -> Result<Heard, MqttError> {
    let PacketData::Publish(bytes) = &packet.data else { return Err(MqttError::MalformedPacket) };
    let (publish, _) = Publish::parse(packet.flags(), bytes.clone())?;
    let mut message = Message {
        topic: publish.topic_name().to_owned(),
        payload: publish.payload().as_slice().to_vec(),
        qos: publish.qos() as u8,
        retained: publish.retain(),
        id: publish.packet_id(),
        response_topic: None,
        correlation: None,
    };
    for property in publish.props() {
        match property {
            Property::ResponseTopic(it) => message.response_topic = Some(it.val().to_owned()),
            Property::CorrelationData(it) => message.correlation = Some(it.val().to_vec()),
            _ => {}
        }
    }
    Ok(Heard::Message(Box::new(message)))
}

fn reason(props: &[Property]) -> Option<&str> {
    props.iter().find_map(|property| match property {
        Property::ReasonString(it) => Some(it.val()),
        _ => None,
    })
}

fn server(props: &[Property]) -> Option<&str> {
    props.iter().find_map(|property| match property {
        Property::ServerReference(it) => Some(it.val()),
        _ => None,
    })
}

/// The code's name as words, what the broker adds, and where it sends us; bounded, for logs and answers.
fn said(code: &str, words: Option<&str>, elsewhere: Option<&str>) -> String {
    let mut text = String::new();
    for (at, c) in code.char_indices() {
        if at > 0 && c.is_ascii_uppercase() {
            text.push(' ');
        }
        text.push(c.to_ascii_lowercase());
    }
    let short = |text: &str| -> String { text.chars().filter(|c| !c.is_control()).take(200).collect() };
    if let Some(words) = words {
        text.push_str(&format!(" (\"{}\")", short(words)));
    }
    if let Some(server) = elsewhere {
        text.push_str(&format!(", it names the server \"{}\"", short(server)));
    }
    text
}

fn name(kind: u8) -> &'static str {
    match kind {
        1 => "CONNECT",
        2 => "CONNACK",
        3 => "PUBLISH",
        4 => "PUBACK",
        5..=7 => "packet of QoS 2",
        8 => "SUBSCRIBE",
        9 => "SUBACK",
        10 => "UNSUBSCRIBE",
        11 => "UNSUBACK",
        12 => "PINGREQ",
        13 => "PINGRESP",
        14 => "DISCONNECT",
        15 => "AUTH",
        _ => "packet",
    }
}

/// What a packet is, for a message.
pub(super) fn kind_name(kind: u8) -> &'static str {
    name(kind)
}

/// # Errors
/// A text is none that MQTT can say; the configuration's bounds keep that from happening.
pub(super) fn connect(login: Login<'_>) -> Result<Vec<u8>, MqttError> {
    let calls = u16::try_from(UPLINK_CALLS_MAX).unwrap_or(u16::MAX);
    let mut connect = Connect::builder()
        .client_id(login.client_id)?
        .clean_start(true)
        .keep_alive(login.keep_alive_s)
        .will_message(login.will_topic, login.will, Qos::AtLeastOnce, true)?
        .will_props(vec![ContentType::new(super::message::JSON)?.into()])
        .props(vec![
            SessionExpiryInterval::new(0)?.into(),
            ReceiveMaximum::new(calls)?.into(),
            MaximumPacketSize::new(UPLINK_PACKET_BYTES_MAX)?.into(),
        ]);
    if let Some(user) = login.user {
        connect = connect.user_name(user)?;
    }
    if let Some(password) = login.password {
        connect = connect.password(password.expose().as_bytes().to_vec())?;
    }
    Ok(connect.build()?.to_continuous_buffer())
}

/// # Errors
/// As [`connect`].
pub(super) fn subscribe(id: u16, filter: &str) -> Result<Vec<u8>, MqttError> {
    // What was retained was said before we were there: a call while we are away is never kept for us.
    let options = SubOpts::new()
        .set_qos(Qos::AtLeastOnce)
        .set_nl(true)
        .set_rap(true)
        .set_rh(RetainHandling::DoNotSendRetained);
    let entry = SubEntry::new(filter, options)?;
    Ok(Subscribe::builder().packet_id(id).entries(vec![entry]).build()?.to_continuous_buffer())
}

/// # Errors
/// A text is none that MQTT can say.
pub(super) fn message(outgoing: Outgoing<'_>) -> Result<Vec<u8>, MqttError> {
    let mut props: Vec<Property> = Vec::with_capacity(4);
    props.push(ContentType::new(outgoing.content_type)?.into());
    if let Some(correlation) = outgoing.correlation {
        props.push(CorrelationData::new(correlation.to_vec())?.into());
    }
    for (name, value) in outgoing.words {
        props.push(UserProperty::new(*name, *value)?.into());
    }
    let publish = Publish::builder()
        .topic_name(outgoing.topic)?
        .qos(Qos::AtLeastOnce)
        .packet_id(outgoing.id)
        .retain(outgoing.retain)
        .props(props)
        .payload(outgoing.payload)
        .build()?;
    Ok(publish.to_continuous_buffer())
}

pub(super) fn acknowledge(id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    vec![0x40, 2, high, low]
}

pub(super) fn ping() -> Vec<u8> {
    Pingreq::new().to_continuous_buffer()
}

/// A clean end: the will is not published.
pub(super) fn disconnect() -> Vec<u8> {
    vec![0xE0, 0]
}

/// The end of a broker that cannot be told anything more: it publishes the will.
pub(super) fn disconnect_with_will() -> Vec<u8> {
    vec![0xE0, 1, 0x04]
}
