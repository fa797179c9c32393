//! The exchange kinds: bytes as what happens on a connection, in any order.

use std::time::Duration;

use sonde_engine::{http, sslcert};
use sonde_protocol::net::Family;
use sonde_protocol::result::{Outcome, Why};
use sonde_protocol::spec::{HttpMethod, HttpSpec, SslcertSpec};
use sonde_protocol::time::Nanos;

use super::drive::{check, target};
use super::input::Input;

pub(super) fn http(data: &[u8]) {
    let input = &mut Input::new(data);
    let spec = HttpSpec {
        method: match input.u8() % 3 {
            0 => HttpMethod::Get,
            1 => HttpMethod::Head,
            _ => HttpMethod::Post,
        },
        https: input.flag(),
        header_bytes: input.within(0, 2048),
        max_bytes_read: input.flag().then(|| input.within(1, 4096)),
        extended_timing: input.flag(),
        more_extended_timing: input.flag(),
        ..HttpSpec::default()
    };
    let mut exchange = http::Exchange::new(&spec, Nanos(0));
    let mut now = Nanos(0);
    while !input.is_empty() && !exchange.is_over() {
        let event = match input.u8() % 8 {
            0 => http::Event::Connected,
            1 => http::Event::Secured,
            2 => http::Event::Sent,
            3..=5 => http::Event::Bytes(input.bytes()),
            6 => http::Event::Closed,
            _ if input.flag() => http::Event::Failed(Why::cut("Connection reset by peer")),
            _ => http::Event::TimedOut,
        };
        exchange.handle(now, &event);
        now = now + Duration::from_millis(7);
    }
    check(Family::V4, Outcome::Http(Box::new(exchange.finish())));
}

pub(super) fn sslcert(data: &[u8]) {
    let input = &mut Input::new(data);
    let spec = SslcertSpec::default();
    let Ok(plan) = sslcert::Plan::new(&spec, Some("example.net"), target(Family::V6), Nanos(0)) else { return };
    let mut events = Vec::new();
    while !input.is_empty() {
        let at = Nanos(i64::from(input.u16()) * 1000);
        events.push(match input.u8() % 12 {
            0 => sslcert::Event::Connected(at),
            1 => sslcert::Event::FirstByte(input.u8()),
            2 => sslcert::Event::Hello { version: input.u16(), cipher: input.u16() },
            3 => {
                let certificates = (0..input.u8() % 32).map(|_| input.bytes().to_vec()).collect();
                sslcert::Event::Certificates { at, certificates }
            }
            4 => sslcert::Event::ClientCertificateWanted,
            5 => sslcert::Event::Alert(input.u8()),
            6 => sslcert::Event::Bad(Why::cut("bad")),
            7 => sslcert::Event::Incompatible(Why::cut("incompatible")),
            8 => sslcert::Event::Failed(sslcert::Step::Connect, Why::cut("Connection refused")),
            9 => sslcert::Event::Failed(sslcert::Step::Exchange, Why::cut("Connection reset by peer")),
            10 => sslcert::Event::Closed,
            _ if input.flag() => sslcert::Event::TooMuch,
            _ => sslcert::Event::TimedOut,
        });
    }
    check(Family::V6, Outcome::Sslcert(Box::new(sslcert::outcome(&plan, &events))));
}
