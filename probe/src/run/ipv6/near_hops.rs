//! The first routers over IPv4: an address of 100.64.0.0/10 among them shows that the provider translates (RFC 6598).

use std::net::IpAddr;

use sonde_engine::ipv6::gather::Event;
use sonde_engine::traceroute::{Traceroute, TracerouteConfig};
use sonde_protocol::net::{Family, Transport};
use sonde_protocol::result::ipv6::NearHop;
use sonde_protocol::result::{HopReply, Outcome, TracerouteOutcome};
use sonde_protocol::spec::TracerouteSpec;

use super::tools::Tools;
use crate::net::Job;
use crate::net::clock::Moment;
use crate::run::random;

/// How far.
const HOPS: u32 = 4;

/// Looks by a traceroute of four hops.
pub async fn check(tools: &Tools<'_>, dst: IpAddr) {
    let spec = TracerouteSpec {
        protocol: Transport::Udp,
        packets: 2,
        max_hops: HOPS,
        paris: 0,
        port: 33_434,
        response_timeout: 1000,
        ..TracerouteSpec::default()
    };
    let config = TracerouteConfig { spec, dst, first_sequence: 0, cookie: random(), flow: 0, path_length: None };
    let job = Job {
        family: Family::of(dst),
        sequences: 0,
        make: move |first_sequence, moment: Moment| {
            Traceroute::new(TracerouteConfig { first_sequence, ..config }, moment.monotonic)
                .expect("this definition is within the limits of every traceroute")
        },
    };
    let Ok(finished) = tools.runner.driver.run(job).await else { return };
    if let Outcome::Traceroute(outcome) = &finished.outcome {
        tools.tell(Event::NearHops(&near(outcome)));
    }
}

fn near(outcome: &TracerouteOutcome) -> Vec<NearHop> {
    let hops = outcome.hops.iter().filter(|hop| u32::from(hop.hop) <= HOPS);
    let from = |replies: &[HopReply]| {
        replies.iter().find_map(|reply| match reply {
            HopReply::Reply(answer) => Some(answer.from),
            _ => None,
        })
    };
    hops.map(|hop| NearHop { hop: hop.hop, from: from(&hop.replies) }).collect()
}

#[cfg(test)]
mod tests {
    use sonde_protocol::bounded::List;
    use sonde_protocol::net::Ip;
    use sonde_protocol::result::{Hop, HopAnswer};

    use super::*;

    #[test]
    fn a_hop_is_who_answered_first_or_silence() {
        let router = Ip("100.64.0.1".parse().unwrap());
        let hop = |hop, replies: [HopReply; 2]| Hop { hop, replies: List::cut(replies) };
        let outcome = TracerouteOutcome {
            protocol: Transport::Udp,
            size: 48,
            paris_id: None,
            hops: List::cut([
                hop(1, [HopReply::Timeout, HopReply::Timeout]),
                hop(2, [HopReply::Timeout, HopReply::Reply(HopAnswer::new(router))]),
                hop(255, [HopReply::Timeout, HopReply::Timeout]),
            ]),
        };
        assert_eq!(near(&outcome), [NearHop { hop: 1, from: None }, NearHop { hop: 2, from: Some(router) }]);
    }
}
