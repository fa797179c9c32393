//! Reading by time, page by page, and the newest first.

use sonde_protocol::ids::{BootId, MeasurementId, ProbeId, Seq};
use sonde_protocol::time::UnixNanos;

use super::results::{DAY, Draft, MEASUREMENT, all, append, batch_of, draft, everything, sorted};
use super::{Fixture, at};
use crate::Results;
use crate::results::{ResultQuery, StoredReport};

fn seqs(reports: &[StoredReport]) -> Vec<u64> {
    reports.iter().map(|report| report.seq.0).collect()
}

pub(super) async fn a_scan_takes_times_and_probes(place: &impl Fixture<dyn Results>) {
    let results = place.open().await;
    let of = |probe: u64, draft: Draft| Draft { probe: ProbeId(probe), ..draft };
    append(&results, &[draft(1, 100), of(2, draft(2, 200)), Draft { skipped: true, ..of(3, draft(3, 300)) }]).await;
    append(&results, &[Draft { measurement: MeasurementId(MEASUREMENT.0 + 1), ..draft(4, 200) }]).await;
    // Late: it arrives three days after its run, behind what ran later.
    append(&results, &[of(2, draft(5, DAY + 100))]).await;
    append(&results, &[Draft { arrived_at: at(3 * DAY), ..of(2, draft(6, 150)) }, draft(7, 3 * DAY)]).await;
    drop(results);
    let results = place.open().await;
    let just_after = |seconds| UnixNanos(at(seconds).0 + 1);
    for (from, to, probes, expected) in [
        (None, None, None, &[1, 2, 3, 5, 6, 7][..]),
        (Some(at(200)), None, None, &[2, 3, 5, 7]),
        (Some(just_after(200)), None, None, &[3, 5, 7]),
        (None, Some(at(200)), None, &[1, 6]),
        (None, Some(just_after(200)), None, &[1, 2, 6]),
        (Some(at(150)), Some(at(200)), None, &[6]),
        (Some(at(200)), Some(at(200)), None, &[]),
        (Some(at(300)), Some(at(200)), None, &[]),
        (Some(at(100 * DAY)), None, None, &[]),
        (None, Some(UnixNanos(i64::MIN)), None, &[]),
        (None, None, Some(vec![2]), &[2, 5, 6]),
        (None, None, Some(vec![1, 3, 99]), &[1, 3, 7]),
        (None, None, Some(vec![]), &[]),
        (Some(at(120)), Some(at(250)), Some(vec![2]), &[2, 6]),
    ] {
        let probes = probes.map(|probes: Vec<u64>| probes.into_iter().map(ProbeId).collect());
        let query = ResultQuery { measurement: MEASUREMENT, from, to, probes };
        for limit in [1, 2, 100] {
            let mut found = seqs(&all(&results, &query, limit).await);
            found.sort();
            assert_eq!(found, expected, "{query:?}");
        }
    }
}

pub(super) async fn pages_hold_everything_once(place: &impl Fixture<dyn Results>) {
    let results = place.open().await;
    let mut expected = Vec::new();
    for n in 0..60u64 {
        let drafts: Vec<Draft> = (1..=5)
            .map(|k| Draft {
                // Runs begin in another order than reports arrive, and many at the same time.
                at: at((n as i64 * 7919) % 7),
                arrived_at: at(n as i64 * DAY / 20 + k as i64),
                ..draft(n * 5 + k, 0)
            })
            .collect();
        append(&results, &drafts).await;
        expected.extend(drafts.iter().map(|draft| draft.stored()));
    }
    for limit in [0, 1, 3, 5, 17, 299, 300, 301, usize::MAX] {
        let mut page = results.scan(&everything(MEASUREMENT), None, limit).await.unwrap();
        let mut reports = Vec::new();
        loop {
            // "About" the limit: not everything at once.
            assert!(page.reports.len() <= limit.saturating_add(5), "{} for {limit}", page.reports.len());
            assert!(page.reports.is_sorted_by_key(|report| report.arrived_at), "within a page by arrival");
            reports.extend(page.reports);
            let Some(cursor) = page.next else { break };
            assert!(reports.len() <= expected.len(), "a scan ends");
            page = results.scan(&everything(MEASUREMENT), Some(&cursor), limit).await.unwrap();
        }
        assert_eq!(sorted(reports), expected, "{limit}");
    }
}

pub(super) async fn a_scan_is_not_disturbed_by_appends(place: &impl Fixture<dyn Results>) {
    let results = place.open().await;
    for n in 1..=40u64 {
        append(&results, &[Draft { arrived_at: at(n as i64 * 10_000), ..draft(n, (n as i64 * 37) % 100) }]).await;
    }
    let mut page = results.scan(&everything(MEASUREMENT), None, 3).await.unwrap();
    let mut found = seqs(&page.reports);
    let mut more = 1_000;
    while let Some(cursor) = page.next {
        more += 1;
        append(&results, &[Draft { arrived_at: at(400_000 + more as i64), ..draft(more, (more as i64 * 37) % 100) }])
            .await;
        page = results.scan(&everything(MEASUREMENT), Some(&cursor), 3).await.unwrap();
        found.extend(seqs(&page.reports));
        assert!(more < 2_000, "a scan ends");
    }
    found.sort();
    found.retain(|&seq| seq <= 40);
    assert_eq!(found, (1..=40).collect::<Vec<_>>(), "what was there at the beginning comes once");
}

pub(super) async fn the_latest_are_the_newest_by_their_run(place: &impl Fixture<dyn Results>) {
    let results = place.open().await;
    let of = |probe: u64, draft: Draft| Draft { probe: ProbeId(probe), ..draft };
    append(&results, &[draft(1, 100), of(2, draft(2, 110)), draft(3, 200)]).await;
    append(&results, &[of(2, draft(4, DAY))]).await;
    append(&results, &[Draft { skipped: true, ..draft(5, DAY + 1) }]).await;
    // Late: newest by arrival, not by run; and one that is both late and the newest of its probe.
    append(&results, &[Draft { arrived_at: at(2 * DAY), ..draft(6, 150) }]).await;
    append(&results, &[Draft { arrived_at: at(3 * DAY), ..of(3, draft(7, 50)) }]).await;
    append(&results, &[Draft { measurement: MeasurementId(5), arrived_at: at(3 * DAY), ..draft(8, 3 * DAY) }]).await;
    drop(results);
    let results = place.open().await;
    for (versions, expected) in [
        (0, &[][..]),
        (1, &[(1, 3), (2, 4), (3, 7)]),
        (2, &[(1, 3), (1, 6), (2, 4), (2, 2), (3, 7)]),
        (9, &[(1, 3), (1, 6), (1, 1), (2, 4), (2, 2), (3, 7)]),
    ] {
        for hint in [None, Some(3), Some(100)] {
            let mut found: Vec<(u64, u64)> = results
                .latest(&everything(MEASUREMENT), versions, hint)
                .await
                .unwrap()
                .iter()
                .map(|report| (report.probe.0, report.seq.0))
                .collect();
            // Newest first per probe; the order of the probes is not promised.
            found.sort_by_key(|&(probe, _)| probe);
            assert_eq!(found, expected, "{versions} versions, {hint:?} expected");
        }
    }
}

pub(super) async fn the_latest_within_a_query(place: &impl Fixture<dyn Results>) {
    let results = place.open().await;
    let of = |probe: u64, draft: Draft| Draft { probe: ProbeId(probe), ..draft };
    append(&results, &[draft(1, 100), of(2, draft(2, 100)), draft(3, 200), of(2, draft(4, 200))]).await;
    append(&results, &[draft(5, DAY), of(2, draft(6, DAY))]).await;
    for (from, to, probes, expected) in [
        (None, Some(at(DAY)), None, &[3, 4][..]),
        (None, Some(at(200)), None, &[1, 2]),
        (Some(at(201)), Some(at(DAY)), None, &[]),
        (Some(at(200)), None, Some(vec![ProbeId(2)]), &[6]),
        (None, Some(at(150)), Some(vec![ProbeId(1), ProbeId(9)]), &[1]),
        (None, None, Some(vec![]), &[]),
    ] {
        let query = ResultQuery { measurement: MEASUREMENT, from, to, probes };
        let mut found = seqs(&results.latest(&query, 1, Some(2)).await.unwrap());
        found.sort();
        assert_eq!(found, expected, "{query:?}");
    }
}

pub(super) async fn looking_for_the_latest_may_stop_but_not_too_early(place: &impl Fixture<dyn Results>) {
    let results = place.open().await;
    let mut rng = sonde_protocol::seed::Rng::new(42);
    let mut drafts = Vec::new();
    for n in 1..=300u64 {
        // Late by up to two days, in batches of one; many begin at the same time.
        let seconds = rng.below(5 * 24) as i64 * 3600;
        drafts.push(Draft {
            probe: ProbeId(rng.below(4)),
            arrived_at: at(seconds + rng.below(2 * DAY as u64) as i64),
            skipped: rng.one_in(5),
            ..draft(n, seconds)
        });
    }
    drafts.sort_by_key(|draft| draft.arrived_at);
    for draft in &drafts {
        append(&results, &[*draft]).await;
    }
    for versions in [1, 2, 7, 100] {
        let mut expected = Vec::new();
        for probe in (0..4).map(ProbeId) {
            let mut of_probe: Vec<&Draft> = drafts.iter().filter(|d| d.probe == probe && !d.skipped).collect();
            of_probe.sort_by_key(|draft| std::cmp::Reverse(draft.at));
            expected.extend(of_probe.into_iter().take(versions).map(|draft| draft.stored()));
        }
        for hint in [Some(4), Some(5), None] {
            let mut found = results.latest(&everything(MEASUREMENT), versions, hint).await.unwrap();
            found.sort_by_key(|report| report.probe);
            let runs = |reports: &[StoredReport]| -> Vec<_> { reports.iter().map(|r| (r.probe, r.at)).collect() };
            assert_eq!(runs(&found), runs(&expected), "{versions} versions, {hint:?} expected");
        }
    }
}

pub(super) async fn everything_that_arrives_is_counted_once(place: &impl Fixture<dyn Results>) {
    let results = place.open().await;
    assert_eq!(results.tally(None, at(0)).await.unwrap(), None);
    let (mut after, mut counted) = (None, std::collections::BTreeMap::new());
    let mut expected = std::collections::BTreeMap::new();
    let odd = [MeasurementId(1_000_001), MeasurementId(77)];
    let (mut read, mut told, mut came) = (None, Vec::new(), Vec::new());
    for n in 0..60_u64 {
        // Over three days, some runs of long ago, and every fifth skipped.
        let (arrived, skipped) = (at(n as i64 * 4_000), n % 5 == 0);
        let draft = Draft {
            probe: ProbeId(1 + n % 3),
            boot: BootId(7),
            seq: Seq(n + 1),
            measurement: MeasurementId(1_000_000 + n % 2),
            at: at(n as i64 * 4_000 - 90_000 * (n as i64 % 4)),
            arrived_at: arrived,
            skipped,
        };
        results.append(&batch_of(vec![draft.stored()]), arrived).await.unwrap();
        if !skipped && n >= 10 {
            let day = arrived.as_secs() / 86_400;
            *expected.entry((day, draft.measurement, draft.probe)).or_insert(0) += 1_u64;
        }
        if !skipped && n >= 10 && n % 2 == 1 {
            came.push((draft.probe, draft.at));
        }
        if n % 11 == 6 {
            while let Some(part) = results.arrivals(&odd, read.as_ref(), at(40_000)).await.unwrap() {
                told.extend(part.runs.iter().map(|run| (run.probe, run.at)));
                read = Some(part.next);
            }
        }
        if n % 7 == 6 {
            while let Some(tally) = results.tally(after.as_ref(), at(40_000)).await.unwrap() {
                for one in &tally.counts {
                    *counted.entry((tally.day, one.measurement, one.probe)).or_insert(0) += one.results;
                }
                after = Some(tally.next);
            }
        }
    }
    drop(results);
    let results = place.open().await;
    while let Some(tally) = results.tally(after.as_ref(), at(40_000)).await.unwrap() {
        for one in &tally.counts {
            *counted.entry((tally.day, one.measurement, one.probe)).or_insert(0) += one.results;
        }
        after = Some(tally.next);
    }
    assert_eq!(counted, expected);
    while let Some(part) = results.arrivals(&odd, read.as_ref(), at(40_000)).await.unwrap() {
        assert!(part.runs.iter().all(|run| run.measurement == odd[0]));
        told.extend(part.runs.iter().map(|run| (run.probe, run.at)));
        read = Some(part.next);
    }
    assert_eq!(told, came, "in the order in which they came");
    assert_eq!(results.arrivals(&odd, read.as_ref(), at(40_000)).await.unwrap(), None);
}
