//! `v1` signatures: HMAC-SHA256 over `id.timestamp.payload`, and the keys they are made with.
//!
//! Source: Standard Webhooks 1.0.0, "Signature scheme" and "Webhook headers".
//! Shape: a key is `whsec_` and base64 of 24 to 64 bytes. With an old key beside the current one the header carries two
//! signatures, so that a receiver may change over when it likes.
//! The specification wants no stranger's text with a dot in the id: an event's id is made of the gateway's name, the
//! log's identity and a number, none of them a stranger's.

use std::fmt;
use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What stands before the base64 of a key.
pub const KEY_PREFIX: &str = "whsec_";
/// How long a key may be.
pub const KEY_BYTES: RangeInclusive<usize> = 24..=64;

/// A key that a receiver shares with us; `Debug` shows `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(Vec<u8>);

/// The keys of one receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKeys {
    pub current: SigningKey,
    /// While keys are changed.
    pub old: Option<SigningKey>,
}

impl SigningKey {
    /// # Errors
    /// What was found instead, without a word of it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some(encoded) = text.strip_prefix(KEY_PREFIX) else { return Err(format!("no {KEY_PREFIX} at its front")) };
        let Ok(bytes) = STANDARD.decode(encoded) else { return Err(format!("no base64 after {KEY_PREFIX}")) };
        match bytes.len() {
            length if KEY_BYTES.contains(&length) => Ok(Self(bytes)),
            length => Err(format!("{length} bytes")),
        }
    }

    fn sign(&self, id: &str, timestamp_s: i64, payload: &[u8]) -> Option<String> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?; // HMAC takes a key of any length
        for part in [id.as_bytes(), b".", timestamp_s.to_string().as_bytes(), b".", payload] {
            mac.update(part);
        }
        Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl SigningKeys {
    /// The header `webhook-signature`: a signature with each key, the current one first.
    pub fn sign(&self, id: &str, timestamp_s: i64, payload: &[u8]) -> String {
        let keys = [Some(&self.current), self.old.as_ref()];
        let signatures = keys.into_iter().flatten().filter_map(|key| key.sign(id, timestamp_s, payload));
        signatures.collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> SigningKey {
        SigningKey::parse(text).unwrap()
    }

    /// The vector of the specification's own libraries.
    #[test]
    fn the_specifications_vector_is_signed_as_it_stands_there() {
        let keys = SigningKeys { current: key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), old: None };
        let signature = keys.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    /// Computed by OpenSSL: `openssl dgst -sha256 -mac HMAC -macopt hexkey:…` over the same bytes.
    #[test]
    fn two_keys_make_two_signatures_the_current_one_first() {
        let current = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw==";
        let old = "whsec_/////////////////////////////////////////w==";
        let keys = SigningKeys { current: key(current), old: Some(key(old)) };
        let signature = keys.sign("seoul-1.5f3a.42", 1_795_321_560, r#"{"to":"전화"}"#.as_bytes());
        assert_eq!(
            signature,
            "v1,T2QJCUPy4mH3KMHMVzYqVTtvGgtvi6ZPKBVAybFFYUw= v1,EDfTSFaBI3iLkc839XKcEmMkZrdYKAwu4/WEmL780cw="
        );
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_shown() {
        let of = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
        for (text, found) in [
            ("hunter2".to_owned(), "no whsec_ at its front"),
            ("whsec_hunter2!".to_owned(), "no base64 after whsec_"),
            (of(23), "23 bytes"),
            (of(65), "65 bytes"),
            ("whsec_".to_owned(), "0 bytes"),
        ] {
            assert_eq!(SigningKey::parse(&text), Err(found.to_owned()));
        }
        for bytes in [24, 64] {
            assert_eq!(format!("{:?}", SigningKey::parse(&of(bytes)).unwrap()), "***");
        }
    }
}
