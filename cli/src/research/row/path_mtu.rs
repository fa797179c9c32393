//! pathmtu: the longest packets that pass, and where longer ones vanish.

use serde_json::Value;

use super::{Column, Seen, number, string, text};

pub(super) const COLUMNS: &[Column] = &[
    text("TARGET", 15),
    number("MTU", 6),
    number("BACK", 6),
    number("LINK", 6),
    text("BLACK HOLE", 24),
    text("END", 10),
];

pub(super) fn read(result: &Value) -> Seen {
    let size = |name: &str, exact: &str| match (result[name].as_u64(), result[exact].as_bool()) {
        (None, _) => "–".into(),
        (Some(size), Some(true)) => size.to_string(),
        // It is that much at least.
        (Some(size), _) => format!("≥{size}"),
    };
    let hole = &result["hole"];
    let hole = match (hole["passes"].as_u64(), hole["lost"].as_u64()) {
        (Some(passes), Some(lost)) => {
            let behind = hole["last_hop"]["hop"].as_u64().map(|hop| format!(" behind hop {hop}")).unwrap_or_default();
            format!("{lost} lost, {passes} pass{behind}")
        }
        _ => String::new(),
    };
    let received = u64::from(result["mtu"].is_u64() || result["round_trip_mtu"].is_u64());
    let cells = vec![
        string(&result["dst_addr"]),
        size("mtu", "mtu_exact"),
        size("reverse_mtu", "reverse_mtu_exact"),
        string(&result["interface_mtu"]),
        hole,
        string(&result["end"]),
    ];
    Seen { cells, sent: 1, received, time: None }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sizes_and_a_hole() {
        let seen = read(&json!({
            "dst_addr": "192.0.2.1", "interface_mtu": 1500, "mtu": 1400, "mtu_exact": true, "reverse_mtu": 1280,
            "reverse_mtu_exact": false, "hole": {"passes": 1400, "lost": 1401, "last_hop": {"hop": 3}}, "end": "complete",
        }));
        assert_eq!(seen.cells, ["192.0.2.1", "1400", "≥1280", "1500", "1401 lost, 1400 pass behind hop 3", "complete"]);
        assert_eq!((seen.sent, seen.received), (1, 1));
    }
}
