//! What a body looks like on the wire: as it is, in the basic disguise, or in SEED.
//!
//! Source: protocol reference 2.5 and 9; SEED is RFC 4269. The document leaves open the order of the basic steps and
//! SEED's mode, padding and outer form, so each of them is a choice here.
//! Shape: bytes of a body in, bytes for the frame out, and back. Both directions of a connection use the same cipher.
//! Units: keys and vectors are bytes; a SEED key and vector are 16 of them.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cbc::cipher::block_padding::{NoPadding, Pkcs7, RawPadding, ZeroPadding};
use cbc::cipher::generic_array::GenericArray;
use cbc::cipher::{BlockDecrypt, BlockDecryptMut, BlockEncrypt, BlockEncryptMut, KeyInit, KeyIvInit};
use kisaseed::SEED;

/// How bodies are hidden.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cipher {
    #[default]
    None,
    Basic(Basic),
    Seed(Seed),
}

/// The document's "double Base64 and a 10-byte key": steps taken in order when sending.
#[derive(Clone, PartialEq, Eq)]
pub struct Basic {
    pub steps: Vec<Step>,
    pub key: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Base64,
    /// With the key, repeated.
    Xor,
    /// The key goes before the bytes.
    PrefixKey,
    /// The key goes after the bytes.
    SuffixKey,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Seed {
    pub key: [u8; 16],
    /// Used by CBC only.
    pub iv: [u8; 16],
    pub mode: SeedMode,
    pub padding: SeedPadding,
    pub outer: Outer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeedMode {
    Cbc,
    Ecb,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeedPadding {
    Pkcs7,
    Zero,
}

/// What the encrypted bytes are put into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outer {
    Base64,
    Raw,
}

/// A body that the cipher cannot have made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CipherError {
    NotBase64,
    KeyNotThere,
    BadLength,
    BadPadding,
}

impl fmt::Display for CipherError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotBase64 => "expected Base64, found other bytes",
            Self::KeyNotThere => "expected the key beside the text, found other bytes",
            Self::BadLength => "expected whole blocks of 16 bytes, found a part of one",
            Self::BadPadding => "expected PKCS#7 padding, found other bytes; the key may differ",
        })
    }
}

impl Cipher {
    /// The default of the basic disguise: Base64, key, Base64.
    pub fn basic(key: &[u8]) -> Self {
        Self::Basic(Basic { steps: vec![Step::Base64, Step::Xor, Step::Base64], key: key.into() })
    }

    /// The default of SEED: CBC, PKCS#7, Base64.
    pub fn seed(key: [u8; 16], iv: [u8; 16]) -> Self {
        Self::Seed(Seed { key, iv, mode: SeedMode::Cbc, padding: SeedPadding::Pkcs7, outer: Outer::Base64 })
    }

    pub fn hide(&self, plain: &[u8]) -> Vec<u8> {
        match self {
            Self::None => plain.into(),
            Self::Basic(basic) => basic.steps.iter().fold(plain.into(), |bytes, step| step.take(bytes, &basic.key)),
            Self::Seed(seed) => seed.hide(plain),
        }
    }

    /// # Errors
    /// Where the bytes are not what [`Self::hide`] makes.
    pub fn open(&self, hidden: &[u8]) -> Result<Vec<u8>, CipherError> {
        match self {
            Self::None => Ok(hidden.into()),
            Self::Basic(basic) => {
                basic.steps.iter().rev().try_fold(hidden.into(), |bytes, step| step.undo(bytes, &basic.key))
            }
            Self::Seed(seed) => seed.open(hidden),
        }
    }

    /// The same cipher with a key that does not fit: every byte of it differs.
    pub fn with_wrong_key(&self) -> Self {
        let mut other = self.clone();
        match &mut other {
            Self::None => {}
            Self::Basic(basic) => basic.key.iter_mut().for_each(|byte| *byte = !*byte),
            Self::Seed(seed) => seed.key.iter_mut().for_each(|byte| *byte = !*byte),
        }
        other
    }
}

impl Step {
    fn take(self, bytes: Vec<u8>, key: &[u8]) -> Vec<u8> {
        match self {
            Self::Base64 => STANDARD.encode(bytes).into_bytes(),
            Self::Xor => xor(bytes, key),
            Self::PrefixKey => [key, &bytes].concat(),
            Self::SuffixKey => [&bytes, key].concat(),
        }
    }

    fn undo(self, bytes: Vec<u8>, key: &[u8]) -> Result<Vec<u8>, CipherError> {
        match self {
            Self::Base64 => STANDARD.decode(bytes).map_err(|_| CipherError::NotBase64),
            Self::Xor => Ok(xor(bytes, key)),
            Self::PrefixKey => bytes.strip_prefix(key).map(Vec::from).ok_or(CipherError::KeyNotThere),
            Self::SuffixKey => bytes.strip_suffix(key).map(Vec::from).ok_or(CipherError::KeyNotThere),
        }
    }
}

/// An empty key changes nothing.
fn xor(mut bytes: Vec<u8>, key: &[u8]) -> Vec<u8> {
    bytes.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
    bytes
}

impl Seed {
    fn hide(&self, plain: &[u8]) -> Vec<u8> {
        let blocks = match self.padding {
            SeedPadding::Pkcs7 => padded::<Pkcs7>(plain, true),
            SeedPadding::Zero => padded::<ZeroPadding>(plain, false),
        };
        let (key, iv) = (&self.key.into(), &self.iv.into());
        let hidden = match self.mode {
            SeedMode::Cbc => cbc::Encryptor::<SEED>::new(key, iv).encrypt_padded_vec_mut::<NoPadding>(&blocks),
            SeedMode::Ecb => ecb(blocks, |block| SEED::new(key).encrypt_block(GenericArray::from_mut_slice(block))),
        };
        match self.outer {
            Outer::Base64 => STANDARD.encode(hidden).into_bytes(),
            Outer::Raw => hidden,
        }
    }

    fn open(&self, hidden: &[u8]) -> Result<Vec<u8>, CipherError> {
        let hidden = match self.outer {
            Outer::Base64 => STANDARD.decode(hidden).map_err(|_| CipherError::NotBase64)?,
            Outer::Raw => hidden.into(),
        };
        let (key, iv) = (&self.key.into(), &self.iv.into());
        if hidden.len() % 16 != 0 {
            return Err(CipherError::BadLength);
        }
        let mut plain = match self.mode {
            SeedMode::Cbc => cbc::Decryptor::<SEED>::new(key, iv)
                .decrypt_padded_vec_mut::<NoPadding>(&hidden)
                .map_err(|_| CipherError::BadLength)?,
            SeedMode::Ecb => ecb(hidden, |block| SEED::new(key).decrypt_block(GenericArray::from_mut_slice(block))),
        };
        let kept = match self.padding {
            SeedPadding::Pkcs7 => Pkcs7::raw_unpad(last_block(&plain)).map_err(|_| CipherError::BadPadding)?.len(),
            SeedPadding::Zero => ZeroPadding::raw_unpad(last_block(&plain)).map_or(0, <[u8]>::len),
        };
        plain.truncate(plain.len().saturating_sub(16) + kept);
        Ok(plain)
    }
}

/// Whole blocks; `always` adds one where the text already ends with a block.
fn padded<P: RawPadding>(plain: &[u8], always: bool) -> Vec<u8> {
    let mut blocks = plain.to_vec();
    let rest = plain.len() % 16;
    if rest != 0 || always {
        blocks.resize(plain.len() - rest + 16, 0);
        let start = plain.len() - rest;
        P::raw_pad(&mut blocks[start..], rest);
    }
    blocks
}

/// Each block by itself.
fn ecb(mut blocks: Vec<u8>, change: impl Fn(&mut [u8])) -> Vec<u8> {
    blocks.chunks_exact_mut(16).for_each(change);
    blocks
}

fn last_block(blocks: &[u8]) -> &[u8] {
    &blocks[blocks.len().saturating_sub(16)..]
}

impl fmt::Debug for Basic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Basic").field("steps", &self.steps).finish_non_exhaustive()
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Seed");
        shown.field("mode", &self.mode).field("padding", &self.padding).field("outer", &self.outer);
        shown.finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    const VECTORS: [(&str, &str, &str); 4] = [
        ("00000000000000000000000000000000", "000102030405060708090a0b0c0d0e0f", "5ebac6e0054e166819aff1cc6d346cdb"),
        ("000102030405060708090a0b0c0d0e0f", "00000000000000000000000000000000", "c11f22f20140505084483597e4370f43"),
        ("4706480851e61be85d74bfb3fd956185", "83a2f8a288641fb9a4e9a5cc2f131c7d", "ee54d13ebcae706d226bc3142cd40d4a"),
        ("28dbc3bc49ffd87dcfa509b11d422be7", "b41e6be2eba84a148e2eed84593c5ec7", "9b9b7bfcd1813cb95d0b3618f40f5122"),
    ];

    #[test]
    fn seed_gives_the_published_vectors_both_ways() {
        for (key, plain, hidden) in VECTORS {
            let seed = Seed {
                key: hex(key).try_into().unwrap(),
                iv: [0; 16],
                mode: SeedMode::Ecb,
                padding: SeedPadding::Zero,
                outer: Outer::Raw,
            };
            assert_eq!(seed.hide(&hex(plain)), hex(hidden), "{key}");
            let back = ecb(hex(hidden), |block| {
                SEED::new(&seed.key.into()).decrypt_block(GenericArray::from_mut_slice(block));
            });
            assert_eq!(back, hex(plain), "{key}");
        }
    }

    #[test]
    fn cbc_with_a_vector_of_zeros_begins_as_ecb_and_then_chains() {
        let (key, plain, hidden) = VECTORS[2];
        let cipher = Seed {
            key: hex(key).try_into().unwrap(),
            iv: [0; 16],
            mode: SeedMode::Cbc,
            padding: SeedPadding::Pkcs7,
            outer: Outer::Raw,
        };
        let two = cipher.hide(&hex(plain).repeat(2));
        assert_eq!((two.len(), &two[..16]), (48, hex(hidden).as_slice()));
        assert_ne!(two[..16], two[16..32]);
    }

    #[test]
    fn every_cipher_opens_what_it_hid() {
        let mut ciphers = vec![Cipher::None, Cipher::basic(b"0123456789")];
        for steps in [[Step::Base64, Step::PrefixKey, Step::Base64], [Step::Xor, Step::SuffixKey, Step::Base64]] {
            ciphers.push(Cipher::Basic(Basic { steps: steps.into(), key: b"k".into() }));
        }
        for mode in [SeedMode::Cbc, SeedMode::Ecb] {
            for padding in [SeedPadding::Pkcs7, SeedPadding::Zero] {
                for outer in [Outer::Base64, Outer::Raw] {
                    ciphers.push(Cipher::Seed(Seed { key: [7; 16], iv: [9; 16], mode, padding, outer }));
                }
            }
        }
        for cipher in ciphers {
            for length in 0..40 {
                let plain = vec![b'A'; length];
                assert_eq!(cipher.open(&cipher.hide(&plain)), Ok(plain), "{cipher:?} {length}");
            }
        }
    }

    #[test]
    fn the_basic_default_is_base64_key_base64() {
        // "CMD" is Q01E in Base64; each byte xor 'k' (0x6b) is 3a 5b 5a 2e.
        let key = b"kkkkkkkkkk";
        assert_eq!(Cipher::basic(key).hide(b"CMD"), STANDARD.encode([0x3a, 0x5b, 0x5a, 0x2e]).into_bytes());
    }

    #[test]
    fn a_wrong_key_is_seen_by_padding_or_text() {
        let right = Cipher::seed([7; 16], [9; 16]);
        let hidden = right.hide(b"CMD|LOGIN|ID=1|PWD=2|");
        assert_ne!(right.with_wrong_key().open(&hidden).ok(), Some(b"CMD|LOGIN|ID=1|PWD=2|".to_vec()));
        assert_eq!(right.open(b"not base64!"), Err(CipherError::NotBase64));
        assert_eq!(right.open(b"QUJD"), Err(CipherError::BadLength));
    }

    #[test]
    fn keys_do_not_show() {
        let shown = format!("{:?} {:?}", Cipher::basic(b"topsecret!"), Cipher::seed([0x41; 16], [0x42; 16]));
        assert!(!shown.contains("116") && !shown.contains("65") && !shown.contains("topsecret"), "{shown}");
    }
}
