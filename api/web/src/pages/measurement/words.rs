//! One result of the API in a few words, for tables, also for what comes in later ([`super::live`]).

use serde_json::Value;

use crate::charts::number::{counted, duration_ms, loss};

/// What a result says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Words {
    /// In a line.
    pub text: String,
    /// `good`, `warn` or `bad`.
    pub mood: &'static str,
}

impl Words {
    fn new(mood: &'static str, text: impl Into<String>) -> Self {
        Self { text: text.into(), mood }
    }
}

/// Of any kind; what cannot be read says so.
pub(crate) fn words(result: &Value) -> Words {
    if let Some(why) = result["sonde"]["error"].as_str() {
        return Words::new("bad", why);
    }
    match result["type"].as_str() {
        Some("ping") => ping(result),
        Some("traceroute") => traceroute(result),
        Some("dns") => dns(result),
        Some("sslcert") => sslcert(result),
        Some("http") => http(result),
        Some("ntp") => ntp(result),
        Some("pathmtu") => path_mtu(result),
        Some("ipv6") => ipv6(result),
        _ => Words::new("warn", "a result of a kind that this page does not know"),
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A time in milliseconds; Atlas says -1 where there is none.
fn ms(value: &Value) -> Option<f64> {
    value.as_f64().filter(|ms| *ms >= 0.0)
}

fn ping(result: &Value) -> Words {
    let (sent, received) = (result["sent"].as_u64().unwrap_or(0), result["rcvd"].as_u64().unwrap_or(0));
    let errors = items(&result["result"]).iter().filter_map(|reply| reply["error"].as_str());
    match (ms(&result["min"]), ms(&result["avg"]), ms(&result["max"])) {
        (Some(min), Some(avg), Some(max)) => {
            let text = format!(
                "{} back; min {}, mean {}, max {}",
                loss(received, sent),
                duration_ms(min),
                duration_ms(avg),
                duration_ms(max)
            );
            Words::new(if received < sent { "warn" } else { "good" }, text)
        }
        _ => match errors.into_iter().next() {
            Some(error) => Words::new("bad", error),
            None => Words::new("bad", format!("0 of {} came back", counted(sent, "packet", "packets"))),
        },
    }
}

fn traceroute(result: &Value) -> Words {
    let target = result["dst_addr"].as_str();
    let mut last = None;
    for hop in items(&result["result"]) {
        let number = hop["hop"].as_u64().unwrap_or(0);
        if let Some(error) = hop["error"].as_str() {
            return Words::new("bad", error);
        }
        let replies = items(&hop["result"]);
        if replies.iter().any(|reply| reply["from"].is_string()) {
            last = Some(number);
        }
        let of_target = replies.iter().filter(|reply| target.is_some() && reply["from"].as_str() == target);
        let mut rtts: Vec<f64> = of_target.clone().filter_map(|reply| ms(&reply["rtt"])).collect();
        rtts.sort_by(f64::total_cmp);
        if of_target.count() > 0 {
            let rtt = rtts.first().map(|rtt| format!(" after {}", duration_ms(*rtt))).unwrap_or_default();
            return Words::new("good", format!("the target answered at hop {number}{rtt}"));
        }
    }
    match last {
        Some(hop) => Words::new("bad", format!("not reached; the last answer is of hop {hop}")),
        None => Words::new("bad", "nobody answered"),
    }
}

fn dns(result: &Value) -> Words {
    let one = |response: &Value| -> (Option<f64>, String) {
        if let Some(rt) = ms(&response["result"]["rt"]) {
            let answers = response["result"]["ANCOUNT"].as_u64().unwrap_or(0);
            return (Some(rt), format!("{} after {}", counted(answers, "record", "records"), duration_ms(rt)));
        }
        let error = response["error"].as_object().and_then(|error| error.iter().next());
        let text = match error {
            Some((name, _)) if name == "timeout" => "no answer".to_owned(),
            Some((name, Value::String(why))) => format!("{name}: {why}"),
            Some((name, _)) => name.clone(),
            None => "no answer".to_owned(),
        };
        (None, text)
    };
    let responses = items(&result["resultset"]);
    if responses.is_empty() {
        let (rt, text) = one(result);
        return Words::new(if rt.is_some() { "good" } else { "bad" }, text);
    }
    let all: Vec<(Option<f64>, String)> = responses.iter().map(one).collect();
    let answered = all.iter().filter(|(rt, _)| rt.is_some()).count();
    let fastest = all
        .iter()
        .filter(|(rt, _)| rt.is_some())
        .min_by(|(a, _), (b, _)| a.unwrap_or(f64::MAX).total_cmp(&b.unwrap_or(f64::MAX)));
    let text = fastest.or(all.first()).map(|(_, text)| text.clone()).unwrap_or_default();
    let mood = if answered == all.len() {
        "good"
    } else if answered > 0 {
        "warn"
    } else {
        "bad"
    };
    Words::new(mood, format!("{answered} of {} answered; {text}", counted(all.len() as u64, "resolver", "resolvers")))
}

fn sslcert(result: &Value) -> Words {
    let count = items(&result["cert"]).len() as u64;
    if count == 0 {
        let why = result["err"].as_str().map(str::to_owned);
        let alert = result["alert"]["description"].as_u64().map(|number| format!("alert {number}"));
        return Words::new("bad", why.or(alert).unwrap_or_else(|| "no certificate".into()));
    }
    let rt = ms(&result["rt"]).map(|rt| format!(" after {}", duration_ms(rt))).unwrap_or_default();
    let version = result["ver"].as_str().map(|version| format!(", TLS {version}")).unwrap_or_default();
    match result["sonde"]["handshake"].as_str() {
        Some(why) => {
            Words::new("warn", format!("{}{rt}{version}; {why}", counted(count, "certificate", "certificates")))
        }
        None => Words::new("good", format!("{}{rt}{version}", counted(count, "certificate", "certificates"))),
    }
}

fn http(result: &Value) -> Words {
    let Some(one) = items(&result["result"]).first() else { return Words::new("bad", "no response") };
    match (one["res"].as_u64(), one["err"].as_str()) {
        (Some(status), error) => {
            let rt = ms(&one["rt"]).map(|rt| format!(" after {}", duration_ms(rt))).unwrap_or_default();
            let wrong = error.map(|error| format!("; {error}")).unwrap_or_default();
            let mood = if error.is_some() {
                "warn"
            } else if status < 400 {
                "good"
            } else {
                "warn"
            };
            Words::new(mood, format!("status {status}{rt}{wrong}"))
        }
        (None, error) => Words::new("bad", error.unwrap_or("no response")),
    }
}

fn ntp(result: &Value) -> Words {
    let replies = items(&result["result"]);
    let best = replies
        .iter()
        .filter_map(|reply| Some((reply["rtt"].as_f64()?, reply["offset"].as_f64()?)))
        .min_by(|(a, _), (b, _)| a.total_cmp(b));
    match best {
        // In seconds, as Atlas has them.
        Some((rtt, offset)) => {
            let stratum = match &result["stratum"] {
                Value::Number(number) => format!("stratum {number}, "),
                Value::String(word) => format!("{word}, "),
                _ => String::new(),
            };
            let offset = crate::charts::number::difference_ms(offset * 1000.0);
            Words::new("good", format!("{stratum}offset {offset}, round trip {}", duration_ms(rtt * 1000.0)))
        }
        None => match replies.iter().find_map(|reply| reply["error"].as_str()) {
            Some(error) => Words::new("bad", error),
            None => Words::new("bad", "no time came back"),
        },
    }
}

fn path_mtu(result: &Value) -> Words {
    let size = |name: &str, exact: &str| {
        result[name].as_u64().map(|size| match result[exact].as_bool() {
            Some(true) => format!("{size} bytes"),
            _ => format!("{size} bytes or more"),
        })
    };
    let Some(forward) = size("mtu", "mtu_exact") else {
        return Words::new("bad", result["end"].as_str().unwrap_or("no answer"));
    };
    let back = size("reverse_mtu", "reverse_mtu_exact").map(|size| format!(", {size} back")).unwrap_or_default();
    match result["hole"]["lost"].as_u64() {
        Some(lost) => Words::new("warn", format!("{forward}{back}; {lost} bytes vanish without a word")),
        None => Words::new("good", format!("{forward}{back}")),
    }
}

fn ipv6(result: &Value) -> Words {
    let verdicts: Vec<(u64, &str)> = items(&result["verdict"])
        .iter()
        .filter_map(|verdict| Some((verdict["af"].as_u64()?, verdict["raw"].as_str()?)))
        .collect();
    if verdicts.is_empty() {
        return Words::new("warn", "no verdict");
    }
    let mood = if verdicts.iter().all(|(_, raw)| *raw == "works") { "good" } else { "warn" };
    let text: Vec<String> = verdicts.iter().map(|(af, raw)| format!("IPv{af} {raw}")).collect();
    Words::new(mood, text.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn says(result: Value, mood: &str, text: &str) {
        let said = words(&result);
        assert_eq!((said.mood, said.text.as_str()), (mood, text), "{result}");
    }

    #[test]
    fn each_kind_in_a_line() {
        says(
            json!({"type": "ping", "sent": 3, "rcvd": 3, "min": 10.1, "avg": 11.0, "max": 11.9}),
            "good",
            "3/3 back; min 10.1 ms, mean 11.0 ms, max 11.9 ms",
        );
        says(
            json!({"type": "ping", "sent": 3, "rcvd": 0, "min": -1, "avg": -1, "max": -1}),
            "bad",
            "0 of 3 packets came back",
        );
        let hops = |last: &str| {
            json!([{"hop": 1, "result": [{"from": "192.0.2.9", "rtt": 1.0}, {"x": "*"}]},
            {"hop": 2, "result": [{"from": last, "rtt": 5.0}, {"from": last, "rtt": 4.0}]}])
        };
        says(
            json!({"type": "traceroute", "dst_addr": "192.0.2.1", "result": hops("192.0.2.1")}),
            "good",
            "the target answered at hop 2 after 4.00 ms",
        );
        says(
            json!({"type": "traceroute", "dst_addr": "192.0.2.1", "result": hops("192.0.2.8")}),
            "bad",
            "not reached; the last answer is of hop 2",
        );
        says(json!({"type": "dns", "result": {"rt": 12.0, "ANCOUNT": 2}}), "good", "2 records after 12.0 ms");
        says(json!({"type": "dns", "error": {"timeout": 5000}}), "bad", "no answer");
        let two = json!([{"result": {"rt": 12.0, "ANCOUNT": 1}}, {"error": {"timeout": 5000}}]);
        says(json!({"type": "dns", "resultset": two}), "warn", "1 of 2 resolvers answered; 1 record after 12.0 ms");
        says(json!({"type": "http", "result": [{"res": 404, "rt": 20.0}]}), "warn", "status 404 after 20.0 ms");
        says(
            json!({"type": "sslcert", "cert": ["a", "b"], "rt": 30.0, "ver": "1.3"}),
            "good",
            "2 certificates after 30.0 ms, TLS 1.3",
        );
        says(
            json!({"type": "ntp", "stratum": 2, "result": [{"rtt": 0.02, "offset": -0.001}, {"x": "*"}]}),
            "good",
            "stratum 2, offset −1.00 ms, round trip 20.0 ms",
        );
        says(json!({"type": "pathmtu", "mtu": 1492, "mtu_exact": true}), "good", "1492 bytes");
        says(
            json!({"type": "ipv6", "verdict": [{"af": 6, "raw": "works"}, {"af": 4, "raw": "works"}]}),
            "good",
            "IPv6 works, IPv4 works",
        );
    }

    #[test]
    fn what_is_missing_or_odd_is_no_panic() {
        for kind in ["ping", "traceroute", "dns", "sslcert", "http", "ntp", "pathmtu", "ipv6", "new"] {
            for rest in [json!(null), json!("x"), json!([1, "a", null]), json!({"rtt": "soon"})] {
                let said =
                    words(&json!({"type": kind, "result": rest, "resultset": rest, "sent": "many", "verdict": rest}));
                assert!(!said.text.is_empty(), "{kind} {rest}");
            }
        }
        says(json!({"type": "ping", "sonde": {"error": "address not allowed"}}), "bad", "address not allowed");
        assert_eq!(words(&Value::Null).mood, "warn");
    }
}
