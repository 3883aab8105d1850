//! How fast recorded AMI bytes from a socket become canonical JSON, beside plainer readers in the same run.
//!
//! Every reader reads the same bytes from its own loopback connection. The splitter is the ceiling: it finds the empty
//! lines and nothing else. "spans to JSON" is the yardstick of the target: a straight reader that writes every header of
//! every message as JSON, the noise included, and decides nothing.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use lamplighter::clock::Clock;
use lamplighter::event::LinkId;
use lamplighter::link::ami::codec::{Decoder, Item};
use lamplighter::link::ami::model::{Model, ModelSettings};
use lamplighter::link::known::Known;
use memchr::{memchr, memmem};

use crate::arguments::Arguments;
use crate::storm::Storm;
use crate::table::{Table, median};

const REPEATS: usize = 5;
const COPIES: usize = 8;

/// Reads to the end and says how much it found.
type Reader = fn(TcpStream) -> Result<u64>;

pub(crate) fn run(_: &Arguments) -> Result<()> {
    let storm = Storm::read()?;
    let messages = storm.messages * COPIES;
    println!(
        "{} messages, {:.1} MB, over loopback TCP, median of {REPEATS}\n",
        messages,
        (storm.bytes.len() * COPIES) as f64 / 1e6
    );
    let readers: [(&str, Reader); 5] = [
        ("split at empty lines (the ceiling)", split),
        ("header spans", |stream| spans(stream, false)),
        ("header spans to JSON (the yardstick)", |stream| spans(stream, true)),
        ("Lamplighter: framing alone", frame),
        ("Lamplighter: framing, model, canonical JSON", canonical),
    ];
    let mut times = vec![Vec::new(); readers.len()];
    let mut found = vec![0; readers.len()];
    // Readers take turns, so that a noisy minute hits them all.
    for _ in 0..REPEATS {
        for (at, (_, reader)) in readers.iter().enumerate() {
            let (took, count) = timed(&storm, *reader)?;
            times[at].push(took.as_secs_f64());
            found[at] = count;
        }
    }
    let yardstick = messages as f64 / median(&mut times[2]);
    let mut table = Table::new(&["reader", "messages/s", "x yardstick", "found"]);
    for (at, (name, _)) in readers.iter().enumerate() {
        let rate = messages as f64 / median(&mut times[at]);
        table.row(&[(*name).into(), format!("{rate:.0}"), format!("{:.2}", rate / yardstick), found[at].to_string()]);
    }
    table.print();
    Ok(())
}

fn timed(storm: &Storm, reader: Reader) -> Result<(Duration, u64)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let clock = Clock::system();
    thread::scope(|scope| {
        scope.spawn(move || -> Result<()> {
            let (mut stream, _) = listener.accept()?;
            for _ in 0..COPIES {
                stream.write_all(&storm.bytes)?;
            }
            Ok(())
        });
        let stream = TcpStream::connect(address)?;
        let start = clock.now();
        let found = reader(stream)?;
        Ok((clock.now() - start, found))
    })
}

pub(crate) fn split(mut stream: TcpStream) -> Result<u64> {
    let finder = memmem::Finder::new(b"\r\n\r\n");
    let mut found = 0;
    chunks(&mut stream, |bytes| {
        let mut used = 0;
        while let Some(end) = finder.find(&bytes[used..]) {
            used += end + 4;
            found += 1;
        }
        used
    })?;
    Ok(found)
}

fn spans(mut stream: TcpStream, json: bool) -> Result<u64> {
    let mut found = 0;
    let mut headers: Vec<(usize, usize, usize)> = Vec::new();
    let mut out = Vec::new();
    chunks(&mut stream, |bytes| {
        let mut used = 0;
        headers.clear();
        let mut line = 0;
        while let Some(end) = memchr(b'\n', &bytes[line..]) {
            let text = &bytes[line..line + end];
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            if text.is_empty() {
                if json && !headers.is_empty() {
                    write_json(bytes, &headers, &mut out);
                    std::hint::black_box(&out);
                }
                found += u64::from(!headers.is_empty());
                headers.clear();
                used = line + end + 1;
            } else if let Some(colon) = memchr(b':', text) {
                headers.push((line, line + colon, line + text.len()));
            }
            line += end + 1;
        }
        used
    })?;
    Ok(found)
}

fn write_json(bytes: &[u8], headers: &[(usize, usize, usize)], out: &mut Vec<u8>) {
    out.clear();
    out.push(b'{');
    for (at, &(name, colon, end)) in headers.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        let value = &bytes[colon + 1..end];
        let value = value.strip_prefix(b" ").unwrap_or(value);
        for text in [&bytes[name..colon], value] {
            match std::str::from_utf8(text) {
                Ok(text) => serde_json::to_writer(&mut *out, text),
                Err(_) => serde_json::to_writer(&mut *out, &String::from_utf8_lossy(text)),
            }
            .unwrap_or(());
            out.push(b':');
        }
        out.pop();
    }
    out.push(b'}');
}

fn frame(mut stream: TcpStream) -> Result<u64> {
    let mut decoder = Decoder::without_banner();
    let mut buffer = vec![0; 64 * 1024];
    let mut found = 0;
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(found);
        }
        decoder.push(&buffer[..length]);
        while let Some(item) = decoder.next() {
            found += u64::from(matches!(item, Item::Message(_)));
        }
    }
}

fn canonical(mut stream: TcpStream) -> Result<u64> {
    let mut decoder = Decoder::without_banner();
    let mut model = Model::new(ModelSettings::default(), LinkId::new("storm"), Known::default());
    let clock = Clock::system();
    let mut buffer = vec![0; 64 * 1024];
    let mut events = VecDeque::new();
    let mut out = Vec::new();
    let mut found = 0;
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(found);
        }
        let now = clock.now();
        decoder.push(&buffer[..length]);
        while let Some(item) = decoder.next() {
            let Item::Message(message) = item else { continue };
            if message.event().is_some() {
                model.handle_event(message, now, &mut events);
            }
            for event in events.drain(..) {
                out.clear();
                event.write_data(&mut out)?;
                std::hint::black_box(&out);
                found += 1;
            }
        }
    }
}

/// Feeds what was read to `take`, which says how much of it is done with.
fn chunks(stream: &mut TcpStream, mut take: impl FnMut(&[u8]) -> usize) -> Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    let mut filled = 0;
    loop {
        let length = stream.read(&mut buffer[filled..])?;
        if length == 0 {
            return Ok(());
        }
        filled += length;
        let used = take(&buffer[..filled]);
        buffer.copy_within(used..filled, 0);
        filled -= used;
        anyhow::ensure!(filled < buffer.len(), "a message longer than the buffer");
    }
}
