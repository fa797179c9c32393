//! Who may come in: known and unknown keys, and join tokens that are unknown, broken, or somebody else's.

use sonde_protocol::bounded::{Bytes, List};
use sonde_protocol::identity::Rotation;
use sonde_protocol::key::PublicKey;
use sonde_protocol::message::{Health, Hello, RefusedReason, TimeRequest, Up};
use sonde_protocol::tls::SecretKey;

use crate::ground::Ground;
use crate::peer::{Street, close, hello};

fn with(token: &[u8]) -> Up {
    Up::Hello(Hello { token: Bytes::new(token), ..hello() })
}

#[test]
fn keys_and_tokens_at_the_door() {
    let mut ground = Ground::start();
    let street = Street::to(&ground);
    let key = SecretKey::generate().unwrap();
    let refused = |key: &SecretKey, hello: Up, case: &str| {
        let mut peer = street.meet(key);
        peer.say(&hello);
        peer.is_refused(case).0
    };
    let waits = |key: &SecretKey, hello: Up, case: &str| {
        let mut peer = street.meet(key);
        peer.say(&hello);
        peer.is_kept_waiting(case)
    };
    let code = waits(&key, Up::Hello(hello()), "no token");
    assert_eq!(waits(&key, Up::Hello(hello()), "no token again"), code);
    for (case, token) in [
        ("an unknown token", &b"not a token of ours"[..]),
        ("an empty token", b""),
        ("zeros", &[0; 64]),
        ("bytes that are no text", &[0xff; 20]),
    ] {
        assert_eq!(refused(&key, with(token), case), RefusedReason::Token);
    }

    let token = ground.card().token.unwrap();
    let mut first = street.meet(&key);
    first.say(&with(token.as_bytes()));
    let number = first.welcome().probe;
    let thief = SecretKey::generate().unwrap();
    assert_ne!(waits(&thief, with(token.as_bytes()), "a used token"), code);
    waits(&thief, Up::Hello(hello()), "the thief without it");
    first.is_well();
    // Whoever has not heard the welcome says the token again; and a known key needs none, nor is a wrong one held
    // against it.
    for again in [with(token.as_bytes()), Up::Hello(hello()), with(b"not a token of ours")] {
        let mut second = street.meet(&key);
        second.say(&again);
        assert_eq!(second.welcome().probe, number);
        second.is_well();
    }
    assert_ne!(street.join(&ground).2.probe, number, "each token is a probe of its own");

    let strange = Hello { versions: List::cut([0, 2, 999]), ..hello() };
    assert_eq!(refused(&key, Up::Hello(strange), "other versions"), RefusedReason::Version);
    let silent = Hello { versions: List::default(), ..hello() };
    assert_eq!(refused(&key, Up::Hello(silent), "no version"), RefusedReason::Version);
    ground.not_grown("keys and tokens");
}

#[test]
fn whoever_waits_says_what_it_likes_and_is_not_served() {
    let mut ground = Ground::start();
    let street = Street::to(&ground);
    let key = SecretKey::generate().unwrap();
    for case in 0..20 {
        let mut peer = street.meet(&key);
        peer.say(&Up::Hello(hello()));
        peer.is_kept_waiting("a stranger");
        // None of it is out of turn for a probe that does not know yet that it waits; and none is answered.
        for up in [
            Up::Hello(hello()),
            Up::Health(Health::default()),
            Up::OrdersApplied(None),
            Up::TimeRequest(TimeRequest { sent_at: case }),
            Up::Rotate(Rotation::new(PublicKey([7; 32]), [1; 64], [2; 64]).unwrap()),
        ] {
            peer.say(&up);
        }
    }
    // A probe that is served and asks for a key with signatures that are none is sent away, and keeps its key.
    let token = ground.card().token.unwrap();
    let mut served = street.meet(&key);
    served.say(&with(token.as_bytes()));
    let number = served.welcome().probe;
    let (own, new) = (SecretKey::generate().unwrap(), PublicKey([7; 32]));
    let message = Rotation::to_sign(&key.public(), &new);
    for (case, by_old, by_new) in [
        ("nobody signed", [0; 64], [0; 64]),
        ("only the old key signed", key.sign(&message), own.sign(&message)),
        ("another key signed for the old one", own.sign(&message), own.sign(&message)),
    ] {
        let mut served = street.meet(&key);
        served.say(&Up::Hello(hello()));
        assert_eq!(served.welcome().probe, number);
        served.say(&Up::Rotate(Rotation::new(new, by_old, by_new).unwrap()));
        served.is_closed(close::MALFORMED, case);
    }
    ground.not_grown("waiting");
}
