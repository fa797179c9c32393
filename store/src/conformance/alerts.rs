//! Alert rules, and what their owners are told.

use std::sync::Arc;

use sonde_protocol::ids::{AccountId, ProbeId};

use super::accounts::account;
use super::measurements::{add, ping};
use super::{Fixture, at};
use crate::Catalog;
use crate::catalog::{AlertRule, AlertState, Attempt, NewAlertRule, Slice};

const ALL: Slice = Slice { offset: 0, limit: 100, descending: false };

async fn rule(catalog: &Arc<dyn Catalog>, owner: AccountId) -> AlertRule {
    let asked = NewAlertRule {
        owner,
        measurement: add(catalog, ping(owner, &[])).await,
        description: "Ümläut".into(),
        condition: r#"{"metric":"loss"}"#.into(),
        url: "https://example.net/hook".into(),
        secret: vec![0, 1, 255],
        enabled: true,
    };
    let made = catalog.add_alert_rule(&asked, 10, at(1)).await.unwrap().unwrap();
    assert_eq!((&made.asked, &made.state, made.created_at), (&asked, &AlertState::default(), at(1)));
    made
}

fn alerting(probes: &[u64]) -> AlertState {
    AlertState { alerting: true, since: Some(at(5)), probes: probes.iter().copied().map(ProbeId).collect() }
}

pub(super) async fn a_rule_is_its_owners(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let bob = account(&catalog, "bob@example.net").await;
    let (one, two) = (rule(&catalog, ada).await, rule(&catalog, ada).await);
    rule(&catalog, bob).await;
    let page = catalog.alert_rules(ada, Slice { limit: 1, descending: true, ..ALL }).await.unwrap();
    assert_eq!((page.total, &page.items[..]), (2, &[two.clone()][..]));
    assert_eq!(catalog.add_alert_rule(&one.asked, 2, at(2)).await.unwrap(), None, "she has two");

    let stolen = NewAlertRule { owner: bob, ..one.asked.clone() };
    assert!(!catalog.change_alert_rule(one.id, &stolen).await.unwrap());
    assert!(!catalog.remove_alert_rule(bob, one.id).await.unwrap());
    assert_eq!(catalog.alert_rule(one.id).await.unwrap(), Some(one.clone()));

    let off = NewAlertRule { enabled: false, description: "off".into(), ..one.asked.clone() };
    assert!(catalog.change_alert_rule(one.id, &off).await.unwrap());
    let watched = catalog.watched_alert_rules(0, 10).await.unwrap();
    assert_eq!(watched.iter().map(|rule| rule.asked.owner).collect::<Vec<_>>(), [ada, bob], "not what is off");
    assert_eq!(catalog.watched_alert_rules(two.id, 10).await.unwrap().len(), 1);
    assert!(catalog.remove_alert_rule(ada, one.id).await.unwrap());
    assert_eq!(catalog.alert_rule(one.id).await.unwrap(), None);
}

pub(super) async fn a_state_and_what_is_told_of_it_come_together(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let made = rule(&catalog, ada).await;
    assert!(catalog.set_alert_state(&made, &alerting(&[3, 7]), Some("raised"), at(5)).await.unwrap());
    let now = catalog.alert_rule(made.id).await.unwrap().unwrap();
    assert_eq!(now.state, alerting(&[3, 7]));
    assert!(!catalog.set_alert_state(&made, &alerting(&[]), Some("again"), at(6)).await.unwrap(), "it has changed");
    assert_eq!(catalog.deliveries(made.id, ALL).await.unwrap().total, 1);

    let other = NewAlertRule { description: "words".into(), ..now.asked.clone() };
    assert!(catalog.change_alert_rule(made.id, &other).await.unwrap());
    assert!(catalog.alert_rule(made.id).await.unwrap().unwrap().state.alerting, "words change nothing");
    let other = NewAlertRule { condition: "{}".into(), ..other };
    assert!(catalog.change_alert_rule(made.id, &other).await.unwrap());
    assert_eq!(catalog.alert_rule(made.id).await.unwrap().unwrap().state, AlertState::default());
}

pub(super) async fn a_delivery_is_due_until_it_is_over(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let made = rule(&catalog, ada).await;
    let first = catalog.add_delivery(made.id, "one", at(5)).await.unwrap();
    let second = catalog.add_delivery(made.id, "two", at(6)).await.unwrap();
    drop(catalog);

    let catalog = place.open().await;
    assert!(catalog.due_deliveries(at(4), 10).await.unwrap().is_empty());
    let due = |ids: Vec<crate::catalog::Delivery>| ids.iter().map(|one| one.id).collect::<Vec<_>>();
    assert_eq!(due(catalog.due_deliveries(at(6), 10).await.unwrap()), [first, second]);
    catalog.attempted(first, Attempt::Again(at(20)), "refused").await.unwrap();
    catalog.attempted(second, Attempt::Arrived(at(7)), "200").await.unwrap();
    assert!(catalog.due_deliveries(at(19), 10).await.unwrap().is_empty());
    let again = catalog.due_deliveries(at(20), 10).await.unwrap();
    assert_eq!((again[0].id, again[0].attempts, again[0].last.as_deref()), (first, 1, Some("refused")));

    let third = catalog.add_delivery(made.id, "three", at(21)).await.unwrap();
    catalog.attempted(third, Attempt::Unwanted, "410").await.unwrap();
    assert!(catalog.due_deliveries(at(99), 10).await.unwrap().is_empty());
    assert!(!catalog.alert_rule(made.id).await.unwrap().unwrap().asked.enabled);
    catalog.forget_deliveries(at(6)).await.unwrap();
    let left = catalog.deliveries(made.id, ALL).await.unwrap();
    assert_eq!(
        left.items.iter().map(|one| (one.id, one.ended_at)).collect::<Vec<_>>(),
        [(second, Some(at(7))), (third, None)]
    );
}
