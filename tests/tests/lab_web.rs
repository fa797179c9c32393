//! sslcert and http the whole way in the lab: asked by `POST`, measured at a web server, read back from `results/`. And the
//! list of hosts that http may ask: refused by the API, taken to connected probes by `allow-http`, and held to by the probe
//! against a collector that has the right key and means harm.
//!
//! Needs root; says SKIPPED where it cannot run.
#![expect(clippy::unwrap_used, reason = "all of this is tests, the helpers between them too")]

use std::fs;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::BASE64;
use serde_json::{Value, json};
use sonde_collector::Network;
use sonde_protocol::bounded::{Bytes, List};
use sonde_protocol::ids::MeasurementId;
use sonde_protocol::net::{Family as Af, Ip};
use sonde_protocol::order::{Order, When};
use sonde_protocol::result::{Failure, Outcome, Report};
use sonde_protocol::spec::{HttpSpec, Spec, SslcertSpec, Target};
use sonde_protocol::time::UnixNanos;
use sonde_tests::lab::{Family, Host, LabOptions};
use sonde_tests::rogue::{Orders, Rogue};
use sonde_tests::scene::{self, RAW_SOCKETS, Scene, collector_addresses, say, unhurried};
use sonde_tests::web::{BODY, PLAIN, TLS_1_2, TLS_1_3, Visit, Web};
use sonde_tests::world::{Place, Probe, wait_for};

/// Where the probes are.
const HOSTS: [Host; 4] = [Host::Dual, Host::V4Only, Host::V6Only, Host::Nat];

/// The name of the web server.
const NAME: &str = "target.lab.example";

/// Where another's TLS server is, if there is one.
const OPENSSL: u16 = 8444;

/// One definition, and what its result must be.
struct Case {
    name: &'static str,
    /// The run as a whole fails, as clients see it.
    fails: bool,
    definition: Value,
    check: Box<dyn Fn(&Value)>,
}

fn number(family: Family) -> u8 {
    if family == Family::V4 { 4 } else { 6 }
}

fn case(
    name: &'static str,
    fails: bool,
    family: Family,
    kind: &str,
    fields: &Value,
    check: impl Fn(&Value) + 'static,
) -> Case {
    let mut definition = json!({"type": kind, "af": number(family), "description": "in the lab", "target": NAME});
    for (key, value) in fields.as_object().unwrap() {
        definition[key] = value.clone();
    }
    Case { name, fails, definition, check: Box::new(check) }
}

/// The certificates of a result, in DER.
fn certificates(result: &Value) -> Vec<Vec<u8>> {
    let of = |pem: &Value| {
        let text: String = pem.as_str().unwrap().lines().filter(|line| !line.starts_with('-')).collect();
        BASE64.decode(text.as_bytes()).unwrap()
    };
    result["cert"].as_array().unwrap_or_else(|| panic!("{result}")).iter().map(of).collect()
}

fn cases(family: Family, web: &Web) -> Vec<Case> {
    let shown = |version: &'static str| {
        let chain = web.chain.clone();
        move |result: &Value| {
            assert_eq!(certificates(result), chain, "{result}");
            assert_eq!((&result["ver"], &result["method"]), (&json!(version), &json!("TLS")), "{result}");
            assert!(result["ttc"].as_f64() < result["rt"].as_f64(), "{result}");
            assert!(result["server_cipher"].as_str().unwrap().starts_with("0x"), "{result}");
        }
    };
    let fails = |words: &'static str| move |result: &Value| assert_eq!(result["err"], words, "{result}");
    let response = |size: usize| {
        move |result: &Value| {
            let element = &result["result"][0];
            assert_eq!((&element["res"], &element["bsize"]), (&json!(200), &json!(size)), "{result}");
            assert!(element["rt"].is_number() && element.get("err").is_none(), "{result}");
        }
    };
    let literal = Host::Target.address(family).unwrap();
    let ssl =
        |name, fails, fields: Value, check: Box<dyn Fn(&Value)>| case(name, fails, family, "sslcert", &fields, check);
    let http = |name, fields: Value, check: Box<dyn Fn(&Value)>| case(name, false, family, "http", &fields, check);
    vec![
        ssl("sslcert", false, json!({}), Box::new(shown("1.3"))),
        ssl(
            "sslcert of tls 1.2",
            false,
            json!({"port": TLS_1_2, "hostname": "sni.lab.example"}),
            Box::new(shown("1.2")),
        ),
        ssl("sslcert of a literal", false, json!({"target": literal}), Box::new(shown("1.3"))),
        ssl("sslcert by own name", false, json!({"resolve_on_probe": true}), {
            let shown = shown("1.3");
            Box::new(move |result: &Value| {
                shown(result);
                assert!(result["ttr"].is_number(), "{result}");
            })
        }),
        ssl("sslcert of no tls", true, json!({"port": PLAIN}), Box::new(fails("bad type 72"))),
        ssl("sslcert of a closed port", true, json!({"port": 444}), Box::new(fails("connect: Connection refused"))),
        http("http", json!({"extended_timing": true, "more_extended_timing": true, "header_bytes": 2048}), {
            let size = BODY.len();
            Box::new(move |result: &Value| {
                response(size)(result);
                let element = &result["result"][0];
                assert_eq!(result["uri"], "http://target.lab.example/");
                assert_eq!(
                    element["header"],
                    json!(["Server: lab", format!("Content-Length: {size}"), ""]),
                    "{result}"
                );
                assert!(element["ttr"].is_number() && element["readtiming"][0]["o"] == 0, "{result}");
                assert!(element["ttc"].as_f64() < element["ttfb"].as_f64(), "{result}");
                assert!(element["ttfb"].as_f64() <= element["rt"].as_f64(), "{result}");
            })
        }),
        http("http in chunks", json!({"path": "/chunked", "query_string": "a=b"}), Box::new(response(BODY.len()))),
        http("http until close", json!({"path": "/until-close", "version": "1.0"}), Box::new(response(BODY.len()))),
        http("http head", json!({"method": "HEAD"}), Box::new(response(0))),
        http("http post", json!({"method": "POST"}), Box::new(response(BODY.len()))),
        http("https", json!({"https": true}), Box::new(response(BODY.len()))),
        http("http of a part", json!({"max_bytes_read": 7}), {
            Box::new(move |result: &Value| {
                response(7)(result);
                assert_eq!(result["result"][0]["read-truncated"], true, "{result}");
            })
        }),
        http("http to elsewhere", json!({"path": "/moved"}), {
            Box::new(|result: &Value| assert_eq!(result["result"][0]["res"], 301, "not followed: {result}"))
        }),
        http("http of nonsense", json!({"path": "/nonsense"}), {
            let words = "bad response: no HTTP status line";
            Box::new(move |result: &Value| assert_eq!(result["result"][0]["err"], words, "{result}"))
        }),
        http("http of a closed port", json!({"port": 8081}), {
            let words = "connect: Connection refused";
            Box::new(move |result: &Value| assert_eq!(result["result"][0]["err"], words, "{result}"))
        }),
    ]
}

#[test]
fn certificates_and_pages_over_both_families() {
    let Some(lab) = scene::lab(LabOptions::default()) else { return };
    let web = Web::start(lab.host(Host::Target)).unwrap();
    let scene = Scene::start(&lab, &HOSTS).unwrap();
    scene.server.admin(&["network", "allow-http", NAME]).unwrap();
    for family in Family::ALL {
        let (hosts, cases) = (scene.hosts(family), cases(family, &web));
        let definitions: Vec<Value> = cases.iter().map(|case| case.definition.clone()).collect();
        let ids = scene.once(&definitions, &hosts).unwrap();
        for (case, id) in cases.iter().zip(ids) {
            for (host, result) in scene.one_each(&scene.owner, id, &hosts).unwrap() {
                let name = format!("{}, {} over {family:?}", case.name, host.name());
                let measured = if result["type"] == "http" { &result["result"][0] } else { &result };
                assert_eq!(measured["af"], number(family), "{name}: {result}");
                assert_eq!(measured["dst_addr"], json!(Host::Target.address(family)), "{name}: {result}");
                assert_eq!(measured["src_addr"], json!(host.address(family)), "{name}: {result}");
                (case.check)(&result);
                scene::record(&name, &result, case.fails).unwrap();
            }
        }
    }
    check_visits(&web.visits());
}

/// What the server was asked is what the definitions say, by somebody who says who it is.
fn check_visits(visits: &[Visit]) {
    // A TLS client that comes to the plain port makes no request.
    for visit in visits.iter().filter(|visit| visit.request.ends_with("\r\n\r\n")) {
        assert!(
            visit.request.contains(concat!("\r\nUser-Agent: Sonde/", env!("CARGO_PKG_VERSION"), "\r\n")),
            "{visit:?}"
        );
        assert!(visit.request.contains("\r\nHost: target.lab.example\r\n"), "{visit:?}");
    }
    let over_tls = visits.iter().find(|visit| visit.port == TLS_1_3 && !visit.request.is_empty()).unwrap();
    assert_eq!(over_tls.server_name.as_deref(), Some(NAME));
    assert!(visits.iter().any(|visit| visit.request.starts_with("GET /chunked?a=b HTTP/1.1\r\n")));
    assert!(visits.iter().any(|visit| visit.request.starts_with("GET /until-close HTTP/1.0\r\n")));
    assert!(visits.iter().any(|visit| visit.request.starts_with("POST / HTTP/1.1\r\n")));
}

/// OpenSSL's own server, so that not only rustls has been spoken to; one that speaks nothing newer than TLS 1.1 too.
#[test]
fn certificates_of_openssls_server() {
    if Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_err() {
        say("SKIPPED: openssl is not installed");
        return;
    }
    let Some(lab) = scene::lab(LabOptions::default()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new([NAME.to_owned()]).unwrap().self_signed(&key).unwrap();
    let (key_file, certificate_file) = (folder.path().join("key.pem"), folder.path().join("certificate.pem"));
    fs::write(&key_file, key.serialize_pem()).unwrap();
    fs::write(&certificate_file, certificate.pem()).unwrap();
    let target = lab.host(Host::Target);
    // It listens in one family at a time.
    let serve = |family: Family, port: u16, more: &[&str]| {
        let (any, own) = if family == Family::V4 { ("0.0.0.0", "127.0.0.1") } else { ("[::]", "::1") };
        let mut command = target.command("openssl");
        command.args(["s_server", "-quiet", "-www", "-accept", &format!("{any}:{port}")]).args(more);
        command.arg("-key").arg(&key_file).arg("-cert").arg(&certificate_file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = lab.spawn(&mut command).unwrap();
        wait_for("openssl to listen", || Ok(target.run(|| std::net::TcpStream::connect((own, port)).ok()).map(|_| ())))
            .unwrap();
        child
    };
    let mut servers = Vec::new();
    for family in Family::ALL {
        servers.push(serve(family, OPENSSL, &[]));
        servers.push(serve(family, OPENSSL + 1, &["-tls1_2", "-verify", "1"]));
        servers.push(serve(family, OPENSSL + 2, &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]));
    }
    let scene = Scene::start(&lab, &[Host::Dual]).unwrap();
    for family in Family::ALL {
        let at = |port: u16| json!({"type": "sslcert", "af": number(family), "description": "x", "target": NAME, "port": port});
        let ids = scene.once(&[at(OPENSSL), at(OPENSSL + 1), at(OPENSSL + 2)], &[Host::Dual]).unwrap();
        let results: Vec<Value> = ids
            .iter()
            .map(|id| scene.one_each(&scene.owner, *id, &[Host::Dual]).unwrap()[&Host::Dual].clone())
            .collect();
        for (result, version) in results.iter().zip(["1.3", "1.2"]) {
            assert_eq!(certificates(result), [certificate.der().to_vec()], "{result}");
            assert_eq!(result["ver"], version, "{result}");
            assert_eq!(result["sonde"]["client_certificate_wanted"] == true, version == "1.2", "{result}");
            scene::record(&format!("openssl, TLS {version} over {family:?}"), result, false).unwrap();
        }
        // protocol_version: nothing older than TLS 1.2 is spoken here.
        assert_eq!(results[2]["alert"], json!({"level": 2, "description": 70}), "{}", results[2]);
        scene::record(&format!("openssl, TLS 1.1 over {family:?}"), &results[2], true).unwrap();
    }
}

#[test]
fn http_asks_whom_the_operator_has_listed() {
    let Some(lab) = scene::lab(LabOptions::default()) else { return };
    let web = Web::start(lab.host(Host::Target)).unwrap();
    let scene = Scene::start(&lab, &[Host::Dual]).unwrap();
    let definition = |more: Value| {
        let mut definition = json!({"type": "http", "af": 4, "description": "x", "target": NAME});
        for (key, value) in more.as_object().unwrap() {
            definition[key] = value.clone();
        }
        definition
    };
    let refused = |definition: Value, pointer: &str| {
        let body = json!({"definitions": [definition], "probes": scene.source(&[Host::Dual]), "is_oneoff": true});
        let answer = scene.owner.request("POST", "/api/v2/measurements/", Some(&body)).unwrap();
        assert_eq!(answer.status, 400, "{}", answer.text);
        assert_eq!(answer.json["error"]["errors"][0]["source"]["pointer"], pointer, "{}", answer.text);
    };
    refused(definition(json!({})), "/definitions/0/target");

    // The probe is connected, and stays so.
    scene.server.admin(&["network", "allow-http", "Target.Lab.Example."]).unwrap();
    assert!(scene.server.admin(&["network", "show"]).unwrap().contains("http may ask target.lab.example\n"));
    let id = scene.once(&[definition(json!({}))], &[Host::Dual]).unwrap()[0];
    let result = &scene.one_each(&scene.owner, id, &[Host::Dual]).unwrap()[&Host::Dual];
    assert_eq!(result["result"][0]["res"], 200, "{result}");
    refused(definition(json!({"target": "target2.lab.example"})), "/definitions/0/target");
    // By its address it is another host, as far as the list knows.
    refused(definition(json!({"target": Host::Target.address(Family::V4)})), "/definitions/0/target");
    refused(definition(json!({"port": 25})), "/definitions/0/port");

    // Off the list again: the order is still there, and the probe refuses it.
    let periodic = json!([definition(json!({"interval": 1, "spread": 0}))]);
    let id = scene.owner.measure(&periodic, &scene.source(&[Host::Dual]), false).unwrap()[0];
    scene.owner.wait_results(id, 1).unwrap();
    scene.server.admin(&["network", "allow-http", "--remove", NAME]).unwrap();
    refused(definition(json!({})), "/definitions/0/target");
    let refusal = wait_for("the probe to refuse", || {
        let results = scene.owner.results(id)?;
        Ok(results.into_iter().find(|result| result["result"][0]["error"] == "address not allowed"))
    });
    scene::record("http to a host that is not listed", &refusal.unwrap(), true).unwrap();
    let before = web.visits().len();
    let refusals =
        |results: &[Value]| results.iter().filter(|result| result["sonde"]["error"] == "address not allowed").count();
    wait_for("further refusals", || Ok((refusals(&scene.owner.results(id)?) >= 3).then_some(()))).unwrap();
    assert_eq!(web.visits().len(), before, "nobody is asked any more");
}

/// A one-off of a collector that makes up what it likes.
fn order(id: u64, spec: &Spec, target: &str, address: IpAddr) -> Order {
    let now = UnixNanos(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap());
    Order {
        measurement: MeasurementId(id),
        kind: spec.kind().number(),
        spec: Bytes::new(spec.to_cbor()).unwrap(),
        af: Af::of(address),
        target: Some(Target::cut(target)),
        addresses: List::cut([Ip(address)]),
        resolve_on_probe: false,
        when: When::Once { start: None, expires: now + Duration::from_secs(3600) },
        ordered_at: now,
    }
}

#[test]
fn a_collector_with_the_right_key_sends_no_request_elsewhere() {
    let Some(lab) = scene::lab(LabOptions::default()) else { return };
    let web = Web::start(lab.host(Host::Target)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let address = collector_addresses()[0];
    let mut network = Network::open_or_create(&folder.path().join("network"), "bad", &[address.to_string()]).unwrap();
    network.allow_http(NAME).unwrap();

    let addresses = Host::Target.addresses(Family::V4);
    let (listed, other) = (addresses[0], addresses[1]);
    let http = |port| Spec::Http(HttpSpec { port, ..HttpSpec::default() });
    let ssl = |port| Spec::Sslcert(SslcertSpec { port, hostname: None });
    let forbidden = [
        (http(80), "target2.lab.example".to_owned()),
        (http(80), other.to_string()),
        (http(80), listed.to_string()),
        (http(80), String::new()),
        (http(25), NAME.into()),
        (ssl(22), NAME.into()),
        (ssl(443), "192.168.0.1".into()),
    ];
    let orders: Vec<Order> = (1..)
        .zip(&forbidden)
        .map(|(id, (spec, target))| {
            order(id, spec, target, if target == "192.168.0.1" { target.parse().unwrap() } else { other })
        })
        // In the name of a listed host, but to another: it goes to where the name leads.
        .chain([order(100, &http(80), NAME, other)])
        .collect();
    let seen_from = Host::Dual.public_address(Family::V4).unwrap();
    let count = orders.len();
    let rogue = Rogue::start(lab.host(Host::Server), address, &network, Orders::from([(seen_from, orders)])).unwrap();
    let dir = folder.path().join("probe");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("network.toml"), toml::to_string(&network.network_file(None)).unwrap()).unwrap();
    let _probe = Probe::start(Place::In(lab.host(Host::Dual)), &dir, &unhurried(RAW_SOCKETS)).unwrap();
    let reports = wait_for("a report about every order", || {
        let reports = rogue.reports();
        Ok((reports.len() >= count).then_some(reports))
    });
    for (_, report) in reports.unwrap() {
        let Report::Result(result) = report else { panic!("{report:?}") };
        match (&result.outcome, result.measurement) {
            (Outcome::Http(seen), MeasurementId(100)) => {
                assert_eq!((result.dst_addr, seen.head.map(|head| head.status)), (Some(Ip(listed)), Some(200)));
            }
            (Outcome::Failed(Failure::NotAllowed, _), MeasurementId(1..100)) => {}
            _ => panic!("{result:?}"),
        }
    }
    let visits = web.visits();
    assert_eq!(visits.len(), 1, "{visits:?}");
}
