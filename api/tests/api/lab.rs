//! A server with people, probes and results to ask for.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::Value;
use sonde_api::{Api, ApiConfig, Clock, Dispatch, MailConfig, Mailer, Resolve, router, serve};
use sonde_protocol::board::UpdateChoice;
use sonde_protocol::bounded::{List, Text};
use sonde_protocol::ids::{AccountId, Asn, BootId, MeasurementId, ProbeId, Seq, SessionId};
use sonde_protocol::key::PublicKey;
use sonde_protocol::message::{BootRanges, Gap};
use sonde_protocol::net::{Family, Ip, Transport, Uplink};
use sonde_protocol::range_set::RangeSet;
use sonde_protocol::result::{
    Hop, HopAnswer, HopReply, MeasurementResult, Outcome, Report, Skipped, Timing, TracerouteOutcome,
};
use sonde_protocol::spec::Kind;
use sonde_protocol::time::UnixNanos;
use sonde_store::bus::local::LocalBus;
use sonde_store::bus::{Bus, ProbeStatus, Published};
use sonde_store::catalog::{Accounts, Admission, ApiKey, NewSession, Origin, Probes};
use sonde_store::places::Places;
use sonde_store::results::{Batch, Results, StoredReport};
use sonde_store::sqlite::SqliteReachability;
use sonde_store::sqlite::catalog::SqliteCatalog;
use sonde_store::sqlite::results::SqliteResults;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

/// When every test begins, in Unix seconds.
pub const NOW: i64 = 1_760_000_000;

/// Whose orders the API said have changed.
#[derive(Default)]
pub struct Recorder(Mutex<Vec<Vec<u64>>>);

#[async_trait]
impl Dispatch for Recorder {
    async fn orders_changed(&self, probes: &[ProbeId]) {
        self.0.lock().unwrap().push(probes.iter().map(|probe| probe.0).collect());
    }

    async fn http_hosts(&self) -> Vec<String> {
        vec!["listed.example".into(), "20.9.9.9".into()]
    }

    async fn key_admitted(&self, _key: &PublicKey, _probe: ProbeId) {}

    async fn key_replaced(&self, _probe: ProbeId) {}

    async fn updates_chosen(&self, _probe: ProbeId, _choice: UpdateChoice) {}
}

/// A clock that stands until it is set.
pub struct Stopped(AtomicI64);

impl Clock for Stopped {
    fn now(&self) -> UnixNanos {
        UnixNanos::from_secs(self.0.load(Ordering::SeqCst))
    }
}

/// Names that resolve; every other has no address.
struct Names(HashMap<&'static str, Vec<IpAddr>>);

#[async_trait]
impl Resolve for Names {
    async fn resolve(&self, name: &str, family: Family) -> Result<Vec<IpAddr>, String> {
        if name == "broken.example" {
            return Err("no answer within 5 s".into());
        }
        let known = self.0.get(name).cloned().unwrap_or_default();
        Ok(known.into_iter().filter(|address| Family::of(*address) == family).collect())
    }

    async fn texts(&self, name: &str) -> Result<Vec<String>, String> {
        match name {
            "_sonde.unwilling.example" | "_sonde.6.6.6.20.in-addr.arpa" | "_sonde.8.8.20.in-addr.arpa" => {
                Ok(vec!["v=spf1 -all".into(), "v=sonde1 deny".into()])
            }
            "_sonde.broken.example" => Err("no answer within 2 s".into()),
            _ => Ok(Vec::new()),
        }
    }
}

/// 20.0.0.0/8 and 2a00::/16 are of two ASes and countries.
struct Table;

impl Places for Table {
    fn has_origins(&self) -> bool {
        true
    }
    fn has_countries(&self) -> bool {
        true
    }
    fn origin(&self, address: IpAddr) -> Option<Origin> {
        let (asn, prefix, _) = known(address)?;
        Some(Origin { asn: Asn(asn), prefix: Some(prefix.into()) })
    }
    fn country(&self, address: IpAddr) -> Option<String> {
        known(address).map(|(_, _, country)| country.into())
    }
    fn network_name(&self, asn: Asn) -> Option<Arc<str>> {
        (asn == Asn(64_501)).then(|| "NET-ONE One, <b>Two</b>".into())
    }
}

fn known(address: IpAddr) -> Option<(u32, &'static str, &'static str)> {
    match address {
        IpAddr::V4(address) if address.octets()[0] == 20 => Some((64_500, "20.0.0.0/8", "NL")),
        IpAddr::V6(address) if address.segments()[0] == 0x2a00 => Some((64_501, "2a00::/16", "DE")),
        _ => None,
    }
}

/// An account and its key.
#[derive(Clone)]
pub struct Person {
    pub id: AccountId,
    pub key: String,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub text: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The places that an error envelope of this status points at. Checks the envelope on the way.
    #[track_caller]
    pub fn refused(&self, status: u16, code: u64) -> Vec<String> {
        assert_eq!(self.status, status, "{self:?}");
        let error = &self.json()["error"];
        assert_eq!(error["status"], u64::from(status), "{self:?}");
        assert_eq!(error["code"], code, "{self:?}");
        for field in ["title", "detail"] {
            assert!(error[field].as_str().is_some_and(|text| !text.is_empty()), "{self:?}");
        }
        let errors = error["errors"].as_array().cloned().unwrap_or_default();
        let places = errors.iter().map(|problem| {
            assert!(problem["detail"].as_str().is_some_and(|text| !text.is_empty()), "{self:?}");
            let source = &problem["source"];
            source["pointer"].as_str().or(source["parameter"].as_str()).unwrap().to_owned()
        });
        places.collect()
    }

    /// The identifiers in a list.
    #[track_caller]
    pub fn ids(&self) -> Vec<u64> {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()["results"].as_array().unwrap().iter().map(|item| item["id"].as_u64().unwrap()).collect()
    }
}

/// A running server.
pub struct Lab {
    pub runtime: Runtime,
    pub address: SocketAddr,
    pub catalog: Arc<SqliteCatalog>,
    pub results: Arc<SqliteResults>,
    pub bus: Arc<LocalBus>,
    pub clock: Arc<Stopped>,
    pub api: Api,
    dispatch: Arc<Recorder>,
    agent: ureq::Agent,
    next: AtomicU64,
    stop: Option<oneshot::Sender<()>>,
    dir: TempDir,
}

/// A connection from this address, with these of its own.
fn session(probe: ProbeId, from: &str, own: &[&str]) -> NewSession {
    NewSession {
        probe,
        public_address: from.parse().unwrap(),
        addresses: own.iter().map(|address| address.parse().unwrap()).collect(),
        families: Vec::new(),
        kinds: None,
        software: "sonde-probe 9.8.7".into(),
        uplink: Uplink::Quic,
        at: UnixNanos::from_secs(NOW - 500),
    }
}

impl Lab {
    pub fn new() -> Self {
        Self::with(ApiConfig::default())
    }

    pub fn with(config: ApiConfig) -> Self {
        Self::build(config, |results| results)
    }

    /// A server whose API reads results through something else.
    pub fn build(config: ApiConfig, wrap: impl FnOnce(Arc<dyn Results>) -> Arc<dyn Results>) -> Self {
        Self::build_with(config, wrap, None)
    }

    /// A server that sends mail.
    pub fn with_mail(config: ApiConfig, mail: MailConfig) -> Self {
        Self::build_with(config, |results| results, Some(mail))
    }

    fn build_with(
        config: ApiConfig,
        wrap: impl FnOnce(Arc<dyn Results>) -> Arc<dyn Results>,
        mail: Option<MailConfig>,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let entered = runtime.enter();
        let dir = tempfile::tempdir().unwrap();
        let catalog = Arc::new(SqliteCatalog::open(dir.path().join("catalog.db")).unwrap());
        let results = Arc::new(SqliteResults::open(dir.path().join("results")).unwrap());
        let bus = Arc::new(LocalBus::default());
        let dispatch = Arc::new(Recorder::default());
        let clock = Arc::new(Stopped(AtomicI64::new(NOW)));
        let names = Names(HashMap::from([
            ("good.example", vec!["20.1.2.3".parse().unwrap(), "2a00:9::1".parse().unwrap()]),
            ("unwilling.example", vec!["20.1.2.4".parse().unwrap()]),
            ("www.unwilling.example", vec!["20.1.2.4".parse().unwrap()]),
            ("borrowed.example", vec!["20.6.6.6".parse().unwrap()]),
            ("v6only.example", vec!["2a00:9::1".parse().unwrap()]),
            ("mixed.example", vec!["20.1.2.3".parse().unwrap(), "192.168.0.1".parse().unwrap()]),
        ]));
        let api = Api {
            catalog: catalog.clone(),
            results: wrap(results.clone()),
            reachability: Arc::new(SqliteReachability::open(dir.path().join("reachability.db")).unwrap()),
            bus: bus.clone(),
            dispatch: dispatch.clone(),
            resolver: Arc::new(names),
            clock: clock.clone(),
            mailer: mail.map(|mail| Mailer::start(&mail).unwrap()),
            places: Arc::new(Table),
            updates_expire: watch::channel(None).1,
            config,
        };
        drop(entered);
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        runtime.spawn(serve(vec![listener], router(api.clone()), async {
            let _ = stopped.await;
        }));
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .build();
        Self {
            runtime,
            address,
            catalog,
            results,
            bus,
            clock,
            api,
            dispatch,
            agent: config.into(),
            next: AtomicU64::new(1),
            stop: Some(stop),
            dir,
        }
    }

    /// Begins the shutdown.
    pub fn shut_down(&mut self) {
        drop(self.stop.take());
    }

    /// Where the stores keep their files.
    pub fn data(&self) -> &Path {
        self.dir.path()
    }

    pub fn set_clock(&self, seconds: i64) {
        self.clock.0.store(seconds, Ordering::SeqCst);
    }

    /// What the API told the collector since the last look.
    pub fn dispatched(&self) -> Vec<Vec<u64>> {
        std::mem::take(&mut *self.dispatch.0.lock().unwrap())
    }

    // People and probes

    pub fn person(&self, name: &str) -> Person {
        let now = UnixNanos::from_secs(NOW - 1000);
        let account =
            self.runtime.block_on(self.catalog.add_account(&format!("{name}@example.net"), now)).unwrap().unwrap();
        let id = account.id;
        let key = self.key(id, true);
        Person { id, key }
    }

    /// Another key of an account.
    pub fn key(&self, account: AccountId, enabled: bool) -> String {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let uuid = Uuid::from_u128(0x1111_2222_3333_4444_5555_0000_0000_0000 + u128::from(number));
        let created_at = UnixNanos::from_secs(NOW - 1000);
        let key = ApiKey {
            digest: sonde_api::digest(uuid),
            account,
            label: "test".into(),
            created_at,
            enabled,
            valid_from: None,
            valid_to: None,
            grants: None,
        };
        self.runtime.block_on(self.catalog.add_key(&key)).unwrap();
        uuid.to_string()
    }

    /// A probe that has joined and never been connected.
    pub fn new_probe(&self, owner: &Person) -> ProbeId {
        let number = u8::try_from(self.next.fetch_add(1, Ordering::SeqCst)).unwrap();
        let now = UnixNanos::from_secs(NOW - 1000);
        self.runtime.block_on(async {
            self.catalog.add_join_token(&[number; 32], owner.id, now, UnixNanos(i64::MAX)).await.unwrap();
            match self.catalog.admit(&PublicKey([number; 32]), Some(&[number; 32]), now).await.unwrap() {
                Admission::Joined(probe) => probe.id,
                other => panic!("{other:?}"),
            }
        })
    }

    /// Connects a probe from this address, with these of its own.
    pub fn connect(&self, probe: ProbeId, from: &str, own: &[&str]) -> SessionId {
        self.runtime.block_on(self.catalog.open_session(&session(probe, from, own))).unwrap()
    }

    /// A connected probe whose host allows these kinds.
    pub fn probe_allowing(&self, owner: &Person, kinds: &[Kind]) -> ProbeId {
        let probe = self.new_probe(owner);
        let session = NewSession { kinds: Some(kinds.into()), ..session(probe, "20.0.0.9", &[]) };
        self.runtime.block_on(self.catalog.open_session(&session)).unwrap();
        probe
    }

    /// A connected probe.
    pub fn probe(&self, owner: &Person, from: &str, own: &[&str]) -> ProbeId {
        let probe = self.new_probe(owner);
        self.connect(probe, from, own);
        probe
    }

    pub fn disconnect(&self, session: SessionId) {
        self.runtime.block_on(self.catalog.close_session(session, UnixNanos::from_secs(NOW - 100))).unwrap();
    }

    // Requests

    pub fn call(&self, method: &str, path: &str, key: Option<&str>, body: Option<&Value>) -> Reply {
        self.call_raw(method, path, key, body.map(|body| body.to_string().into_bytes()))
    }

    pub fn call_raw(&self, method: &str, path: &str, key: Option<&str>, body: Option<Vec<u8>>) -> Reply {
        let key = key.map(|key| format!("Key {key}"));
        let headers: Vec<_> = key.iter().map(|key| ("Authorization", key.as_str())).collect();
        self.call_with(method, path, &headers, body)
    }

    /// A request with these headers.
    pub fn call_with(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<Vec<u8>>) -> Reply {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let reply = match body {
            Some(body) => self.agent.run(request.header("Content-Type", "application/json").body(body).unwrap()),
            None => self.agent.run(request.body(()).unwrap()),
        };
        let mut reply = reply.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let headers = reply.headers().iter();
        let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        let text = reply.body_mut().read_to_string().unwrap();
        Reply { status: reply.status().as_u16(), headers, text }
    }

    pub fn get(&self, path: &str) -> Reply {
        self.call("GET", path, None, None)
    }

    pub fn get_as(&self, person: &Person, path: &str) -> Reply {
        self.call("GET", path, Some(&person.key), None)
    }

    pub fn post_as(&self, person: &Person, path: &str, body: &Value) -> Reply {
        self.call("POST", path, Some(&person.key), Some(body))
    }

    /// Makes one measurement and gives its number.
    #[track_caller]
    pub fn measure(&self, person: &Person, body: &Value) -> MeasurementId {
        let reply = self.post_as(person, "/api/v2/measurements/", body);
        assert_eq!(reply.status, 201, "{reply:?}");
        MeasurementId(reply.json()["measurements"][0].as_u64().unwrap())
    }

    /// Sends bytes as they are and gives everything that comes back until the server closes.
    pub fn raw(&self, bytes: &[u8]) -> String {
        self.raw_then(bytes, false)
    }

    /// As [`Lab::raw`], for requests that are not whole: tells the server that nothing more comes, so that it need not
    /// wait for the rest.
    pub fn raw_cut(&self, bytes: &[u8]) -> String {
        self.raw_then(bytes, true)
    }

    fn raw_then(&self, bytes: &[u8], cut: bool) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(bytes);
        if cut {
            let _ = stream.shutdown(Shutdown::Write);
        }
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply);
        String::from_utf8_lossy(&reply).into_owned()
    }

    // Results

    /// Makes reports durable and tells the bus, as the collector would.
    pub fn store(&self, reports: Vec<StoredReport>, gaps: Vec<(ProbeId, Gap)>) {
        let ranges = reports
            .iter()
            .map(|stored| {
                (stored.probe, BootRanges { boot: stored.boot, ranges: RangeSet::of(stored.seq..=stored.seq) })
            })
            .collect();
        let batch = Batch { reports, ranges, gaps, boots: Vec::new() };
        self.runtime.block_on(self.results.append(&batch, self.clock.now())).unwrap();
        self.bus.publish(Arc::new(Published::Reports(batch.reports)));
    }

    /// Tells the bus that a probe has come or gone.
    pub fn tell_status(&self, probe: ProbeId, connected: bool) {
        let status = ProbeStatus { probe, connected, at: UnixNanos::from_secs(NOW), controller: "ctr".into() };
        self.bus.publish(Arc::new(Published::Status(status)));
    }

    /// A stored report of a result or skipped runs.
    pub fn stored(&self, probe: ProbeId, session: SessionId, report: &Report) -> StoredReport {
        let at = match report {
            Report::Result(result) => result.started_at,
            Report::Skipped(skipped) => skipped.planned_at,
        };
        StoredReport {
            probe,
            session,
            boot: BootId(probe.0 + 1000),
            seq: Seq(self.next.fetch_add(1, Ordering::SeqCst)),
            arrived_at: self.clock.now(),
            measurement: report.measurement(),
            at,
            report: report.to_cbor(),
        }
    }
}

/// A ping or traceroute to `target`, once, from these sources.
pub fn asking(kind: &str, target: &str, sources: Value) -> Value {
    let af = if target.contains(':') { 6 } else { 4 };
    serde_json::json!({
        "definitions": [{"type": kind, "af": af, "description": format!("{kind} to {target}"), "target": target}],
        "probes": sources,
        "is_oneoff": true,
    })
}

/// Everywhere.
pub fn worldwide(requested: u32) -> Value {
    serde_json::json!([{"type": "area", "value": "WW", "requested": requested}])
}

/// A path: the given addresses one hop each, the target at the end.
pub fn path(measurement: MeasurementId, at: i64, src: &str, dst: &str, hops: &[&str]) -> Report {
    let answer = |address: &str| {
        HopReply::Reply(HopAnswer {
            rtt: Some(1_500_000),
            hop_limit: Some(60),
            size: Some(84),
            ..HopAnswer::new(ip(address))
        })
    };
    let hops =
        hops.iter().chain([&dst]).zip(1u8..).map(|(address, hop)| Hop { hop, replies: List::cut([answer(address)]) });
    result(
        measurement,
        at,
        src,
        dst,
        Outcome::Traceroute(TracerouteOutcome {
            protocol: Transport::Udp,
            size: 48,
            paris_id: Some(1),
            hops: List::cut(hops),
        }),
    )
}

/// A result of any kind.
pub fn result(measurement: MeasurementId, at: i64, src: &str, dst: &str, outcome: Outcome) -> Report {
    let at = UnixNanos::from_secs(at);
    let dst_addr = ip(dst);
    Report::Result(MeasurementResult {
        measurement,
        planned_at: at,
        started_at: at,
        ended_at: at,
        timing: Timing::default(),
        af: Family::of(dst_addr.0),
        dst_name: Text::new(dst),
        dst_addr: Some(dst_addr),
        src_addr: Some(ip(src)),
        time_to_resolve: None,
        interval: None,
        outcome,
    })
}

/// Runs that did not take place.
pub fn skipped(measurement: MeasurementId, at: i64, runs: u32) -> Report {
    let reason = sonde_protocol::result::SkipReason::Limit;
    Report::Skipped(Skipped { measurement, planned_at: UnixNanos::from_secs(at), runs, reason })
}

pub fn ip(text: &str) -> Ip {
    Ip(text.parse().unwrap())
}

/// Compares with a file in `api/tests/golden/`; `SONDE_BLESS=1` writes it anew.
#[track_caller]
pub fn golden(name: &str, found: &Value) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let text = serde_json::to_string_pretty(found).unwrap() + "\n";
    if std::env::var_os("SONDE_BLESS").is_some() {
        std::fs::write(path, text).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    // Parsed, because the order of fields depends on how serde_json was built.
    if serde_json::from_str::<Value>(&kept).ok().as_ref() != Some(found) {
        let changed = text.lines().zip(kept.lines()).find(|(new, old)| new != old);
        panic!("{} differs (SONDE_BLESS=1 writes it anew), at first in {changed:?}:\n{text}", path.display());
    }
}
