//! A collector gone bad that does not order but talks: welcomes, directories, orders, addresses, notices without end, messages of
//! four gigabytes, garbage. The probe holds no more memory for it, answers its host all the while, and measures for the next
//! collector that behaves as if nothing had been. Needs root; says SKIPPED where it cannot run.
#![expect(clippy::unwrap_used, reason = "all of this is tests, the helpers between them too")]

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sonde_collector::Network;
use sonde_protocol::bounded::{Bytes, List};
use sonde_protocol::ids::MeasurementId;
use sonde_protocol::net::{Family as Af, Ip};
use sonde_protocol::order::{Order, When};
use sonde_protocol::result::Report;
use sonde_protocol::spec::{PingSpec, Spec, Target};
use sonde_protocol::time::UnixNanos;
use sonde_tests::lab::{Family, Host, LabOptions};
use sonde_tests::rogue::{Orders, Rage, Rogue};
use sonde_tests::scene::{self, collector_addresses, say};
use sonde_tests::world::{Place, Probe, wait_for};

/// Messages that are enough of one kind, if the probe bears them.
const MESSAGES: u64 = 3_000;

/// So are so many bytes.
const BYTES: u64 = 4 << 20;

/// Connections that are enough, if it does not.
const CONNECTIONS: u64 = 3;

/// The most that the process may hold resident, in kilobytes: a program that is not optimised, a full set of orders, and two
/// of the longest messages.
const RESIDENT_KB: u64 = 80 * 1024;

fn now() -> UnixNanos {
    UnixNanos(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap())
}

/// A ping of the target, once.
fn order(number: u64) -> Order {
    let target = Host::Target.address(Family::V4).unwrap();
    let spec = Spec::Ping(PingSpec { packets: 1, ..PingSpec::default() });
    Order {
        measurement: MeasurementId(number),
        kind: spec.kind().number(),
        spec: Bytes::new(spec.to_cbor()).unwrap(),
        af: Af::V4,
        target: Some(Target::cut(target.to_string())),
        addresses: List::cut([Ip(target)]),
        resolve_on_probe: false,
        when: When::Once { start: None, expires: now() + Duration::from_secs(3600) },
        ordered_at: now(),
    }
}

#[test]
fn whatever_a_collector_says_without_end_the_probe_stays_small_and_measures_for_the_next() {
    let Some(lab) = scene::lab(LabOptions::default()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let address: SocketAddr = collector_addresses()[0];
    let network = Network::open_or_create(&folder.path().join("network"), "bad", &[address.to_string()]).unwrap();
    let dir = folder.path().join("probe");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("network.toml"), toml::to_string(&network.network_file(None)).unwrap()).unwrap();
    let inside = lab.host(Host::Server);
    let dual = Host::Dual.public_address(Family::V4).unwrap();
    // Waits between attempts grow, so each word begins with a fresh process.
    for (n, rage) in (1_000_000..).zip(Rage::ALL) {
        let rogue = Rogue::start_raging(inside, address, &network, rage, order(0)).unwrap();
        let mut probe = Probe::start(Place::In(lab.host(Host::Dual)), &dir, "[spool]\nenabled = false\n").unwrap();
        let enough = || {
            let raged = rogue.raged();
            let enough = raged.connections >= CONNECTIONS || raged.messages >= MESSAGES || raged.bytes >= BYTES;
            Ok(enough.then_some(raged))
        };
        let look = || wait_for(&format!("enough of {rage:?}"), enough);
        let raged = look().or_else(|_| look()).unwrap();
        let resident = probe.process().unwrap().resident_kb().unwrap();
        say(&format!("{rage:?}: {raged:?}; {resident} KB resident"));
        assert!(resident < RESIDENT_KB, "{rage:?}: {resident} KB resident");
        wait_for("the probe to answer its host", || probe.status()).unwrap();
        drop(rogue);

        let given: Orders = [(dual, vec![order(n)])].into();
        let good = Rogue::start(inside, address, &network, given).unwrap();
        let measured = || {
            let is_it = |(_, report): &(_, Report)| matches!(report, Report::Result(it) if it.measurement.0 == n);
            Ok(good.reports().iter().any(is_it).then_some(()))
        };
        let look = || wait_for(&format!("a result after {rage:?}"), measured);
        look().or_else(|_| look()).unwrap();
        assert!(!probe.process().unwrap().log().contains("panicked"), "{rage:?}");
    }
}
