use super::*;

fn corpus() -> Vec<(String, String)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/centrex");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name().unwrap().to_str().unwrap().starts_with("json-raw-")
                && path.extension().is_some_and(|end| end == "txt")
        })
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(path).unwrap()))
        .collect();
    files.sort();
    files
}

fn wrapped(item: Item) -> Wrapped {
    match item {
        Item::Wrapped(wrapped) => wrapped,
        Item::Refused(found) => panic!("{found}"),
    }
}

fn clean() -> Vec<Wrapped> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/centrex/json-clean.jsonl");
    read_whole(&std::fs::read(path).unwrap(), true).into_iter().map(wrapped).collect()
}

/// A message without its order of fields and their line breaks.
fn essence(message: &Message) -> Vec<(String, String)> {
    let mut fields: Vec<_> = message.fields.iter().map(|field| (field.name.clone(), field.value.clone())).collect();
    fields.sort();
    fields
}

#[test]
fn the_published_objects_read_as_their_clean_form() {
    let clean = clean();
    assert_eq!(clean.len(), 6);
    let mut met = 0;
    for (name, text) in corpus() {
        let items: Vec<Wrapped> = read_whole(text.as_bytes(), false).into_iter().map(wrapped).collect();
        assert_eq!(items.len(), 1, "{name}");
        let found = &items[0];
        let same = |one: &&Wrapped| {
            one.resp_type == found.resp_type
                && found.events.len() == 1
                && essence(&one.events[0]) == essence(&found.events[0])
        };
        let is_there = clean.iter().any(|one| same(&one));
        // Two of the published objects have no clean form in the corpus.
        let alone = ["json-raw-invite-conference.txt", "json-raw-sendsms.txt"].contains(&name.as_str());
        assert_ne!(is_there, alone, "{name}: {found:?}");
        met += usize::from(is_there);
    }
    assert_eq!(met, 6);
}

#[test]
fn an_invitation_is_two_events_and_a_text_message_one() {
    let of = |name: &str| {
        let (_, text) = corpus().into_iter().find(|(file, _)| file == name).unwrap();
        wrapped(read_whole(text.as_bytes(), false).remove(0)).events
    };
    let members = of("json-raw-invite-conference.txt");
    let told: Vec<_> = members.iter().map(|one| (one.get("CHANNEL").unwrap(), one.get("COUNT").unwrap())).collect();
    assert_eq!(told, [("SIP/10033447-0716", "1"), ("SIP/10033448-956f", "2")]);
    let sms = of("json-raw-sendsms.txt");
    assert_eq!(sms.len(), 1);
    assert_eq!(sms[0].get("RES"), Some("sms Send SUCCESS(0192xxxxx7)"));
}

#[test]
fn every_split_reads_the_same() {
    let text: String = corpus().into_iter().map(|(_, text)| text).collect();
    let whole = read_whole(text.as_bytes(), false);
    assert_eq!(whole.len(), 8);
    for piece in [1, 2, 3, 7, 64] {
        let mut reader = Reader::new(false);
        let mut items = Vec::new();
        for piece in text.as_bytes().chunks(piece) {
            reader.push(piece);
            items.extend(std::iter::from_fn(|| reader.next()));
        }
        assert_eq!(items, whole, "pieces of {piece}");
        assert!(reader.pending().len() < 8);
    }
}

#[test]
fn comments_are_comments_outside_of_strings_only() {
    let text = r#"/* "{" */ { // "Result": "X"
        "RespType": "a//b", /* } */ "Result": "RECVPEERMSG|FROM:1|MSG:http://x/*y*/", }, [ {"Result":"CHANNELOUT|HCAUSE:16"} ]"#;
    let items: Vec<Wrapped> = read_whole(text.as_bytes(), false).into_iter().map(wrapped).collect();
    assert_eq!(items.len(), 2);
    assert_eq!(items[0].resp_type.as_deref(), Some("a//b"));
    assert_eq!(items[0].events[0].get("MSG"), Some("http://x/*y*/"));
}

#[test]
fn strictness_says_the_place() {
    let place = |text: &str| match read_whole(text.as_bytes(), true).as_slice() {
        [.., Item::Refused(found)] => found.clone(),
        other => panic!("{text}: {other:?}"),
    };
    for (text, expected) in [
        ("{\"Result\":\"RINGEVENT\n|ISDIAL:0\"}", "line 2, column 1: control character"),
        ("{ // c\n\"Result\":\"X|\"}", "line 1, column 3: "),
        ("{\"Result\":\"RINGEVENT|\"},\n{}", "line 1, column 24: "),
        ("{\n  \"Result\": \"RINGEVENT |ISDIAL:0\"}", "line 2, column 3: `Result`, character 11: expected no blank"),
        ("{\"Result\":\"RINGEVENT|A:1\\n|B:2\"}", "line 1, column 2: `Result`, character 14: expected no line break"),
        (
            "{\"Result\":\"Ex) CMDRESULT|CMD:X\"}",
            "line 1, column 2: `Result`, character 1: expected the name of an event",
        ),
        ("{\"Result\":\"RINGEVENT|A:“1”\"}", "line 1, column 2: `Result`, character 13: expected no quotation mark"),
        ("{\"RespType\":\"X\"}", "line 1, column 1: expected an object with a text `Result`"),
        ("[]", "line 1, column 1: "),
    ] {
        let found = place(text);
        assert!(found.starts_with(expected), "{text:?}: {found}");
    }
    for (name, text) in corpus() {
        assert!(matches!(read_whole(text.as_bytes(), true)[0], Item::Refused(_)), "{name}");
    }
}

#[test]
fn a_strict_stream_counts_its_lines() {
    let mut reader = Reader::new(true);
    reader.push(b"{\"Result\":\"RINGEVENT|ISDIAL:0\"}\n\n{\"Result\":1}\n{\"Result\":\"CHANNELOUT|A:1\"}\n{\"Res");
    assert!(matches!(reader.next(), Some(Item::Wrapped(_))));
    assert_eq!(
        reader.next(),
        Some(Item::Refused("line 3, column 2: expected an object with a text `Result`, found none".into()))
    );
    assert!(matches!(reader.next(), Some(Item::Wrapped(_))));
    assert_eq!(reader.next(), None);
    assert_eq!(reader.pending(), b"{\"Res");
}

#[test]
fn an_object_that_never_ends_is_refused_and_the_next_is_read() {
    let mut reader = Reader::new(false);
    reader.push(b"{\"Result\":\"");
    let mut refused = 0;
    for _ in 0..300 {
        reader.push(&[b'x'; 1024]);
        refused += std::iter::from_fn(|| reader.next()).filter(|item| matches!(item, Item::Refused(_))).count();
        assert!(reader.pending().len() <= CENTREX_JSON_BYTES_MAX + 2048);
    }
    assert_eq!(refused, 1);
    reader.push(b"\n{\"Result\":\"CHANNELOUT|HCAUSE:16\"}");
    assert!(matches!(reader.next(), Some(Item::Wrapped(_))));
    // One that is cut off ends where another begins a line.
    reader.push(b"\n{\"RespType\":\"X\",\n{\"Result\":\"CHANNELOUT|HCAUSE:16\"}");
    assert!(matches!(reader.next(), Some(Item::Refused(found)) if found.contains("found another at line 4, column 1")));
    assert!(matches!(reader.next(), Some(Item::Wrapped(_))));
    assert_eq!(read_whole(b"{\"Result\":\"X", false).len(), 1);
}
