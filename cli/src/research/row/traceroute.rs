//! traceroute: how far it is, who answered last.

use serde_json::Value;

use super::{Column, Seen, items, number, string, text, time, time_cell};

pub(super) const COLUMNS: &[Column] =
    &[text("TARGET", 15), number("HOPS", 4), number("RTT", 8), text("LAST ANSWER", 20)];

/// The last extra hop behind a gap has this number; it is no length of a path.
const BEHIND_A_GAP: u64 = 255;

pub(super) fn read(result: &Value) -> Seen {
    let target = &result["dst_addr"];
    let hops = items(&result["result"]);
    let last = hops.iter().rev().find_map(|hop| {
        let replies = items(&hop["result"]).iter().filter(|reply| reply["from"].is_string());
        let best =
            replies.min_by(|a, b| time(&a["rtt"]).unwrap_or(f64::MAX).total_cmp(&time(&b["rtt"]).unwrap_or(f64::MAX)));
        best.map(|reply| (hop["hop"].as_u64().unwrap_or_default(), reply))
    });
    let Some((hop, reply)) = last else {
        let said = hops.iter().find_map(|hop| hop["error"].as_str().map(|_| string(&hop["error"])));
        let last = said.unwrap_or_else(|| "nobody answered".into());
        return Seen { cells: vec![string(target), "–".into(), "–".into(), last], sent: 1, ..Seen::default() };
    };
    let is_reached = reply["from"] == *target && reply["err"].is_null();
    let rtt = time(&reply["rtt"]);
    let from = string(&reply["from"]);
    let end = match &reply["err"] {
        _ if is_reached => "reached".to_owned(),
        Value::Null if hop < BEHIND_A_GAP => format!("{from} at hop {hop}"),
        Value::Null => from,
        err => format!("{from} says !{}", string(err)),
    };
    let length = if hop < BEHIND_A_GAP { hop.to_string() } else { "–".into() };
    Seen {
        cells: vec![string(target), length, time_cell(rtt), end],
        sent: 1,
        received: u64::from(is_reached),
        time: rtt.filter(|_| is_reached),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reached_stopped_and_silent() {
        let hop = |n: u64, from: &str| json!({"hop": n, "result": [{"x": "*"}, {"from": from, "rtt": 9.9}, {"from": from, "rtt": 9.1}]});
        let silent = json!({"hop": 3, "result": [{"x": "*"}]});
        let seen = read(&json!({"dst_addr": "192.0.2.1", "result": [hop(1, "10.0.0.1"), silent, hop(4, "192.0.2.1")]}));
        assert_eq!(seen.cells, ["192.0.2.1", "4", "9.100", "reached"]);
        assert_eq!((seen.received, seen.time), (1, Some(9.1)));
        let seen = read(&json!({"dst_addr": "192.0.2.1", "result": [hop(1, "10.0.0.1"), silent]}));
        assert_eq!(seen.cells, ["192.0.2.1", "1", "9.100", "10.0.0.1 at hop 1"]);
        assert_eq!((seen.received, seen.time), (0, None));
        let refused = json!({"hop": 2, "result": [{"from": "10.9.9.9", "rtt": 1, "err": "H"}]});
        let seen = read(&json!({"dst_addr": "192.0.2.1", "result": [refused]}));
        assert_eq!(seen.cells[3], "10.9.9.9 says !H");
        let failed = json!({"hop": 1, "error": "connect failed: Network is unreachable"});
        assert_eq!(read(&json!({"result": [failed]})).cells[3], "connect failed: Network is unreachable");
        assert_eq!(read(&json!({"result": [silent]})).cells[3], "nobody answered");
    }
}
