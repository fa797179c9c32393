//! Who may come in: known and unknown keys, and join tokens that are unknown, broken, or somebody else's.

use sonde_protocol::bounded::{Bytes, List};
use sonde_protocol::message::{Hello, RefusedReason, Up};
use sonde_protocol::tls::SecretKey;

use crate::ground::Ground;
use crate::peer::{Street, hello};

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
    assert_eq!(refused(&key, Up::Hello(hello()), "no token"), RefusedReason::UnknownKey);
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
    assert_eq!(refused(&thief, with(token.as_bytes()), "a used token"), RefusedReason::Token);
    assert_eq!(refused(&thief, Up::Hello(hello()), "the thief without it"), RefusedReason::UnknownKey);
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
