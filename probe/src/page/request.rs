//! What somebody asks of the page: the head of a request, as far as it has come. Pure. Everything in it is hostile.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The longest head in bytes: what browsers send to a machine of the host's own, cookies of its other pages included.
pub const MAX_HEAD: usize = 16 * 1024;

/// The most header fields.
const MAX_FIELDS: usize = 64;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// `/`
    Page,
    /// `/style.css`
    Style,
    /// `/status.json`
    Status,
}

/// A request that is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// For what.
    pub path: Path,
}

/// Why one is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is no HTTP.
    Malformed,
    /// It is longer than [`MAX_HEAD`], or has more fields than anybody needs.
    TooLarge,
    /// It wants something else than to read.
    Method,
    /// It names a host that is not this machine's loopback.
    Host,
    /// There is nothing there.
    Path,
    /// The probe is stopping.
    Stopping,
}

impl Refusal {
    /// The status of the answer.
    pub const fn status(self) -> &'static str {
        match self {
            Refusal::Malformed => "400 Bad Request",
            Refusal::TooLarge => "431 Request Header Fields Too Large",
            Refusal::Method => "405 Method Not Allowed",
            Refusal::Host => "421 Misdirected Request",
            Refusal::Path => "404 Not Found",
            Refusal::Stopping => "503 Service Unavailable",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Malformed => "this is no request",
            Refusal::TooLarge => "the request is too large",
            Refusal::Method => "there is nothing here but to read (GET)",
            Refusal::Host => "ask by the address, as http://127.0.0.1:PORT/, or as localhost",
            Refusal::Path => "there are / and /status.json",
            Refusal::Stopping => "the probe is stopping",
        })
    }
}

/// Reads what has come of a head; `None` while more has to come.
pub fn read(bytes: &[u8]) -> Option<Result<Request, Refusal>> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => Some(judge(&request)),
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => None,
        Ok(_) | Err(httparse::Error::TooManyHeaders) => Some(Err(Refusal::TooLarge)),
        Err(_) => Some(Err(Refusal::Malformed)),
    }
}

fn judge(request: &httparse::Request<'_, '_>) -> Result<Request, Refusal> {
    // First of all: whoever was led here by a name of somebody else's learns nothing, not even what there is.
    let mut hosts = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("host"));
    let host = hosts.next().and_then(|field| std::str::from_utf8(field.value).ok());
    if hosts.next().is_some() || !host.is_some_and(is_loopback) {
        return Err(Refusal::Host);
    }
    if request.method != Some("GET") {
        return Err(Refusal::Method);
    }
    let path = match request.path.unwrap_or_default().split(['?', '#']).next() {
        Some("/") => Path::Page,
        Some("/style.css") => Path::Style,
        Some("/status.json") => Path::Status,
        _ => return Err(Refusal::Path),
    };
    Ok(Request { path })
}

/// Is this host, with or without a port, a loopback address or `localhost`, which no DNS answers for (RFC 6761, section 6.3)?
fn is_loopback(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, port)) => return v6.parse::<Ipv6Addr>().is_ok_and(|v6| v6.is_loopback()) && is_port(port),
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    is_port(port)
        && (name.eq_ignore_ascii_case("localhost") || name.parse::<Ipv4Addr>().is_ok_and(|v4| v4.is_loopback()))
}

/// Nothing, or a colon and a number.
fn is_port(text: &str) -> bool {
    text.is_empty()
        || text.strip_prefix(':').is_some_and(|digits| {
            !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u16>().is_ok()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str, host: &str) -> Result<Request, Refusal> {
        read(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n\r\n").as_bytes()).unwrap()
    }

    #[test]
    fn three_things_can_be_read_and_nothing_else_be_done() {
        for (path, found) in [
            ("/", Ok(Path::Page)),
            ("/?x=1", Ok(Path::Page)),
            ("/style.css", Ok(Path::Style)),
            ("/status.json", Ok(Path::Status)),
            ("/etc/passwd", Err(Refusal::Path)),
            ("//", Err(Refusal::Path)),
            ("/../status.json", Err(Refusal::Path)),
            ("http://127.0.0.1/", Err(Refusal::Path)),
        ] {
            assert_eq!(get(path, "localhost").map(|request| request.path), found, "{path}");
        }
        for method in ["POST", "HEAD", "PUT", "OPTIONS", "CONNECT", "get"] {
            let request = format!("{method} / HTTP/1.1\r\nHost: localhost\r\n\r\n");
            assert_eq!(read(request.as_bytes()), Some(Err(Refusal::Method)), "{method}");
        }
    }

    #[test]
    fn only_names_that_nobody_else_can_give_lead_here() {
        for host in ["127.0.0.1", "127.0.0.1:9090", "127.9.9.9:1", "localhost", "LocalHost:9090", "[::1]", "[::1]:9090"]
        {
            assert!(get("/", host).is_ok(), "{host}");
        }
        let others = [
            "evil.example",
            "evil.example:9090",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "192.0.2.1",
            "[2001:db8::1]",
            "[::1].evil.example",
            "[::1",
            "::1",
            "localhost:",
            "localhost:x",
            "localhost:99999",
            "127.0.0.1:+80",
            "127.1",
            "0.0.0.0",
            "[::ffff:127.0.0.1]",
            "",
            "user@localhost",
            "localhost localhost",
            "\u{ff11}27.0.0.1",
        ];
        for host in others {
            assert_eq!(get("/", host), Err(Refusal::Host), "{host}");
            assert_eq!(get("/nothing", host), Err(Refusal::Host), "who is led here does not even learn what there is");
        }
        for twice in ["GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: localhost\r\nhost: evil.example\r\n\r\n"] {
            assert_eq!(read(twice.as_bytes()), Some(Err(Refusal::Host)), "{twice}");
        }
    }

    #[test]
    fn what_is_no_request_ends_and_what_is_none_yet_waits() {
        let whole = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        for end in 0..whole.len() {
            assert_eq!(read(&whole[..end]), None, "{end} bytes");
        }
        assert!(read(whole).unwrap().is_ok());
        for garbage in
            [&b"\x16\x03\x01\x02\x00"[..], b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\0\0\0\0", b"GET / \xff\r\n"]
        {
            assert_eq!(read(garbage), Some(Err(Refusal::Malformed)), "{garbage:?}");
        }
        let mut long = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ".to_vec();
        long.resize(MAX_HEAD, b'x');
        assert_eq!(read(&long), Some(Err(Refusal::TooLarge)));
        long.extend(b"\r\n\r\n");
        assert_eq!(read(&long), Some(Err(Refusal::TooLarge)));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(MAX_FIELDS + 1));
        assert_eq!(read(many.as_bytes()), Some(Err(Refusal::TooLarge)));
    }
}
