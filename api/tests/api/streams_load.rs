//! The streams under load: slow readers, many readers, and backlogs that race with what is new.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use sonde_protocol::message::BootRanges;
use sonde_protocol::range_set::RangeSet;
use sonde_store::bus::{Bus, Published};
use sonde_store::results::{Batch, Results, StoredReport};
use sonde_store::sqlite::results::SqliteResults;

use crate::lab::{NOW, asking, path, worldwide};
use crate::streams::Scene;
use crate::subscriber::{Subscriber, results_of};

/// As the collector does it, from any task.
async fn commit(results: &SqliteResults, bus: &dyn Bus, reports: Vec<StoredReport>) {
    let ranges = reports.iter().map(|stored| {
        let ranges = RangeSet::of(stored.seq..=stored.seq);
        (stored.probe, BootRanges { boot: stored.boot, ranges })
    });
    let now = reports[0].arrived_at;
    let batch = Batch { ranges: ranges.collect(), reports, gaps: Vec::new(), boots: Vec::new() };
    results.append(&batch, now).await.unwrap();
    bus.publish(Arc::new(Published::Reports(batch.reports)));
}

fn with_backlog(scene: &Scene) -> Value {
    let mut parameters = results_of(scene.id);
    parameters["sendBacklog"] = json!(true);
    parameters
}

#[test]
fn a_backlog_comes_first_and_then_its_end() {
    let scene = Scene::new();
    scene.store(&[NOW - 7200, NOW - 60, NOW]);
    let mut subscriber = scene.lab.subscriber(None);
    scene.lab.runtime.block_on(subscriber.subscribe(with_backlog(&scene)));
    let mut times = [0; 3].map(|_| scene.hear(&mut subscriber));
    times.sort_unstable();
    assert_eq!(times, [NOW - 7200, NOW - 60, NOW], "of a one-off all");
    assert_eq!(scene.lab.runtime.block_on(subscriber.expect("atlas_backlog_sent")), with_backlog(&scene));
    scene.store(&[NOW + 1]);
    assert_eq!(scene.hear(&mut subscriber), NOW + 1);
}

#[test]
fn the_backlog_of_a_periodic_measurement_is_its_last_hour() {
    let mut body = asking("traceroute", "1.1.1.1", worldwide(1));
    body["is_oneoff"] = json!(false);
    let scene = Scene::with(Default::default(), body);
    scene.store(&[NOW - 3601, NOW - 3599]);
    let mut subscriber = scene.lab.subscriber(None);
    scene.lab.runtime.block_on(subscriber.subscribe(with_backlog(&scene)));
    assert_eq!(scene.hear(&mut subscriber), NOW - 3599);
    scene.lab.runtime.block_on(async {
        subscriber.expect("atlas_backlog_sent").await;
        // Without a measurement there is nothing to look for.
        subscriber.subscribe(json!({"streamType": "result", "sendBacklog": true})).await;
        subscriber.expect("atlas_backlog_sent").await;
    });
}

#[test]
fn a_backlog_that_races_with_commits_has_no_hole_and_no_repeat() {
    const COMMITS: i64 = 200;
    const SUBSCRIBERS: i64 = 8;
    let scene = Scene::new();
    scene.store(&Vec::from_iter(NOW - 600..NOW));
    let commits: Vec<Vec<StoredReport>> =
        (0..COMMITS).map(|n| (0..3).map(|i| scene.report(NOW + n * 3 + i)).collect()).collect();
    let last = NOW + COMMITS * 3 - 1;
    let (results, bus) = (Arc::clone(&scene.lab.results), Arc::clone(&scene.lab.bus));
    let committing = scene.lab.runtime.spawn(async move {
        for reports in commits {
            commit(&results, &*bus, reports).await;
            tokio::task::yield_now().await;
        }
    });
    // They come while the commits go on, one after the other and each as soon as the one before has its first result.
    for _ in 0..SUBSCRIBERS {
        let mut subscriber = scene.lab.subscriber(None);
        let times = scene.lab.runtime.block_on(async {
            subscriber.subscribe(with_backlog(&scene)).await;
            let mut times = BTreeMap::<i64, u32>::new();
            while times.len() < usize::try_from(last - NOW + 601).unwrap() {
                let (name, payload) = subscriber.hear().await;
                match name.as_str() {
                    "atlas_result" => *times.entry(payload["timestamp"].as_i64().unwrap()).or_default() += 1,
                    "atlas_backlog_sent" => {}
                    other => panic!("{other} {payload}"),
                }
            }
            // Whatever came twice would be there before the answer to this.
            subscriber.say("atlas_unsubscribe", &json!({})).await;
            loop {
                let (name, payload) = subscriber.hear().await;
                match name.as_str() {
                    "atlas_unsubscribed" => break times,
                    "atlas_backlog_sent" => {}
                    other => panic!("{other} {payload}"),
                }
            }
        });
        let wanted: BTreeMap<i64, u32> = (NOW - 600..=last).map(|time| (time, 1)).collect();
        assert!(times == wanted, "every result exactly once");
    }
    scene.lab.runtime.block_on(committing).unwrap();
}

#[test]
fn one_who_does_not_read_is_told_and_holds_back_nobody() {
    let scene = Scene::new();
    let mut stalled = scene.lab.subscriber(None);
    let mut reader = scene.lab.subscriber(None);
    scene.lab.runtime.block_on(async {
        stalled.subscribe(results_of(scene.id)).await;
        reader.subscribe(results_of(scene.id)).await;
    });
    // More than queue and kernel hold (paths of 200 hops are 18 kB each), each commit as far as the reader has read the one
    // before. Not many: whoever reads nothing for a minute is cut off, and machines can be slow.
    let long = |at| {
        let report = path(scene.id, at, "192.168.1.2", "1.1.1.1", &["22.0.0.1"; 200]);
        scene.lab.stored(scene.probe, scene.session, &report)
    };
    let mut next = NOW;
    for _ in 0..12 {
        scene.lab.store((next..next + 100).map(long).collect(), Vec::new());
        for time in next..next + 100 {
            assert_eq!(scene.hear(&mut reader), time, "whole and in order");
        }
        next += 100;
    }
    // When it reads again, it hears what was kept, then what it missed, and then what is new.
    let mut expected = NOW;
    let missed = scene.lab.runtime.block_on(async {
        loop {
            let (name, payload) = stalled.hear().await;
            if name == "atlas_error" {
                break payload;
            }
            assert_eq!(payload["timestamp"], expected, "in order");
            expected += 1;
        }
    });
    assert_eq!((&missed["type"], &missed["count"]), (&json!("missed"), &json!(next - expected)));
    scene.store(&[next]);
    assert_eq!(scene.hear(&mut stalled), next);
    assert_eq!(scene.hear(&mut reader), next);
}

#[test]
fn five_hundred_subscribers_each_get_theirs() {
    let scene = Scene::new();
    let others: Vec<_> =
        (0..5).map(|_| scene.lab.measure(&scene.anna, &asking("traceroute", "1.1.1.1", worldwide(1)))).collect();
    let mut subscribers = Vec::new();
    scene.lab.runtime.block_on(async {
        for number in 0..500 {
            let mut subscriber = Subscriber::open(scene.lab.address, "/stream/", None).await.unwrap();
            subscriber.subscribe(results_of(others[number % 5])).await;
            subscribers.push(subscriber);
        }
    });
    for number in 0..10 {
        let reports = others.iter().zip(0..).map(|(id, other)| scene.report_of(*id, NOW + number * 5 + other));
        scene.lab.store(reports.collect(), Vec::new());
    }
    for (subscriber, place) in subscribers.iter_mut().zip(0..) {
        for number in 0..10 {
            assert_eq!(scene.hear(subscriber), NOW + number * 5 + place % 5);
        }
    }
}
