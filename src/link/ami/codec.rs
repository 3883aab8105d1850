//! AMI framing: bytes of one TCP stream ↔ [`Message`]s.

/// One AMI message: headers in order, repeats kept, values as the bytes that came.
#[derive(Clone, Debug, Default)]
pub struct Message {
    bytes: Vec<u8>,
    headers: Vec<Span>,
}

/// Where a header's name and value lie in the message's bytes.
#[derive(Clone, Copy, Debug)]
struct Span {
    name: (u32, u32),
    value: (u32, u32),
}

impl Message {
    /// Headers in order, repeats kept.
    pub fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.headers.iter().map(|span| (self.slice(span.name), self.slice(span.value)))
    }

    /// The first value of `name`, compared without case.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let name = name.as_bytes();
        self.headers().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Every value of `name`, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.headers().filter(move |(key, _)| key.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    fn slice(&self, (from, to): (u32, u32)) -> &[u8] {
        &self.bytes[from as usize..to as usize]
    }
}
