//! Results in words, beside what the lab knows to be true.

use std::time::Duration;

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::task::{AHEAD, Servers, TEXT, Task};
use super::{NARROW, SILENT, SLOW};
use crate::lab::packet::{ICMP, ICMPV6, IpSummary, TCP, UDP};
use crate::lab::{Branch, HopTruth, Host, Lab, Node, USUAL_MTU, WireLog};
use crate::web::BODY;

/// What is to be said about a result.
pub(super) struct Said {
    pub(super) lines: Vec<String>,
    pub(super) truth: Value,
    /// How many of its statements are not true.
    pub(super) wrong: usize,
}

/// About the result of one host. `log` must have the packets of the measurement.
pub(super) fn of(lab: &Lab, servers: &Servers, log: &WireLog, task: &Task, host: Host, result: &Value) -> Said {
    let path = path(lab, log, task, host, result);
    let floor = path.last().map(HopTruth::rtt_floor).unwrap_or_default();
    let truth = json!({"hops": path.len(), "rtt_floor_ms": ms(floor)});
    let (lines, wrong) = match result["type"].as_str() {
        Some("ping") => ping(result, &path, floor),
        Some("traceroute") => traceroute(result, &path, host),
        Some("dns") => dns(result, floor),
        Some("ntp") => ntp(result, floor),
        Some("pathmtu") => path_mtu(result, task.to),
        Some("http") => http(result, floor),
        Some("sslcert") => sslcert(result, &servers.web.chain, floor),
        // A kind without words of its own shows what it found.
        _ => (vec![result["result"].to_string()], 0),
    };
    let (mut lines, name) = (lines.into_iter(), host.name());
    let first = lines.next().map(|line| format!("{name:7} {line}"));
    Said { lines: first.into_iter().chain(lines).collect(), truth, wrong }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A time below what the delays allow is a lie. Times are rounded to microseconds.
fn is_too_fast(time: f64, floor: Duration) -> bool {
    time + 0.001 < ms(floor)
}

fn mark(is_true: bool) -> &'static str {
    if is_true { "" } else { "   <== UNTRUE" }
}

/// The path that the packets took, as the wire saw them.
fn path(lab: &Lab, log: &WireLog, task: &Task, host: Host, result: &Value) -> Vec<HopTruth> {
    let protocol = match (result["type"].as_str(), result["proto"].as_str(), task.family) {
        (Some("traceroute"), Some("UDP"), _) => UDP,
        (Some("traceroute"), Some("TCP"), _) => TCP,
        (_, _, crate::lab::Family::V4) => ICMP,
        (_, _, crate::lab::Family::V6) => ICMPV6,
    };
    let src = host.public_address(task.family);
    let is_ours = |ip: IpSummary| Some(ip.src) == src && Some(ip.dst) == task.dst() && ip.protocol == protocol;
    let branches = log.branches(|frame| frame.ip.is_some_and(is_ours));
    lab.path_over(branches.first().copied().unwrap_or(Branch::A), host, task.to, task.family)
}

fn ping(result: &Value, path: &[HopTruth], floor: Duration) -> (Vec<String>, usize) {
    let best = result["min"].as_f64().unwrap_or(-1.0);
    let is_true = result["rcvd"] == result["sent"] && !is_too_fast(best, floor);
    let line = format!(
        "{} of {} answered, {best:.3} ms at best    truth: not below {:.3} ms, {} hops{}",
        result["rcvd"],
        result["sent"],
        ms(floor),
        path.len(),
        mark(is_true)
    );
    (vec![line], usize::from(!is_true))
}

fn dns(result: &Value, floor: Duration) -> (Vec<String>, usize) {
    let Some(time) = result["result"]["rt"].as_f64() else {
        return (vec![format!("no answer: {}{}", result["error"], mark(false))], 1);
    };
    let text = &result["result"]["answers"][0]["RDATA"][0];
    let is_true = *text == json!(TEXT) && !is_too_fast(time, floor);
    let line = format!("{text} in {time:.3} ms    truth: {TEXT:?}, not below {:.3} ms{}", ms(floor), mark(is_true));
    (vec![line], usize::from(!is_true))
}

fn sslcert(result: &Value, chain: &[Vec<u8>], floor: Duration) -> (Vec<String>, usize) {
    let der = |pem: &Value| {
        let text: String = pem.as_str()?.lines().filter(|line| !line.starts_with("--")).collect();
        BASE64.decode(text.as_bytes()).ok()
    };
    let shown: Option<Vec<Vec<u8>>> = result["cert"].as_array().and_then(|certs| certs.iter().map(der).collect());
    let (Some(shown), Some(time)) = (shown, result["rt"].as_f64()) else {
        return (vec![format!("no certificates: {result}{}", mark(false))], 1);
    };
    // Connecting is one round trip, the handshake another.
    let is_true = shown == chain && !is_too_fast(time, 2 * floor);
    let line = format!(
        "{} certificates over TLS {} in {time:.3} ms    truth: {} certificates, byte for byte, not below {:.3} ms{}",
        shown.len(),
        result["ver"].as_str().unwrap_or("?"),
        chain.len(),
        ms(2 * floor),
        mark(is_true)
    );
    (vec![line], usize::from(!is_true))
}

fn http(result: &Value, floor: Duration) -> (Vec<String>, usize) {
    let element = &result["result"][0];
    let Some(time) = element["rt"].as_f64() else {
        return (vec![format!("no response: {}{}", element["err"], mark(false))], 1);
    };
    // Connecting is one round trip, the request another.
    let is_true = element["res"] == 200 && element["bsize"] == BODY.len() && !is_too_fast(time, 2 * floor);
    let line = format!(
        "{}, {} bytes in {time:.3} ms    truth: 200, {} bytes, not below {:.3} ms{}",
        element["res"],
        element["bsize"],
        BODY.len(),
        ms(2 * floor),
        mark(is_true)
    );
    (vec![line], usize::from(!is_true))
}

fn path_mtu(result: &Value, to: Host) -> (Vec<String>, usize) {
    let truth = if to == Host::Far { NARROW.1 } else { USUAL_MTU };
    let is_true = result["mtu"] == truth;
    let line = format!("{} bytes    truth: {truth} bytes{}", result["mtu"], mark(is_true));
    (vec![line], usize::from(!is_true))
}

/// Atlas's unit is the second here. The clock of the server is as wrong as it was made.
fn ntp(result: &Value, floor: Duration) -> (Vec<String>, usize) {
    let reply = &result["result"][0];
    let (Some(rtt), Some(offset)) = (reply["rtt"].as_f64(), reply["offset"].as_f64()) else {
        return (vec![format!("no answer: {result}{}", mark(false))], 1);
    };
    // The probe's clock and an uneven path are what the offset may be wrong by, and the decimals of the result.
    let tolerance = rtt / 2.0 + result["sonde"]["clock_error_us"].as_f64().unwrap_or(1e6) / 1e6 + 4e-6;
    let is_true = (offset - AHEAD as f64).abs() <= tolerance && !is_too_fast(rtt * 1e3, floor);
    let line = format!(
        "{offset:.6} s ahead, {:.3} ms    truth: {AHEAD} s ahead, not below {:.3} ms{}",
        rtt * 1e3,
        ms(floor),
        mark(is_true)
    );
    (vec![line], usize::from(!is_true))
}

fn traceroute(result: &Value, path: &[HopTruth], host: Host) -> (Vec<String>, usize) {
    let empty = Vec::new();
    let hops = result["result"].as_array().unwrap_or(&empty);
    let mut wrong = usize::from(hops.len() != path.len());
    let last = path.last().map(|hop| ms(hop.rtt_floor())).unwrap_or_default();
    let mut lines =
        vec![format!("{} hops    truth: {} hops, {last:.1} ms{}", hops.len(), path.len(), mark(wrong == 0))];
    for (number, (hop, truth)) in (1..).zip(hops.iter().zip(path)) {
        let answers = hop["result"].as_array().unwrap_or(&empty);
        let is_silent = truth.node == Node::Router(SILENT);
        // Many ask it at once, so somebody may get nothing.
        let is_slow = truth.node == Node::Router(SLOW);
        let from = answers.iter().find_map(|answer| answer["from"].as_str()).unwrap_or("*");
        let times: Vec<f64> = answers.iter().filter_map(|answer| answer["rtt"].as_f64()).collect();
        let is_true = answers.iter().all(|answer| match answer["from"].as_str() {
            Some(from) => !is_silent && from == truth.address.to_string(),
            None => answer["x"] == "*",
        }) && (is_silent == times.is_empty() || is_slow)
            && times.iter().all(|time| !is_too_fast(*time, truth.rtt_floor()));
        wrong += usize::from(!is_true);
        // One path is enough to look at; of the others only what is wrong.
        if host != Host::Dual && is_true {
            continue;
        }
        let shown: Vec<String> = answers
            .iter()
            .map(|answer| answer["rtt"].as_f64().map_or_else(|| "*".to_owned(), |time| format!("{time:.3}")))
            .collect();
        let truly = if is_silent { "silent".to_owned() } else { format!("{:.1} ms", ms(truth.rtt_floor())) };
        lines.push(format!(
            "{number:5}  {from:24} {:28} truth: {:5} {truly}{}{}",
            shown.join(" "),
            truth.node.name(),
            labels(answers),
            mark(is_true)
        ));
    }
    (lines, wrong)
}

/// The MPLS labels in the first answer that has any.
fn labels(answers: &[Value]) -> String {
    let labels = answers.iter().find_map(|answer| answer["icmpext"]["obj"][0]["mpls"].as_array());
    let shown: Vec<String> = labels.into_iter().flatten().map(|label| label["label"].to_string()).collect();
    if shown.is_empty() { String::new() } else { format!("   MPLS labels {}", shown.join(", ")) }
}
