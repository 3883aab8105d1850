//! What a Centrex body is wrapped in: nothing, the "basic" pipeline, or SEED.
//!
//! Source: LGUBaseOpenApi's `SetEncryption` and `SetSeedEncryption`; what the document leaves out is a setting each
//! (A9, A10). SEED itself is RFC 4269.
//! Shape: the body alone is wrapped, in both directions alike (A11); an empty body stays empty.
//! Not supported: constant-time work; the cipher reads tables, so whoever shares this processor could time it.

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD};
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use cbc::cipher::block_padding::{NoPadding, Pkcs7};
use cbc::cipher::{BlockDecryptMut, BlockEncryptMut, KeyInit, KeyIvInit};
use kisaseed::SEED;

use crate::secret::Secret;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cipher {
    #[default]
    None,
    Basic(Basic),
    Seed(Seed),
}

/// The steps in the order of sending; receiving undoes them from the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Basic {
    pub steps: Vec<Step>,
    pub key: KeyBytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Base64,
    /// With the key, repeated.
    Xor,
    /// The key before the text.
    PrefixKey,
    /// The key after the text.
    SuffixKey,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    pub mode: SeedMode,
    pub padding: SeedPadding,
    pub outer: SeedOuter,
    /// 16 bytes.
    pub key: KeyBytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SeedMode {
    Cbc {
        iv: [u8; SEED_BYTES],
    },
    /// Equal blocks give equal ciphertext: no protection against whoever knows part of the text.
    Ecb,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeedPadding {
    Pkcs7,
    Zero,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeedOuter {
    Base64,
    Raw,
}

/// SEED's key and block.
pub const SEED_BYTES: usize = 16;
/// The "basic" cipher's key.
pub const BASIC_KEY_BYTES: usize = 10;

/// A key as bytes; it never prints itself.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyBytes(Vec<u8>);

/// Why a body could not be unwrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CipherFault {
    #[error("no Base64")]
    Base64,
    #[error("no whole blocks of SEED")]
    Blocks,
    #[error("no padding as expected")]
    Padding,
    #[error("without the key around it")]
    KeyAround,
}

impl KeyBytes {
    /// The text itself where it has `length` bytes, or twice as many hexadecimal digits.
    pub fn from_text(text: &Secret, length: usize) -> Option<Self> {
        bytes_of(text.expose(), length).map(Self)
    }
}

/// `length` bytes: as they are, or as hexadecimal digits.
pub fn bytes_of(text: &str, length: usize) -> Option<Vec<u8>> {
    if text.len() == length {
        return Some(text.as_bytes().to_vec());
    }
    let hex = text.len() == 2 * length && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    if !hex {
        return None;
    }
    (0..length).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()).collect()
}

impl std::fmt::Debug for KeyBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Padding and stray last bits are taken as they come; other libraries differ in them.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Cipher {
    pub fn encrypt(&self, text: &[u8]) -> Vec<u8> {
        if text.is_empty() {
            return Vec::new();
        }
        match self {
            Self::None => text.to_vec(),
            Self::Basic(basic) => basic.steps.iter().fold(text.to_vec(), |bytes, step| step.apply(bytes, &basic.key.0)),
            Self::Seed(seed) => seed.encrypt(text),
        }
    }

    /// How long a text of so many bytes is once encrypted.
    pub fn encrypted_len(&self, text: usize) -> usize {
        let base64 = |bytes: usize| bytes.div_ceil(3) * 4;
        match self {
            _ if text == 0 => 0,
            Self::None => text,
            Self::Basic(basic) => basic.steps.iter().fold(text, |bytes, step| match step {
                Step::Base64 => base64(bytes),
                Step::Xor => bytes,
                Step::PrefixKey | Step::SuffixKey => bytes + basic.key.0.len(),
            }),
            Self::Seed(seed) => {
                let blocks = match seed.padding {
                    SeedPadding::Pkcs7 => (text + 1).next_multiple_of(SEED_BYTES),
                    SeedPadding::Zero => text.next_multiple_of(SEED_BYTES),
                };
                if seed.outer == SeedOuter::Base64 { base64(blocks) } else { blocks }
            }
        }
    }

    /// # Errors
    /// The bytes cannot have come from [`Cipher::encrypt`] with these settings.
    pub fn decrypt(&self, bytes: &[u8]) -> Result<Vec<u8>, CipherFault> {
        if bytes.is_empty() {
            return Ok(Vec::new());
        }
        match self {
            Self::None => Ok(bytes.to_vec()),
            Self::Basic(basic) => {
                basic.steps.iter().rev().try_fold(bytes.to_vec(), |bytes, step| step.undo(bytes, &basic.key.0))
            }
            Self::Seed(seed) => seed.decrypt(bytes),
        }
    }
}

impl Step {
    fn apply(self, mut bytes: Vec<u8>, key: &[u8]) -> Vec<u8> {
        match self {
            Self::Base64 => STANDARD.encode(bytes).into_bytes(),
            Self::Xor => {
                bytes.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
                bytes
            }
            Self::PrefixKey => [key, &bytes].concat(),
            Self::SuffixKey => {
                bytes.extend_from_slice(key);
                bytes
            }
        }
    }

    fn undo(self, bytes: Vec<u8>, key: &[u8]) -> Result<Vec<u8>, CipherFault> {
        match self {
            Self::Base64 => base64_decode(&bytes).ok_or(CipherFault::Base64),
            Self::Xor => Ok(self.apply(bytes, key)),
            Self::PrefixKey => bytes.strip_prefix(key).map(<[u8]>::to_vec).ok_or(CipherFault::KeyAround),
            Self::SuffixKey => bytes.strip_suffix(key).map(<[u8]>::to_vec).ok_or(CipherFault::KeyAround),
        }
    }
}

impl Seed {
    fn encrypt(&self, text: &[u8]) -> Vec<u8> {
        let mut text = text.to_vec();
        if self.padding == SeedPadding::Zero {
            text.resize(text.len().next_multiple_of(SEED_BYTES), 0);
        }
        let key = self.key.0.as_slice().into();
        let sealed = match (&self.mode, self.padding) {
            (SeedMode::Cbc { iv }, SeedPadding::Pkcs7) => {
                cbc::Encryptor::<SEED>::new(key, iv.into()).encrypt_padded_vec_mut::<Pkcs7>(&text)
            }
            (SeedMode::Cbc { iv }, SeedPadding::Zero) => {
                cbc::Encryptor::<SEED>::new(key, iv.into()).encrypt_padded_vec_mut::<NoPadding>(&text)
            }
            (SeedMode::Ecb, SeedPadding::Pkcs7) => {
                ecb::Encryptor::<SEED>::new(key).encrypt_padded_vec_mut::<Pkcs7>(&text)
            }
            (SeedMode::Ecb, SeedPadding::Zero) => {
                ecb::Encryptor::<SEED>::new(key).encrypt_padded_vec_mut::<NoPadding>(&text)
            }
        };
        match self.outer {
            SeedOuter::Base64 => STANDARD.encode(sealed).into_bytes(),
            SeedOuter::Raw => sealed,
        }
    }

    fn decrypt(&self, bytes: &[u8]) -> Result<Vec<u8>, CipherFault> {
        let sealed = match self.outer {
            SeedOuter::Base64 => base64_decode(bytes).ok_or(CipherFault::Base64)?,
            SeedOuter::Raw => bytes.to_vec(),
        };
        if sealed.is_empty() || !sealed.len().is_multiple_of(SEED_BYTES) {
            return Err(CipherFault::Blocks);
        }
        let key = self.key.0.as_slice().into();
        let opened = match (&self.mode, self.padding) {
            (SeedMode::Cbc { iv }, SeedPadding::Pkcs7) => {
                cbc::Decryptor::<SEED>::new(key, iv.into()).decrypt_padded_vec_mut::<Pkcs7>(&sealed)
            }
            (SeedMode::Cbc { iv }, SeedPadding::Zero) => {
                cbc::Decryptor::<SEED>::new(key, iv.into()).decrypt_padded_vec_mut::<NoPadding>(&sealed)
            }
            (SeedMode::Ecb, SeedPadding::Pkcs7) => {
                ecb::Decryptor::<SEED>::new(key).decrypt_padded_vec_mut::<Pkcs7>(&sealed)
            }
            (SeedMode::Ecb, SeedPadding::Zero) => {
                ecb::Decryptor::<SEED>::new(key).decrypt_padded_vec_mut::<NoPadding>(&sealed)
            }
        };
        let mut text = opened.map_err(|_| CipherFault::Padding)?;
        if self.padding == SeedPadding::Zero {
            let end = text.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            text.truncate(end);
        }
        Ok(text)
    }
}

/// Base64 with line ends, blanks or NULs in or after it, as some servers send it.
pub(super) fn base64_decode(text: &[u8]) -> Option<Vec<u8>> {
    let bare: Vec<u8> = text.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n' | b' ' | 0)).collect();
    LENIENT.decode(bare).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str, length: usize) -> KeyBytes {
        KeyBytes::from_text(&Secret::new(text), length).unwrap()
    }

    fn ecb(hex: &str) -> Seed {
        Seed { mode: SeedMode::Ecb, padding: SeedPadding::Zero, outer: SeedOuter::Raw, key: key(hex, SEED_BYTES) }
    }

    #[test]
    fn seed_gives_the_published_vectors() {
        let vectors = [
            (
                "00000000000000000000000000000000",
                "000102030405060708090a0b0c0d0e0f",
                "5ebac6e0054e166819aff1cc6d346cdb",
            ),
            (
                "000102030405060708090a0b0c0d0e0f",
                "00000000000000000000000000000000",
                "c11f22f20140505084483597e4370f43",
            ),
            (
                "4706480851e61be85d74bfb3fd956185",
                "83a2f8a288641fb9a4e9a5cc2f131c7d",
                "ee54d13ebcae706d226bc3142cd40d4a",
            ),
            (
                "28dbc3bc49ffd87dcfa509b11d422be7",
                "b41e6be2eba84a148e2eed84593c5ec7",
                "9b9b7bfcd1813cb95d0b3618f40f5122",
            ),
        ];
        for (key, plain, sealed) in vectors {
            let plain = bytes_of(plain, SEED_BYTES).unwrap();
            assert_eq!(ecb(key).encrypt(&plain), bytes_of(sealed, SEED_BYTES).unwrap());
        }
    }

    #[test]
    fn a_block_chain_begins_with_the_iv() {
        let iv = [0x0f; SEED_BYTES];
        let seed = Seed { mode: SeedMode::Cbc { iv }, ..ecb("000102030405060708090a0b0c0d0e0f") };
        // One block of CBC is ECB of the text XOR the IV.
        assert_eq!(seed.encrypt(&iv), bytes_of("c11f22f20140505084483597e4370f43", SEED_BYTES).unwrap());
    }

    #[test]
    fn the_basic_pipeline_is_base64_xor_base64() {
        let basic =
            Basic { steps: vec![Step::Base64, Step::Xor, Step::Base64], key: key("0123456789", BASIC_KEY_BYTES) };
        // "CMD" → "Q01E" → XOR "0123" → 61 01 03 76 → "YQEDdg==".
        assert_eq!(Cipher::Basic(basic).encrypt(b"CMD"), b"YQEDdg==");
    }

    #[test]
    fn every_setting_undoes_itself() {
        let text = "LOGINRESULT|STATUS:1|EXTEN:3321|MSG:김".as_bytes();
        let steps = [Step::PrefixKey, Step::Base64, Step::Xor, Step::SuffixKey, Step::Base64];
        let mut all = vec![
            Cipher::None,
            Cipher::Basic(Basic { steps: steps.to_vec(), key: key("30313233343536373839", BASIC_KEY_BYTES) }),
        ];
        for mode in [SeedMode::Ecb, SeedMode::Cbc { iv: [7; SEED_BYTES] }] {
            for padding in [SeedPadding::Pkcs7, SeedPadding::Zero] {
                for outer in [SeedOuter::Base64, SeedOuter::Raw] {
                    let key = key("0123456789abcdef", SEED_BYTES);
                    all.push(Cipher::Seed(Seed { mode: mode.clone(), padding, outer, key }));
                }
            }
        }
        for cipher in all {
            assert_eq!(cipher.decrypt(&cipher.encrypt(text)).unwrap(), text, "{cipher:?}");
            assert_eq!(cipher.encrypt(b""), b"");
            for length in 0..=text.len() {
                assert_eq!(cipher.encrypted_len(length), cipher.encrypt(&text[..length]).len(), "{cipher:?}");
            }
        }
    }

    #[test]
    fn what_was_wrapped_otherwise_is_refused() {
        let seed = Cipher::Seed(Seed { outer: SeedOuter::Base64, padding: SeedPadding::Pkcs7, ..ecb(&"0".repeat(32)) });
        assert_eq!(seed.decrypt(b"LOGINRESULT|STATUS:1"), Err(CipherFault::Base64));
        assert_eq!(seed.decrypt(b"QUJD"), Err(CipherFault::Blocks));
        assert_eq!(seed.decrypt(&STANDARD.encode([1; 16]).into_bytes()), Err(CipherFault::Padding));
    }

    #[test]
    fn a_key_never_prints_itself() {
        assert_eq!(format!("{:?}", key("hunter2hun", BASIC_KEY_BYTES)), "***");
    }
}
