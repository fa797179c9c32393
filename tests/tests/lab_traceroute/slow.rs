//! A router that sends one ICMP error a second costs what it withholds itself, and nothing else.

use std::num::NonZeroU32;

use sonde_tests::lab::{CapturedPacket, Host, Node, Router};
use sonde_tests::scene::say;

use crate::{Case, hops, long_path, measure};

/// Packets per hop.
const PACKETS: usize = 3;

#[test]
fn nothing_is_lost_beyond_what_a_slow_router_withholds() {
    let Some(lab) = long_path() else { return };
    for router in [Router::R2, Router::Mpls] {
        lab.set_rate_limit(router, NonZeroU32::new(1)).unwrap();
        for case in Case::all() {
            let capture = lab.capture_at(Node::Router(router)).unwrap();
            let result = measure(&lab, Host::Dual, case, &["--packets", &PACKETS.to_string()]);
            let captured = capture.stop().unwrap();
            // What it forwards, it has seen with a greater hop limit.
            let expires = |packet: &&CapturedPacket| {
                let ip = packet.summary.ip.filter(|ip| case.sends(Host::Dual, ip));
                !packet.outgoing && ip.is_some_and(|ip| ip.hop_limit == 1)
            };
            let is_error = |packet: &&CapturedPacket| {
                packet.left() && packet.summary.quoted.is_some_and(|ip| ip.dst == case.dst())
            };
            let own = Node::Router(router);
            let path = lab.path(Host::Dual, Host::Far, case.family);
            let from_here = |packet: &&CapturedPacket| {
                packet.summary.src().is_some_and(|src| own.addresses(case.family).contains(&src))
            };
            let expired = captured.iter().filter(expires).count();
            let sent = captured.iter().filter(is_error).filter(from_here).count();
            assert!(sent > 0 && expired >= sent, "{case}: {sent} of {expired}");
            for (hop, answers) in path.iter().zip(hops(&result)) {
                let answered = answers.iter().filter(|answer| answer["from"].is_string()).count();
                if hop.node == own {
                    assert_eq!((answers.len(), answered), (expired, sent), "{case}: {result}");
                } else {
                    assert_eq!((answers.len(), answered), (PACKETS, PACKETS), "{case}, {}: {result}", hop.node.name());
                }
            }
            assert_eq!(hops(&result).len(), path.len(), "{case}: {result}");
            say(&format!("{case}: {} sent {sent} errors about {expired} packets, all are in the result", own.name()));
        }
        lab.set_rate_limit(router, None).unwrap();
    }
}
