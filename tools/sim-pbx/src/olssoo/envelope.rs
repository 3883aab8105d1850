//! The JSON object around each AMI packet, both ways.
//!
//! Source: protocol 4.3. From AMI: `type`, `server_id`, `server_name`, `ssl`, `data` with every value a string and a
//! repeated header written as a repeated key. To AMI: every leaf of the object becomes a header under its own key,
//! whatever it stands in; an array repeats the header.
//! Not supported: looking into values, which go to AMI as they are.

use super::json::{Json, quote};
use super::packet::Packet;

/// Where packets of one AMI connection come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// From 1, by order of configuration.
    pub server_id: usize,
    pub server_name: String,
    /// Whether the proxy speaks TLS to AMI.
    pub ssl: bool,
}

/// The text of one frame.
pub fn wrap(origin: &Origin, packet: &Packet) -> String {
    let mut text = format!("{{\"type\":{},\"server_id\":{},\"server_name\":", packet.kind as u8, origin.server_id);
    quote(&origin.server_name, &mut text);
    text.push_str(if origin.ssl { ",\"ssl\":true,\"data\":{" } else { ",\"ssl\":false,\"data\":{" });
    for (index, (key, value)) in packet.pairs.iter().enumerate() {
        text.push_str(if index == 0 { "" } else { "," });
        quote(key, &mut text);
        text.push(':');
        quote(value, &mut text);
    }
    text.push_str("}}");
    text
}

/// What a client wants said to AMI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// `AMIServerID`; `None` means every connection.
    pub server_id: Option<String>,
    pub headers: Vec<(String, String)>,
}

impl Wanted {
    /// `None` where the text is no JSON object.
    pub fn read(text: &str) -> Option<Self> {
        let object = Json::parse(text).ok()?;
        if !matches!(object, Json::Object(_)) {
            return None;
        }
        let mut wanted = Self { server_id: None, headers: Vec::new() };
        wanted.flatten("", &object);
        Some(wanted)
    }

    /// First value of that name, whatever its case.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The request as AMI reads it.
    pub fn request(&self) -> String {
        let mut text: String = self.headers.iter().map(|(key, value)| format!("{key}: {value}\r\n")).collect();
        text.push_str("\r\n");
        text
    }

    fn flatten(&mut self, key: &str, value: &Json) {
        let leaf = match value {
            Json::Object(members) => return members.iter().for_each(|(key, value)| self.flatten(key, value)),
            Json::List(values) => return values.iter().for_each(|value| self.flatten(key, value)),
            Json::Null => String::new(),
            Json::Bool(value) => value.to_string(),
            Json::Number(text) | Json::Text(text) => text.clone(),
        };
        match key {
            "AMIServerID" => self.server_id = Some(leaf),
            _ => self.headers.push((key.to_owned(), leaf)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::olssoo::packet::Packets;

    fn framed(name: &str, ami: &str) -> Vec<String> {
        let origin = Origin { server_id: 1, server_name: name.into(), ssl: false };
        Packets::default().handle_bytes(ami.as_bytes()).iter().map(|packet| wrap(&origin, packet)).collect()
    }

    #[test]
    fn repeated_headers_become_repeated_keys() {
        let frames = framed("a", "Event: X\r\nVariable: A=1\r\nVariable: B=\"2\"\r\nEmpty:\r\n\r\n");
        let expected = r#"{"type":3,"server_id":1,"server_name":"a","ssl":false,"data":{"Event":"X","Variable":"A=1","Variable":"B=\"2\"","Empty":""}}"#;
        assert_eq!(frames, [expected]);
    }

    #[test]
    fn leaves_of_any_depth_become_headers() {
        let wanted = Wanted::read(
            r#"{"type":2,"data":{"Action":"Originate","Variable":["A=1","B=2"],"Async":true,"AMIServerID":2,"in":{"Priority":1}}}"#,
        )
        .unwrap();
        assert_eq!(wanted.server_id.as_deref(), Some("2"));
        assert_eq!(
            wanted.request(),
            "type: 2\r\nAction: Originate\r\nVariable: A=1\r\nVariable: B=2\r\nAsync: true\r\nPriority: 1\r\n\r\n"
        );
        assert_eq!(Wanted::read("[1]"), None);
        assert_eq!(Wanted::read("{\"Action\":\"Ping\",}"), None);
    }

    /// Every frame of the documents that a proxy sends, from the AMI packet it stands for.
    #[test]
    fn the_documents_frames_are_reproduced() {
        let mut seen = 0;
        for line in include_str!("../../corpus/olssoo/ws-frames.jsonl").lines() {
            let frame = Json::parse(line).unwrap();
            let Some(Json::Number(kind)) = frame.member("type") else { panic!("no type in {line}") };
            let Some(Json::Object(data)) = frame.member("data") else { panic!("no data in {line}") };
            if data.iter().any(|(key, _)| key == "Action") {
                continue; // what a client sends
            }
            let ami: String =
                data.iter().map(|(key, value)| format!("{key}: {}\r\n", value.as_text().unwrap())).collect();
            let name = frame.member("server_name").and_then(Json::as_text).unwrap();
            assert_eq!(framed(name, &format!("{ami}\r\n")), [frame.to_string()], "type {kind}");
            seen += 1;
        }
        assert_eq!(seen, 7);
    }
}
