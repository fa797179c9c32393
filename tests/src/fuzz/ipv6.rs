//! What a run of `ipv6` reads of strangers: options of router advertisements as the kernel passes them on, answers of name servers,
//! and both sides of a reference's echo.

use std::net::IpAddr;

use sonde_engine::ipv6::answer;
use sonde_protocol::adverts::Heard;
use sonde_protocol::reference::echo::{MAX, Reply, Request};
use sonde_protocol::result::ipv6::DnsCheck;
use sonde_protocol::time::Nanos;

/// As many of each kind as are kept.
const MOST: usize = 8;

/// The link that the options are said to come from.
const LINK: u32 = 2;

/// Options of one advertisement, in a message as the kernel makes it, and the same bytes as messages of their own.
pub(super) fn router_advert(data: &[u8]) {
    let mut heard = Heard::default();
    heard.hear(data, Nanos(0));
    let length = u16::try_from(data.len()).unwrap_or(u16::MAX);
    let whole = u32::try_from(data.len() + 32).unwrap_or(u32::MAX);
    let header = [&whole.to_ne_bytes()[..], &68_u16.to_ne_bytes(), &[0; 10]].concat();
    let option = [&[10, 0][..], &length.to_ne_bytes(), &LINK.to_ne_bytes(), &[134, 0], &[0; 6]].concat();
    heard.hear(&[&header, &option, data].concat(), Nanos(0));
    let (resolvers, prefixes) = (heard.resolvers(LINK, Nanos(1)), heard.prefixes(LINK, Nanos(1)));
    assert!(resolvers.len() <= MOST && prefixes.len() <= MOST);
    assert!(prefixes.iter().all(|one| [32, 40, 48, 56, 64, 96].contains(&one.length) && one.lifetime > 0));
}

pub(super) fn ipv6_answer(data: &[u8]) {
    let known: [IpAddr; 1] = [IpAddr::from([192, 0, 2, 1])];
    for qtype in [DnsCheck::A, DnsCheck::AAAA, 16] {
        let seen = answer::read(data, qtype, 1, &known);
        assert_eq!(seen.is_some(), data.len() >= 12);
    }
}

/// What is read is what would be written, but for the padding.
pub(super) fn reference_echo(data: &[u8]) {
    if let Some(request) = Request::parse(data) {
        assert_eq!(Request::parse(&request.to_bytes(data.len())), Some(request));
        assert!(request.reply_size(data.len(), true) <= MAX);
    }
    if let Some(reply) = Reply::parse(data) {
        let again = Reply::parse(&reply.to_bytes(data.len()));
        assert_eq!(
            again.map(|again| (again.id, again.received, again.fragment)),
            Some((reply.id, reply.received, reply.fragment))
        );
    }
}
