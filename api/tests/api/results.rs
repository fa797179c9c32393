//! Results as clients read them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use serde_json::{Value, json};
use sonde_api::ApiConfig;
use sonde_protocol::ids::{BootId, MeasurementId, ProbeId, Seq};
use sonde_protocol::message::{BootRanges, Gap, GapReason};
use sonde_protocol::time::UnixNanos;
use sonde_store::StoreError;
use sonde_store::results::{
    Arrivals, Batch, BootRecord, Cursor, ReportPage, ResultQuery, Results, StoredReport, Tally,
};

use crate::lab::{Lab, NOW, Person, asking, path, skipped, worldwide};

/// A server with two probes, a traceroute, and `runs` results of each, a minute apart, newest at [`NOW`].
fn with_results(runs: i64) -> (Lab, Person, MeasurementId, [ProbeId; 2]) {
    let lab = Lab::new();
    let anna = lab.person("anna");
    let (one, two) = (lab.new_probe(&anna), lab.new_probe(&anna));
    let sessions = [(one, lab.connect(one, "20.0.0.9", &[])), (two, lab.connect(two, "21.0.0.9", &[]))];
    let id = lab.measure(&anna, &asking("traceroute", "1.1.1.1", worldwide(2)));
    let mut reports = Vec::new();
    for (probe, session) in sessions {
        for run in 0..runs {
            let report = path(id, NOW - run * 60, "192.168.1.2", "1.1.1.1", &["192.168.1.1", "22.0.0.1"]);
            reports.push(lab.stored(probe, session, &report));
        }
        reports.push(lab.stored(probe, session, &skipped(id, NOW - 30, 3)));
    }
    lab.store(reports, Vec::new());
    (lab, anna, id, [one, two])
}

/// Probe and time of each result, sorted.
fn which(results: &Value) -> Vec<(u64, i64)> {
    let mut all: Vec<_> = results
        .as_array()
        .unwrap()
        .iter()
        .map(|result| (result["prb_id"].as_u64().unwrap(), result["timestamp"].as_i64().unwrap()))
        .collect();
    all.sort_unstable();
    all
}

#[test]
fn json_and_text_say_the_same() {
    let (lab, _, id, _) = with_results(700);
    let json = lab.get(&format!("/api/v2/measurements/{id}/results/"));
    assert_eq!(json.headers["content-type"], "application/json");
    let text = lab.get(&format!("/api/v2/measurements/{id}/results?format=txt"));
    assert_eq!(text.headers["content-type"], "text/plain; charset=utf-8");
    let lines: Vec<Value> = text.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 1400, "over several pages of the store; skipped runs are no results");
    assert_eq!(json.json(), Value::Array(lines));
    assert!(text.text.ends_with('\n'));
    assert_eq!(lab.get(&format!("/api/v2/measurements/{id}/results/?format=xml")).refused(400, 104), ["format"]);
}

#[test]
fn a_result_has_what_tools_need() {
    let (lab, anna, id, [one, _]) = with_results(1);
    let results = lab.get_as(&anna, &format!("/api/v2/measurements/{id}/results/?probe_ids={one}")).json();
    let result = &results[0];
    for (field, value) in [
        ("msm_id", json!(id)),
        ("prb_id", json!(one)),
        ("group_id", json!(id)),
        ("timestamp", json!(NOW)),
        ("stored_timestamp", json!(NOW)),
        ("type", json!("traceroute")),
        ("fw", json!(6000)),
        ("mver", json!("9.8.7")),
        ("from", json!("20.0.0.9")),
        ("src_addr", json!("192.168.1.2")),
        ("dst_addr", json!("1.1.1.1")),
    ] {
        assert_eq!(result[field], value, "{field} of {result}");
    }
}

#[test]
fn nothing_yet() {
    let (lab, _, id, _) = with_results(0);
    for path in ["results", "latest"] {
        assert_eq!(lab.get(&format!("/api/v2/measurements/{id}/{path}/")).text, "[]");
        let text = lab.get(&format!("/api/v2/measurements/{id}/{path}/?format=txt"));
        assert_eq!((text.status, text.text.as_str()), (200, ""));
    }
}

#[test]
fn times_and_probes_narrow_the_results() {
    let (lab, _, id, [one, two]) = with_results(3);
    let get = |query: &str| which(&lab.get(&format!("/api/v2/measurements/{id}/results/?{query}")).json());
    let (one, two) = (one.0, two.0);
    assert_eq!(get(&format!("start={}", NOW)), [(one, NOW), (two, NOW)]);
    assert_eq!(get(&format!("stop={}", NOW - 120)), [(one, NOW - 120), (two, NOW - 120)], "both ends are inclusive");
    assert_eq!(get(&format!("start={}&stop={}", NOW - 60, NOW - 60)), [(one, NOW - 60), (two, NOW - 60)]);
    assert_eq!(get(&format!("probe_ids={two}&start={NOW}")), [(two, NOW)]);
    assert_eq!(get(&format!("probe_ids={one}-{two},77&start={NOW}")), [(one, NOW), (two, NOW)]);
    assert_eq!(get("probe_ids=77").len(), 0);
    assert_eq!(get("anchors-only=true").len(), 0);
    assert_eq!(get("public_only=1").len(), 0, "neither probe shows its addresses");
    assert_eq!(get(&format!("start={}", NOW + 1)).len(), 0);
    for (query, place) in [
        ("start=x", "start"),
        ("stop=-5", "stop"),
        ("probe_ids=a", "probe_ids"),
        ("public_only=perhaps", "public_only"),
    ] {
        let reply = lab.get(&format!("/api/v2/measurements/{id}/results/?{query}"));
        assert_eq!(reply.refused(400, 104), [place], "{query}");
    }
}

#[test]
fn the_latest_of_each_probe() {
    let (lab, _, id, [one, two]) = with_results(3);
    let (one, two) = (one.0, two.0);
    let get = |query: &str| which(&lab.get(&format!("/api/v2/measurements/{id}/latest?{query}")).json());
    assert_eq!(get(""), [(one, NOW), (two, NOW)]);
    assert_eq!(get("versions=2").len(), 4);
    assert_eq!(get(&format!("versions=10&probe_ids={two}")), [(two, NOW - 120), (two, NOW - 60), (two, NOW)]);
    lab.set_clock(NOW + 8 * 86_400);
    assert_eq!(get("").len(), 0, "older than a week");
    assert_eq!(get("lookback_days=9").len(), 2);
    assert_eq!(get(&format!("lookback_days=0&probe_ids={one}")), [(one, NOW)]);
    for (query, place) in
        [("versions=0", "versions"), ("versions=11", "versions"), ("lookback_days=0", "lookback_days")]
    {
        let reply = lab.get(&format!("/api/v2/measurements/{id}/latest/?{query}"));
        assert_eq!(reply.refused(400, 104), [place], "{query}");
    }
}

#[test]
fn runs_that_did_not_take_place() {
    let (lab, _, id, [one, two]) = with_results(1);
    let at = UnixNanos::from_secs;
    let gap = Gap {
        boot: BootId(1),
        first: Seq(1),
        last: None,
        reason: GapReason::Crash,
        from: at(NOW - 20),
        to: at(NOW + 5),
    };
    lab.store(Vec::new(), vec![(two, gap)]);
    lab.set_clock(NOW + 60);
    let account = lab.get(&format!("/api/v2/measurements/{id}/skipped/")).json();
    let run = |probe: ProbeId| json!({"prb_id": probe, "planned": NOW - 30, "runs": 3, "reason": "limit"});
    assert_eq!(account["results"], json!([run(one), run(two)]));
    assert_eq!(account["gaps"], json!([{"prb_id": two, "from": NOW - 20, "to": NOW + 5, "reason": "crash"}]));
    let only = lab.get(&format!("/api/v2/measurements/{id}/skipped?probe_ids={one}")).json();
    assert_eq!(only, json!({"results": [run(one)], "gaps": []}));
}

/// Results of which one page cannot be read.
struct Failing {
    inner: Arc<dyn Results>,
    scans: AtomicUsize,
    /// The page that fails.
    fails: usize,
}

#[async_trait]
impl Results for Failing {
    async fn append(&self, batch: &Batch, now: UnixNanos) -> Result<(), StoreError> {
        self.inner.append(batch, now).await
    }
    async fn ranges(&self, probe: ProbeId, boots: &[BootId]) -> Result<Vec<BootRanges>, StoreError> {
        self.inner.ranges(probe, boots).await
    }
    async fn boots(&self, probe: ProbeId) -> Result<Vec<BootRecord>, StoreError> {
        self.inner.boots(probe).await
    }
    async fn scan(&self, query: &ResultQuery, after: Option<&Cursor>, limit: usize) -> Result<ReportPage, StoreError> {
        if self.scans.fetch_add(1, Ordering::SeqCst) == self.fails {
            return Err(StoreError::backend("scan", "the disk is on fire"));
        }
        self.inner.scan(query, after, limit).await
    }
    async fn latest(
        &self,
        query: &ResultQuery,
        versions: usize,
        expected: Option<usize>,
    ) -> Result<Vec<StoredReport>, StoreError> {
        self.inner.latest(query, versions, expected).await
    }
    async fn tally(&self, after: Option<&Cursor>, since: UnixNanos) -> Result<Option<Tally>, StoreError> {
        self.inner.tally(after, since).await
    }
    async fn arrivals(
        &self,
        of: &[MeasurementId],
        after: Option<&Cursor>,
        since: UnixNanos,
    ) -> Result<Option<Arrivals>, StoreError> {
        self.inner.arrivals(of, after, since).await
    }
    async fn gaps(&self, probe: ProbeId, from: UnixNanos, to: UnixNanos) -> Result<Vec<Gap>, StoreError> {
        self.inner.gaps(probe, from, to).await
    }
    async fn digests(&self, probe: ProbeId, boot: BootId) -> Result<Vec<(Seq, [u8; 32])>, StoreError> {
        self.inner.digests(probe, boot).await
    }
    async fn retain(&self, before: UnixNanos) -> Result<(), StoreError> {
        self.inner.retain(before).await
    }
}

/// The raw answer to a request for results whose `fails`-th page cannot be read.
fn cut_answer(fails: usize) -> String {
    let lab = Lab::build(ApiConfig::default(), |inner| Arc::new(Failing { inner, scans: AtomicUsize::new(0), fails }));
    let anna = lab.person("anna");
    let probe = lab.new_probe(&anna);
    let session = lab.connect(probe, "20.0.0.9", &[]);
    let id = lab.measure(&anna, &asking("traceroute", "1.1.1.1", worldwide(1)));
    for batch in 0..40 {
        let at = |run: i64| NOW - 100 * batch - run;
        let reports = (0..100).map(|run| lab.stored(probe, session, &path(id, at(run), "20.0.0.9", "1.1.1.1", &[])));
        lab.store(reports.collect(), Vec::new());
    }
    lab.raw(
        format!("GET /api/v2/measurements/{id}/results/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes(),
    )
}

#[test]
fn a_store_that_fails_before_the_body_is_a_server_error() {
    let reply = cut_answer(0);
    assert!(reply.starts_with("HTTP/1.1 500 "), "{reply}");
    assert!(!reply.contains("fire"), "what went wrong inside is for the log");
}

#[test]
fn a_store_that_fails_within_the_body_cuts_the_connection() {
    let reply = cut_answer(12);
    assert!(reply.starts_with("HTTP/1.1 200 "));
    assert!(reply.contains("\"prb_id\""), "what came before is there");
    assert!(!reply.ends_with("0\r\n\r\n"), "a chunked body without its end does not look whole");
}

#[test]
fn what_a_probe_reports_unasked_is_no_result() {
    let (lab, anna, id, [one, two]) = with_results(2);
    let stranger = lab.new_probe(&anna);
    let session = lab.connect(stranger, "22.0.0.9", &[]);
    let forged = path(id, NOW, "192.168.1.2", "1.1.1.1", &["192.168.1.1", "22.0.0.1"]);
    lab.store(
        vec![lab.stored(stranger, session, &forged), lab.stored(stranger, session, &skipped(id, NOW, 9))],
        Vec::new(),
    );
    for query in ["", "?probe_ids=", "?versions=10"] {
        let query = if query.ends_with('=') { format!("{query}{one},{two},{stranger}") } else { query.to_owned() };
        for list in ["results", "latest"] {
            let found = which(&lab.get(&format!("/api/v2/measurements/{id}/{list}/{query}")).json());
            assert!(
                !found.is_empty() && found.iter().all(|(probe, _)| *probe != stranger.0),
                "{list}{query}: {found:?}"
            );
        }
        let account = lab.get(&format!("/api/v2/measurements/{id}/skipped/{query}")).json();
        assert_eq!(account["results"].as_array().unwrap().len(), 2, "{query}: {account}");
    }
    assert_eq!(lab.get(&format!("/api/v2/measurements/{id}/results/?probe_ids={stranger}")).text, "[]");
}
