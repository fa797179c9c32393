//! Keys that wait, probes that are nobody's, and other keys for probes.

use std::net::IpAddr;
use std::sync::Arc;

use sonde_protocol::identity::ClaimCode;
use sonde_protocol::ids::{AccountId, ProbeId};
use sonde_protocol::key::PublicKey;
use sonde_protocol::net::Uplink;

use super::accounts::{account, probe};
use super::{Fixture, at};
use crate::Catalog;
use crate::catalog::{
    Admission, Claimed, Consent, Knock, Knocked, MAX_UNVOUCHED_OF_NETWORK, MAX_WAITING_OF_NETWORK, NOBODY, NewSession,
    Probe, ProbeFilter, Ranking, Rates, Rebound, Slice, TURNED_AWAY_FOR, Waiting,
};

const DAY: i64 = 86_400;
const ALL: Slice = Slice { offset: 0, limit: 100, descending: false };

fn key(n: u8) -> PublicKey {
    PublicKey([n; 32])
}

fn knock(n: u8, owner: Option<AccountId>, seconds: i64) -> Knock {
    // A code of its own for each try.
    let code = ClaimCode::from_random(u64::from(n) * 1_000_000_007 + seconds.unsigned_abs());
    let address = IpAddr::from([192, 0, 2, n]);
    Knock { key: key(n), owner, address, software: "test".into(), code, at: at(seconds) }
}

async fn waits(catalog: &Arc<dyn Catalog>, n: u8, owner: Option<AccountId>, seconds: i64) -> Waiting {
    match catalog.knock(&knock(n, owner, seconds)).await.unwrap() {
        Knocked::Waits(waiting) => waiting,
        other => panic!("{other:?}"),
    }
}

async fn claim(catalog: &Arc<dyn Catalog>, code: &ClaimCode, account: AccountId, seconds: i64) -> Option<Probe> {
    match catalog.claim(code, None, account, "7", at(seconds)).await.unwrap() {
        Claimed::Yours(probe) => Some(*probe),
        Claimed::Unknown => None,
        Claimed::OtherKey => panic!("none was meant"),
    }
}

async fn listed(catalog: &Arc<dyn Catalog>, owner: Option<AccountId>, seconds: i64) -> Vec<u8> {
    let page = catalog.waiting_keys(owner, ALL, at(seconds)).await.unwrap();
    assert_eq!(page.total, page.items.len() as u64);
    page.items.iter().map(|waiting| waiting.key.0[0]).collect()
}

pub(super) async fn a_waiting_key_is_claimed_by_its_code(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let (ada, bob) = (account(&catalog, "ada@example.net").await, account(&catalog, "bob@example.net").await);
    let first = waits(&catalog, 1, None, 0).await;
    assert_eq!((first.key, first.since, first.expires), (key(1), at(0), at(DAY)));
    let again = waits(&catalog, 1, None, 60).await;
    assert_eq!((again.code, again.since, again.last_seen), (first.code, at(0), at(60)), "the code stays");
    let other = waits(&catalog, 2, None, 1).await;
    assert_eq!(listed(&catalog, None, 60).await, [1, 2]);
    assert_eq!(listed(&catalog, Some(ada), 60).await, [0u8; 0], "they wait for nobody in particular");
    let wrong = ClaimCode::from_random(0);
    assert_eq!(claim(&catalog, &wrong, ada, 60).await, None);
    drop(catalog);

    let catalog = place.open().await;
    let meant = catalog.claim(&first.code, Some(&key(9)), ada, "7", at(69)).await.unwrap();
    assert_eq!(meant, Claimed::OtherKey, "and nothing happens");
    let mine = claim(&catalog, &first.code, ada, 70).await.unwrap();
    let consent = Some(Consent { version: "7".into(), at: at(70) });
    assert_eq!((mine.key, mine.owner, mine.vouched, &mine.consent), (key(1), ada, true, &consent));
    assert_eq!(claim(&catalog, &first.code, bob, 71).await, None, "a code is good once");
    let known = catalog.admit(&key(1), None, at(72)).await.unwrap();
    assert_eq!(known, Admission::Known(Box::new(mine)));
    assert_eq!(listed(&catalog, None, 72).await, [2]);
    // A code ends after a day, and the next knock brings another.
    assert_eq!(claim(&catalog, &other.code, ada, DAY + 1).await, None);
    let fresh = waits(&catalog, 2, None, DAY + 2).await;
    assert_ne!(fresh.code, other.code);
    assert!(claim(&catalog, &fresh.code, bob, DAY + 3).await.is_some());
}

pub(super) async fn a_key_with_a_used_token_waits_for_the_tokens_owner(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let (ada, bob) = (account(&catalog, "ada@example.net").await, account(&catalog, "bob@example.net").await);
    let waiting = waits(&catalog, 1, Some(ada), 0).await;
    assert_eq!(listed(&catalog, Some(ada), 1).await, [1]);
    assert_eq!(listed(&catalog, Some(bob), 1).await, [0u8; 0]);
    assert_eq!(claim(&catalog, &waiting.code, bob, 1).await, None, "it is ada's to decide");
    assert_eq!(waits(&catalog, 1, None, 2).await.owner, Some(ada), "also when it comes without the token");
    assert_eq!(catalog.turn_away(&waiting.code, Some(bob), at(3)).await.unwrap(), None);
    assert_eq!(catalog.turn_away(&waiting.code, Some(ada), at(3)).await.unwrap(), Some(key(1)));
    assert_eq!(listed(&catalog, None, 4).await, [0u8; 0]);
    assert_eq!(claim(&catalog, &waiting.code, ada, 4).await, None);
    assert_eq!(catalog.knock(&knock(1, Some(ada), 5)).await.unwrap(), Knocked::TurnedAway);
    let later = i64::try_from(TURNED_AWAY_FOR.as_secs()).unwrap() + 3;
    waits(&catalog, 1, None, later).await;
    // What waits for anybody is the operator's to turn away, no account's.
    let open = waits(&catalog, 2, None, later).await;
    assert_eq!(catalog.turn_away(&open.code, Some(bob), at(later)).await.unwrap(), None);
    assert_eq!(catalog.turn_away(&open.code, None, at(later)).await.unwrap(), Some(key(2)));
}

pub(super) async fn waiting_is_bounded_by_network(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let most = u8::try_from(MAX_WAITING_OF_NETWORK).unwrap();
    for n in 0..most {
        waits(&catalog, n, None, 0).await;
    }
    assert_eq!(catalog.knock(&knock(most, None, 1)).await.unwrap(), Knocked::Full);
    waits(&catalog, 0, None, 1).await;
    for (n, address, fits) in
        [(101, "192.0.3.1", true), (102, "2001:db8:0:100::1", true), (103, "::ffff:192.0.2.77", false)]
    {
        let knock = Knock { address: address.parse().unwrap(), ..knock(n, None, 2) };
        assert_eq!(matches!(catalog.knock(&knock).await.unwrap(), Knocked::Waits(_)), fits, "{address}");
    }
    waits(&catalog, most, None, DAY + 1).await;
}

async fn online(catalog: &Arc<dyn Catalog>, probe: ProbeId, seconds: i64) {
    let session = NewSession {
        probe,
        public_address: "192.0.2.9".parse().unwrap(),
        addresses: vec![],
        kinds: None,
        families: vec![],
        software: "test".into(),
        uplink: Uplink::Quic,
        at: at(seconds),
    };
    catalog.open_session(&session).await.unwrap();
}

pub(super) async fn an_open_network_takes_probes_that_count_when_somebody_vouches(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let join = async |n: u8, from: &str, seconds| {
        catalog.join_open(&key(n), from.parse().unwrap(), at(seconds)).await.unwrap().map(|probe| probe.id)
    };
    catalog.begin_charging(at(0)).await.unwrap();
    let first = join(1, "2001:db8:0:1::1", 0).await.unwrap();
    let second = join(2, "2001:db8:0:ff::2", 0).await.unwrap();
    assert_eq!(MAX_UNVOUCHED_OF_NETWORK, 2);
    assert_eq!(join(3, "2001:db8:0:42::3", 1).await, None, "it is the same /56");
    join(4, "2001:db8:0:100::4", 1).await.unwrap();
    online(&catalog, first, 2).await;
    let found = catalog.probe(first).await.unwrap().unwrap();
    assert_eq!((found.owner, found.vouched, found.consent), (NOBODY, false, None));
    let which = async |vouched| {
        let filter = ProbeFilter { vouched: Some(vouched), ..ProbeFilter::default() };
        catalog.probes(&filter, ALL).await.unwrap().total
    };
    assert_eq!((which(true).await, which(false).await), (0, 3));
    assert_eq!(catalog.probe_ranking(Ranking::NetworkV4, 9).await.unwrap(), []);
    // Nobody earns by them.
    assert_eq!(catalog.book_income(Rates { probe: 15, anchor: 150 }, at(602)).await.unwrap(), 0);

    // The operator vouches, or somebody makes it theirs.
    assert!(catalog.vouch(second).await.unwrap());
    assert!(!catalog.vouch(ProbeId(999)).await.unwrap());
    assert!(join(3, "2001:db8:0:42::3", 603).await.is_some(), "there is room again");
    let code = waits(&catalog, 1, None, 604).await.code;
    let mine = claim(&catalog, &code, ada, 605).await.unwrap();
    assert_eq!((mine.id, mine.owner, mine.vouched), (first, ada, true));
    assert_eq!(catalog.probe_ranking(Ranking::NetworkV4, 9).await.unwrap(), [("192.0.2.0/24".to_owned(), 1)]);
    assert_eq!(catalog.book_income(Rates { probe: 15, anchor: 150 }, at(665)).await.unwrap(), 15);
    // A probe that is somebody's has no code, whatever it is told.
    let code = waits(&catalog, 1, None, 700).await.code;
    assert_eq!(claim(&catalog, &code, account(&catalog, "bob@example.net").await, 701).await, None);
}

pub(super) async fn a_probe_gets_another_key_from_its_owner(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let (ada, bob) = (account(&catalog, "ada@example.net").await, account(&catalog, "bob@example.net").await);
    let mine = probe(&catalog, ada, 1).await;
    let theirs = probe(&catalog, bob, 2).await;
    catalog.note_duplicate(mine, at(1)).await.unwrap();
    assert_eq!(catalog.probe(mine).await.unwrap().unwrap().duplicate_at, Some(at(1)));
    let code = waits(&catalog, 3, Some(ada), 2).await.code;
    assert_eq!(catalog.rebind(theirs, &code, None, at(3)).await.unwrap(), Rebound::Unknown, "it waits for ada");
    assert_eq!(catalog.rebind(ProbeId(999), &code, None, at(3)).await.unwrap(), Rebound::Unknown);
    assert_eq!(catalog.rebind(mine, &code, Some(&key(4)), at(3)).await.unwrap(), Rebound::OtherKey);
    let done = catalog.rebind(mine, &code, Some(&key(3)), at(3)).await.unwrap();
    assert_eq!(done, Rebound::Done { key: key(3), emptied: None });
    let found = catalog.probe(mine).await.unwrap().unwrap();
    assert_eq!((found.key, found.owner, found.duplicate_at), (key(3), ada, None));
    let old = Admission::Replaced { probe: mine, at: at(3) };
    // Not even with its token.
    assert_eq!(catalog.admit(&key(1), Some(&[1; 32]), at(4)).await.unwrap(), old);
    assert_eq!(catalog.admit(&key(3), None, at(4)).await.unwrap(), Admission::Known(Box::new(found)));

    // In an open network the new board has become a probe before anybody was asked.
    let empty = catalog.join_open(&key(5), "192.0.2.1".parse().unwrap(), at(5)).await.unwrap().unwrap().id;
    let code = waits(&catalog, 5, None, 6).await.code;
    let done = catalog.rebind(mine, &code, None, at(7)).await.unwrap();
    assert_eq!(done, Rebound::Done { key: key(5), emptied: Some(empty) });
    assert_eq!(catalog.probe(mine).await.unwrap().unwrap().key, key(5));
    assert!(catalog.probe(empty).await.unwrap().is_some_and(|probe| probe.key != key(5)));
    assert_eq!(catalog.admit(&key(3), None, at(8)).await.unwrap(), Admission::Replaced { probe: mine, at: at(7) });
}

pub(super) async fn a_probe_changes_its_key_itself(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let (mine, other) = (probe(&catalog, ada, 1).await, probe(&catalog, ada, 2).await);
    waits(&catalog, 9, None, 0).await;
    for (old, new, why) in [(8, 7, "it is not its key"), (1, 2, "another's"), (1, 9, "somebody waits with it")] {
        assert!(!catalog.rotate(mine, &key(old), &key(new), at(1)).await.unwrap(), "{why}");
    }
    for _ in 0..2 {
        assert!(catalog.rotate(mine, &key(1), &key(3), at(2)).await.unwrap(), "twice is once");
    }
    assert_eq!(catalog.probe(mine).await.unwrap().unwrap().key, key(3));
    assert_eq!(catalog.admit(&key(1), None, at(3)).await.unwrap(), Admission::Replaced { probe: mine, at: at(2) });
    assert!(!catalog.rotate(other, &key(2), &key(1), at(4)).await.unwrap(), "nobody becomes what another was");
    assert!(!catalog.rotate(mine, &key(3), &key(1), at(4)).await.unwrap());
}
