//! Servers of other people: knot, which signs a zone, and unbound, which validates it and speaks TLS and HTTPS. Their
//! answers are, byte for byte but for the id, the same over everything they speak, and the same that kdig gets.
//!
//! Records have a TTL of 0, so that a resolver's answer does not change by the second.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use sonde_tests::lab::{Family, Host, Lab, LabChild, LabOptions};
use sonde_tests::scene::{self, say};
use sonde_tests::world::{program, wait_for};
use tempfile::TempDir;

use crate::{CARRIERS, Carrier, bytes, without_id};

/// Where both run.
const HOST: Host = Host::Target;

const ZONE: &str = "$TTL 0\n\
                    @ SOA ns.signed.example. hostmaster.signed.example. 1 3600 600 86400 0\n\
                    @ NS ns.signed.example.\n\
                    ns A 20.30.1.11\n\
                    text TXT \"from a signed zone\" \"second string\"\n\
                    www A 192.0.2.80\n\
                    www AAAA 2001:db8::80\n";

fn knot_addresses() -> [IpAddr; 2] {
    Family::ALL.map(|family| HOST.addresses(family)[1])
}

fn unbound_addresses() -> [IpAddr; 2] {
    Family::ALL.map(|family| HOST.addresses(family)[2])
}

/// The servers, and what goes with them.
struct Servers<'a> {
    lab: &'a Lab,
    _knot: LabChild,
    _unbound: LabChild,
    folder: TempDir,
}

/// Whether the servers are installed; a word on standard error if not.
///
/// # Panics
/// When they must be there.
fn are_installed() -> bool {
    let runs = |name: &str| {
        let started = std::process::Command::new(name).arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status();
        started.is_ok()
    };
    let missing: Vec<&str> = ["knotd", "unbound", "kdig"].into_iter().filter(|name| !runs(name)).collect();
    let required = std::env::var_os("SONDE_LAB_REQUIRED").is_some_and(|value| value == "1");
    assert!(missing.is_empty() || !required, "not installed: {missing:?} (Debian: knot, unbound, knot-dnsutils)");
    if !missing.is_empty() {
        say(&format!("SKIPPED: not installed: {missing:?}"));
    }
    missing.is_empty()
}

impl<'a> Servers<'a> {
    fn start(lab: &'a Lab) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let knot = start_knot(lab, folder.path());
        let anchors = wait_for("knot's keys", || {
            let server = format!("@{}", knot_addresses()[0]);
            let keys = kdig(lab, &[&server, "signed.example", "DNSKEY", "+short", "+tcp", "+time=1", "+retry=0"]);
            // A key signing key, with which the zone is signed by now.
            Ok(keys.lines().find(|key| key.starts_with("257 ")).map(|key| format!("signed.example. DNSKEY {key}\n")))
        });
        let unbound = start_unbound(lab, folder.path(), &anchors.unwrap());
        let servers = Self { lab, _knot: knot, _unbound: unbound, folder };
        wait_for("unbound's answer", || {
            let server = format!("@{}", unbound_addresses()[0]);
            let text = servers.kdig(&[&server, "text.signed.example", "TXT", "+short", "+time=1", "+retry=0"]);
            Ok(text.contains("from a signed zone").then_some(()))
        })
        .unwrap();
        servers
    }

    fn kdig(&self, arguments: &[&str]) -> String {
        kdig(self.lab, arguments)
    }

    /// What this project's probe gets, as its JSON.
    fn measure(&self, carrier: Carrier, server: IpAddr, name: &str, options: &[&str]) -> Value {
        let mut command = self.lab.host(Host::Dual).command(program("sonde-probe").unwrap());
        command.args(["measure", "dns", name, "--server", &server.to_string(), "--include-qbuf"]);
        command.arg(format!("--{}={}", carrier.field.0, carrier.field.1)).args(options);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Everything that kdig sent and received, as it records it.
    fn trace_of_kdig(&self, carrier: Carrier, server: IpAddr, name: &str, options: &[&str]) -> Vec<u8> {
        let trace = self.folder.path().join("kdig.tap");
        let _ = fs::remove_file(&trace);
        let server = format!("@{server}");
        // We never set the bit AD in a query.
        let mut arguments = vec!["-E", trace.to_str().unwrap(), &server, name, "+noadflag"];
        arguments.extend(match carrier.name {
            "udp" => ["+notcp", "+ignore"],
            "tcp" => ["+tcp", "+nokeepopen"],
            "tls" => ["+tls", "+nopadding"],
            _ => ["+https", "+nopadding"],
        });
        arguments.extend(options);
        let text = self.kdig(&arguments);
        fs::read(&trace).unwrap_or_else(|error| panic!("{error}: {arguments:?}: {text}"))
    }
}

fn kdig(lab: &Lab, arguments: &[&str]) -> String {
    let output = lab.host(Host::Dual).command("kdig").args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn start_knot(lab: &Lab, folder: &Path) -> LabChild {
    let dir = folder.join("knot");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("signed.example.zone"), ZONE).unwrap();
    let [v4, v6] = knot_addresses();
    let config = format!(
        "server:\n  rundir: \"{dir}\"\n  listen: [ {v4}@53, {v6}@53 ]\n  identity: knot-of-the-lab\n  version: knot\n  \
         nsid: knot-nsid\n  automatic-acl: off\nlog:\n  - target: stderr\n    any: warning\ndatabase:\n  storage: \"{dir}\"\n\
         policy:\n  - id: all\n    algorithm: ECDSAP256SHA256\n    dnskey-ttl: 0\n    nsec3: off\n\
         template:\n  - id: default\n    storage: \"{dir}\"\nzone:\n  - domain: signed.example\n    \
         dnssec-signing: on\n    dnssec-policy: all\n    zonefile-sync: -1\n    journal-content: none\n",
        dir = dir.display()
    );
    fs::write(dir.join("knot.conf"), config).unwrap();
    let mut command = lab.host(HOST).command("knotd");
    command.arg("-c").arg(dir.join("knot.conf"));
    lab.spawn(command.stdout(Stdio::null())).unwrap()
}

fn start_unbound(lab: &Lab, folder: &Path, anchors: &str) -> LabChild {
    let dir = folder.join("unbound");
    fs::create_dir(&dir).unwrap();
    let made = rcgen::generate_simple_self_signed(["unbound.lab.example".to_owned()]).unwrap();
    fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    fs::write(dir.join("anchors"), anchors).unwrap();
    let interfaces: String = unbound_addresses()
        .iter()
        .flat_map(|address| [53, 853, 443].map(|port| format!("  interface: {address}@{port}\n")))
        .collect();
    let config = format!(
        "server:\n{interfaces}  username: \"\"\n  chroot: \"\"\n  directory: \"{dir}\"\n  pidfile: \"\"\n  use-syslog: no\n  \
         verbosity: 0\n  num-threads: 1\n  access-control: 0.0.0.0/0 allow\n  access-control: ::0/0 allow\n  tls-port: 853\n  \
         https-port: 443\n  tls-service-key: \"{dir}/key.pem\"\n  tls-service-pem: \"{dir}/cert.pem\"\n  \
         trust-anchor-file: \"{dir}/anchors\"\n  module-config: \"validator iterator\"\n  rrset-roundrobin: no\n  \
         root-hints: \"\"\n  identity: unbound-of-the-lab\n  version: unbound\n  nsid: ascii_unbound-nsid\n  \
         qname-minimisation: no\n  aggressive-nsec: no\n  trust-anchor-signaling: no\n  prefer-ip4: yes\n\
         remote-control:\n  control-enable: no\n\
         stub-zone:\n  name: signed.example\n  stub-addr: {knot}\n",
        dir = dir.display(),
        knot = knot_addresses()[0]
    );
    fs::write(dir.join("unbound.conf"), config).unwrap();
    let mut command = lab.host(HOST).command("unbound");
    command.args(["-d", "-c"]).arg(dir.join("unbound.conf"));
    lab.spawn(command.stdout(Stdio::null())).unwrap()
}

/// A question, as our options and as kdig's.
struct Question {
    word: &'static str,
    name: &'static str,
    ours: &'static [&'static str],
    kdig: &'static [&'static str],
}

const fn question(
    word: &'static str,
    name: &'static str,
    ours: &'static [&'static str],
    kdig: &'static [&'static str],
) -> Question {
    Question { word, name, ours, kdig }
}

const QUESTIONS: [Question; 6] = [
    question(
        "signed",
        "text.signed.example",
        &["--query-type=TXT", "--set-do-bit", "--udp-payload-size=1232"],
        &["TXT", "+dnssec", "+bufsize=1232"],
    ),
    question(
        "keys",
        "signed.example",
        &["--query-type=48", "--set-do-bit", "--udp-payload-size=4096"],
        &["DNSKEY", "+dnssec", "+bufsize=4096"],
    ),
    question("unsigned", "www.signed.example", &["--query-type=AAAA"], &["AAAA", "+noedns"]),
    question(
        "missing",
        "missing.signed.example",
        &["--set-do-bit", "--udp-payload-size=1232", "--set-cd-bit"],
        &["A", "+dnssec", "+bufsize=1232", "+cdflag"],
    ),
    question(
        "chaos",
        "id.server",
        &["--query-type=TXT", "--query-class=CHAOS", "--set-nsid-bit"],
        &["TXT", "CH", "+nsid", "+bufsize=512"],
    ),
    question(
        "nsid",
        "www.signed.example",
        &["--set-nsid-bit", "--udp-payload-size=1232"],
        &["A", "+nsid", "+bufsize=1232"],
    ),
];

#[test]
fn knot_and_unbound_give_us_what_they_give_to_kdig() {
    if !are_installed() {
        return;
    }
    let Some(lab) = scene::lab(LabOptions::default()) else { return };
    let servers = Servers::start(&lab);
    let knot = CARRIERS.iter().filter(|carrier| ["udp", "tcp"].contains(&carrier.name));
    let unbound = CARRIERS.iter().filter(|carrier| carrier.name != "quic");
    let all = knot.map(|carrier| ("knot", *carrier)).chain(unbound.map(|carrier| ("unbound", *carrier)));
    for (server, carrier) in all {
        let addresses = if server == "knot" { knot_addresses() } else { unbound_addresses() };
        for (address, question) in addresses.iter().flat_map(|address| QUESTIONS.iter().map(move |q| (address, q))) {
            let name = format!("{} of {server} at {address} over {}", question.word, carrier.name);
            let result = servers.measure(carrier, *address, question.name, question.ours);
            let answer = bytes(&result["result"]["abuf"]);
            let trace = servers.trace_of_kdig(carrier, *address, question.name, question.kdig);
            let is_the_same = |message: &[u8]| trace.windows(message.len() - 2).any(|part| part == without_id(message));
            assert!(is_the_same(&bytes(&result["qbuf"])), "{name}: kdig has asked something else: {result}");
            assert!(is_the_same(&answer), "{name}: kdig was answered something else: {result}");
            check_meaning(&name, server, question.word, &answer, &result);
            scene::record(&format!("dns {name}"), &result, false).unwrap();
        }
    }
}

/// What each answer is known to say.
fn check_meaning(name: &str, server: &str, word: &str, answer: &[u8], result: &Value) {
    let has = |text: &str| answer.windows(text.len()).any(|part| part == text.as_bytes());
    let (answers, rcode, is_authentic) = (&result["result"]["ANCOUNT"], answer[3] & 0xf, answer[3] & 0x20 != 0);
    match word {
        // The text and its signature.
        "signed" => assert!(*answers == 2 && has("from a signed zone"), "{name}: {result}"),
        "keys" => assert!(answers.as_u64() >= Some(3), "{name}: {result}"),
        "unsigned" => assert_eq!(*answers, 1, "{name}: {result}"),
        "missing" => assert_eq!((rcode, answers), (3, &json!(0)), "{name}: {result}"),
        "chaos" => {
            let text = format!("{server}-of-the-lab");
            assert_eq!(result["result"]["answers"][0]["RDATA"], json!([text]), "{name}: {result}");
            assert!(has(&format!("{server}-nsid")), "{name}: {result}");
        }
        "nsid" => assert!(has(&format!("{server}-nsid")), "{name}: {result}"),
        _ => panic!("{word} is not known here"),
    }
    // unbound has validated it, and says so to whoever asks for DNSSEC. Whether also to those who want no check is its own
    // affair.
    if word != "missing" {
        let is_expected = server == "unbound" && ["signed", "keys"].contains(&word);
        assert_eq!(is_authentic, is_expected, "{name}: {result}");
    }
}
