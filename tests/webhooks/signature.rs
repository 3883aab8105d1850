//! Signatures of Standard Webhooks, from the definition of HMAC (RFC 2104) up.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::receiver::Request;

const BLOCK: usize = 64;

/// Whether the signature at this place of the list is one with this secret.
pub(crate) fn is_signed(request: &Request, at: usize, secret: &str) -> bool {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let mut signed = format!("{}.{}.", request.header("webhook-id"), request.header("webhook-timestamp")).into_bytes();
    signed.extend_from_slice(&request.body);
    let expected = format!("v1,{}", STANDARD.encode(hmac(&key, &signed)));
    request.header("webhook-signature").split(' ').nth(at) == Some(&expected)
}

pub(crate) fn count(request: &Request) -> usize {
    request.header("webhook-signature").split(' ').count()
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    assert!(key.len() <= BLOCK, "a longer key would be hashed first");
    let pad = |with: u8| {
        let mut block = [with; BLOCK];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().to_vec()
}

/// RFC 4231, test case 2.
#[test]
fn the_hmac_of_these_tests_is_the_standards() {
    let hex: String = hmac(b"Jefe", b"what do ya want for nothing?").iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}
