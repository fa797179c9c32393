//! ntp: how far the server's clock is from the probe's, by the fastest exchange.

use serde_json::Value;

use super::{Column, Seen, items, milliseconds, number, string, text, time, time_cell};

pub(super) const COLUMNS: &[Column] = &[
    text("SERVER", 15),
    number("STRATUM", 7),
    text("REF", 8),
    number("OFFSET", 10),
    number("RTT", 8),
    text("ERROR", 16),
];

/// The result has seconds, the table milliseconds, as everywhere else.
const MS: f64 = 1000.0;

pub(super) fn read(result: &Value) -> Seen {
    let packets = items(&result["result"]);
    let rtt = |packet: &Value| time(&packet["rtt"]);
    let answers = packets.iter().filter(|packet| rtt(packet).is_some() && packet["offset"].is_number());
    // The less the way took, the less can it have been lopsided.
    let best = answers.clone().min_by(|a, b| rtt(a).unwrap_or(f64::MAX).total_cmp(&rtt(b).unwrap_or(f64::MAX)));
    let offset = best.and_then(|packet| packet["offset"].as_f64()).map(|seconds| seconds * MS);
    let time = best.and_then(rtt).map(|seconds| seconds * MS);
    let error = match best {
        Some(_) => String::new(),
        None => {
            packets.iter().map(|packet| string(&packet["error"])).find(|words| !words.is_empty()).unwrap_or_default()
        }
    };
    let cells = vec![
        string(&result["dst_addr"]),
        string(&result["stratum"]),
        string(&result["ref-id"]),
        offset.map_or_else(|| "–".into(), milliseconds),
        time_cell(time),
        error,
    ];
    Seen { cells, sent: packets.len() as u64, received: answers.count() as u64, time }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_fastest_exchange_counts() {
        let packets = json!([{"rtt": 0.02, "offset": 0.5}, {"x": "*"}, {"rtt": 0.01, "offset": -0.0001}]);
        let seen = read(&json!({"dst_addr": "192.0.2.1", "stratum": 2, "ref-id": "c0000201", "result": packets}));
        assert_eq!(seen.cells, ["192.0.2.1", "2", "c0000201", "-0.100", "10.000", ""]);
        assert_eq!((seen.sent, seen.received, seen.time), (3, 2, Some(10.0)));
        let refused = json!({"dst_addr": "192.0.2.1", "result": [{"error": "kiss-o'-death: RATE"}]});
        assert_eq!(read(&refused).cells[3..], ["–", "–", "kiss-o'-death: RATE"]);
    }
}
