//! Outcomes as short text, one line a hop or a reply, so that scripts can say what they expect and people can read it.
//! Times are in milliseconds.

use std::collections::BTreeMap;
use std::fmt::Write;

use sonde_protocol::result::{HopReply, Mtu, MtuAnswer, MtuHop, Outcome, PingReply};

use super::{Played, Sent};

/// The whole outcome. The first line says how the run went, the others what was seen.
pub fn outcome(played: &Played, ignored: u32) -> String {
    let ended = millis(played.ended_at.0);
    let packets = played.sent.len();
    let mut text = String::new();
    match &played.outcome {
        Outcome::Ping(ping) => {
            let _ = writeln!(
                text,
                "size {}, {} of {packets} sent, {ignored} ignored, ended at {ended}",
                ping.size, ping.sent
            );
            for reply in &ping.replies {
                let _ = writeln!(text, "{}", ping_reply(reply));
            }
        }
        Outcome::Traceroute(trace) => {
            let paris = trace.paris_id.map_or("off".into(), |id| id.to_string());
            let protocol = trace.protocol.name();
            let size = trace.size;
            let _ = writeln!(
                text,
                "{protocol} size {size}, paris {paris}, {packets} packets, {ignored} ignored, ended at {ended}"
            );
            for hop in &trace.hops {
                let _ = writeln!(text, "{}: {}", hop.hop, grouped(hop.replies.iter().map(hop_reply)));
            }
        }
        Outcome::PathMtu(seen) => {
            let _ = writeln!(text, "{:?}, {packets} packets, {ignored} ignored, ended at {ended}", seen.end);
            let interface = seen.interface.map_or("unknown".into(), |mtu| mtu.to_string());
            let (forward, reverse, round_trip) = (mtu(seen.forward), mtu(seen.reverse), mtu(seen.round_trip));
            let _ =
                writeln!(text, "interface {interface}, forward {forward}, reverse {reverse}, round trip {round_trip}");
            for limit in &seen.limits {
                let named = limit.mtu.map_or("no mtu".into(), |mtu| format!("mtu {mtu}"));
                let _ = writeln!(text, "{}{} says {named} of {}", limit.from, ttl(limit.hop_limit), limit.size);
            }
            if let Some(hole) = &seen.hole {
                let hop = |hop: Option<MtuHop>| hop.map_or("nobody".into(), |hop| format!("{} {}", hop.hop, hop.from));
                let _ = writeln!(
                    text,
                    "hole: {} passes, {} is lost, {:?}, last {}, next {}",
                    hole.passes,
                    hole.lost,
                    hole.direction,
                    hop(hole.last_hop),
                    hop(hole.next_hop)
                );
            }
            for one in &seen.tries {
                let hop = one.hop.map_or(String::new(), |hop| format!(" to hop {hop}"));
                let _ = writeln!(text, "{} {}{hop}: {}", one.protocol.name(), one.size, mtu_answer(&one.answer));
            }
        }
        other => panic!("neither of a packet kind: {other:?}"),
    }
    text
}

/// When packets were handed out: one line a hop limit.
pub fn schedule(sent: &[Sent]) -> String {
    let mut hops: BTreeMap<u8, Vec<String>> = BTreeMap::new();
    for packet in sent {
        hops.entry(packet.transmit.hop_limit.unwrap_or(0)).or_default().push(millis(packet.at.0));
    }
    hops.iter().fold(String::new(), |text, (hop, times)| format!("{text}{hop}: {}\n", times.join(" ")))
}

fn ping_reply(reply: &PingReply) -> String {
    match reply {
        PingReply::Timeout => "*".into(),
        PingReply::SendError(why) => why.to_string(),
        PingReply::Reply(echo) => {
            let duplicate = if echo.duplicate { " dup" } else { "" };
            let rtt = millis(echo.rtt as i64);
            format!("{} {rtt}{} size {}{duplicate}", echo.from, ttl(echo.hop_limit), echo.size)
        }
        PingReply::Icmp(error) => {
            let rtt = error.rtt.map_or(String::new(), |rtt| format!(" {}", millis(rtt as i64)));
            let mtu = error.mtu.map_or(String::new(), |mtu| format!(" mtu {mtu}"));
            format!("{}{rtt}{} icmp {}/{}{mtu}", error.from, ttl(error.hop_limit), error.kind, error.code)
        }
    }
}

fn mtu(mtu: Mtu) -> String {
    match mtu {
        Mtu::Unknown => "unknown".into(),
        Mtu::AtLeast(size) => format!("at least {size}"),
        Mtu::Exactly(size) => size.to_string(),
    }
}

fn mtu_answer(answer: &MtuAnswer) -> String {
    match answer {
        MtuAnswer::Timeout => "*".into(),
        MtuAnswer::SendError(why) => why.to_string(),
        MtuAnswer::TooLong => "too long".into(),
        MtuAnswer::Reply(reply) => {
            let fragment = reply.fragment.map_or(String::new(), |fragment| format!(" in pieces of {fragment}"));
            format!("{} {} size {}{fragment}", reply.from, millis(reply.rtt as i64), reply.size)
        }
        MtuAnswer::Icmp(error) => {
            let rtt = error.rtt.map_or(String::new(), |rtt| format!(" {}", millis(rtt as i64)));
            let mtu = error.mtu.map_or(String::new(), |mtu| format!(" mtu {mtu}"));
            format!("{}{rtt} icmp {}/{}{mtu}", error.from, error.kind, error.code)
        }
    }
}

fn hop_reply(reply: &HopReply) -> String {
    let answer = match reply {
        HopReply::Timeout => return "*".into(),
        HopReply::SendError(why) => return why.to_string(),
        HopReply::Reply(answer) => answer,
    };
    let mut text = answer.from.to_string();
    if let Some(rtt) = answer.rtt {
        let _ = write!(text, " {}", millis(rtt as i64));
    }
    text.push_str(&ttl(answer.hop_limit));
    if let Some(size) = answer.size {
        let _ = write!(text, " size {size}");
    }
    if let Some(flags) = answer.tcp_flags {
        let _ = write!(text, " flags {flags:#04x}");
    }
    if let Some(options) = &answer.tcp_options {
        let _ = write!(text, " options {options:?}");
    }
    if let Some(icmp) = answer.icmp {
        let _ = write!(text, " icmp {}/{}", icmp.kind, icmp.code);
    }
    if let Some(mtu) = answer.mtu {
        let _ = write!(text, " mtu {mtu}");
    }
    for (name, value) in [("ittl", answer.quoted_hop_limit), ("itos", answer.quoted_traffic_class)] {
        if let Some(value) = value {
            let _ = write!(text, " {name} {value}");
        }
    }
    if let Some(dst) = answer.quoted_dst {
        let _ = write!(text, " edst {dst}");
    }
    if let Some(extensions) = &answer.extensions {
        let old = if answer.extensions_unannounced == Some(true) { " old" } else { "" };
        let _ = write!(text, "{old} ext {extensions:?}");
    }
    if let Some(late) = answer.late {
        let _ = write!(text, " late {late}");
    }
    if answer.duplicate {
        text.push_str(" dup");
    }
    text
}

/// Items in order, with a count where one repeats.
fn grouped(items: impl Iterator<Item = String>) -> String {
    let mut groups: Vec<(String, usize)> = Vec::new();
    for item in items {
        match groups.last_mut() {
            Some((last, count)) if *last == item => *count += 1,
            _ => groups.push((item, 1)),
        }
    }
    let with_count = |(item, count): &(String, usize)| match count {
        1 => item.clone(),
        count => format!("{item} x{count}"),
    };
    groups.iter().map(with_count).collect::<Vec<_>>().join(", ")
}

fn ttl(hop_limit: Option<u8>) -> String {
    hop_limit.map_or(String::new(), |hop_limit| format!(" ttl {hop_limit}"))
}

fn millis(nanos: i64) -> String {
    format!("{}.{:03}", nanos / 1_000_000, nanos % 1_000_000 / 1000)
}
