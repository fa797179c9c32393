//! Boards that ask for updates: those that mean well over both ways, and probes that ask for what is no file, too often, or all at once.

use std::fs;

use sonde_protocol::board::{UpdateAnswer, UpdateAsk, UpdateFile, UpdateSaid};
use sonde_protocol::bounded::Text;
use sonde_protocol::message::{Down, Up};

use crate::ground::Ground;
use crate::over_tls::TlsPeer;
use crate::peer::{Peer, Street, close, random_bytes, seed};

/// The name of an image that lies in the repository.
fn name() -> String {
    format!("{}.sonde_202611290220.efi", "0f".repeat(32))
}

fn metadata(name: &str) -> UpdateFile {
    UpdateFile::Metadata(Text::cut(name))
}

fn target(name: &str) -> UpdateFile {
    UpdateFile::Target(Text::cut(name))
}

fn ask(id: u32, file: UpdateFile, offset: u64) -> Up {
    Up::UpdateAsk(UpdateAsk { id, file, offset, at_most: u32::MAX })
}

/// A repository with a timestamp and an image of so many bytes, which it gives.
fn repository(ground: &Ground, length: usize) -> Vec<u8> {
    let folder = ground.server.data().join("updates");
    for part in ["metadata", "targets", "log"] {
        fs::create_dir_all(folder.join(part)).unwrap();
    }
    fs::write(folder.join("metadata/timestamp.json"), b"{}").unwrap();
    let image = random_bytes(1, length);
    fs::write(folder.join("targets").join(name()), &image).unwrap();
    image
}

fn answer(message: Down) -> Option<UpdateAnswer> {
    match message {
        Down::UpdateAnswer(answer) => Some(answer),
        Down::Refused(refused) => panic!("{refused:?}"),
        _ => None,
    }
}

/// Asks, and gives what is said, for as long as it is not that one should come later.
fn said(peer: &mut Peer<'_>, id: u32, file: UpdateFile, offset: u64) -> UpdateSaid {
    peer.say(&ask(id, file, offset));
    let answer = peer.hear_until(answer);
    assert_eq!(answer.id, id);
    answer.said
}

fn bytes(said: UpdateSaid, length: usize) -> Vec<u8> {
    match said {
        UpdateSaid::Piece(piece) => {
            assert_eq!(piece.length, length as u64);
            piece.bytes.to_vec()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_goes_on_where_it_was_over_either_way() {
    let mut ground = Ground::start();
    let street = Street::to(&ground);
    let (mut peer, key, _) = street.join(&ground);
    assert_eq!(said(&mut peer, 1, metadata("timestamp.json"), 0), UpdateSaid::Missing, "there is no repository yet");
    let image = repository(&ground, 200_000);
    assert_eq!(bytes(said(&mut peer, 2, metadata("timestamp.json"), 0), 2), b"{}");
    let mut fetched = Vec::new();
    while fetched.len() < 100_000 {
        fetched.extend(bytes(said(&mut peer, 3, target(&name()), fetched.len() as u64), image.len()));
    }
    drop(peer);
    let mut peer = street.again(&key);
    let more = bytes(said(&mut peer, 4, target(&name()), fetched.len() as u64), image.len());
    fetched.extend(more);
    drop(peer);
    let mut peer = TlsPeer::again(&ground, &street, &key);
    while fetched.len() < image.len() {
        peer.say(&ask(5, target(&name()), fetched.len() as u64));
        fetched.extend(bytes(peer.hear_until(answer).said, image.len()));
    }
    assert_eq!(fetched, image);
    ground.not_grown("a board that fetched");
}

#[test]
fn no_name_from_the_wire_leads_anywhere() {
    let mut ground = Ground::start();
    let street = Street::to(&ground);
    let image = repository(&ground, 1000);
    let folder = ground.server.data().join("updates");
    // What no name may lead to: a link, a folder, the log, and whatever lies beside.
    std::os::unix::fs::symlink("/etc/passwd", folder.join("metadata/1.root.json")).unwrap();
    fs::create_dir(folder.join("metadata/2.root.json")).unwrap();
    fs::write(folder.join("metadata/root.json"), b"no name of a root").unwrap();
    fs::write(folder.join("targets/plain.efi"), b"without a hash").unwrap();
    let (mut peer, ..) = street.join(&ground);
    let (good, seed) = (name(), seed());
    eprintln!("seed {seed}");
    let noise = String::from_utf8_lossy(&random_bytes(seed, 60)).into_owned();
    for garbage in [
        "",
        ".",
        "..",
        "/",
        "/etc/passwd",
        "../network/root.key",
        "../../data/admin.sock",
        "../metadata/timestamp.json",
        "metadata/timestamp.json",
        "./timestamp.json",
        "timestamp.json\0",
        "Timestamp.json",
        "1.root.json",
        "2.root.json",
        "root.json",
        "00.root.json",
        "plain.efi",
        "checkpoint",
        &format!("../targets/{good}"),
        &good.to_uppercase(),
        &format!("{good}\0"),
        &format!("{good}/"),
        &"x".repeat(200),
        &noise,
    ] {
        for file in [metadata(garbage), target(garbage)] {
            let said = said(&mut peer, 9, file, 0);
            assert_eq!(said, UpdateSaid::Missing, "{garbage:?}");
        }
    }
    // Beyond the end there is nothing, and a length of four gigabytes is a piece.
    for offset in [1000, 1001, u64::MAX] {
        assert_eq!(bytes(said(&mut peer, 10, target(&good), offset), 1000), b"");
    }
    assert_eq!(bytes(said(&mut peer, 11, target(&good), 0), 1000), image);
    // A name that is longer than any.
    let (mut long, ..) = street.join(&ground);
    let mut message = vec![0x82, 7, 0x81, 0xa4, 0, 1, 1, 0x82, 0, 0x81, 0x79, 1, 0];
    message.extend([b'a'; 256]);
    message.extend([2, 0, 3, 1]);
    long.say_bytes(&sonde_protocol::wire::framed(&message));
    long.is_closed(close::MALFORMED, "a name of 256 bytes");
    ground.not_grown("names that are none");
}

#[test]
fn who_asks_without_waiting_is_told_to_wait_and_who_never_stops_is_ended() {
    let mut ground = Ground::start();
    let street = Street::to(&ground);
    repository(&ground, 1000);
    let (mut peer, ..) = street.join(&ground);
    // One is answered at a time. Others are refused at once, and the first comes all the same.
    for id in 0..50 {
        peer.say(&ask(id, metadata("timestamp.json"), 0));
    }
    let mut answers: Vec<UpdateAnswer> = (0..50).map(|_| peer.hear_until(answer)).collect();
    answers.sort_by_key(|answer| answer.id);
    assert!(answers.iter().map(|answer| answer.id).eq(0..50), "each question has one answer");
    assert!(answers.iter().any(|answer| matches!(answer.said, UpdateSaid::Piece(_))));
    peer.is_well();
    let one = sonde_protocol::wire::framed(&sonde_protocol::message::to_cbor(&ask(1, metadata("x"), 0)));
    peer.say_bytes(&one.repeat(30_000));
    while peer.hear().is_some() {}
    peer.is_closed(close::MALFORMED, "30,000 questions");
    ground.not_grown("questions without end");
}

#[test]
fn a_hundred_boards_fetch_at_once_and_results_flow() {
    let mut ground = Ground::start();
    let street = Street::to(&ground);
    let image = repository(&ground, 400_000);
    let mut peers: Vec<_> = (0..100).map(|_| (street.join(&ground).0, 0_usize)).collect();
    for (peer, _) in &mut peers {
        peer.say(&ask(1, target(&name()), 0));
    }
    ground.undisturbed("a hundred boards began to fetch");
    while let Some(open) = peers.iter().position(|(_, fetched)| *fetched < image.len()) {
        for (peer, fetched) in &mut peers[open..] {
            if *fetched == image.len() {
                continue;
            }
            let piece = bytes(peer.hear_until(answer).said, image.len());
            assert_eq!(piece, image[*fetched..*fetched + piece.len()]);
            *fetched += piece.len();
            if *fetched < image.len() {
                peer.say(&ask(1, target(&name()), *fetched as u64));
            }
        }
    }
    ground.not_grown("a hundred boards that fetched");
}
