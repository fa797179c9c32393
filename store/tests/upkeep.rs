//! What the server keeps true by itself, on a real catalog and real results: where probes are, and what they can do.

#![allow(clippy::unwrap_used)]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sonde_protocol::bounded::{Bytes, List, Text};
use sonde_protocol::ids::{AccountId, Asn, BootId, MeasurementId, ProbeId, Seq, SessionId};
use sonde_protocol::key::PublicKey;
use sonde_protocol::message::BootRanges;
use sonde_protocol::net::{Family, Ip, Transport, Uplink};
use sonde_protocol::range_set::RangeSet;
use sonde_protocol::result::{
    DnsAnswer, DnsOutcome, DnsReply, DnsResponse, MeasurementResult, Outcome, Report, Timing,
};
use sonde_protocol::spec::{DnsSpec, Spec};
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{
    Accounts, Admission, Measurements, NewMeasurement, NewSession, Origin, Probe, ProbeEdit, Probes,
};
use sonde_store::conformance::block_on;
use sonde_store::places::{Nowhere, Places, locate, locate_all};
use sonde_store::results::{Batch, Results, StoredReport};
use sonde_store::sqlite::{SqliteCatalog, SqliteResults};
use sonde_store::system_tags::SystemTags;

const NOW: UnixNanos = UnixNanos::from_secs(1_800_000_000);

fn world() -> (Arc<SqliteCatalog>, AccountId, Vec<ProbeId>) {
    let catalog = Arc::new(SqliteCatalog::open_in_memory().unwrap());
    let ada = block_on(catalog.add_account("ada@example.net", NOW)).unwrap().unwrap().id;
    let mut probes = Vec::new();
    for n in 0..3u8 {
        block_on(catalog.add_join_token(&[n; 32], ada, NOW, UnixNanos(i64::MAX))).unwrap();
        let Admission::Joined(probe) = block_on(catalog.admit(&PublicKey([n; 32]), Some(&[n; 32]), NOW)).unwrap()
        else {
            panic!("it is new")
        };
        let session = NewSession {
            probe: probe.id,
            public_address: IpAddr::from([20, n, 0, 9]),
            addresses: Vec::new(),
            kinds: None,
            families: Vec::new(),
            software: "test".into(),
            uplink: Uplink::Quic,
            at: NOW - Duration::from_secs(2 * 86_400),
        };
        block_on(catalog.open_session(&session)).unwrap();
        probes.push(probe.id);
    }
    (catalog, ada, probes)
}

fn probe(catalog: &SqliteCatalog, id: ProbeId) -> Probe {
    block_on(catalog.probe(id)).unwrap().unwrap()
}

/// Knows 20.0.0.0/15, by one AS and in one country.
struct Table(u32, &'static str);

impl Places for Table {
    fn has_origins(&self) -> bool {
        true
    }
    fn has_countries(&self) -> bool {
        true
    }
    fn origin(&self, address: IpAddr) -> Option<Origin> {
        self.country(address).map(|_| Origin { asn: Asn(self.0), prefix: None })
    }
    fn country(&self, address: IpAddr) -> Option<String> {
        matches!(address, IpAddr::V4(v4) if v4.octets()[1] < 2).then(|| self.1.to_owned())
    }
}

#[test]
fn tables_say_where_probes_are_unless_their_owners_do() {
    let (catalog, _, probes) = world();
    let edit = ProbeEdit { country: Some(Some("FR".into())), ..ProbeEdit::default() };
    block_on(catalog.edit_probe(probes[1], &edit)).unwrap();
    let seen = |n: usize| {
        let probe = probe(&catalog, probes[n]);
        (probe.asn_v4.map(|asn| asn.0), probe.country)
    };
    let some = |asn, country: &str| (Some(asn), Some(country.to_owned()));
    block_on(locate(&*catalog, &Table(64_500, "NL"), probes[0])).unwrap();
    assert_eq!((seen(0), seen(1)), (some(64_500, "NL"), (None, Some("FR".into()))), "one alone");
    assert_eq!(block_on(locate_all(&*catalog, &Table(64_500, "NL"))).unwrap(), 1);
    assert_eq!((seen(0), seen(1), seen(2)), (some(64_500, "NL"), some(64_500, "FR"), (None, None)));
    assert_eq!(block_on(locate_all(&*catalog, &Table(64_500, "NL"))).unwrap(), 0, "again: no news");
    // Another table; and none, which knows nothing and forgets nothing.
    assert_eq!(block_on(locate_all(&*catalog, &Table(64_501, "DE"))).unwrap(), 2);
    assert_eq!((seen(0), seen(1)), (some(64_501, "DE"), some(64_501, "FR")));
    assert_eq!(block_on(locate_all(&*catalog, &Nowhere)).unwrap(), 0);
    assert_eq!(seen(0), some(64_501, "DE"));
    block_on(locate(&*catalog, &Table(1, "NL"), ProbeId(999))).unwrap();
}

fn measurement(owner: AccountId, probes: &[ProbeId], query_type: u16) -> NewMeasurement {
    NewMeasurement {
        owner,
        spec: Spec::Dns(DnsSpec {
            query_type,
            use_probe_resolver: true,
            query_argument: Text::cut("example.net"),
            ..DnsSpec::default()
        }),
        af: Family::V4,
        target: None,
        resolved: Vec::new(),
        resolve_on_probe: false,
        is_oneoff: false,
        interval: Some(60),
        spread: None,
        start: NOW - Duration::from_secs(86_400),
        start_given: false,
        stop: None,
        description: None,
        is_public: true,
        tags: Vec::new(),
        probes_requested: 3,
        probe_sources: "[]".into(),
        probes: probes.to_vec(),
        group: None,
        top_up: None,
        target_update_hours: None,
        origin: None,
    }
}

/// A report of what a resolver said, `ago` seconds ago: an address, or nothing.
fn report(measurement: MeasurementId, probe: ProbeId, seq: u64, ago: u64, answers: bool) -> StoredReport {
    let at = NOW - Duration::from_secs(ago);
    let message = b"\0\x01\x81\x80\0\x01\0\x01\0\0\0\0\x07example\x03net\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\0\0\x09\0\x04\x14\0\0\x01";
    let outcome = match answers {
        true => DnsReply::Answer(DnsAnswer {
            rt: 1,
            message: Bytes::new(message.to_vec()).unwrap(),
            show_message: false,
            connect: None,
            truncated_first: false,
            handshake: None,
            exchange: None,
        }),
        false => DnsReply::Timeout(5000),
    };
    let response = DnsResponse {
        sent_at: at,
        dst_addr: Ip("9.9.9.9".parse().unwrap()),
        dst_port: 53,
        src_addr: None,
        protocol: Transport::Udp,
        retries: 0,
        query: None,
        outcome,
        secure: None,
        strays: List::default(),
        strays_seen: 0,
        id_mismatches: 0,
    };
    let result = MeasurementResult {
        measurement,
        planned_at: at,
        started_at: at,
        ended_at: at,
        timing: Timing::default(),
        af: Family::V4,
        dst_name: None,
        dst_addr: None,
        src_addr: None,
        time_to_resolve: None,
        interval: None,
        outcome: Outcome::Dns(DnsOutcome { own_resolvers: true, responses: List::cut([response]) }),
    };
    StoredReport {
        probe,
        session: SessionId(1),
        boot: BootId(probe.0),
        seq: Seq(seq),
        arrived_at: at,
        measurement,
        at,
        report: Report::Result(result).to_cbor(),
    }
}

#[test]
fn tags_follow_what_probes_did() {
    let (catalog, ada, probes) = world();
    let dir = tempfile::tempdir().unwrap();
    let results = SqliteResults::open(dir.path()).unwrap();
    let append = |reports: Vec<StoredReport>| {
        let ranges = |report: &StoredReport| {
            let ranges = RangeSet::of(report.seq..=report.seq);
            (report.probe, BootRanges { boot: report.boot, ranges })
        };
        let batch = Batch { ranges: reports.iter().map(ranges).collect(), reports, ..Batch::default() };
        block_on(results.append(&batch, NOW)).unwrap();
    };
    // The third takes no part; what it says is nobody's evidence.
    let id = block_on(catalog.add_measurements(&[measurement(ada, &probes[..2], 1)], NOW)).unwrap()[0];
    append(vec![
        report(id, probes[0], 1, 200, true),
        report(id, probes[1], 1, 190, false),
        report(id, probes[2], 1, 180, true),
    ]);
    let mut tags = SystemTags::default();
    let mut refresh = |seconds| {
        block_on(tags.refresh(&*catalog, &results, NOW + Duration::from_secs(seconds))).unwrap();
        let has = |n: usize| {
            let tags = probe(&catalog, probes[n]).tags;
            tags.into_iter().filter(|tag| !tag.ends_with("works") && !tag.ends_with("capable")).collect::<Vec<_>>()
        };
        [has(0), has(1), has(2)]
    };
    let (stable, resolves, problem) =
        ("system-ipv4-stable-1d", "system-resolves-a-correctly", "system-dns-problem-suspected");
    let expected = [vec![stable, resolves], vec![problem, stable], vec![stable]];
    assert_eq!(refresh(0), expected);
    assert_eq!(refresh(30), expected, "again: the same");
    append(vec![report(id, probes[1], 2, 5, true), report(id, probes[0], 2, 6, false)]);
    assert_eq!(refresh(60), [vec![problem, stable], vec![stable, resolves], vec![stable]]);
    // A week without news.
    assert_eq!(refresh(8 * 86_400), [vec![stable], vec![stable], vec![stable]]);
}
