//! Strategies for every message of the protocol: values that are allowed, with the extremes of each type well represented.

#![expect(clippy::unwrap_used, reason = "lists are made within their bounds")]

mod ipv6;

use std::net::IpAddr;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use sonde_protocol::bounded::{Bytes, List, Text};
use sonde_protocol::condition::Condition;
use sonde_protocol::directory::{Collector, Directory, Reference, SignedDirectory};
use sonde_protocol::identity::{ClaimCode, KeyNotice, Rotation};
use sonde_protocol::ids::{BootId, MeasurementId, ProbeId, Revision, Seq};
use sonde_protocol::key::PublicKey;
use sonde_protocol::message::{
    BootRanges, Bye, Down, Drain, Frame, Gap, GapReason, Health, Hello, HostPause, HostState, Refused, RefusedReason,
    SpooledBoot, TimeReply, TimeRequest, Up, Welcome,
};
use sonde_protocol::net::{Family, Ip, Transport};
use sonde_protocol::order::{Order, OrdersUpdate, When};
use sonde_protocol::range_set::RangeSet;
use sonde_protocol::result::*;
use sonde_protocol::spec::{
    DnsCarrier, DnsSpec, HttpMethod, HttpSpec, Ipv6Scope, Ipv6Spec, Limits, NtpSpec, PathMtuSpec, PingSpec, Spec,
    SslcertSpec, TracerouteSpec,
};
use sonde_protocol::time::UnixNanos;

/// Any number, with both ends and the small ones more often than chance would have them.
fn number() -> impl Strategy<Value = u64> + Clone {
    prop_oneof![0_u64..100, any::<u64>(), Just(u64::MAX), Just(u64::MAX - 1), Just(0)]
}

fn small() -> impl Strategy<Value = u32> + Clone {
    prop_oneof![0_u32..100, any::<u32>(), Just(u32::MAX)]
}

fn time() -> impl Strategy<Value = UnixNanos> + Clone {
    prop_oneof![
        any::<i64>(),
        Just(i64::MIN),
        Just(i64::MAX),
        Just(0),
        1_700_000_000_000_000_000_i64..1_900_000_000_000_000_000
    ]
    .prop_map(UnixNanos)
}

fn text<const N: usize>() -> impl Strategy<Value = Text<N>> + Clone {
    prop_oneof![".{0,30}", "[a-z.]{0,20}", "\\PC{0,10}\"\\\\[\u{0}-\u{1f}]{0,5}"].prop_map(Text::cut)
}

fn bytes<const N: usize>(most: usize) -> impl Strategy<Value = Bytes<N>> + Clone {
    vec(any::<u8>(), 0..=most.min(N)).prop_map(|bytes| Bytes::new(bytes).unwrap())
}

fn list<T: std::fmt::Debug, const N: usize>(
    item: impl Strategy<Value = T>,
    most: usize,
) -> impl Strategy<Value = List<T, N>> {
    vec(item, 0..=most.min(N)).prop_map(List::cut)
}

fn boot() -> impl Strategy<Value = BootId> + Clone {
    number().prop_map(BootId)
}

fn seq() -> impl Strategy<Value = Seq> + Clone {
    number().prop_map(Seq)
}

fn measurement() -> impl Strategy<Value = MeasurementId> + Clone {
    number().prop_map(MeasurementId)
}

fn key() -> impl Strategy<Value = PublicKey> {
    any::<[u8; 32]>().prop_map(PublicKey)
}

fn ip() -> impl Strategy<Value = Ip> + Clone {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|octets| Ip(IpAddr::from(octets))),
        any::<[u8; 16]>().prop_map(|octets| Ip(IpAddr::from(octets)))
    ]
}

fn family() -> impl Strategy<Value = Family> + Clone {
    prop_oneof![Just(Family::V4), Just(Family::V6)]
}

fn transport() -> impl Strategy<Value = Transport> + Clone {
    prop_oneof![Just(Transport::Icmp), Just(Transport::Tcp), Just(Transport::Udp)]
}

/// Any set of up to twenty ranges.
pub fn range_set() -> BoxedStrategy<RangeSet> {
    vec((number(), 0_u64..1000), 0..20)
        .prop_map(|ranges| {
            let mut set = RangeSet::new();
            for (first, length) in ranges {
                set.insert(Seq(first)..=Seq(first.saturating_add(length)));
            }
            set
        })
        .boxed()
}

fn boot_ranges() -> BoxedStrategy<BootRanges> {
    (boot(), range_set()).prop_map(|(boot, ranges)| BootRanges { boot, ranges }).boxed()
}

fn gap() -> BoxedStrategy<Gap> {
    let reason = prop_oneof![
        Just(GapReason::SpoolFull),
        Just(GapReason::Crash),
        Just(GapReason::Stopped),
        Just(GapReason::Rejected),
        Just(GapReason::Damaged)
    ];
    (boot(), seq(), option::of(seq()), reason, time(), time())
        .prop_map(|(boot, first, last, reason, from, to)| Gap { boot, first, last, reason, from, to })
        .boxed()
}

fn condition() -> BoxedStrategy<Condition> {
    (any::<u16>(), any::<u32>(), option::of(any::<u32>()), option::of(text()), any::<bool>())
        .prop_map(|(word, began, ended, detail, cut_off)| Condition { word, began, ended, detail, cut_off })
        .boxed()
}

/// Any hello.
pub fn hello() -> BoxedStrategy<Hello> {
    let spooled =
        (boot(), seq(), option::of(time())).prop_map(|(boot, next, started_at)| SpooledBoot { boot, next, started_at });
    let who = (list(any::<u16>(), 16), text(), boot(), number(), time(), any::<bool>());
    let what = (
        option::of(number().prop_map(Revision)),
        list(spooled, 64),
        number(),
        list(ip(), 16),
        option::of(bytes(64)),
        number(),
        list(any::<u8>(), 64),
        list(family(), 2),
        option::of(list(condition(), 64)),
    );
    (who, what)
        .prop_map(|((versions, software, boot, uptime, now, clock_synchronised), what)| {
            let (orders, boots, spool_depth, addresses, token, directory, kinds, families, conditions) = what;
            Hello {
                versions,
                software,
                boot,
                uptime,
                now,
                clock_synchronised,
                orders,
                boots,
                spool_depth,
                addresses,
                token,
                directory,
                kinds,
                families,
                conditions,
            }
        })
        .boxed()
}

/// Any message of a probe.
pub fn up() -> BoxedStrategy<Up> {
    let pause = option::of(option::of(small()).prop_map(|remaining| HostPause { remaining }));
    let host = (number(), number(), pause, small(), number(), list(any::<u8>(), 64), list(text(), 16)).prop_map(
        |(written_today, measured_today, pause, packets_per_second, bytes_per_day, kinds, hours)| HostState {
            written_today,
            measured_today,
            pause,
            packets_per_second,
            bytes_per_day,
            kinds,
            hours,
        },
    );
    let conditions = option::of(list(condition(), 64));
    let health = (number(), small(), option::of(list(ip(), 16)), list(family(), 2), conditions, option::of(host))
        .prop_map(|(spool_depth, running, addresses, families, conditions, host)| Health {
            spool_depth,
            running,
            addresses,
            families,
            conditions,
            host,
        });
    prop_oneof![
        hello().prop_map(Up::Hello),
        list(gap(), 30).prop_map(Up::Gaps),
        option::of(number().prop_map(Revision)).prop_map(Up::OrdersApplied),
        any::<i64>().prop_map(|sent_at| Up::TimeRequest(TimeRequest { sent_at })),
        (boot(), seq(), time(), any::<bool>()).prop_map(|(boot, last, at, crashed)| Up::Bye(Bye {
            boot,
            last,
            at,
            crashed
        })),
        health.prop_map(Up::Health),
        (key(), bytes(64), bytes(64)).prop_map(|(key, by_old, by_new)| Up::Rotate(Rotation { key, by_old, by_new })),
    ]
    .boxed()
}

/// Any directory with any signature.
pub fn signed_directory() -> BoxedStrategy<SignedDirectory> {
    (bytes(300), key(), vec(any::<u8>(), 64))
        .prop_map(|(directory, root, signature)| SignedDirectory {
            directory,
            root,
            signature: Bytes::new(signature).unwrap(),
        })
        .boxed()
}

/// Any directory.
pub fn directory() -> BoxedStrategy<Directory> {
    let collector =
        (key(), list(text(), 4), list(text(), 4)).prop_map(|(key, addresses, tls)| Collector { key, addresses, tls });
    (number(), text(), list(key(), 8), list(collector, 5), list(text(), 5), list(reference(), 3))
        .prop_map(|(serial, network, roots, collectors, http_hosts, references)| Directory {
            serial,
            network,
            roots,
            collectors,
            http_hosts,
            references,
        })
        .boxed()
}

fn reference() -> impl Strategy<Value = Reference> + Clone {
    let ports =
        (option::of(any::<u16>()), option::of(any::<u16>()), option::of(any::<u16>()), option::of(any::<u16>()));
    let key = any::<[u8; 32]>().prop_map(PublicKey);
    (text(), key, option::of(ip()), option::of(ip()), ports, option::of(ip()), option::of(text())).prop_map(
        |(name, key, v4, v6, (tls, quic, echo, closed), narrow, zone)| Reference {
            name,
            key,
            v4,
            v6,
            tls,
            quic,
            echo,
            closed,
            narrow,
            zone,
        },
    )
}

/// Any message of a collector.
pub fn down() -> BoxedStrategy<Down> {
    let welcome = (
        prop_oneof![Just(1), any::<u16>()],
        number(),
        time(),
        time(),
        list(boot_ranges(), 6),
        ip(),
        option::of(signed_directory()),
        time(),
    )
        .prop_map(|(version, probe, received_at, sent_at, durable, public_address, directory, boot_started_at)| {
            Welcome {
                version,
                probe: ProbeId(probe),
                received_at,
                sent_at,
                durable,
                public_address,
                directory,
                boot_started_at,
            }
        });
    let reason = prop_oneof![
        Just(RefusedReason::UnknownKey),
        Just(RefusedReason::Token),
        Just(RefusedReason::Version),
        Just(RefusedReason::Busy),
        Just(RefusedReason::Malformed),
        Just(RefusedReason::Pending),
        Just(RefusedReason::DuplicateKey),
        Just(RefusedReason::KeyReplaced)
    ];
    let code = || any::<u64>().prop_map(ClaimCode::from_random);
    let notice = prop_oneof![
        Just(KeyNotice::Admitted),
        key().prop_map(KeyNotice::Changed),
        text().prop_map(KeyNotice::NotChanged),
        Just(KeyNotice::Duplicate),
        code().prop_map(KeyNotice::Unclaimed)
    ];
    let reply = (any::<i64>(), time(), time()).prop_map(|(request_sent_at, received_at, sent_at)| TimeReply {
        request_sent_at,
        received_at,
        sent_at,
    });
    prop_oneof![
        welcome.prop_map(Down::Welcome),
        (reason, text(), option::of(code())).prop_map(|(reason, text, claim_code)| Down::Refused(Refused {
            reason,
            text,
            claim_code
        })),
        notice.prop_map(Down::Key),
        orders_update().prop_map(Down::Orders),
        list(boot_ranges(), 6).prop_map(Down::Ack),
        (small(), small()).prop_map(|(after_ms, spread_ms)| Down::Drain(Drain { after_ms, spread_ms })),
        reply.prop_map(Down::TimeReply),
        signed_directory().prop_map(Down::Directory),
    ]
    .boxed()
}

/// Any frame; its reports are any bytes.
pub fn frame() -> BoxedStrategy<Frame> {
    (boot(), seq(), list(bytes(100), 20), time())
        .prop_map(|(boot, first, reports, settled)| Frame { boot, first, reports, settled })
        .boxed()
}

/// Any order; its definition is sound or any bytes.
pub fn order() -> BoxedStrategy<Order> {
    let periodic = (time(), small(), small(), option::of(time()))
        .prop_map(|(start, interval, spread, stop)| When::Periodic { start, interval, spread, stop });
    let once = (option::of(time()), time()).prop_map(|(start, expires)| When::Once { start, expires });
    let sound = spec().prop_map(|spec| (spec.kind().number(), Bytes::new(spec.to_cbor()).unwrap()));
    let what = prop_oneof![sound, (any::<u8>(), bytes(60))];
    (
        measurement(),
        what,
        family(),
        option::of(text()),
        list(ip(), 8),
        any::<bool>(),
        prop_oneof![periodic, once],
        time(),
    )
        .prop_map(|(measurement, (kind, spec), af, target, addresses, resolve_on_probe, when, ordered_at)| Order {
            measurement,
            kind,
            spec,
            af,
            target,
            addresses,
            resolve_on_probe,
            when,
            ordered_at,
        })
        .boxed()
}

/// Any change of orders.
pub fn orders_update() -> BoxedStrategy<OrdersUpdate> {
    (option::of(number()), number(), list(order(), 6), list(measurement(), 20))
        .prop_map(|(base, revision, add, remove)| OrdersUpdate {
            base: base.map(Revision),
            revision: Revision(revision),
            add,
            remove,
        })
        .boxed()
}

fn within(limits: Limits) -> impl Strategy<Value = u32> {
    prop_oneof![Just(limits.min), Just(limits.max), limits.min..=limits.max]
}

/// Any definition that is allowed, of every kind.
pub fn spec() -> BoxedStrategy<Spec> {
    let ipv6 =
        prop_oneof![Just(Ipv6Scope::Light), Just(Ipv6Scope::Full)].prop_map(|scope| Spec::Ipv6(Ipv6Spec { scope }));
    prop_oneof![
        ping_spec(),
        traceroute_spec(),
        dns_spec(),
        sslcert_spec(),
        http_spec(),
        ntp_spec(),
        path_mtu_spec(),
        ipv6
    ]
    .boxed()
}

fn ping_spec() -> BoxedStrategy<Spec> {
    type S = PingSpec;
    (within(S::PACKETS), within(S::SIZE), within(S::PACKET_INTERVAL), any::<bool>())
        .prop_map(|(packets, size, packet_interval, include_probe_id)| {
            Spec::Ping(PingSpec { packets, size, packet_interval, include_probe_id })
        })
        .boxed()
}

fn traceroute_spec() -> BoxedStrategy<Spec> {
    type S = TracerouteSpec;
    let path = (transport(), within(S::PACKETS), within(S::SIZE), within(S::FIRST_HOP), within(S::MAX_HOPS));
    let times = (within(S::PARIS), within(S::PORT), within(S::RESPONSE_TIMEOUT), within(S::DUPLICATE_TIMEOUT));
    let header = (
        within(S::HOP_BY_HOP_OPTION_SIZE),
        within(S::DESTINATION_OPTION_SIZE),
        any::<bool>(),
        within(S::TRAFFIC_CLASS),
    );
    (path, times, header)
        .prop_map(|((protocol, packets, size, one, other), times, header)| {
            let (paris, port, response_timeout, duplicate_timeout) = times;
            let (hop_by_hop_option_size, destination_option_size, dont_fragment, traffic_class) = header;
            Spec::Traceroute(TracerouteSpec {
                protocol,
                packets,
                size,
                first_hop: one.min(other),
                max_hops: one.max(other),
                paris,
                port,
                response_timeout,
                duplicate_timeout,
                hop_by_hop_option_size,
                destination_option_size,
                dont_fragment,
                traffic_class,
            })
        })
        .boxed()
}

fn dns_spec() -> BoxedStrategy<Spec> {
    type S = DnsSpec;
    let query = (any::<u16>(), any::<u16>(), "[a-z.$]{1,40}", prop_oneof![Just(Transport::Tcp), Just(Transport::Udp)]);
    let limits = (within(S::UDP_PAYLOAD_SIZE), within(S::RETRY), within(S::TIMEOUT), within(S::PORT));
    let secure = (0_u8..4, option::of("/.{0,20}"), option::of("[a-z.]{1,40}"));
    (query, limits, option::of(within(S::TTL)), any::<[bool; 11]>(), secure)
        .prop_map(|(query, limits, ttl, flags, (carrier, path, hostname))| {
            let (query_class, query_type, name, protocol) = query;
            let (udp_payload_size, retry, timeout, port) = limits;
            let [rd, d, cd, nsid, own, abuf, qbuf, prepend, macros, subnet, cookies] = flags;
            Spec::Dns(DnsSpec {
                query_class,
                query_type,
                query_argument: Text::cut(name),
                protocol,
                udp_payload_size,
                retry,
                timeout,
                set_rd_bit: rd,
                set_do_bit: d,
                set_cd_bit: cd,
                set_nsid_bit: nsid,
                use_probe_resolver: own,
                include_abuf: abuf,
                include_qbuf: qbuf,
                prepend_probe_id: prepend,
                use_macros: macros,
                tls: carrier == 1,
                port,
                default_client_subnet: subnet,
                cookies,
                ttl,
                https: carrier == 2,
                quic: carrier == 3,
                path: path.map(Text::cut),
                hostname: hostname.map(Text::cut),
            })
        })
        .boxed()
}

fn sslcert_spec() -> BoxedStrategy<Spec> {
    (within(SslcertSpec::PORT), option::of("[A-Za-z0-9._:-]{1,30}".prop_map(Text::cut)))
        .prop_map(|(port, hostname)| Spec::Sslcert(SslcertSpec { port, hostname }))
        .boxed()
}

fn http_spec() -> BoxedStrategy<Spec> {
    type S = HttpSpec;
    let method = prop_oneof![Just(HttpMethod::Get), Just(HttpMethod::Head), Just(HttpMethod::Post)];
    let limits = (within(S::PORT), within(S::HEADER_BYTES), option::of(within(S::MAX_BYTES_READ)));
    // What may stand in the first line of a request.
    (method, "/[!-~]{0,20}", option::of("[!-~]{0,20}".prop_map(Text::cut)), limits, any::<[bool; 4]>())
        .prop_map(|(method, path, query_string, (port, header_bytes, max_bytes_read), flags)| {
            let [https, version_1_1, extended_timing, more_extended_timing] = flags;
            Spec::Http(HttpSpec {
                method,
                path: Text::cut(path),
                query_string,
                port,
                https,
                version_1_1,
                header_bytes,
                max_bytes_read,
                extended_timing,
                more_extended_timing,
            })
        })
        .boxed()
}

fn ntp_spec() -> BoxedStrategy<Spec> {
    (within(NtpSpec::PACKETS), within(NtpSpec::TIMEOUT))
        .prop_map(|(packets, timeout)| Spec::Ntp(NtpSpec { packets, timeout }))
        .boxed()
}

fn path_mtu_spec() -> BoxedStrategy<Spec> {
    (within(PathMtuSpec::PACKETS), within(PathMtuSpec::TIMEOUT))
        .prop_map(|(packets, timeout)| Spec::PathMtu(PathMtuSpec { packets, timeout }))
        .boxed()
}

/// Any report.
pub fn report() -> BoxedStrategy<Report> {
    let reasons = [
        SkipReason::Other,
        SkipReason::Paused,
        SkipReason::Limit,
        SkipReason::QuietLine,
        SkipReason::Overlap,
        SkipReason::NoRoute,
        SkipReason::Expired,
        SkipReason::LateOrder,
        SkipReason::Unsupported,
        SkipReason::Clock,
        SkipReason::Stopping,
        SkipReason::OutsideHours,
        SkipReason::KindOff,
    ];
    let skipped = (measurement(), time(), small(), prop::sample::select(reasons.to_vec()))
        .prop_map(|(measurement, planned_at, runs, reason)| Skipped { measurement, planned_at, runs, reason });
    prop_oneof![4 => result().prop_map(Report::Result), 1 => skipped.prop_map(Report::Skipped)].boxed()
}

/// Any result.
pub fn result() -> BoxedStrategy<MeasurementResult> {
    let source = prop_oneof![Just(StampSource::User), Just(StampSource::KernelReceive), Just(StampSource::Kernel)];
    let load = (small(), small(), option::of(small())).prop_map(|(runs, packets_per_second, load_average)| Load {
        runs,
        packets_per_second,
        load_average,
    });
    let timing = (source, option::of(small()), option::of(number()), option::of(number()), option::of(load)).prop_map(
        |(source, last_sync, clock_error, rtt_error, load)| Timing { source, last_sync, clock_error, rtt_error, load },
    );
    let times = (measurement(), time(), time(), time(), timing, family());
    let ends = (option::of(text()), option::of(ip()), option::of(ip()), option::of(number()), option::of(small()));
    (times, ends, outcome())
        .prop_map(|(times, ends, outcome)| {
            let (measurement, planned_at, started_at, ended_at, timing, af) = times;
            let (dst_name, dst_addr, src_addr, time_to_resolve, interval) = ends;
            MeasurementResult {
                measurement,
                planned_at,
                started_at,
                ended_at,
                timing,
                af,
                dst_name,
                dst_addr,
                src_addr,
                time_to_resolve,
                interval,
                outcome,
            }
        })
        .boxed()
}

fn outcome() -> BoxedStrategy<Outcome> {
    let failure = prop_oneof![
        text().prop_map(Failure::Resolve),
        Just(Failure::NotAllowed),
        text().prop_map(Failure::Socket),
        text().prop_map(Failure::Unsupported),
    ];
    let ping = (small(), small(), list(ping_reply(), 20)).prop_map(|(size, sent, replies)| PingOutcome {
        size,
        sent,
        replies,
    });
    let traceroute = (transport(), small(), option::of(small()), list(hop(), 8))
        .prop_map(|(protocol, size, paris_id, hops)| TracerouteOutcome { protocol, size, paris_id, hops });
    let dns = (any::<bool>(), list(dns_response(), 4))
        .prop_map(|(own_resolvers, responses)| DnsOutcome { own_resolvers, responses });
    prop_oneof![
        (failure, any::<u8>()).prop_map(|(failure, kind)| Outcome::Failed(failure, kind)),
        ping.prop_map(Outcome::Ping),
        traceroute.prop_map(Outcome::Traceroute),
        dns.prop_map(Outcome::Dns),
        sslcert().prop_map(|seen| Outcome::Sslcert(Box::new(seen))),
        http().prop_map(|seen| Outcome::Http(Box::new(seen))),
        ntp().prop_map(Outcome::Ntp),
        path_mtu().prop_map(|outcome| Outcome::PathMtu(Box::new(outcome))),
        ipv6::outcome().prop_map(|outcome| Outcome::Ipv6(Box::new(outcome))),
    ]
    .boxed()
}

fn sslcert() -> BoxedStrategy<SslcertOutcome> {
    let failure = prop_oneof![any::<u8>().prop_map(SslcertFailure::Alert), text().prop_map(SslcertFailure::Failed)];
    let times = (option::of(number()), option::of(number()));
    let chosen = (option::of(any::<u16>()), option::of(any::<u16>()));
    (times, chosen, list(bytes(40), 4), small(), any::<bool>(), option::of(failure))
        .prop_map(|((connect, rt), (version, cipher), certificates, certificates_left_out, wanted, failure)| {
            let client_certificate_wanted = wanted;
            SslcertOutcome {
                connect,
                rt,
                version,
                cipher,
                certificates,
                certificates_left_out,
                client_certificate_wanted,
                failure,
            }
        })
        .boxed()
}

fn http() -> BoxedStrategy<HttpOutcome> {
    let method = prop_oneof![Just(HttpMethod::Get), Just(HttpMethod::Head), Just(HttpMethod::Post)];
    let time = || option::of(number());
    let head = (any::<u16>(), any::<bool>(), small()).prop_map(|(status, version_1_1, size)| HttpHead {
        status,
        version_1_1,
        size,
    });
    let read = (number(), number()).prop_map(|(offset, at)| HttpRead { offset, at });
    let seen = (option::of(head), number(), any::<bool>(), option::of(bytes(40)), list(read, 4), option::of(text()));
    (method, (time(), time(), time(), time()), seen)
        .prop_map(|(method, (rt, connect, tls, first_byte), seen)| {
            let (head, body_size, truncated, header, reads, failure) = seen;
            HttpOutcome { method, rt, connect, tls, first_byte, head, body_size, truncated, header, reads, failure }
        })
        .boxed()
}

fn ntp() -> BoxedStrategy<NtpOutcome> {
    let server = (any::<[u8; 3]>(), any::<[i8; 2]>(), [small(), small(), small()], option::of(time())).prop_map(
        |([leap, version, stratum], [poll, precision], [root_delay, root_dispersion, reference_id], reference_time)| {
            NtpServer {
                leap,
                version,
                stratum,
                poll,
                precision,
                root_delay,
                root_dispersion,
                reference_id,
                reference_time,
            }
        },
    );
    let answer = ([time(), time(), time(), time()], any::<i64>(), any::<i64>()).prop_map(
        |([origin, receive, transmit, last], rtt, offset)| NtpAnswer { origin, receive, transmit, last, rtt, offset },
    );
    let no_time = (number(), option::of(small())).prop_map(|(elapsed, kiss)| NtpNoTime { elapsed, kiss });
    let reply = prop_oneof![
        answer.prop_map(NtpReply::Answer),
        Just(NtpReply::Timeout),
        text().prop_map(NtpReply::SendError),
        icmp_error().prop_map(NtpReply::Icmp),
        no_time.prop_map(NtpReply::NoTime),
    ];
    (option::of(server), list(reply, 16), small())
        .prop_map(|(server, replies, strays)| NtpOutcome { server, replies, strays })
        .boxed()
}

fn icmp_error() -> BoxedStrategy<IcmpError> {
    (ip(), any::<u8>(), any::<u8>(), option::of(number()), option::of(any::<u8>()), option::of(small()))
        .prop_map(|(from, kind, code, rtt, hop_limit, mtu)| IcmpError { from, kind, code, rtt, hop_limit, mtu })
        .boxed()
}

fn path_mtu() -> BoxedStrategy<PathMtuOutcome> {
    let mtus = (option::of(small()), mtu(), mtu(), mtu());
    let limit = (ip(), option::of(small()), small(), option::of(any::<u8>()))
        .prop_map(|(from, mtu, size, hop_limit)| MtuLimit { from, mtu, size, hop_limit });
    let hop = (any::<u8>(), ip()).prop_map(|(hop, from)| MtuHop { hop, from });
    let direction = prop_oneof![Just(MtuDirection::Unknown), Just(MtuDirection::Forward), Just(MtuDirection::Reverse)];
    let hole = (small(), small(), direction, option::of(hop.clone()), option::of(hop)).prop_map(
        |(passes, lost, direction, last_hop, next_hop)| MtuHole { passes, lost, direction, last_hop, next_hop },
    );
    let end = prop_oneof![Just(MtuEnd::Complete), Just(MtuEnd::Loss), Just(MtuEnd::Bound)];
    (mtus, list(limit, 4), option::of(hole), end, list(mtu_try(), 8))
        .prop_map(|((interface, forward, reverse, round_trip), limits, hole, end, tries)| PathMtuOutcome {
            interface,
            forward,
            reverse,
            round_trip,
            limits,
            hole,
            end,
            tries,
        })
        .boxed()
}

fn mtu() -> impl Strategy<Value = Mtu> {
    prop_oneof![Just(Mtu::Unknown), small().prop_map(Mtu::AtLeast), small().prop_map(Mtu::Exactly)]
}

fn mtu_try() -> impl Strategy<Value = MtuTry> {
    let reply = (ip(), number(), option::of(any::<u8>()), small(), option::of(small()))
        .prop_map(|(from, rtt, hop_limit, size, fragment)| MtuReply { from, rtt, hop_limit, size, fragment });
    let answer = prop_oneof![
        reply.prop_map(MtuAnswer::Reply),
        Just(MtuAnswer::Timeout),
        text().prop_map(MtuAnswer::SendError),
        icmp_error().prop_map(MtuAnswer::Icmp),
        Just(MtuAnswer::TooLong),
    ];
    (transport(), small(), option::of(any::<u8>()), answer).prop_map(|(protocol, size, hop, answer)| MtuTry {
        protocol,
        size,
        hop,
        answer,
    })
}

fn ping_reply() -> BoxedStrategy<PingReply> {
    let echo = (number(), option::of(any::<u8>()), small(), ip(), any::<bool>())
        .prop_map(|(rtt, hop_limit, size, from, duplicate)| EchoReply { rtt, hop_limit, size, from, duplicate });
    prop_oneof![
        echo.prop_map(PingReply::Reply),
        Just(PingReply::Timeout),
        text().prop_map(PingReply::SendError),
        icmp_error().prop_map(PingReply::Icmp),
    ]
    .boxed()
}

fn hop() -> BoxedStrategy<Hop> {
    let who = (ip(), option::of(number()), option::of(any::<u8>()), option::of(small()));
    let icmp = any::<(u8, u8)>().prop_map(|(kind, code)| IcmpKind { kind, code });
    let more = (
        option::of(icmp),
        option::of(small()),
        any::<bool>(),
        option::of(any::<u8>()),
        option::of(ip()),
        option::of(small()),
        option::of(bytes(64)),
    );
    let raw = (
        option::of(any::<u8>()),
        option::of(bytes(40)),
        option::of(any::<u8>()),
        option::of(small()),
        option::of(small()),
        option::of(any::<bool>()),
    );
    let answer = (who, more, raw).prop_map(|((from, rtt, hop_limit, size), more, raw)| {
        let (icmp, late, duplicate, quoted_hop_limit, quoted_dst, mtu, extensions) = more;
        let (tcp_flags, tcp_options, quoted_traffic_class, hop_by_hop_size, destination_size, unannounced) = raw;
        HopAnswer {
            from,
            rtt,
            hop_limit,
            size,
            icmp,
            late,
            duplicate,
            quoted_hop_limit,
            quoted_dst,
            mtu,
            extensions,
            tcp_flags,
            tcp_options,
            quoted_traffic_class,
            hop_by_hop_size,
            destination_size,
            extensions_unannounced: unannounced,
        }
    });
    let reply =
        prop_oneof![answer.prop_map(HopReply::Reply), Just(HopReply::Timeout), text().prop_map(HopReply::SendError)];
    (any::<u8>(), list(reply, 6)).prop_map(|(hop, replies)| Hop { hop, replies }).boxed()
}

fn dns_response() -> BoxedStrategy<DnsResponse> {
    let times = (number(), option::of(number()), option::of(number()), option::of(number()));
    let answer = (times, bytes(200), any::<bool>(), any::<bool>()).prop_map(
        |((rt, connect, handshake, exchange), message, show_message, truncated_first)| DnsAnswer {
            rt,
            message,
            show_message,
            connect,
            truncated_first,
            handshake,
            exchange,
        },
    );
    let carrier = prop_oneof![Just(DnsCarrier::Tls), Just(DnsCarrier::Https), Just(DnsCarrier::Quic)];
    let secure = (carrier, option::of(any::<u16>()), option::of(any::<u16>()))
        .prop_map(|(carrier, version, cipher)| DnsSecure { carrier, version, cipher });
    let what = prop_oneof![
        Just(StrayKind::Source),
        Just(StrayKind::Short),
        Just(StrayKind::NoResponse),
        Just(StrayKind::Id),
        Just(StrayKind::HttpStatus),
        Just(StrayKind::ContentType),
        Just(StrayKind::Part),
        Just(StrayKind::Other),
    ];
    let stray = (ip(), any::<u16>(), what, number(), small(), bytes(40), any::<bool>()).prop_map(
        |(from, port, what, after, size, message, show_message)| DnsStray {
            from,
            port,
            what,
            after,
            size,
            message,
            show_message,
        },
    );
    let reply = prop_oneof![
        answer.prop_map(DnsReply::Answer),
        small().prop_map(DnsReply::Timeout),
        text().prop_map(DnsReply::Connect),
        text().prop_map(DnsReply::SendError),
        text().prop_map(DnsReply::Read),
        Just(DnsReply::NotAllowed),
    ];
    let seen = (option::of(secure), list(stray, 4), small(), small());
    (time(), ip(), any::<u16>(), option::of(ip()), transport(), small(), option::of(bytes(100)), reply, seen)
        .prop_map(|(sent_at, dst_addr, dst_port, src_addr, protocol, retries, query, outcome, seen)| DnsResponse {
            sent_at,
            dst_addr,
            dst_port,
            src_addr,
            protocol,
            retries,
            query,
            outcome,
            secure: seen.0,
            strays: seen.1,
            strays_seen: seen.2,
            id_mismatches: seen.3,
        })
        .boxed()
}
