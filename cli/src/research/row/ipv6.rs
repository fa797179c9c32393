//! ipv6: what both families are worth to a probe, why, and how much sooner IPv6 connects.

use serde_json::Value;

use super::{Column, Seen, clean, items, number, string, text};

pub(super) const COLUMNS: &[Column] = &[
    text("IPV6", 14),
    text("IPV4", 14),
    text("SETTLED", 14),
    number("REFERENCES", 10),
    number("V6-V4 MS", 10),
    text("WHY", 30),
];

/// The longest list of reasons.
const MAX_WHY: usize = 60;

pub(super) fn read(result: &Value) -> Seen {
    let verdict =
        |af: u64| items(&result["verdict"]).iter().find(|verdict| verdict["af"] == af).unwrap_or(&Value::Null);
    let (v6, v4) = (verdict(6), verdict(4));
    let title = |verdict: &Value| match string(&verdict["sub"]) {
        sub if sub.is_empty() => string(&verdict["raw"]),
        sub => format!("{} ({sub})", string(&verdict["raw"])),
    };
    let pairs = items(&result["pair"]);
    let reached = pairs.iter().filter(|pair| connects(pair).any(|connect| connect["ttls"].is_number())).count();
    let why: Vec<String> = [v6, v4].into_iter().flat_map(|one| items(&one["why"])).map(string).collect();
    let difference = median(pairs.iter().filter_map(difference).collect());
    let cells = vec![
        title(v6),
        title(v4),
        string(&v6["settled"]),
        format!("{reached}/{}", pairs.len()),
        difference.map_or_else(|| "–".into(), |d| format!("{d:+.1}")),
        clean::text(&why.join(" "), MAX_WHY),
    ];
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    Seen { cells, sent: count(pairs.len()), received: count(reached), time: None }
}

fn connects(pair: &Value) -> impl Iterator<Item = &Value> {
    items(&pair["result"]).iter()
}

/// How much longer the connection over IPv6 took, where neither had to repeat a packet.
fn difference(pair: &Value) -> Option<f64> {
    let of = |af: u64| {
        let connect = connects(pair).find(|connect| connect["af"] == af)?;
        connect["ttc"].as_f64().filter(|time| time.is_finite() && connect["retrans"].as_u64() == Some(0))
    };
    Some(of(6)? - of(4)?)
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle)?;
    Some(if values.len() % 2 == 1 { *upper } else { values.get(middle.checked_sub(1)?)?.midpoint(*upper) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn verdicts_references_and_the_difference() {
        let pair = |ttc6: f64, retrans: u64| {
            json!({"result": [{"af": 6, "ttc": ttc6, "ttls": 30.0, "retrans": retrans},
                              {"af": 4, "ttc": 20.0, "ttls": 31.0, "retrans": 0}]})
        };
        let seen = read(&json!({
            "verdict": [{"af": 6, "raw": "native-partial", "settled": "native", "why": ["mtu", "mtu.up.1400"]},
                        {"af": 4, "raw": "native", "sub": "nat44", "settled": "native", "why": ["nat44"]}],
            "pair": [pair(21.5, 0), pair(24.0, 0), pair(1020.0, 1), {"result": [{"af": 6, "err": "connect: timeout"}]}],
        }));
        assert_eq!(seen.cells, ["native-partial", "native (nat44)", "native", "3/4", "+2.8", "mtu mtu.up.1400 nat44"]);
        assert_eq!((seen.sent, seen.received), (4, 3));
    }
}
