//! sslcert and http.

use serde_json::Value;

use super::{Column, Seen, items, number, string, text, time, time_cell};

pub(super) const SSLCERT_COLUMNS: &[Column] =
    &[text("TARGET", 15), number("RT", 8), text("TLS", 4), text("CIPHER", 8), number("CERTS", 5), text("ALERT", 20)];

pub(super) const HTTP_COLUMNS: &[Column] = &[
    text("TARGET", 15),
    number("RT", 8),
    number("STATUS", 6),
    number("HEAD", 6),
    number("BODY", 8),
    text("ERROR", 20),
];

pub(super) fn read_sslcert(result: &Value) -> Seen {
    let rt = time(&result["rt"]);
    let certificates = items(&result["cert"]).len();
    let trouble = match result["alert"]["description"].as_u64() {
        Some(alert) => format!("alert {alert}"),
        None => said(result),
    };
    // A server that shows none has answered all the same, with an alert.
    let answered = rt.is_some() && certificates > 0;
    let cells = vec![
        string(&result["dst_addr"]),
        time_cell(rt),
        string(&result["ver"]),
        string(&result["server_cipher"]),
        certificates.to_string(),
        trouble,
    ];
    Seen { cells, sent: 1, received: u64::from(answered), time: rt.filter(|_| answered) }
}

pub(super) fn read_http(result: &Value) -> Seen {
    let connection = items(&result["result"]).first().unwrap_or(&Value::Null);
    let rt = time(&connection["rt"]);
    let answered = connection["res"].as_u64().is_some();
    let target = match string(&connection["dst_addr"]) {
        none if none.is_empty() => string(&result["uri"]),
        address => address,
    };
    let mut cells = vec![target, time_cell(rt)];
    cells.extend(["res", "hsize", "bsize"].map(|name| string(&connection[name])));
    cells.push(said(connection));
    Seen { cells, sent: 1, received: u64::from(answered), time: rt.filter(|_| answered) }
}

/// What went wrong, in the words of whichever member has it.
fn said(result: &Value) -> String {
    let names = ["dnserr", "sockerr", "err", "error"];
    names.into_iter().map(|name| string(&result[name])).find(|words| !words.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn certificates_and_alerts() {
        let seen = read_sslcert(
            &json!({"dst_addr": "192.0.2.1", "rt": 22.2, "ver": "1.3", "server_cipher": "0x1301", "cert": ["-", "-"]}),
        );
        assert_eq!(seen.cells, ["192.0.2.1", "22.200", "1.3", "0x1301", "2", ""]);
        assert_eq!((seen.received, seen.time), (1, Some(22.2)));
        let seen = read_sslcert(&json!({"dst_addr": "192.0.2.1", "alert": {"level": 2, "description": 40}}));
        assert_eq!(seen.cells, ["192.0.2.1", "–", "", "", "0", "alert 40"]);
        let seen = read_sslcert(&json!({"dst_addr": "192.0.2.1", "err": "connect: timeout"}));
        assert_eq!((seen.cells[5].as_str(), seen.received), ("connect: timeout", 0));
    }

    #[test]
    fn pages_and_their_absence() {
        let answer = json!({"dst_addr": "192.0.2.1", "rt": 30.5, "res": 404, "hsize": 131, "bsize": 1024});
        let seen = read_http(&json!({"uri": "http://a.example/", "result": [answer]}));
        assert_eq!(seen.cells, ["192.0.2.1", "30.500", "404", "131", "1024", ""]);
        assert_eq!((seen.received, seen.time), (1, Some(30.5)));
        let seen = read_http(&json!({"uri": "http://a.example/", "result": [{"dnserr": "no such name", "err": "x"}]}));
        assert_eq!(seen.cells, ["http://a.example/", "–", "", "", "", "no such name"]);
    }
}
