//! The inputs that the corpus begins with: good messages of every form, runs that end well and badly.

use std::fs;
use std::path::Path;

use data_encoding::HEXLOWER_PERMISSIVE;
use serde_json::json;
use sonde_probe::spool::format::seal;
use sonde_protocol::bounded::{Bytes, List};
use sonde_protocol::ids::{BootId, Seq};
use sonde_protocol::message::{Gap, GapReason, to_cbor};
use sonde_protocol::range_set::RangeSet;
use sonde_protocol::spool::block::{Block, BlockId, BootState, KeptReport};
use sonde_protocol::time::UnixNanos;

/// A target, the name of an input, the input.
type Seed = (&'static str, &'static str, Vec<u8>);

/// Writes all of them below `corpus`.
pub fn write(corpus: &Path) {
    let messages = messages();
    let all = conversations().into_iter().chain(exchanges()).chain(texts()).chain(bytes()).chain(blocks());
    let all = all.map(|(target, name, input)| (target, name.to_owned(), input)).chain(messages);
    for (target, name, input) in all {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), input).unwrap();
    }
}

/// The golden messages of the protocol, each for the reader that it is meant for.
fn messages() -> Vec<(&'static str, String, Vec<u8>)> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/tests/golden/messages");
    let mut found = Vec::new();
    for file in fs::read_dir(golden).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let hex: String = fs::read_to_string(&path).unwrap().split_whitespace().collect();
        let Ok(bytes) = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()) else { continue };
        let target = match name.split('-').next().unwrap() {
            "hello" | "health" | "gaps" | "time" if name != "time-reply" => "up",
            "bye" | "board" => "up",
            "update" if name.starts_with("update-ask") => "up",
            "from" | "to" => "board",
            "frame" => "frame",
            "result" | "skipped" => "report",
            "directory" => "directory",
            "orders" if name == "orders-applied" || name == "orders-wanted" => "up",
            _ => "down",
        };
        found.push((target, name, bytes));
    }
    found
}

/// What engines are told, in the language of `sonde_tests::fuzz`'s `drive`: first the definition, then what happens.
fn conversations() -> Vec<Seed> {
    // Time passes, by so many milliseconds; a right answer; one that is nearly right; an ICMP error.
    let wait = |ms: u16| [vec![0], ms.to_be_bytes().to_vec()].concat();
    let answer = || vec![4];
    let spoilt = |at: u16| [vec![5, 1], at.to_be_bytes().to_vec(), vec![0xff, 1, 0]].concat();
    let error = |kind: u8, code: u8| vec![0x87, kind, code, 1, 5, 0, 36, 1, 8, 0x20, 0, 0, 0, 0, 8, 1, 1];
    let refused = |kind: u8, code: u8| vec![0x07, kind, code, 0, 36, 0];
    let garbage = || [vec![3, 20], (0..20).collect()].concat();
    let late = || vec![11, 0, 0xff, 0xff];
    let unsent = || vec![14];
    let ends = || {
        let happens: Vec<Vec<u8>> = vec![
            [wait(10), answer(), late()].concat(),
            [wait(10), answer(), answer(), wait(1000), answer()].concat(),
            [error(11, 0), wait(5), error(3, 1), refused(3, 3), error(1, 4)].concat(),
            [garbage(), spoilt(0), spoilt(20), spoilt(25), wait(5000), answer()].concat(),
            [unsent(), wait(100), unsent()].concat(),
            Vec::new(),
        ];
        ["answered", "twice", "errors", "garbage", "unsent", "silent"].into_iter().zip(happens)
    };
    let mut seeds = Vec::new();
    for (name, happens) in ends() {
        let with = |definition: &[u8]| [definition, &happens].concat();
        // Family, packets, size, interval, probe id, first sequence.
        seeds.push(("ping", name, with(&[0, 0, 2, 0, 47, 0, 98, 0, 0, 1])));
        // Family, first hop, protocol, packets, size, hops, Paris, two time-outs, DF, sequence, flow, length.
        seeds.push((
            "traceroute",
            name,
            with(&[1, 0, 0, 1, 0, 0, 0, 48, 0, 7, 0, 16, 3, 231, 0, 10, 0, 0, 1, 0, 2, 0]),
        ));
        // Family, retries, time-out, own resolver, qbuf, NSID, cookies, id.
        seeds.push(("dns_udp", name, with(&[0, 0, 1, 0, 100, 0, 1, 1, 1, 0x42, 0x42])));
        // The same over TCP.
        let tcp = [("answered", "tcp-answered"), ("errors", "tcp-errors")];
        if let Some((_, tcp)) = tcp.into_iter().find(|(of, _)| *of == name) {
            seeds.push((
                "traceroute",
                tcp,
                with(&[0, 0, 0, 2, 0, 0, 0, 48, 0, 7, 0, 16, 3, 231, 0, 10, 0, 0, 1, 0, 2, 0]),
            ));
        }
        // Family, packets, time-out, sequence.
        seeds.push(("path_mtu", name, with(&[0, 0, 2, 3, 0xe8, 0, 1])));
        // Family, packets, time-out, clock, both clocks at the end.
        seeds.push(("ntp", name, with(&[0, 0, 2, 0x0f, 0x9f, 0x46, 0x25, 0x03, 0xe8, 0x12, 0x34])));
    }
    seeds
}

/// What happens on connections: of http the definition first, then events; of sslcert events with a time before each.
fn exchanges() -> Vec<Seed> {
    let http = |bytes: &[&[u8]]| {
        let mut input = vec![0, 0, 0, 100, 0, 1, 1, 0, 2];
        for piece in bytes {
            input.extend([3, u8::try_from(piece.len()).unwrap()]);
            input.extend(*piece);
        }
        input.push(6);
        input
    };
    let certificates =
        [&b"\0\x01\0\0\x02\x02\x03\x03\xc0\x2f\0\x03\x03\x02\x04\x30\x02\x05\0\x03\x30\x01\0"[..], b"\0\x04\x0a"]
            .concat();
    vec![
        ("http", "length", http(&[b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: x\r\n\r\n", b"hel", b"lo"])),
        (
            "http",
            "chunks",
            http(&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n"]),
        ),
        ("http", "until-close", http(&[b"HTTP/1.0 404 Not Found\r\n\r\nno such page"])),
        ("http", "no-content", http(&[b"HTTP/1.1 204 No Content\r\n\r\n"])),
        ("http", "continue", http(&[b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"])),
        ("http", "garbage", http(&[b"\x16\x03\x01 SSH-2.0-x\r\n"])),
        ("sslcert", "certificates", certificates),
        ("sslcert", "alert", b"\0\x01\0\0\x02\x01\x15\0\x03\x05\x28".to_vec()),
        ("sslcert", "refused", b"\0\x01\x08".to_vec()),
        ("sslcert", "no-tls", b"\0\x01\0\0\x02\x01\x48\0\x03\x06".to_vec()),
    ]
}

fn texts() -> Vec<Seed> {
    let definitions = json!({
        "definitions": [
            {"type": "ping", "af": 4, "target": "192.0.2.1", "description": "x", "packets": 3, "size": 48, "tags": ["a-b"]},
            {"type": "traceroute", "af": 6, "target": "2001:db8::1", "protocol": "ICMP", "paris": 16, "max_hops": 32},
            {"type": "dns", "af": 4, "target": "ns.example.net", "query_class": "IN", "query_type": "AAAA", "query_argument": "example.net", "set_nsid_bit": true},
            {"type": "dns", "use_probe_resolver": true, "query_class": "CHAOS", "query_type": "TXT", "query_argument": "version.bind"},
            {"type": "ntp", "af": 4, "target": "ntp.example.net", "timeout": 1000},
            {"type": "sslcert", "af": 4, "target": "example.net", "hostname": "example.net", "port": 443},
            {"type": "http", "af": 4, "target": "example.net", "method": "HEAD", "path": "/x", "query_string": "a=b", "version": "1.1"},
        ],
        "probes": [
            {"type": "area", "value": "WW", "requested": 5},
            {"type": "probes", "value": "1-3,7", "requested": 4, "tags": {"include": ["system-ipv4-works"]}},
            {"type": "prefix", "value": "192.0.2.0/24", "requested": 1},
        ],
        "is_oneoff": false, "start_time": 1_795_738_000, "stop_time": "2026-12-01T00:00:00Z", "interval": 240,
    });
    let sample = include_bytes!("../../../docs/sonde.toml.sample");
    let network = "name = \"example\"\nroots = [\"5j-yBUzQhPyXqQTLdSwyB0ZC2Y3rPxNXnXo1kJkQmAE\"]\ntoken = \"word\"\n\
                   [[collectors]]\nkey = \"5j-yBUzQhPyXqQTLdSwyB0ZC2Y3rPxNXnXo1kJkQmAE\"\naddresses = [\"192.0.2.1:8333\", \"[2001:db8::1]:443\", \"c.example:8333\"]\n";
    let settings = "[policy]\nallow = [\"127.0.0.0/8\"]\nsite_prefix = 48\nresolvers = [\"192.0.2.53\", \"fe80::1%lo\"]\n\
                    [limits]\npackets_per_second = 50\nbytes_per_day = 104857600\n";
    let resolv = "# a comment\nnameserver 192.0.2.53\nnameserver fe80::1%lo\nnameserver 2001:db8::53\noptions edns0\n\
                  nameserver x\nsearch lan\n";
    let page = "GET /status.json?x=1 HTTP/1.1\r\nHost: [::1]:9090\r\nAccept: */*\r\nCookie: a=b; c=d\r\n\r\n";
    vec![
        ("definitions", "everything", definitions.to_string().into_bytes()),
        ("definitions", "nothing", b"{}".to_vec()),
        ("definitions", "nest", [b"[".repeat(300), b"]".repeat(300)].concat()),
        ("probe_config", "sample", sample.to_vec()),
        ("probe_config", "settings", settings.into()),
        ("network_file", "whole", network.into()),
        ("resolv_conf", "odd", resolv.into()),
        ("page_request", "browser", page.into()),
        ("resolv_conf", "many", (0..20).map(|n| format!("nameserver 192.0.2.{n}\n")).collect::<String>().into_bytes()),
    ]
}

fn bytes() -> Vec<Seed> {
    let answer = b"\x1a\x2b\x84\x00\x00\x01\x00\x02\x00\x00\x00\x00\x07version\x04bind\x00\x00\x10\x00\x03\
        \xc0\x0c\x00\x10\x00\x03\x00\x00\x00\x00\x00\x0b\x04name\x05\"9.x\"\
        \xc0\x0c\x00\x06\x00\x03\x00\x00\x01\x2c\x00\x24\xc0\x0c\x04host\x06master\xc0\x14\
        \x00\x00\x07\xea\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x03\x00\x00\x00\x04";
    // A name that points at itself.
    let circle = b"\x1a\x2b\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01\xc0\x0c\x00\x10\x00\x01\x00\x00\x01\x2c\x00\x02\xc0\x0c";
    let labels = b"\x20\x00\x00\x00\x00\x10\x01\x01\x05\xdc\xda\x01\x05\xdd\xdb\x01\x00\x08\x02\x01\x01\x02\x03\x04";
    let mut message = vec![200, 0, u8::try_from(answer.len()).unwrap()];
    message.extend(answer);
    vec![
        ("dns_message", "txt-and-soa", answer.to_vec()),
        ("dns_message", "circle", circle.to_vec()),
        ("dns_message", "header", answer.get(..12).unwrap().to_vec()),
        ("icmp_extension", "mpls", labels.to_vec()),
        ("ipv6_answer", "txt-and-soa", answer.to_vec()),
        (
            "router_advert",
            "resolver-and-nat64",
            [
                &b"\x19\x03\0\0\0\0\x02\x58\x2a\0\0\x01\0\x02\0\x03"[..],
                &[0; 8],
                b"\x26\x02\x07\x08\0\x64\xff\x9b\0\0\0\0\0\0\0\0",
            ]
            .concat(),
        ),
        ("reference_echo", "request", [&b"SdEq\x01\0\x05\xac\0\0\0\0\0\0\0\x01"[..], &[7; 16], &[0; 8]].concat()),
        (
            "reference_echo",
            "reply",
            [&b"SdEr\x01\x40\x05\xac\0\0\0\0\0\0\0\x01"[..], &[0; 10], b"\xff\xff\xc0\0\x02\x01\x05\0", &[0; 6]]
                .concat(),
        ),
        ("icmp_extension", "empty-object", b"\x20\x00\x00\x00\x00\x04\x01\x01".to_vec()),
        ("icmp_message", "echo-reply", b"\x00\x00\x12\x34\x56\x78\x00\x01sonde".to_vec()),
        ("icmp_message", "time-exceeded", b"\x0b\x00\xf4\xff\x00\x00\x00\x00\x45\x00\x00\x1c".to_vec()),
        (
            "tcp_segment",
            "syn-ack",
            b"\x00\x50\x50\x01\xaa\xbb\xcc\xdd\x11\x22\x33\x45\x60\x12\xfa\xf0\x00\x00\x00\x00\x02\x04\x05\xb4"
                .to_vec(),
        ),
        (
            "quote",
            "v4",
            b"\x45\x48\x00\x1c\0\0\0\0\x02\x11\0\0\x0a\0\0\x02\xc0\0\x02\x09\x13\x88\x82\x9b\0\x08\0\0".to_vec(),
        ),
        (
            "quote",
            "v6-options",
            [&b"\x6a\x80\0\0\0\x18\0\x03"[..], &[0x20; 32], b"\x3c\0\x01\x04\0\0\0\0\x11\0\x01\x04\0\0\0\0"].concat(),
        ),
        ("quote", "old-extensions", [&[7; 100][..], b"\x20\x00\x9d\xef\x00\x08\x01\x01\x00\x06\x41\x01"].concat()),
        ("dns_tcp", "whole", message),
        ("dns_tcp", "in-pieces", b"\x01\x00\x01\x05\x02ab\x03cdefg".to_vec()),
        ("wire", "two", b"\x08\x00\x00\x00\x02ab\x00\x00\x06\x00\x01c\x00\x00\x00".to_vec()),
        ("wire", "too-long", b"\x04\x00\x01\x00\x00".to_vec()),
        ("lanes", "records", b"\x10\x00\x00\x00\x03\x00ab\x00\x00\x00\x01\x03\x00\x00\x00\x02\x09".to_vec()),
        ("lanes", "too-long", b"\x05\x00\x01\x00\x00\x00".to_vec()),
        ("spec", "ping", b"\xa4\x00\x03\x01\x18\x30\x02\x19\x03\xe8\x03\xf4".to_vec()),
        ("spec", "ntp", b"\xa2\x00\x03\x01\x19\x0f\xa0".to_vec()),
    ]
}

/// The spool's file, and what its blocks hold: a first byte says which of the two follows.
fn blocks() -> Vec<Seed> {
    let report = |seq: u64| KeptReport {
        seq: Seq(seq),
        bytes: Bytes::new(vec![seq.to_le_bytes()[0]; 5]).unwrap(),
        from: UnixNanos(100),
        length: 1,
        settled: UnixNanos(99),
    };
    let state = |boot: u64, next: u64| BootState {
        boot: BootId(boot),
        next: Seq(next),
        durable: RangeSet::of(Seq(1)..=Seq(1)),
        gaps: List::default(),
        started_at: Some(UnixNanos(50)),
        closed_at: None,
        settled: UnixNanos(99),
        until: UnixNanos(101),
    };
    let block = |reports: &[u64], states: Vec<BootState>| {
        let reports = List::new(reports.iter().copied().map(report).collect::<Vec<_>>()).unwrap();
        to_cbor(&Block { boot: BootId(1), reports, states: List::new(states).unwrap(), written_at: UnixNanos(1000) })
    };
    let (from, to) = (UnixNanos(1), UnixNanos(2));
    let gap = Gap { boot: BootId(1), first: Seq(4), last: Some(Seq(5)), reason: GapReason::SpoolFull, from, to };
    let closed = BootState { gaps: List::new(vec![gap]).unwrap(), closed_at: Some(UnixNanos(200)), ..state(1, 7) };
    let one = block(&[2, 3, 6], vec![closed, state(9, 4)]);
    let odd = block(&[3, 2, 2, u64::MAX], vec![state(1, u64::MAX), state(1, 1), state(u64::MAX, 3)]);
    let holes = block(&[2, 9, 40], vec![state(1, 41)]);
    let file = [seal(BlockId(1), &one)[..300].to_vec(), vec![0; 200]].concat();
    let content = |bytes: &[u8]| [&[0], bytes].concat();
    vec![
        ("spool_file", "closed", content(&one)),
        ("spool_file", "odd", content(&odd)),
        ("spool_file", "holes", content(&holes)),
        ("spool_file", "no-boot", content(&block(&[2], Vec::new()))),
        ("spool_file", "file", [&[1], &file[..]].concat()),
    ]
}
