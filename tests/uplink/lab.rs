//! The broker, the network and the listener by themselves: what the other tests stand on.

use std::time::Duration;

use mosquitto_lab::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::awaited;
use crate::ear::Ear;
use crate::house::start_broker;
use crate::proxy::{Fate, Proxy};
use crate::wire::{self, Packet, Publish};

fn message(number: usize) -> Publish {
    Publish {
        topic: "here/and/there".to_owned(),
        payload: number.to_string().into_bytes(),
        content_type: Some("text/plain".to_owned()),
        correlation: Some(vec![0, 1, 255]),
        user: vec![("seq".to_owned(), number.to_string()), ("two".to_owned(), "words here".to_owned())],
        ..Publish::default()
    }
}

fn is_number(publish: &Publish, number: usize) -> bool {
    publish.payload == number.to_string().as_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_broker_passes_on_what_is_said_and_outlives_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = start_broker(Settings::open_to_all(folder.path()));
    let mut ear = Ear::open(broker.addr(), None).await;
    let proxy = Proxy::start(broker.addr()).await;
    let mouth = Ear::open(proxy.addr, None).await;
    for number in 0..500 {
        mouth.publish(message(number)).await;
    }
    ear.hears("the last message", 0, |publish| is_number(publish, 499)).await;
    for (number, heard) in ear.heard().into_iter().enumerate() {
        assert_eq!(Publish { id: 0, ..heard }, Publish { qos: 1, ..message(number) }, "as it was said");
    }
    let all = |passed: &Vec<crate::proxy::Passed>| {
        let acks = passed.iter().filter(|passed| !passed.up && passed.packet.kind() == wire::PUBACK);
        acks.filter(|passed| passed.packet.reason() == 0).count() == 500
    };
    proxy.until("every PUBACK", all).await;
    assert!((1..=500).contains(&proxy.most_in_flight()));

    for ends in [start_again_after_kill, start_again_after_stop] {
        ends(&mut broker);
        ear.open_again(broker.addr()).await;
        let mouth = Ear::open(broker.addr(), None).await;
        let before = ear.count();
        mouth.publish(message(1000 + before)).await;
        ear.hears("a message by the broker begun again", before, |publish| is_number(publish, 1000 + before)).await;
    }
    assert!(broker.says("running", Duration::ZERO), "{:?}", broker.said());
}

fn start_again_after_kill(broker: &mut mosquitto_lab::Mosquitto) {
    broker.kill();
    broker.start_again().unwrap();
}

fn start_again_after_stop(broker: &mut mosquitto_lab::Mosquitto) {
    broker.stop();
    broker.start_again().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_network_swallows_resets_and_refuses_as_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start_broker(Settings::open_to_all(folder.path()));
    let ear = Ear::open(broker.addr(), None).await;
    let proxy = Proxy::start(broker.addr()).await;

    let mouth = Ear::open(proxy.addr, None).await;
    proxy.after(3, Fate::Swallowed);
    for number in 0..10 {
        mouth.publish(message(number)).await;
    }
    let other = Ear::open(proxy.addr, None).await;
    other.publish(message(77)).await;
    ear.hears("what came by another connection", 0, |publish| is_number(publish, 77)).await;
    let heard: Vec<_> = ear.heard().iter().map(|publish| publish.payload.clone()).collect();
    assert_eq!(heard, [b"0".as_slice(), b"1", b"77"], "the third and all behind it are swallowed");

    let mut plain = TcpStream::connect(proxy.addr).await.unwrap();
    plain.write_all(&wire::connect("plain", None).bytes()).await.unwrap();
    assert_eq!(awaited("a CONNACK", Packet::read(&mut plain)).await.unwrap().reason(), 0);
    proxy.away();
    assert!(awaited("the reset", plain.read_u8()).await.is_err());
    let refused = async { TcpStream::connect(proxy.addr).await?.read_u8().await };
    assert!(awaited("the reset", refused).await.is_err());
    proxy.heal();
    Ear::open(proxy.addr, None).await;
}
