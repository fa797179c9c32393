//! How people come in.

use std::sync::Arc;

use sonde_protocol::ids::AccountId;

use super::accounts::account;
use super::{Fixture, at};
use crate::Catalog;
use crate::catalog::{Confirmed, Consent, Invite, Invited, SignUp, SignedUp, WebSession};

const WAITING: SignedUp = SignedUp::Waiting { vouched: false };

/// A sign-up with a token and a password made of `n`, good until second 100.
fn asking(n: u8, email: &str) -> SignUp {
    SignUp {
        token: [n; 32],
        email: email.into(),
        password: format!("hash {n}"),
        consent: "1".into(),
        invite: None,
        created_at: at(i64::from(n)),
        expires: at(100),
    }
}

async fn sign_up(catalog: &Arc<dyn Catalog>, asked: &SignUp) -> SignedUp {
    catalog.sign_up(asked, 3, 5).await.unwrap()
}

async fn made(catalog: &Arc<dyn Catalog>, n: u8, seconds: i64) -> AccountId {
    match catalog.confirm(&[n; 32], at(seconds)).await.unwrap() {
        Confirmed::Made(account) => account.id,
        other => panic!("{other:?}"),
    }
}

fn session(n: u8, account: AccountId) -> WebSession {
    let created_at = at(i64::from(n));
    let user_agent = format!("browser {n}");
    WebSession { token: [n; 32], account, created_at, last_used: created_at, expires: at(100), user_agent }
}

async fn sessions(catalog: &Arc<dyn Catalog>, account: AccountId) -> Vec<u8> {
    catalog.web_sessions(account, at(50)).await.unwrap().iter().map(|session| session.token[0]).collect()
}

pub(super) async fn a_sign_up_becomes_an_account_when_it_is_confirmed(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    assert_eq!(sign_up(&catalog, &asking(1, "Ada@Example.net")).await, WAITING);
    assert_eq!(catalog.account_by_email("ada@example.net").await.unwrap(), None);
    drop(catalog);
    let catalog = place.open().await;
    let waiting = catalog.waiting(Some("ADA@example.net"), at(9), 10).await.unwrap();
    assert_eq!(waiting, [SignUp { email: "ada@example.net".into(), ..asking(1, "") }]);
    assert_eq!(catalog.confirm(&[2; 32], at(9)).await.unwrap(), Confirmed::Unknown);
    let Confirmed::Made(ada) = catalog.confirm(&[1; 32], at(9)).await.unwrap() else { panic!() };
    let consent = Some(Consent { version: "1".into(), at: at(1) });
    assert_eq!((ada.created_at, ada.verified_at, &ada.consent), (at(9), Some(at(9)), &consent));
    assert_eq!(catalog.confirm(&[1; 32], at(9)).await.unwrap(), Confirmed::Unknown, "once");
    drop(catalog);
    let catalog = place.open().await;
    assert_eq!(catalog.account_by_email("ada@example.net").await.unwrap().as_ref(), Some(&ada));
    assert_eq!(catalog.password(ada.id).await.unwrap().as_deref(), Some("hash 1"));
    assert_eq!(sign_up(&catalog, &asking(3, "ADA@example.net")).await, SignedUp::Taken);
    assert_eq!(catalog.waiting(None, at(9), 10).await.unwrap(), []);
}

pub(super) async fn whoever_confirms_has_their_own_password(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    for n in 1..=3 {
        assert_eq!(sign_up(&catalog, &asking(n, "ada@example.net")).await, WAITING);
    }
    let ada = made(&catalog, 2, 9).await;
    assert_eq!(catalog.password(ada).await.unwrap().as_deref(), Some("hash 2"));
    for n in [1, 3] {
        assert_eq!(catalog.confirm(&[n; 32], at(9)).await.unwrap(), Confirmed::Unknown, "{n}");
    }
    assert_eq!(catalog.password(ada).await.unwrap().as_deref(), Some("hash 2"));
    assert_eq!(catalog.password(AccountId(999)).await.unwrap(), None);
    // An account that the operator makes while somebody waits is not theirs.
    assert_eq!(sign_up(&catalog, &asking(4, "bob@example.net")).await, WAITING);
    let bob = account(&catalog, "bob@example.net").await;
    assert_eq!(catalog.confirm(&[4; 32], at(9)).await.unwrap(), Confirmed::Unknown);
    assert_eq!(catalog.password(bob).await.unwrap(), None);
}

pub(super) async fn sign_ups_are_bounded_and_expire(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    for n in 1..=3 {
        assert_eq!(sign_up(&catalog, &asking(n, "ada@example.net")).await, WAITING);
    }
    assert_eq!(sign_up(&catalog, &asking(4, "ada@example.net")).await, SignedUp::Full, "for this address");
    assert_eq!(sign_up(&catalog, &asking(4, "bob@example.net")).await, WAITING);
    assert_eq!(sign_up(&catalog, &asking(5, "cyd@example.net")).await, WAITING);
    assert_eq!(sign_up(&catalog, &asking(6, "dan@example.net")).await, SignedUp::Full, "in all");
    let newest: Vec<u8> =
        catalog.waiting(None, at(9), 2).await.unwrap().iter().map(|waiting| waiting.token[0]).collect();
    assert_eq!(newest, [5, 4]);
    assert_eq!(catalog.waiting(None, at(100), 9).await.unwrap(), []);
    assert_eq!(catalog.confirm(&[1; 32], at(100)).await.unwrap(), Confirmed::Unknown);
    let late = SignUp { created_at: at(100), expires: at(200), ..asking(7, "dan@example.net") };
    assert_eq!(sign_up(&catalog, &late).await, WAITING);
}

fn invitation(n: u8, inviter: Option<AccountId>, email: &str) -> Invite {
    Invite { token: [n; 32], inviter, email: email.into(), created_at: at(0), expires: at(50), used_by: None }
}

pub(super) async fn an_invitation_lets_one_address_in_once(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    catalog.invite(&invitation(11, Some(ada), "Bob@example.net"), 9).await.unwrap();
    catalog.invite(&invitation(12, None, "cyd@example.net"), 0).await.unwrap();
    let with = |n, invite: u8, email: &str| SignUp { invite: Some([invite; 32]), ..asking(n, email) };
    for (n, invite, email) in [(1, 13, "bob@example.net"), (1, 11, "cyd@example.net"), (1, 11, "ada@example.net")] {
        assert_eq!(sign_up(&catalog, &with(n, invite, email)).await, SignedUp::BadInvite, "{email}");
    }
    let late = SignUp { created_at: at(50), ..with(1, 11, "bob@example.net") };
    assert_eq!(sign_up(&catalog, &late).await, SignedUp::BadInvite);
    assert_eq!(sign_up(&catalog, &with(1, 11, "bob@example.net")).await, WAITING);
    assert_eq!(sign_up(&catalog, &with(2, 12, "cyd@example.net")).await, SignedUp::Waiting { vouched: true });
    let bob = made(&catalog, 1, 60).await;
    drop(catalog);
    let catalog = place.open().await;
    let used = Invite { used_by: Some(bob), email: "bob@example.net".into(), ..invitation(11, Some(ada), "") };
    assert_eq!(catalog.invites(ada).await.unwrap(), [used]);
    assert_eq!(catalog.invites(bob).await.unwrap(), []);
    assert_eq!(sign_up(&catalog, &with(3, 11, "bob@example.net")).await, SignedUp::BadInvite, "it is used");
}

pub(super) async fn invitations_are_counted(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let (ada, bob) = (account(&catalog, "ada@example.net").await, account(&catalog, "bob@example.net").await);
    let invite = async |n, inviter| catalog.invite(&invitation(n, inviter, "x@example.net"), 2).await.unwrap();
    assert_eq!(invite(1, Some(ada)).await, Invited::Made);
    assert_eq!(invite(2, Some(ada)).await, Invited::Made);
    assert_eq!(invite(3, Some(ada)).await, Invited::TooMany);
    assert_eq!(invite(3, Some(bob)).await, Invited::Made);
    for n in 4..=6 {
        assert_eq!(invite(n, None).await, Invited::Made, "the operator's are not counted");
    }
    assert_eq!(catalog.invites(ada).await.unwrap().len(), 2);
}

pub(super) async fn a_reset_is_good_once_and_ends_sessions(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let (ada, bob) = (account(&catalog, "ada@example.net").await, account(&catalog, "bob@example.net").await);
    for (n, account) in [(1, ada), (2, ada), (3, bob)] {
        catalog.add_reset(&[n; 32], account, at(0), at(10)).await.unwrap();
        assert!(catalog.begin_session(&session(n, account), 9).await.unwrap());
    }
    assert_eq!(catalog.reset_password(&[1; 32], "late", at(10)).await.unwrap(), None);
    assert_eq!(catalog.reset_password(&[9; 32], "unknown", at(5)).await.unwrap(), None);
    let reset = catalog.reset_password(&[1; 32], "new", at(5)).await.unwrap().unwrap();
    assert_eq!((reset.id, reset.verified_at), (ada, Some(at(5))));
    drop(catalog);
    let catalog = place.open().await;
    for n in [1, 2] {
        assert_eq!(catalog.reset_password(&[n; 32], "again", at(5)).await.unwrap(), None, "{n}");
    }
    assert_eq!(catalog.password(ada).await.unwrap().as_deref(), Some("new"));
    assert_eq!(sessions(&catalog, ada).await, [0; 0]);
    assert_eq!(sessions(&catalog, bob).await, [3]);
    catalog.add_reset(&[4; 32], ada, at(6), at(10)).await.unwrap();
    let reset = catalog.reset_password(&[4; 32], "newer", at(7)).await.unwrap().unwrap();
    assert_eq!(reset.verified_at, Some(at(5)), "the first time counts");
}

pub(super) async fn a_disabled_account_has_no_way_in(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    assert!(catalog.begin_session(&session(1, ada), 9).await.unwrap());
    catalog.add_reset(&[1; 32], ada, at(0), at(99)).await.unwrap();
    catalog.set_disabled(ada, Some(at(2))).await.unwrap();
    assert_eq!(catalog.web_session(&[1; 32], at(3)).await.unwrap(), None);
    assert!(!catalog.begin_session(&session(2, ada), 9).await.unwrap());
    assert!(!catalog.begin_session(&session(2, AccountId(999)), 9).await.unwrap());
    catalog.add_reset(&[2; 32], ada, at(3), at(99)).await.unwrap();
    assert_eq!(catalog.reset_password(&[2; 32], "new", at(3)).await.unwrap(), None);
    catalog.set_disabled(ada, None).await.unwrap();
    assert_eq!(catalog.reset_password(&[1; 32], "new", at(3)).await.unwrap(), None, "it was forgotten");
    assert_eq!(sessions(&catalog, ada).await, [0; 0]);
}

pub(super) async fn sessions_end_by_time_by_choice_and_by_number(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let (ada, bob) = (account(&catalog, "ada@example.net").await, account(&catalog, "bob@example.net").await);
    for (n, account) in [(1, ada), (2, ada), (3, bob), (4, ada)] {
        assert!(catalog.begin_session(&session(n, account), 2).await.unwrap());
    }
    assert_eq!(sessions(&catalog, ada).await, [2, 4], "the oldest made room");
    catalog.touch_session(&[2; 32], at(40)).await.unwrap();
    drop(catalog);
    let catalog = place.open().await;
    let touched = WebSession { last_used: at(40), ..session(2, ada) };
    assert_eq!(catalog.web_session(&[2; 32], at(99)).await.unwrap(), Some(touched));
    assert_eq!(catalog.web_session(&[2; 32], at(100)).await.unwrap(), None);
    assert!(!catalog.end_session(bob, &[2; 32]).await.unwrap(), "it is not his");
    assert!(catalog.end_session(ada, &[2; 32]).await.unwrap());
    assert!(!catalog.end_session(ada, &[2; 32]).await.unwrap());
    assert!(catalog.begin_session(&session(5, ada), 2).await.unwrap());
    catalog.end_sessions(ada, Some(&[4; 32])).await.unwrap();
    assert_eq!(sessions(&catalog, ada).await, [4]);
    catalog.end_sessions(ada, None).await.unwrap();
    assert_eq!(sessions(&catalog, ada).await, [0; 0]);
    assert_eq!(sessions(&catalog, bob).await, [3]);
}

pub(super) async fn a_changed_password_ends_the_other_sessions(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    assert_eq!(catalog.password(ada).await.unwrap(), None, "the operator gives none");
    for n in 1..=3 {
        assert!(catalog.begin_session(&session(n, ada), 9).await.unwrap());
    }
    catalog.add_reset(&[1; 32], ada, at(0), at(99)).await.unwrap();
    catalog.change_password(ada, "new", Some(&[2; 32])).await.unwrap();
    assert_eq!(sessions(&catalog, ada).await, [2]);
    assert_eq!(catalog.password(ada).await.unwrap().as_deref(), Some("new"));
    assert_eq!(catalog.reset_password(&[1; 32], "other", at(5)).await.unwrap(), None);
}
