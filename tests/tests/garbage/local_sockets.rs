//! The doors in the file system: `admin.sock` of the server and `status.sock` of the probe.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sonde_tests::world::PATIENCE;

use crate::ground::Ground;
use crate::peer::{random_bytes, seed};

/// What a socket answers to these bytes.
fn exchange(socket: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // It may have heard enough before the end.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut reply = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut piece) {
        reply.extend_from_slice(&piece[..length]);
    }
    String::from_utf8(reply).unwrap()
}

fn garbage(seed: u64) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("nothing", Vec::new()),
        ("an empty line", b"\n".to_vec()),
        ("text", b"hello\n".to_vec()),
        ("half a command", b"{\"Account\":{\"Add\"".to_vec()),
        ("another command", b"{\"Shutdown\":{}}\n".to_vec()),
        ("wrong types", b"{\"Account\":{\"Add\":{\"email\":[]}}}\n".to_vec()),
        ("no UTF-8", b"{\"Account\":{\"Add\":{\"email\":\"\xff@\xfe\"}}}\n".to_vec()),
        ("random bytes", random_bytes(seed, 5000)),
        ("a nest", b"[".repeat(60_000)),
        ("a line of 20 MB", vec![b'x'; 20 << 20]),
        ("a command and 20 MB", [&b"{\"Network\":\"Show\"}"[..], &vec![b'x'; 20 << 20]].concat()),
        ("many lines", b"hello\n".repeat(1 << 20)),
    ]
}

#[test]
fn garbage_for_the_administration() {
    let mut ground = Ground::start();
    let seed = seed();
    eprintln!("seed {seed}");
    let socket: PathBuf = ground.server.data().join("admin.sock");
    for (case, bytes) in garbage(seed) {
        let reply: Value =
            serde_json::from_str(&exchange(&socket, &bytes)).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert!(reply["Failed"].as_str().is_some_and(|why| !why.is_empty()), "{case}: {reply}");
    }
    // Whoever connects and says nothing keeps nobody else waiting.
    let silent: Vec<UnixStream> = (0..300).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    let cards = ground.server.admin(&["network", "card"]).unwrap();
    assert!(cards.contains("collectors"));
    for words in [
        &["account", "add", "no address"][..],
        &["account", "add", "researcher@example.net"],
        &["key", "add", "nobody@example.net"],
        &["network", "revoke", "x"],
    ] {
        let error = ground.server.admin(words).unwrap_err().to_string();
        assert!(error.contains("error:"), "{words:?}: {error}");
    }
    drop(silent);
    ground.not_grown("garbage for the administration");
}

#[test]
fn garbage_for_the_status() {
    let mut ground = Ground::start();
    let seed = seed();
    eprintln!("seed {seed}");
    let socket = ground.honest.state().join("status.sock");
    let before = ground.honest.process().unwrap().resident_kb().unwrap();
    for (case, bytes) in garbage(seed) {
        // It listens to nobody and tells all the same.
        let reply = exchange(&socket, &bytes);
        let status: Value = serde_json::from_str(&reply).unwrap_or_else(|error| panic!("{case}: {error}: {reply}"));
        assert_eq!(status["state"], json!("connected"), "{case}");
    }
    let silent: Vec<UnixStream> = (0..200).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    ground.undisturbed("garbage for the status");
    drop(silent);
    let after = ground.honest.process().unwrap().resident_kb().unwrap();
    assert!(after < before + 16 * 1024, "{after} KB, {before} KB before");
}
