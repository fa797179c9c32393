//! What the lab knows about the packets behind a result, and how a result is held against it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::Value;
use sonde_tests::lab::packet::{ICMP, ICMPV6, IpSummary, PacketSummary, TCP, UDP};
use sonde_tests::lab::{Direction, Family, Fate, HopTruth, Host, Lab, Link, Node, WireLog};
use sonde_tests::scene::say;

/// UDP packets of traceroute go to ports from here on.
const BASE_PORT: u16 = 33_434;

/// The source port of TCP packets of traceroute counts from here, and they go to this port when a definition names none.
const TCP_SOURCE_PORT: u16 = 20_480;
const TCP_PORT: u16 = 80;

/// So many bytes of a payload are seen whole by the wire's log, also where a router quotes them over IPv6: 128 bytes less
/// the Ethernet header, two IPv6 headers, the ICMPv6 header and the UDP header.
pub const SIZE_SEEN_WHOLE: u32 = 18;

/// What a time loses at most where a result has three decimals of a millisecond.
const TO_MICROSECONDS: Duration = Duration::from_nanos(500);

/// The frames that the wire saw, and how far above its delay round-trip times were.
pub struct Truth<'a> {
    lab: &'a Lab,
    log: WireLog,
    excess: Vec<Excess>,
}

/// How far above what the wire knows a round-trip time is.
struct Excess {
    /// What was measured.
    what: &'static str,
    /// Above the wire's own delay.
    delay: Duration,
    /// Nanoseconds above the time in which the packet and its answer were out of the household: the routers' and the
    /// target's time is in that as well, so what is left is the probe's host. `None` where there is no wire.
    away: Option<i64>,
}

/// What the wire knows about a round trip.
#[derive(Clone, Copy)]
struct Bound {
    /// How long the wire held packet and answer.
    held: Duration,
    /// Nanoseconds from where the packet met the first link of its way to where the answer left the last one of its.
    away: Option<i64>,
    /// Links that the packet crossed.
    links: usize,
}

impl Bound {
    /// In front of the first link there is no wire.
    const NO_WIRE: Self = Self { held: Duration::ZERO, away: None, links: 0 };
}

impl<'a> Truth<'a> {
    /// Everything that the wire has finished with until now.
    pub fn now(lab: &'a Lab) -> Self {
        let stats = lab.wire_stats().unwrap();
        assert_eq!(stats.failed, 0, "the lab itself lost frames");
        Self { lab, log: lab.wire_log().unwrap(), excess: Vec::new() }
    }

    /// The packets of this protocol that a host sent to `dst`, as they crossed the first link of their way, in the order in
    /// which they did.
    fn sent(&self, host: Host, dst: IpAddr, protocol: u8) -> Vec<IpSummary> {
        let src = host.public_address(Family::of(dst)).unwrap();
        let mut packets: Vec<(i64, IpSummary)> = self
            .log
            .records()
            .iter()
            .filter(|record| (record.link, record.direction) == (first_link(host), Direction::Forward))
            .filter(|record| record.fate == Fate::Sent)
            .filter_map(|record| Some((record.received_at, record.summary.ip?)))
            .filter(|(_, ip)| ip.src == src && ip.dst == dst && ip.protocol == protocol)
            .collect();
        packets.sort_by_key(|(at, _)| *at);
        packets.into_iter().map(|(_, ip)| ip).collect()
    }

    /// What the wire did to a packet and to what it brought about: an echo reply, or an error that quotes it.
    fn exchange(&self, host: Host, packet: &IpSummary) -> Bound {
        let question = |frame: &PacketSummary| frame.ip.is_some_and(|ip| same_packet(&ip, packet));
        let reply = |frame: &PacketSummary| {
            frame.ip.is_some_and(|ip| {
                let is_reply = matches!((ip.protocol, ip.icmp_type), (ICMP, Some(0)) | (ICMPV6, Some(129)));
                let same = (ip.icmp_id, ip.icmp_seq) == (packet.icmp_id, packet.icmp_seq);
                is_reply && same && ip.src == packet.dst && ip.dst == packet.src
            })
        };
        // Whoever refuses a SYN acknowledges its payload too.
        let acknowledges =
            |ack: u32| packet.tcp_seq.is_some_and(|seq| (1..=1 + SIZE_SEEN_WHOLE).contains(&ack.wrapping_sub(seq)));
        let refusal = |frame: &PacketSummary| {
            frame.ip.is_some_and(|ip| {
                let back = ip.src == packet.dst && ip.dst == packet.src && ip.dst_port == packet.src_port;
                ip.protocol == TCP && back && ip.tcp_ack.is_some_and(acknowledges)
            })
        };
        let error = |frame: &PacketSummary| frame.quoted.is_some_and(|quoted| same_packet(&quoted, packet));
        let bound = self.bound(host, question, |frame| reply(frame) || refusal(frame) || error(frame));
        bound.unwrap_or_else(|| panic!("{host:?}: nothing came back for {packet:?}"))
    }

    /// What the wire did to a question and its answer.
    fn bound(
        &self,
        host: Host,
        question: impl Fn(&PacketSummary) -> bool,
        answer: impl Fn(&PacketSummary) -> bool,
    ) -> Option<Bound> {
        let at_home = |direction, wanted: &dyn Fn(&PacketSummary) -> bool| {
            let mut frames = self.log.matching(wanted);
            frames.find(|record| (record.link, record.direction) == (first_link(host), direction)).copied()
        };
        let left = at_home(Direction::Forward, &question)?.received_at;
        let back = at_home(Direction::Backward, &answer)?.sent_at()?;
        let exchange = self.log.exchange(question, answer)?;
        Some(Bound { held: exchange.rtt_floor(), away: Some(back - left), links: exchange.links_there })
    }

    /// No honest round trip is faster than the wire was with the very packets. `rounding` is what the result's decimals
    /// may have taken away.
    fn check_rtt(&mut self, what: &'static str, ms: &Value, rounding: Duration, bound: Bound) {
        let ms = ms.as_f64().unwrap_or_else(|| panic!("{what}: {ms} is no time"));
        let rtt = Duration::from_nanos((ms * 1e6).round() as u64) + rounding;
        assert!(rtt >= bound.held, "{what}: {rtt:?}, but the wire alone took {:?}", bound.held);
        let away = bound.away.map(|away| i64::try_from(rtt.as_nanos()).unwrap() - away);
        self.excess.push(Excess { what, delay: rtt - bound.held, away });
    }

    /// Holds ping results of one host towards `dst`, in the order of their runs, against the wire. They must be all that
    /// this host pings there, and every request must have been answered.
    pub fn check_pings(&mut self, host: Host, dst: IpAddr, results: &[&Value]) {
        let family = Family::of(dst);
        let path = self.lab.path(host, Host::Target, family);
        let requests = self.sent(host, dst, if family == Family::V4 { ICMP } else { ICMPV6 });
        let replies: Vec<&Value> = results.iter().flat_map(|result| result["result"].as_array().unwrap()).collect();
        assert!(requests.len() >= replies.len(), "{host:?} sent {} requests, has {replies:?}", requests.len());
        for (request, reply) in requests.iter().zip(replies) {
            let bound = self.exchange(host, request);
            assert_eq!(bound.links, links(&path), "{host:?} to {dst}");
            assert!(bound.held >= path.last().unwrap().rtt_floor());
            self.check_rtt("ping", &reply["rtt"], Duration::ZERO, bound);
        }
        for result in results {
            let replies = result["result"].as_array().unwrap().len();
            assert_eq!(
                (result["sent"].as_u64(), result["rcvd"].as_u64()),
                (Some(replies as u64), Some(replies as u64))
            );
            // Each router on the way back took one from the target's 64.
            assert_eq!(result["ttl"], 64 - (path.len() - 1), "{result}");
            let of = |reply: &Value| reply["rtt"].as_f64().unwrap();
            let rtts: Vec<f64> = result["result"].as_array().unwrap().iter().map(of).collect();
            assert_eq!(result["min"].as_f64(), rtts.iter().copied().reduce(f64::min), "{result}");
            assert_eq!(result["max"].as_f64(), rtts.iter().copied().reduce(f64::max), "{result}");
        }
    }

    /// Holds traceroute results of one host towards `dst`, in the order of their runs, against the wire and the true path.
    /// They must be all that this host sends there by that protocol.
    pub fn check_traceroutes(&mut self, host: Host, dst: IpAddr, results: &[&Value]) {
        let family = Family::of(dst);
        let path = self.lab.path(host, Host::Target, family);
        let protocol = match (results[0]["proto"].as_str().unwrap(), family) {
            ("UDP", _) => UDP,
            ("TCP", _) => TCP,
            (_, Family::V4) => ICMP,
            (_, Family::V6) => ICMPV6,
        };
        let sent = self.sent(host, dst, protocol);
        for (number, router) in (1..).zip(&path) {
            // The last of the target's addresses is as far as the first.
            let expected = if number == path.len() { dst } else { router.address };
            let mut on_wire = sent.iter().filter(|packet| hop_of(host, packet) == number);
            for result in results {
                let hops = result["result"].as_array().unwrap();
                assert_eq!(hops.len(), path.len(), "{host:?} to {dst}: {result}");
                let hop = &hops[number - 1];
                assert_eq!(hop["hop"], number);
                for reply in hop["result"].as_array().unwrap() {
                    assert_eq!(reply["from"], expected.to_string(), "{host:?} to {dst}, hop {number}: {result}");
                    assert!(reply.get("err").is_none() && reply.get("dup").is_none(), "{result}");
                    let refused = (protocol == TCP && number == path.len()).then_some("RA");
                    assert_eq!(reply.get("flags").and_then(Value::as_str), refused, "{result}");
                    // The lab's probes may open raw sockets, so they know the size of an error and would know a wrong quote.
                    assert!(reply["size"].is_u64() && reply.get("ittl").is_none(), "{result}");
                    let bound = if number > routers_before_wire(host) {
                        let packet = on_wire.next().unwrap_or_else(|| panic!("hop {number}: a packet never sent"));
                        self.check_flow(packet, result);
                        self.exchange(host, packet)
                    } else {
                        Bound::NO_WIRE
                    };
                    assert_eq!(bound.links, links(&path[..number]), "hop {number}");
                    assert!(bound.held >= router.rtt_floor());
                    self.check_rtt("traceroute", &reply["rtt"], TO_MICROSECONDS, bound);
                }
            }
        }
    }

    /// All packets of a run are of one flow, the one that the result names.
    fn check_flow(&self, packet: &IpSummary, result: &Value) {
        if packet.protocol == UDP {
            let variation = u16::try_from(result["paris_id"].as_u64().unwrap()).unwrap();
            assert_eq!(packet.dst_port, Some(BASE_PORT + variation), "{result}");
        }
        if packet.protocol == TCP {
            let variation = u16::try_from(result["paris_id"].as_u64().unwrap()).unwrap();
            let ports = (Some(TCP_SOURCE_PORT + variation), Some(TCP_PORT));
            assert_eq!((packet.src_port, packet.dst_port), ports, "{result}");
        }
    }

    /// Holds the time of a dns answer against the wire. `client` is the socket as the server saw it.
    pub fn check_dns_time(&mut self, host: Host, client: SocketAddr, server: SocketAddr, answer: &Value) {
        let family = Family::of(server.ip());
        let path_floor = self.lab.rtt_floor(host, Host::Dns, family).unwrap();
        if !Host::Dns.addresses(family).contains(&server.ip()) {
            // A resolver in front of the first link: there is no wire.
            self.check_rtt("dns, next door", &answer["rt"], TO_MICROSECONDS, Bound::NO_WIRE);
            return;
        }
        let connect = &answer["sonde"]["ttc"];
        // Of several frames the first counts: over TCP the ones that open the connection.
        let protocol = if connect.is_null() { UDP } else { TCP };
        let there = |frame: &PacketSummary| frame.ip.is_some_and(|ip| is_between(&ip, protocol, client, server));
        let back = |frame: &PacketSummary| frame.ip.is_some_and(|ip| is_between(&ip, protocol, server, client));
        let bound = self.bound(host, there, back).expect("the exchange is in the log");
        assert!(bound.held >= path_floor);
        if connect.is_null() {
            self.check_rtt("dns over UDP", &answer["rt"], TO_MICROSECONDS, bound);
        } else {
            self.check_rtt("dns, TCP connect", connect, TO_MICROSECONDS, bound);
            let whole = Bound { held: bound.held + path_floor, away: None, ..bound };
            self.check_rtt("dns over TCP", &answer["rt"], TO_MICROSECONDS, whole);
        }
    }

    /// Prints how far above the wire's delay the round-trip times were: a figure, no test.
    pub fn print_excess(&self, test: &str) {
        let steal = self.lab.steal().unwrap_or(f64::NAN) * 100.0;
        let late = self.lab.wire_stats().unwrap().late_p99;
        say(&format!(
            "\n{test}: round-trip times above the wire's own delay, median and max; and above the time in which packet and \
             answer were out of the household (wire late p99 {late:?}, steal {steal:.1} %)"
        ));
        let mut kinds: Vec<&str> = self.excess.iter().map(|excess| excess.what).collect();
        kinds.sort_unstable();
        kinds.dedup();
        for kind in kinds {
            let of_kind = || self.excess.iter().filter(|excess| excess.what == kind);
            let mut delay: Vec<Duration> = of_kind().map(|excess| excess.delay).collect();
            delay.sort_unstable();
            let mut away: Vec<i64> = of_kind().filter_map(|excess| excess.away).collect();
            away.sort_unstable();
            let micros = |sorted: &[i64], at: usize| sorted.get(at).map_or(f64::NAN, |nanos| *nanos as f64 / 1e3);
            say(&format!(
                "  {kind}: n {}, {:?}, {:?}; n {}, {:.1} µs, {:.1} µs",
                delay.len(),
                delay[delay.len() / 2],
                delay[delay.len() - 1],
                away.len(),
                micros(&away, away.len() / 2),
                micros(&away, away.len().saturating_sub(1)),
            ));
        }
    }
}

/// The wire's link that a host's packets cross first.
fn first_link(host: Host) -> Link {
    match host {
        Host::V4Only => Link::V4OnlyR1,
        Host::V6Only => Link::V6OnlyR1,
        Host::Nat => Link::NatR1,
        _ => Link::HomeR1,
    }
}

/// Routers between a host and that link.
fn routers_before_wire(host: Host) -> usize {
    usize::from(matches!(host, Host::Dual | Host::Nat))
}

/// The hop limit that a packet had when it left the host.
fn hop_of(host: Host, packet: &IpSummary) -> usize {
    usize::from(packet.hop_limit) + routers_before_wire(host)
}

/// Links of the wire that a path crosses: all but the one in front of a household's router.
fn links(path: &[HopTruth]) -> usize {
    let is_household = matches!(path.first(), Some(hop) if is_home_router(hop));
    path.len() - usize::from(is_household)
}

fn is_home_router(hop: &HopTruth) -> bool {
    use sonde_tests::lab::Router::{Home, NatGateway};
    matches!(hop.node, Node::Router(Home | NatGateway))
}

/// Whether these are one packet on different links, or as quoted by a router.
fn same_packet(a: &IpSummary, b: &IpSummary) -> bool {
    let of = |ip: &IpSummary| {
        let tag = if ip.protocol == UDP { ip.payload_hash } else { 0 };
        (ip.src, ip.dst, ip.protocol, ip.src_port, ip.dst_port, ip.icmp_type, ip.icmp_id, ip.icmp_seq, ip.tcp_seq, tag)
    };
    of(a) == of(b)
}

fn is_between(ip: &IpSummary, protocol: u8, src: SocketAddr, dst: SocketAddr) -> bool {
    let ports = (Some(src.port()), Some(dst.port()));
    ip.protocol == protocol && ip.src == src.ip() && ip.dst == dst.ip() && (ip.src_port, ip.dst_port) == ports
}
