//! ping: how many came back, how fast.

use serde_json::Value;

use super::{Column, Seen, number, string, text, time, time_cell};

pub(super) const COLUMNS: &[Column] =
    &[text("TARGET", 15), number("LOSS", 5), number("MIN", 8), number("AVG", 8), number("MAX", 8)];

pub(super) fn read(result: &Value) -> Seen {
    let sent = result["sent"].as_u64().unwrap_or_default();
    let received = result["rcvd"].as_u64().unwrap_or_default().min(sent);
    let average = time(&result["avg"]).filter(|_| received > 0);
    let loss = match (sent - received).saturating_mul(100).checked_div(sent) {
        Some(percent) => format!("{percent}%"),
        None => "–".into(),
    };
    let cell = |name: &str| time_cell(time(&result[name]).filter(|_| received > 0));
    let cells = vec![string(&result["dst_addr"]), loss, cell("min"), time_cell(average), cell("max")];
    Seen { cells, sent, received, time: average }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answered_and_lost() {
        let seen = read(&json!({"dst_addr": "192.0.2.1", "sent": 3, "rcvd": 2, "min": 10.1, "avg": 11, "max": 11.9}));
        assert_eq!(seen.cells, ["192.0.2.1", "33%", "10.100", "11.000", "11.900"]);
        assert_eq!((seen.sent, seen.received, seen.time), (3, 2, Some(11.0)));
        let lost = read(&json!({"dst_addr": "192.0.2.1", "sent": 3, "rcvd": 0, "min": -1, "avg": -1, "max": -1}));
        assert_eq!(lost.cells, ["192.0.2.1", "100%", "–", "–", "–"]);
        assert_eq!(lost.time, None);
    }
}
