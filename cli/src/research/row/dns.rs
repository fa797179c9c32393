//! dns: what was answered, how fast. Of a probe's own resolvers the fastest that answered.

use data_encoding::BASE64;
use hickory_proto::op::Message;
use serde_json::Value;

use super::{Column, MAX_CELL, Seen, items, number, string, text, time, time_cell};
use crate::research::clean;

pub(super) const COLUMNS: &[Column] =
    &[text("SERVER", 15), number("RT", 8), text("RCODE", 8), number("ANSWERS", 7), text("ANSWER", 20)];

/// Codes of responses by number (RFC 1035, 2136).
const CODES: [&str; 11] = [
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH",
    "NOTZONE",
];

/// How many answers are shown.
const SHOWN: usize = 4;

pub(super) fn read(result: &Value) -> Seen {
    let asked = match items(&result["resultset"]) {
        [] => std::slice::from_ref(result),
        several => several,
    };
    let answered: Vec<&Value> = asked.iter().filter(|one| time(&one["result"]["rt"]).is_some()).collect();
    let rt = |one: &&Value| time(&one["result"]["rt"]).unwrap_or(f64::MAX);
    let sent = asked.len() as u64;
    let Some(best) = answered.iter().copied().min_by(|a, b| rt(a).total_cmp(&rt(b))) else {
        let first = asked.first().unwrap_or(result);
        let cells = vec![string(&first["dst_addr"]), "–".into(), "–".into(), "–".into(), silence(&first["error"])];
        return Seen { cells, sent, ..Seen::default() };
    };
    let mut server = string(&best["dst_addr"]);
    if asked.len() > 1 {
        server = format!("{server} ({} of {})", answered.len(), asked.len());
    }
    let answer = &best["result"];
    let time = time(&answer["rt"]);
    let (code, records) = message(&answer["abuf"]);
    let cells = vec![server, time_cell(time), code, string(&answer["ANCOUNT"]), records];
    Seen { cells, sent, received: answered.len() as u64, time }
}

/// Why there is no answer: Atlas's object of one member.
fn silence(error: &Value) -> String {
    match error.as_object().and_then(|error| error.iter().next()) {
        Some((name, _)) if name == "timeout" => "no answer".into(),
        Some((name, value)) => clean::text(&format!("{name}: {}", string(value)), MAX_CELL),
        None => String::new(),
    }
}

/// The response code and the first answers, as far as the message can be read.
fn message(abuf: &Value) -> (String, String) {
    let Some(bytes) = abuf.as_str().and_then(|text| BASE64.decode(text.as_bytes()).ok()) else {
        return ("–".into(), String::new());
    };
    // The head says it even where the rest cannot be read.
    let code = bytes.get(3).map(|flags| usize::from(flags & 0x0f));
    let code = code.map(|code| CODES.get(code).map_or_else(|| format!("RCODE{code}"), |name| (*name).to_owned()));
    let records = match Message::from_vec(&bytes) {
        Ok(message) => {
            let shown: Vec<String> = message.answers.iter().take(SHOWN).map(|record| record.data.to_string()).collect();
            let more = message.answers.len().saturating_sub(SHOWN);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            clean::text(&format!("{}{more}", shown.join(", ")), MAX_CELL)
        }
        Err(_) => "cannot be read".into(),
    };
    (code.unwrap_or_else(|| "–".into()), records)
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{MessageType, OpCode, ResponseCode};
    use hickory_proto::rr::rdata::A;
    use hickory_proto::rr::{Name, RData, Record};
    use serde_json::json;

    use super::*;

    fn abuf(code: ResponseCode, addresses: &[[u8; 4]]) -> String {
        let mut message = Message::new(7, MessageType::Response, OpCode::Query);
        message.metadata.response_code = code;
        for [a, b, c, d] in addresses {
            let name = Name::from_ascii("a.example.").unwrap();
            message.add_answer(Record::from_rdata(name, 60, RData::A(A::new(*a, *b, *c, *d))));
        }
        BASE64.encode(&message.to_vec().unwrap())
    }

    #[test]
    fn an_answer_by_its_code_and_records() {
        let abuf = abuf(ResponseCode::NoError, &[[192, 0, 2, 1], [192, 0, 2, 2]]);
        let seen = read(&json!({"dst_addr": "192.0.2.53", "result": {"rt": 12.5, "ANCOUNT": 2, "abuf": abuf}}));
        assert_eq!(seen.cells, ["192.0.2.53", "12.500", "NOERROR", "2", "192.0.2.1, 192.0.2.2"]);
        assert_eq!((seen.sent, seen.received, seen.time), (1, 1, Some(12.5)));
    }

    #[test]
    fn of_several_resolvers_the_fastest_that_answered() {
        let abuf = abuf(ResponseCode::NXDomain, &[]);
        let one =
            |address: &str, rt: f64| json!({"dst_addr": address, "result": {"rt": rt, "ANCOUNT": 0, "abuf": abuf}});
        let silent = json!({"dst_addr": "10.0.0.3", "error": {"timeout": 5000}});
        let seen = read(&json!({"resultset": [silent, one("10.0.0.1", 9.0), one("10.0.0.2", 2.0)]}));
        assert_eq!(seen.cells, ["10.0.0.2 (2 of 3)", "2.000", "NXDOMAIN", "0", ""]);
        assert_eq!((seen.sent, seen.received), (3, 2));
    }

    #[test]
    fn silence_and_nonsense() {
        let seen = read(&json!({"dst_addr": "192.0.2.53", "error": {"timeout": 5000}}));
        assert_eq!(seen.cells, ["192.0.2.53", "–", "–", "–", "no answer"]);
        let seen = read(&json!({"error": {"getaddrinfo": "no such\u{7} name"}}));
        assert_eq!(seen.cells[4], "getaddrinfo: no such\u{fffd} name");
        let seen = read(&json!({"result": {"rt": 1, "abuf": BASE64.encode(&[0, 7, 0x80, 2, 0xff])}}));
        assert_eq!(seen.cells[2..], ["SERVFAIL", "", "cannot be read"]);
    }
}
