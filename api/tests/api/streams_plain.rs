//! The streams for those without Atlas's WebSocket: lines, events, Socket.IO.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Error;

use crate::lab::{Lab, NOW};
use crate::streams::Scene;
use crate::subscriber::Subscriber;

/// Asks for a stream by a plain request; the answer's lines, header first, without the sizes of its chunks.
fn lines(lab: &Lab, target: &str, header: &str) -> impl Iterator<Item = String> + use<> {
    let mut stream = TcpStream::connect(lab.address).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: sonde\r\n{header}\r\n").unwrap();
    let lines = BufReader::new(stream).lines().map(|line| line.unwrap().trim_end_matches('\r').to_owned());
    lines.filter(|line| u32::from_str_radix(line, 16).is_err())
}

fn skip_header(lines: &mut impl Iterator<Item = String>) -> Vec<String> {
    lines.take_while(|line| !line.is_empty()).collect()
}

#[test]
fn lines_of_json() {
    let mut scene = Scene::new();
    let target = format!("/stream?streamType=result&msm={}&client=curl&key={}", scene.id, scene.anna.key);
    let mut lines = lines(&scene.lab, &target, "");
    let header = skip_header(&mut lines);
    assert_eq!(header[0], "HTTP/1.1 200 OK");
    assert!(header.contains(&"content-type: application/x-ndjson".to_owned()), "{header:?}");
    assert!(header.contains(&"access-control-allow-origin: *".to_owned()), "{header:?}");
    let mut next = || lines.find(|line| !line.is_empty()).unwrap();
    let subscribed: Value = serde_json::from_str(&next()).unwrap();
    let wanted = json!(["atlas_subscribed", {"streamType": "result", "msm": scene.id.to_string()}]);
    assert_eq!(subscribed, wanted, "the key is not said back");
    scene.store(&[NOW]);
    let (name, result): (String, Value) = serde_json::from_str(&next()).unwrap();
    assert_eq!((name.as_str(), &result["timestamp"]), ("atlas_result", &json!(NOW)));
    assert_eq!(result["from"], "20.0.0.9", "the owner's key counts here, too");
    // The server's end is the stream's.
    scene.lab.shut_down();
    assert_eq!(lines.find(|line| !line.is_empty() && line != "0"), None);
}

#[test]
fn events_and_where_to_go_on() {
    let scene = Scene::new();
    let target = format!("/stream/?stream_type=result&msm={}", scene.id);
    let accept = "Accept: text/event-stream\r\n";
    let mut live = lines(&scene.lab, &target, accept);
    assert!(skip_header(&mut live).contains(&"content-type: text/event-stream".to_owned()));
    let event = |lines: &mut dyn Iterator<Item = String>| -> Vec<String> {
        lines.skip_while(|line| line.is_empty()).take_while(|line| !line.is_empty()).collect()
    };
    assert_eq!(event(&mut live)[0], "event: atlas_subscribed");
    scene.store(&[NOW - 5]);
    scene.lab.set_clock(NOW + 1);
    scene.store(&[NOW]);
    let first = event(&mut live);
    assert_eq!(&first[..2], ["event: atlas_result", &format!("id: {NOW}")]);
    let result: Value = serde_json::from_str(first[2].strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(result["timestamp"], NOW - 5);
    assert_eq!(event(&mut live)[1], format!("id: {}", NOW + 1));
    // A browser that lost its connection says which event was its last.
    let mut again = lines(&scene.lab, &target, &format!("{accept}Last-Event-ID: {}\r\n", NOW + 1));
    skip_header(&mut again);
    assert_eq!(event(&mut again)[0], "event: atlas_subscribed");
    assert!(event(&mut again)[2].contains(&format!("\"timestamp\":{NOW},")), "not the one that was stored before");
    assert_eq!(event(&mut again)[0], "event: atlas_backlog_sent");
}

#[test]
fn a_query_that_cannot_be_used_is_refused_as_everywhere() {
    let lab = Lab::new();
    for (query, parameter) in [
        ("", "streamType"),
        ("?streamType=all", "streamType"),
        ("?streamType=result&msm=x", "msm"),
        ("?streamType=result&speed=2", "speed"),
    ] {
        assert_eq!(lab.get(&format!("/stream/{query}")).refused(400, 104), [parameter]);
    }
    assert_eq!(lab.get("/stream/?streamType=result&key=no").refused(403, 104).len(), 0);
    assert_eq!(lab.call("POST", "/stream/", None, None).refused(405, 104).len(), 0);
    assert_eq!(lab.get("/stream/socket.io/?EIO=3&transport=polling").refused(400, 104), ["transport"]);
    assert_eq!(lab.get("/stream/socket.io?EIO=4&transport=websocket").refused(400, 104), ["EIO"]);
    assert_eq!(lab.get("/stream/socket.io/?EIO=3&transport=websocket").refused(400, 104).len(), 0);
    let half = "GET /stream/ HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade, close\r\n\r\n";
    assert!(lab.raw(half.as_bytes()).starts_with("HTTP/1.1 400"));
}

#[test]
fn socket_io_as_its_clients_speak_it() {
    let scene = Scene::new();
    let path = "/stream/socket.io/?EIO=3&transport=websocket";
    let mut subscriber = scene.lab.runtime.block_on(Subscriber::open(scene.lab.address, path, None)).unwrap();
    scene.lab.runtime.block_on(async {
        let open = subscriber.hear_text().await;
        let open: Value = serde_json::from_str(open.strip_prefix('0').unwrap()).unwrap();
        assert_eq!((&open["upgrades"], &open["pingInterval"]), (&json!([]), &json!(25000)));
        assert_eq!(subscriber.hear_text().await, "40");
        subscriber.say_text("2").await;
        assert_eq!(subscriber.hear_text().await, "3");
        subscriber.say_text("40").await;
        subscriber.say_text("2probe").await;
        assert_eq!(subscriber.hear_text().await, "3probe");
        subscriber
            .say_text(&format!("42[\"atlas_subscribe\",{{\"stream_type\":\"result\",\"msm\":{}}}]", scene.id))
            .await;
        assert!(subscriber.hear_text().await.starts_with("42[\"atlas_subscribed\",{"));
    });
    scene.store(&[NOW]);
    scene.lab.runtime.block_on(async {
        assert!(subscriber.hear_text().await.starts_with("42[\"atlas_result\",{\"fw\":6000,"));
        subscriber.say_text("42{").await;
        assert!(subscriber.hear_text().await.starts_with("42[\"atlas_error\",{"));
        subscriber.say_text("41").await;
        subscriber.closed().await;
    });
    let refused = scene.lab.runtime.block_on(Subscriber::open(scene.lab.address, "/stream/socket.io/?EIO=3", None));
    assert!(matches!(refused, Err(Error::Http(answer)) if answer.status() == 400));
}
