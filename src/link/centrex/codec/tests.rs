use super::super::cipher::{
    BASIC_KEY_BYTES, Basic, KeyBytes, SEED_BYTES, Seed, SeedMode, SeedOuter, SeedPadding, Step,
};
use super::*;
use crate::secret::Secret;

const LOGIN: &[u8] = b"LOGINRESULT|STATUS:1|EXTEN:3321|CALLERID:070xxxx0321|MSG:3321,070xxxx0321,3321";

fn framing() -> Framing {
    Framing {
        byte_order: None,
        length: LengthCounts::Body,
        counts_plain: false,
        command_type: 1,
        heartbeat_type: 0,
        body_bytes_max: 65_535,
        charset: Charset::Cp949,
        terminator: "",
        cipher: Cipher::None,
    }
}

fn basic() -> Cipher {
    let key = KeyBytes::from_text(&Secret::new("0123456789"), BASIC_KEY_BYTES).unwrap();
    Cipher::Basic(Basic { steps: vec![Step::Base64, Step::Xor, Step::Base64], key })
}

fn seed(outer: SeedOuter) -> Cipher {
    let key = KeyBytes::from_text(&Secret::new("0123456789abcdef"), SEED_BYTES).unwrap();
    Cipher::Seed(Seed { mode: SeedMode::Cbc { iv: [9; SEED_BYTES] }, padding: SeedPadding::Pkcs7, outer, key })
}

/// A frame as a server writes it, without this file's encoder.
fn frame(big: bool, kind: u16, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap();
    let shorts = [kind, length].map(|short| if big { short.to_be_bytes() } else { short.to_le_bytes() });
    [shorts.concat(), body.to_vec()].concat()
}

fn all(framing: Framing, bytes: &[u8], piece: usize) -> Vec<Item> {
    let mut decoder = Decoder::new(framing);
    let mut items = Vec::new();
    for piece in bytes.chunks(piece) {
        decoder.push(piece);
        items.extend(std::iter::from_fn(|| decoder.next()));
    }
    items
}

fn body(kind: u16, body: &[u8]) -> Item {
    Item::Frame(Frame { kind, body: body.to_vec() })
}

fn broken(framing: Framing, bytes: &[u8]) -> String {
    match all(framing, bytes, bytes.len()).as_slice() {
        [Item::Broken(found)] => found.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_byte_order_is_found_out_on_the_first_body_and_kept() {
    for big in [true, false] {
        let second = b"CHANNELOUT|UNIQUEID:1.2";
        let bytes = [frame(big, 2, LOGIN), frame(big, 7, second), frame(big, 0, b"")].concat();
        for piece in [1, 3, bytes.len()] {
            assert_eq!(all(framing(), &bytes, piece), [body(2, LOGIN), body(7, second), body(0, b"")], "big {big}");
        }
    }
}

#[test]
fn a_heartbeat_before_the_first_body_says_nothing_of_the_order() {
    let bytes = [vec![0; 4], frame(false, 2, LOGIN)].concat();
    assert_eq!(all(framing(), &bytes, 5), [body(0, b""), body(2, LOGIN)]);
}

#[test]
fn a_length_past_32767_is_not_negative() {
    let long = [b"RECVPEERMSG|FROM:1|MSG:".to_vec(), vec![b'x'; 40_000]].concat();
    let bytes = [frame(true, 2, LOGIN), frame(true, 2, &long)].concat();
    assert_eq!(all(framing(), &bytes, 1000)[1], body(2, &long));
    let short = Framing { body_bytes_max: 1000, ..framing() };
    let found = all(short, &bytes, 1000);
    assert_eq!(
        found[1],
        Item::Broken(
            "frame at byte 82: expected a body of at most 1000 bytes, found a length of 40023; check `byte_order`, \
             `length` and `body_max`"
                .into()
        )
    );
}

#[test]
fn a_length_may_count_its_header_too() {
    let whole = Framing { length: LengthCounts::Whole, byte_order: Some(ByteOrder::Big), ..framing() };
    let sent = whole.encode(ByteOrder::Big, "LOGINRESULT|STATUS:1").unwrap();
    assert_eq!(sent[..4], [0, 1, 0, 24]);
    assert_eq!(all(whole, &sent, 3), [body(1, b"LOGINRESULT|STATUS:1")]);
}

#[test]
fn every_cipher_covers_the_body_and_the_length_counts_what_is_sent() {
    for cipher in [Cipher::None, basic(), seed(SeedOuter::Base64), seed(SeedOuter::Raw)] {
        let framing = Framing { cipher, ..framing() };
        for order in [ByteOrder::Big, ByteOrder::Little] {
            let sent = framing.encode(order, std::str::from_utf8(LOGIN).unwrap()).unwrap();
            for piece in [1, 7, sent.len()] {
                assert_eq!(all(framing.clone(), &sent, piece), [body(1, LOGIN)]);
            }
        }
    }
}

#[test]
fn a_length_may_count_a_body_as_it_was_before_encryption() {
    for cipher in [Cipher::None, basic(), seed(SeedOuter::Base64), seed(SeedOuter::Raw)] {
        for length in [LengthCounts::Body, LengthCounts::Whole] {
            let framing = Framing { cipher: cipher.clone(), counts_plain: true, length, ..framing() };
            let mut sent = framing.encode(ByteOrder::Big, std::str::from_utf8(LOGIN).unwrap()).unwrap();
            let header = if length == LengthCounts::Whole { 4 } else { 0 };
            assert_eq!(usize::from(u16::from_be_bytes([sent[2], sent[3]])), LOGIN.len() + header);
            sent.extend(framing.heartbeat(ByteOrder::Big));
            for piece in [1, 7, sent.len()] {
                assert_eq!(all(framing.clone(), &sent, piece), [body(1, LOGIN), body(0, b"")]);
            }
        }
    }
}

#[test]
fn a_wrong_cipher_is_said_once_with_the_keys_to_look_at() {
    let plain = frame(true, 2, LOGIN);
    let found = broken(Framing { cipher: basic(), ..framing() }, &plain);
    assert_eq!(
        found,
        "encryption mismatch: expected the first body to begin with the name of an event, found plain text; check \
         `encryption` (expected \"none\")"
    );
    let sealed = frame(true, 2, &basic().encrypt(LOGIN));
    let found = broken(framing(), &sealed);
    assert!(found.starts_with("encryption mismatch: "), "{found}");
    assert!(found.ends_with("check `encryption` and `key`, and `form`"), "{found}");
    let found = broken(Framing { cipher: seed(SeedOuter::Base64), ..framing() }, &sealed);
    assert!(found.contains("`iv`, `seed_mode`, `seed_padding`, `seed_encoding` and `encrypted_length`"), "{found}");
    // Whatever comes after it is no event either.
    let mut decoder = Decoder::new(framing());
    decoder.push(&sealed);
    assert!(matches!(decoder.next(), Some(Item::Broken(_))));
    decoder.push(&frame(true, 2, LOGIN));
    assert_eq!(decoder.next(), None);
}

#[test]
fn a_wrong_byte_order_is_told_from_a_wrong_cipher() {
    let little = Framing { byte_order: Some(ByteOrder::Little), ..framing() };
    let found = broken(little, &frame(true, 2, LOGIN));
    assert_eq!(
        found,
        "byte order mismatch: its first frame is big-endian; check `byte_order` (expected \"big\" or \"auto\")"
    );
}

#[test]
fn a_peer_of_another_kind_is_described() {
    let mut decoder = Decoder::new(framing());
    decoder.push(b"{\"RespType\":");
    assert_eq!(decoder.next(), None);
    assert_eq!(
        decoder.stuck(),
        "its first 12 bytes make no frame: the header read as big-endian asks for a body of 21093 bytes, as \
         little-endian of 25938 bytes, found bytes that begin \"{\\\"RespType\\\":\"; check `byte_order`, `length`, `form` \
         and `encryption`"
    );
}

#[test]
fn a_body_that_cannot_be_unwrapped_costs_itself() {
    let framing = Framing { cipher: basic(), ..framing() };
    let good = |text: &[u8]| frame(true, 2, &basic().encrypt(text));
    let bytes = [good(LOGIN), frame(true, 2, b"!!!!"), good(b"RINGEVENT|ISDIAL:0")].concat();
    let items = all(framing, &bytes, bytes.len());
    assert_eq!((&items[0], &items[2]), (&body(2, LOGIN), &body(2, b"RINGEVENT|ISDIAL:0")));
    assert!(matches!(&items[1], Item::Refused(found) if found.contains("no Base64")), "{items:?}");
}

#[test]
fn what_is_longer_than_a_body_may_be_is_not_sent() {
    let short = Framing { body_bytes_max: 64, ..framing() };
    assert_eq!(short.encode(ByteOrder::Big, &"x".repeat(65)), Err(TooLong { found: 65, most: 64 }));
    let whole = Framing { length: LengthCounts::Whole, ..framing() };
    assert!(whole.encode(ByteOrder::Big, &"x".repeat(65_535)).is_err(), "its length with the header is no short");
}

#[test]
fn korean_text_is_sent_as_cp949_and_read_as_either() {
    let sent = framing().encode(ByteOrder::Big, "MSG=가").unwrap();
    assert_eq!(sent[4..], [b'M', b'S', b'G', b'=', 0xb0, 0xa1]);
    let utf8 = Framing { charset: Charset::Utf8, ..framing() };
    assert_eq!(utf8.encode(ByteOrder::Big, "가").unwrap()[4..], *"가".as_bytes());
    assert_eq!(decode_text(&[0xb0, 0xa1]), (Cow::Owned("가".to_owned()), false));
    // 똠 is in CP949 and not in EUC-KR.
    assert_eq!(decode_text(&[0x8c, 0x63]).0, "똠");
    assert_eq!(decode_text("가".as_bytes()), (Cow::Borrowed("가"), false));
    assert!(decode_text(&[b'a', 0xff]).1);
    // What neither has is a question mark, never a numeric reference.
    assert_eq!(framing().encode(ByteOrder::Big, "😀").unwrap()[4..], *b"?");
}

#[test]
fn a_terminator_is_part_of_the_body_that_is_sent() {
    let ended = Framing { terminator: "\r\n", ..framing() };
    assert_eq!(ended.encode(ByteOrder::Big, "CMD|X").unwrap(), b"\0\x01\0\x07CMD|X\r\n");
}
