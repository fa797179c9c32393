//! What is wrong with probes.

use sonde_protocol::bounded::{List, Text};
use sonde_protocol::condition::{Condition, Word};
use sonde_protocol::ids::ProbeId;
use sonde_protocol::message::{HostPause, HostState};

use super::accounts::{account, probe};
use super::{Fixture, at};
use crate::Catalog;
use crate::catalog::{ProbeHealth, ToldCondition, ToldHost};

pub(super) async fn what_a_probe_tells_is_kept(place: &impl Fixture<dyn Catalog>) {
    let catalog = place.open().await;
    let ada = account(&catalog, "ada@example.net").await;
    let (one, two) = (probe(&catalog, ada, 1).await, probe(&catalog, ada, 2).await);
    let tell = |word: u16, began, ended: Option<u32>, detail: &str| Condition {
        word,
        began,
        ended,
        detail: Text::new(detail),
        cut_off: ended.is_some(),
    };
    let newer = 60_000;
    let told = [tell(Word::DnsSilent.number(), 20, None, "192.0.2.53"), tell(newer, 90, Some(30), "")];
    catalog.record_health(one, &told, at(100)).await.unwrap();
    catalog.record_health(ProbeId(two.0 + 9), &told, at(100)).await.unwrap();
    drop(catalog);
    let catalog = place.open().await;
    let kept = |word, since, ended: Option<i64>, detail: &str| ToldCondition {
        word,
        since: at(since),
        ended: ended.map(at),
        detail: detail.into(),
        cut_off: word == newer,
    };
    let dns = Word::DnsSilent.number();
    let found = catalog.health(&[two, one]).await.unwrap();
    assert_eq!(found[0], ProbeHealth::default());
    let expected = vec![kept(dns, 80, None, "192.0.2.53"), kept(newer, 10, Some(70), "")];
    assert_eq!(found[1], ProbeHealth { told_at: Some(at(100)), conditions: expected, host: None });
    catalog.record_health(one, &[], at(160)).await.unwrap();
    let found = catalog.health(&[one]).await.unwrap();
    let expected = vec![kept(dns, 80, Some(160), "192.0.2.53"), kept(newer, 10, Some(70), "")];
    assert_eq!(found[0], ProbeHealth { told_at: Some(at(160)), conditions: expected, host: None });

    let state = |bytes| HostState {
        measured_today: bytes,
        pause: Some(HostPause { remaining: Some(60) }),
        kinds: List::cut([1, u8::MAX]),
        hours: List::cut([Text::cut("22:00-06:00")]),
        ..HostState::default()
    };
    for (second, bytes) in [(200, 7), (260, u64::MAX)] {
        catalog.record_host(one, &state(bytes), at(second)).await.unwrap();
        let found = catalog.health(&[one, two]).await.unwrap();
        let told = ToldHost { told_at: at(second), state: state(bytes) };
        assert_eq!((found[0].host.as_ref(), found[0].told_at), (Some(&told), Some(at(160))), "the newest counts");
        assert_eq!(found[1], ProbeHealth::default());
    }
    catalog.record_host(ProbeId(two.0 + 9), &state(1), at(300)).await.unwrap();
}
