//! What a probe says of IPv6 and IPv4, from `/api/v2/ipv6/probes/{id}/`: its verdicts in words, how its last hours and days went, and the
//! evidence of its last run as a table. What was not tested is said to be so; it is never the same as "no".

use serde_json::Value;

use super::probe_view::Moment;
use crate::charts::number::{difference_ms, duration_ms};
use crate::charts::spark;
use crate::charts::strip::{self, Step};
use crate::charts::svg::Svg;
use crate::charts::time::{human_unix, tick};

/// Hours and days of the strips.
const HOURS: i64 = 24;
const DAYS: i64 = 90;
const HOUR: i64 = 3600;
const DAY: i64 = 86_400;

/// Around zero, in milliseconds: differences that fit get this scale at least.
const DIFFERENCE: f64 = 5.0;

/// The section of the page.
pub(super) struct Ipv6 {
    pub families: Vec<FamilyView>,
    pub last_run: Option<Moment>,
    pub definition: Option<u64>,
    /// It counts in the sums of its country and network.
    pub counts: bool,
    pub strips: Vec<StripView>,
    pub difference: Option<Difference>,
    pub evidence: Vec<Row>,
}

/// The verdict on one family.
pub(super) struct FamilyView {
    pub af: u64,
    pub words: String,
    pub badge: &'static str,
    pub is_settled: bool,
    pub reasons: Vec<String>,
    /// What the last run alone said, when that is something else.
    pub raw: Option<String>,
    pub raw_reasons: Vec<String>,
    pub streak: u64,
}

/// A strip with its caption.
pub(super) struct StripView {
    pub title: String,
    pub svg: Svg,
    /// When and what, the newest first.
    pub rows: Vec<(String, String)>,
}

/// By how much IPv6 is slower than IPv4.
pub(super) struct Difference {
    pub last: String,
    pub svg: Svg,
}

/// A row of the evidence: what was looked at, and what came out for each family.
pub(super) struct Row {
    pub what: &'static str,
    pub v6: String,
    pub v4: String,
}

impl Ipv6 {
    /// Of the API's answer. `now` in seconds.
    pub fn of(answer: &Value, now: i64) -> Self {
        let verdicts = answer["verdict"].as_array().map(Vec::as_slice).unwrap_or_default();
        let hours = answer["hours"].as_array().map(Vec::as_slice).unwrap_or_default();
        let days = answer["days"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut families: Vec<FamilyView> = verdicts.iter().map(FamilyView::of).collect();
        if families.is_empty() {
            families = last_hour(hours, now);
        }
        let mut strips = Vec::new();
        if !hours.is_empty() {
            for (family, key) in [("IPv6", "v6"), ("IPv4", "v4")] {
                let title = format!("{family} over the last 24 hours: {}", tally(hours, key, "hours"));
                strips.push(strip_of(title, hours, key, (HOUR, HOURS), now));
            }
        }
        if !days.is_empty() {
            strips.push(strip_of(
                format!("IPv6 over the last 90 days: {}", tally(days, "v6", "days")),
                days,
                "v6",
                (DAY, DAYS),
                now,
            ));
        }
        Self {
            families,
            last_run: answer["last_run"].as_i64().map(|at| Moment::of(at, now)),
            definition: answer["definition"].as_u64(),
            counts: answer["counts"].as_bool().unwrap_or(true),
            strips,
            difference: difference(hours, now),
            evidence: evidence(&answer["evidence"]),
        }
    }
}

impl FamilyView {
    fn of(verdict: &Value) -> Self {
        let sentences = |key: &str| -> Vec<String> {
            let reasons = verdict[key].as_array().into_iter().flatten();
            let sentence = |reason: &Value| {
                let sentence = reason["sentence"].as_str().or(reason["reason"].as_str())?;
                Some(match reason["detail"].as_i64() {
                    Some(detail) => format!("{sentence} ({detail})"),
                    None => sentence.to_owned(),
                })
            };
            reasons.filter_map(sentence).collect()
        };
        let (settled, raw) = (verdict["settled"].as_str(), verdict["raw"].as_str().unwrap_or("unknown"));
        let shown = settled.unwrap_or(raw);
        Self {
            af: verdict["af"].as_u64().unwrap_or_default(),
            words: state(shown).0.to_owned(),
            badge: state(shown).1,
            is_settled: settled.is_some(),
            reasons: if settled.is_some() { sentences("settled_why") } else { sentences("raw_why") },
            raw: (settled.is_some() && settled != Some(raw)).then(|| state(raw).0.to_owned()),
            raw_reasons: sentences("raw_why"),
            streak: verdict["streak"].as_u64().unwrap_or_default(),
        }
    }
}

/// The verdicts of the newest hour that has any, where the last run itself is not known any more.
fn last_hour(hours: &[Value], now: i64) -> Vec<FamilyView> {
    let newest = hours.iter().filter(|hour| hour["v6"].is_string()).max_by_key(|hour| hour["at"].as_i64());
    let Some(hour) = newest else { return Vec::new() };
    let at = hour["at"].as_i64().unwrap_or(now);
    let family = |(af, key): (u64, &str)| {
        let (words, badge, ..) = state(hour[key].as_str().unwrap_or("unknown"));
        FamilyView {
            af,
            words: words.to_owned(),
            badge,
            is_settled: true,
            reasons: vec![format!("In the hour from {}.", human_unix(at))],
            raw: None,
            raw_reasons: Vec::new(),
            streak: 0,
        }
    };
    [(6, "v6"), (4, "v4")].into_iter().map(family).collect()
}

/// A state's word for people, its badge, its class and height in a strip.
fn state(word: &str) -> (&str, &'static str, &'static str, f64) {
    match word {
        "native" => ("works", "good", "up", 1.0),
        "native-partial" => ("works, with gaps", "warn", "part", 0.62),
        "tunnel" => ("works through a tunnel", "good", "up", 0.85),
        "464xlat" => ("works by translation (464XLAT)", "good", "up", 0.85),
        "4in6" => ("works inside IPv6", "good", "up", 0.85),
        "nat64+dns64" => ("works by translation (NAT64 and DNS64)", "good", "up", 0.85),
        "nat64" => ("NAT64 is there, but no name leads to it", "warn", "part", 0.62),
        "broken" => ("broken", "bad", "gone", 0.3),
        "none" => ("not there", "", "not-yet", 0.18),
        "offline" => ("offline", "bad", "silent", 0.06),
        "inconclusive" => ("cannot be told", "", "silent", 0.06),
        "unsettled" => ("not settled yet", "", "silent", 0.06),
        _ => ("not known", "", "silent", 0.06),
    }
}

/// What most entries say, in words: `works in 20 of 24 hours`.
fn tally(entries: &[Value], key: &str, unit: &str) -> String {
    let words: Vec<&str> = entries.iter().filter_map(|entry| Some(state(entry[key].as_str()?).0)).collect();
    let count = |word: &str| words.iter().filter(|other| **other == word).count();
    match words.iter().max_by_key(|word| count(word)) {
        Some(most) => format!("{most} in {} of {} {unit} that were told", count(most), words.len()),
        None => "nothing that is settled".to_owned(),
    }
}

/// A strip of hours or days; those of which nothing is known stay empty.
fn strip_of(title: String, entries: &[Value], key: &str, (step, count): (i64, i64), now: i64) -> StripView {
    let last = now.div_euclid(step) * step;
    let start = last.saturating_sub((count - 1) * step);
    let (mut steps, mut labels, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..count {
        let at = start + index * step;
        let when = if step >= DAY { tick(at, step) } else { human_unix(at) };
        let entry = entries.iter().find(|entry| entry["at"].as_i64() == Some(at));
        let word = entry.map(|entry| entry[key].as_str().or(entry["silent"].as_str()).unwrap_or("unknown"));
        let (words, class, height) = match word {
            Some(word) => {
                let (words, _, class, height) = state(word);
                (words, class, height)
            }
            None => ("nothing was told", "", 0.0),
        };
        steps.push(Step { class, height, title: format!("{when}: {words}") });
        if word.is_some() {
            rows.push((when, words.to_owned()));
        }
        if index % (count / 6) == 0 {
            labels.push((index.unsigned_abs() as usize, tick(at, step)));
        }
    }
    rows.reverse();
    StripView { svg: strip::draw(&title, &steps, &labels), title, rows }
}

fn difference(hours: &[Value], now: i64) -> Option<Difference> {
    let start = now.div_euclid(HOUR) * HOUR - (HOURS - 1) * HOUR;
    let at = |index: i64| hours.iter().find(|hour| hour["at"].as_i64() == Some(start + index * HOUR));
    let values: Vec<Option<f64>> = (0..HOURS).map(|index| at(index)?["rtt_difference"].as_f64()).collect();
    let last = values.iter().rev().flatten().next().copied()?;
    let most = values.iter().flatten().map(|value| value.abs()).fold(DIFFERENCE, f64::max);
    let name = format!("IPv6 − IPv4 over the last 24 hours, last {}", difference_ms(last));
    Some(Difference { last: difference_ms(last), svg: spark::draw(&name, "line", &values, (-most, most)) })
}

const NOT_TESTED: &str = "not tested";

/// The table of what a run saw, in the order in which things depend on each other.
fn evidence(run: &Value) -> Vec<Row> {
    if !run.is_object() {
        return Vec::new();
    }
    let both = |what, of: &dyn Fn(u64) -> Option<String>| {
        let told = |af| of(af).unwrap_or_else(|| NOT_TESTED.into());
        Row { what, v6: told(6), v4: told(4) }
    };
    let of_family = |key: &str, af: u64| -> Option<Vec<Value>> {
        let all = run[key].as_array()?;
        Some(all.iter().filter(|one| one["af"].as_u64() == Some(af)).cloned().collect())
    };
    let mut rows = vec![
        both("Addresses of the machine", &|af| {
            let own = of_family("addr", af)?;
            let classes: Vec<&str> = own.iter().filter_map(|one| one["class"].as_str()).collect();
            Some(if classes.is_empty() { "none".into() } else { classes.join(", ") })
        }),
        both("Default route", &|af| {
            let routes = of_family("route", af)?;
            let via = routes.iter().filter_map(|one| one["if"].as_str()).collect::<Vec<_>>();
            Some(if via.is_empty() { "none".into() } else { format!("yes, by {}", via.join(", ")) })
        }),
        both("Own resolvers, asked over this family", &|af| {
            let asked: Vec<Value> = of_family("dns", af)?;
            let asked: Vec<&Value> = asked.iter().filter(|one| one["asks"] == "resolver").collect();
            let answered = asked.iter().filter(|one| one["result"].is_object()).count();
            (!asked.is_empty()).then(|| format!("{answered} of {} questions answered", asked.len()))
        }),
        both("Connections to the references", &|af| pairs(run, af, "ttc")),
        both("QUIC to the references", &|af| pairs(run, af, "tquic")),
        both("Ping", &|af| echo(run, af, "ICMP")),
        both("UDP echo", &|af| echo(run, af, "UDP")),
        both("Longest packet", &|af| {
            let path = of_family("path", af)?.into_iter().next()?;
            let size = path["pmtu"].as_u64()?;
            let hole = path["blackhole"].as_str().filter(|hole| *hole != "none");
            Some(match hole {
                Some(hole) => format!("{size} bytes; longer ones vanish ({hole})"),
                None => format!("{size} bytes"),
            })
        }),
        both("Somebody else answers DNS questions", &|af| yes_or_no(&run["dns_flags"]["intercepted"][af.to_string()])),
    ];
    let one = |what, of: Option<String>| Row { what, v6: of.unwrap_or_else(|| NOT_TESTED.into()), v4: "–".into() };
    rows.extend([
        one("Router tells of prefixes", yes_or_no(&run["ra"]["seen"])),
        one(
            "Translator (NAT64)",
            match &run["nat64"] {
                Value::Object(nat64) => Some(match nat64.get("works").and_then(Value::as_bool) {
                    Some(true) => "there, and it works".into(),
                    Some(false) => "there, and it does not answer".into(),
                    None => NOT_TESTED.into(),
                }),
                _ => None,
            },
        ),
        one("Resolvers make up addresses", yes_or_no(&run["dns_flags"]["lying"])),
    ]);
    let winner = run["he"]["winner"].as_u64().map(|af| match run["he"]["margin"].as_f64() {
        Some(margin) => format!("IPv{af}, by {}", duration_ms(margin.abs())),
        None => format!("IPv{af}"),
    });
    rows.push(Row {
        what: "What a browser would use",
        v6: winner.unwrap_or_else(|| NOT_TESTED.into()),
        v4: "–".into(),
    });
    rows
}

fn yes_or_no(value: &Value) -> Option<String> {
    value.as_bool().map(|is| if is { "yes".into() } else { "no".into() })
}

/// How many of the pairs of connections succeeded over a family, and how fast the middle one was.
fn pairs(run: &Value, af: u64, key: &str) -> Option<String> {
    let results = run["pair"].as_array()?.iter().flat_map(|pair| pair["result"].as_array().into_iter().flatten());
    let results: Vec<&Value> = results.filter(|one| one["af"].as_u64() == Some(af)).collect();
    let mut times: Vec<f64> = results.iter().filter_map(|one| one[key].as_f64()).collect();
    times.sort_by(f64::total_cmp);
    let middle =
        times.get(times.len() / 2).map(|ms| format!(", {} in the middle", duration_ms(*ms))).unwrap_or_default();
    (!results.is_empty()).then(|| format!("{} of {}{middle}", times.len(), results.len()))
}

fn echo(run: &Value, af: u64, protocol: &str) -> Option<String> {
    let echoes =
        run["echo"].as_array()?.iter().filter(|one| one["af"].as_u64() == Some(af) && one["proto"] == protocol);
    let sum = |echoes: &[&Value], key: &str| echoes.iter().filter_map(|one| one[key].as_u64()).sum::<u64>();
    let echoes: Vec<&Value> = echoes.collect();
    let sent = sum(&echoes, "sent");
    (sent > 0).then(|| format!("{} of {sent} came back", sum(&echoes, "rcvd")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_760_000_000;

    #[test]
    fn settled_and_raw_are_told_apart_and_null_is_not_no() {
        let answer = json!({"last_run": NOW - 60, "definition": 1, "counts": true,
            "verdict": [
                {"af": 6, "settled": "native", "settled_why": [], "raw": "broken",
                 "raw_why": [{"reason": "mtu.up", "detail": 1492, "sentence": "Long packets vanish."}], "streak": 2},
                {"af": 4, "settled": null, "settled_why": null, "raw": "native", "raw_why": [], "streak": 1}],
            "hours": [{"at": NOW / 3600 * 3600, "v6": "native", "v4": null, "silent": null, "rtt_difference": -1.5},
                {"at": NOW / 3600 * 3600 - 3600, "v6": null, "v4": null, "silent": "offline", "rtt_difference": null}],
            "days": [],
            "evidence": {"addr": [{"af": 6, "class": "global"}], "route": null, "dns": [],
                "pair": [{"result": [{"af": 6, "ttc": 20.0, "tquic": null}, {"af": 4, "ttc": null}]}],
                "echo": [{"af": 6, "proto": "ICMP", "sent": 3, "rcvd": 2}], "nat64": null,
                "dns_flags": {"lying": false, "intercepted": {"4": null, "6": true}},
                "path": [{"af": 6, "pmtu": 1492, "blackhole": "up"}], "he": {"winner": 6, "margin": -2.0}}});
        let ipv6 = Ipv6::of(&answer, NOW);
        let [six, four] = ipv6.families.as_slice() else { panic!("two families") };
        assert_eq!((six.words.as_str(), six.raw.as_deref(), six.is_settled), ("works", Some("broken"), true));
        assert_eq!(six.raw_reasons, ["Long packets vanish. (1492)"]);
        assert_eq!((four.words.as_str(), &four.raw, four.is_settled), ("works", &None, false));
        assert_eq!(ipv6.difference.unwrap().last, "−1.50 ms");
        let rows: Vec<_> = ipv6.strips[0].rows.iter().map(|(_, what)| what.as_str()).collect();
        assert_eq!((ipv6.strips.len(), rows), (2, vec!["works", "offline"]));
        let told = |what: &str| {
            let row = ipv6.evidence.iter().find(|row| row.what == what).unwrap();
            (row.v6.clone(), row.v4.clone())
        };
        let pair = |v6: &str, v4: &str| (v6.to_owned(), v4.to_owned());
        assert_eq!(told("Addresses of the machine"), pair("global", "none"));
        assert_eq!(told("Default route"), pair("not tested", "not tested"));
        assert_eq!(told("Connections to the references"), pair("1 of 1, 20.0 ms in the middle", "0 of 1"));
        assert_eq!(told("Ping"), pair("2 of 3 came back", "not tested"));
        assert_eq!(told("Somebody else answers DNS questions"), pair("yes", "not tested"));
        assert_eq!(told("Longest packet"), pair("1492 bytes; longer ones vanish (up)", "not tested"));
        assert_eq!(told("Resolvers make up addresses"), pair("no", "–"));
        assert_eq!(told("What a browser would use"), pair("IPv6, by 2.00 ms", "–"));
    }

    #[test]
    fn nothing_told_is_nothing_shown() {
        for answer in [json!(null), json!({}), json!({"verdict": 5, "hours": [5], "evidence": [], "days": "x"})] {
            let ipv6 = Ipv6::of(&answer, NOW);
            assert!(ipv6.families.is_empty() && ipv6.evidence.is_empty() && ipv6.difference.is_none());
        }
    }
}
