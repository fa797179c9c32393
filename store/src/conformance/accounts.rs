//! Accounts, keys, and how probes join.

use std::sync::Arc;

use sonde_protocol::ids::{AccountId, MeasurementId, ProbeId};
use sonde_protocol::key::PublicKey;
use sonde_protocol::time::UnixNanos;

use super::{Fixture, at};
use crate::Catalog;
use crate::catalog::{Admission, ApiKey, Grant, Probe, Slice};

/// An account for a check.
pub(super) async fn account(catalog: &Arc<dyn Catalog>, email: &str) -> AccountId {
    catalog.add_account(email, at(0)).await.unwrap().expect("the address is new").id
}

/// A probe for a check, with a key made of `n`.
pub(super) async fn probe(catalog: &Arc<dyn Catalog>, owner: AccountId, n: u8) -> ProbeId {
    let token = [n; 32];
    catalog.add_join_token(&token, owner, at(0), at(1_000_000)).await.unwrap();
    match catalog.admit(&PublicKey([n; 32]), Some(&token), at(0)).await.unwrap() {
        Admission::Joined(probe) => probe.id,
        other => panic!("{other:?}"),
    }
}

pub(super) async fn a_mail_address_has_one_account_in_any_case(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = catalog.add_account("Ada@Example.NET", at(7)).await.unwrap().unwrap();
    assert_eq!((ada.email.as_str(), ada.created_at), ("ada@example.net", at(7)));
    assert_eq!(catalog.add_account("ada@example.net", at(8)).await.unwrap(), None);
    assert_eq!(catalog.add_account("ADA@EXAMPLE.NET", at(8)).await.unwrap(), None);
    let bob = catalog.add_account("bob@example.net", at(9)).await.unwrap().unwrap();
    assert_ne!(ada.id, bob.id);
    assert_eq!(catalog.account_by_email("carol@example.net").await.unwrap(), None);
    drop(catalog);
    let catalog = place.open().await;
    assert_eq!(catalog.account_by_email("aDa@example.net").await.unwrap(), Some(ada));
    assert_eq!(catalog.account_by_email("bob@example.net").await.unwrap(), Some(bob));
}

pub(super) async fn a_disabled_account_has_no_keys(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let (ada, bob) = (account(&catalog, "ada@example.net").await, account(&catalog, "bob@example.net").await);
    let key = ApiKey {
        digest: [1; 32],
        account: ada,
        label: String::new(),
        created_at: at(0),
        enabled: true,
        valid_from: None,
        valid_to: None,
        grants: None,
    };
    catalog.add_key(&key).await.unwrap();
    assert!(catalog.set_disabled(ada, Some(at(9))).await.unwrap());
    assert!(!catalog.set_disabled(AccountId(999), Some(at(9))).await.unwrap());
    drop(catalog);
    let catalog = place.open().await;
    assert_eq!(catalog.key(&key.digest).await.unwrap(), None);
    assert_eq!(catalog.keys(ada).await.unwrap(), std::slice::from_ref(&key), "it is not lost");
    let slice = Slice { offset: 0, limit: 1, descending: false };
    let page = catalog.accounts(slice).await.unwrap();
    assert_eq!((page.total, page.items[0].id, page.items[0].disabled_at), (2, ada, Some(at(9))));
    let page = catalog.accounts(Slice { limit: 5, descending: true, ..slice }).await.unwrap();
    assert_eq!(page.items.iter().map(|one| one.id).collect::<Vec<_>>(), [bob, ada]);
    assert!(catalog.set_disabled(ada, None).await.unwrap());
    assert_eq!(catalog.key(&key.digest).await.unwrap(), Some(key));
    assert_eq!(catalog.account(ada).await.unwrap().unwrap().disabled_at, None);
    assert_eq!(catalog.account(AccountId(999)).await.unwrap(), None);
}

pub(super) async fn keys_are_found_by_their_digest(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let (ada, bob) = (account(&catalog, "ada@example.net").await, account(&catalog, "bob@example.net").await);
    let key = |n: u8, account, enabled| ApiKey {
        digest: [n; 32],
        account,
        label: format!("key {n}"),
        created_at: at(i64::from(n)),
        enabled,
        valid_from: None,
        valid_to: None,
        grants: None,
    };
    let keys = [key(1, ada, true), key(2, ada, false), key(3, bob, true)];
    for key in &keys {
        catalog.add_key(key).await.unwrap();
    }
    catalog.add_key(&keys[0]).await.unwrap_err();
    catalog.add_key(&key(4, AccountId(999), true)).await.unwrap_err();
    drop(catalog);
    let catalog = place.open().await;
    for key in &keys {
        assert_eq!(catalog.key(&key.digest).await.unwrap().as_ref(), Some(key));
    }
    assert_eq!(catalog.key(&[4; 32]).await.unwrap(), None, "a key of nobody");
    assert_eq!(catalog.keys(ada).await.unwrap(), keys[..2]);
    assert_eq!(catalog.keys(AccountId(999)).await.unwrap(), []);
}

pub(super) async fn a_key_changes_whole_and_only_for_its_account(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let (ada, bob) = (account(&catalog, "ada@example.net").await, account(&catalog, "bob@example.net").await);
    let grant = |name: &str, id: Option<u64>| Grant { permission: name.into(), measurement: id.map(MeasurementId) };
    let mut key = ApiKey {
        digest: [1; 32],
        account: ada,
        label: "first".into(),
        created_at: at(1),
        enabled: true,
        valid_from: Some(at(5)),
        valid_to: Some(at(9)),
        grants: Some(vec![grant("b", Some(7)), grant("a", None)]),
    };
    catalog.add_key(&key).await.unwrap();
    assert_eq!(catalog.key(&key.digest).await.unwrap().as_ref(), Some(&key));
    key = ApiKey { label: "second".into(), enabled: false, valid_from: None, grants: Some(vec![]), ..key };
    assert!(!catalog.change_key(&ApiKey { account: bob, ..key.clone() }).await.unwrap());
    assert!(catalog.change_key(&key).await.unwrap());
    drop(catalog);
    let catalog = place.open().await;
    assert_eq!(catalog.keys(ada).await.unwrap(), [key.clone()], "no grant is not every grant");
    key = ApiKey { valid_to: None, grants: Some(vec![grant("c", None)]), ..key };
    assert!(catalog.change_key(&key).await.unwrap());
    assert!(!catalog.remove_key(bob, &key.digest).await.unwrap());
    assert_eq!(catalog.keys(ada).await.unwrap(), [key.clone()]);
    assert!(catalog.remove_key(ada, &key.digest).await.unwrap());
    assert!(!catalog.remove_key(ada, &key.digest).await.unwrap());
    assert!(!catalog.change_key(&key).await.unwrap());
    assert_eq!(catalog.key(&key.digest).await.unwrap(), None);
}

fn known(admission: Admission) -> Probe {
    match admission {
        Admission::Known(probe) => *probe,
        other => panic!("{other:?}"),
    }
}

pub(super) async fn a_token_lets_one_key_join(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let (key, other) = (PublicKey([1; 32]), PublicKey([2; 32]));
    let (token, wrong) = ([7; 32], [8; 32]);
    catalog.add_join_token(&token, ada, at(0), at(100)).await.unwrap();
    catalog.add_join_token(&token, ada, at(0), at(100)).await.unwrap_err();
    assert_eq!(catalog.admit(&key, None, at(1)).await.unwrap(), Admission::UnknownKey);
    assert_eq!(catalog.admit(&key, Some(&wrong), at(1)).await.unwrap(), Admission::BadToken);
    let Admission::Joined(joined) = catalog.admit(&key, Some(&token), at(2)).await.unwrap() else { panic!() };
    let nobody = Probe {
        id: joined.id,
        key,
        owner: ada,
        created_at: at(2),
        description: None,
        connection: None,
        first_connected: None,
        last_connected: None,
        address_v4: None,
        address_v6: None,
        address_is_public: false,
        asn_v4: None,
        asn_v6: None,
        country: None,
        country_given: false,
        place: None,
        software: None,
        kinds: None,
        uplink: None,
        tags: vec![],
        is_anchor: false,
        total_uptime: 0,
        vouched: true,
        consent: None,
        duplicate_at: None,
    };
    assert_eq!(*joined, nobody);
    drop(catalog);

    let catalog = place.open().await;
    assert_eq!(catalog.admit(&other, Some(&token), at(3)).await.unwrap(), Admission::UsedToken(ada), "another key's");
    assert_eq!(catalog.admit(&other, Some(&token), at(100)).await.unwrap(), Admission::BadToken, "for a time");
    assert_eq!(catalog.admit(&other, None, at(3)).await.unwrap(), Admission::UnknownKey, "and nothing came of it");
    // A known key is known, whatever it brings.
    for token in [None, Some(&token), Some(&wrong)] {
        assert_eq!(known(catalog.admit(&key, token, at(1000)).await.unwrap()), nobody);
    }
    assert_eq!(catalog.probe(joined.id).await.unwrap(), Some(nobody));
    assert_eq!(catalog.probe(ProbeId(joined.id.0 + 1)).await.unwrap(), None);
    assert_ne!(probe(&catalog, ada, 9).await, joined.id);
}

pub(super) async fn a_token_is_good_until_it_expires(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let (token, key) = ([7; 32], PublicKey([1; 32]));
    catalog.add_join_token(&token, ada, at(0), at(100)).await.unwrap();
    assert_eq!(catalog.admit(&key, Some(&token), at(100)).await.unwrap(), Admission::BadToken);
    // The refused try has not bound it.
    let last = UnixNanos(at(100).0 - 1);
    let other = catalog.admit(&PublicKey([2; 32]), Some(&token), last).await.unwrap();
    assert!(matches!(other, Admission::Joined(_)), "{other:?}");
}
