//! A run of `http`. That the host may be asked at all has been decided before.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::version::{TLS12, TLS13};
use sonde_engine::http::{Exchange, Plan};
use sonde_protocol::result::{Failure, Outcome, StampSource, Why};
use sonde_protocol::spec::{HttpSpec, Kind};

use super::{Request, Runner, Seen};
use crate::net::stream::server_name;
use crate::net::{NetError, http, source_address, tls};

/// What TLS is told to expect (RFC 7301).
const ALPN: &[u8] = b"http/1.1";

impl Runner {
    pub(super) async fn http(&self, request: &Request, spec: &HttpSpec, dst: IpAddr) -> Result<Seen, NetError> {
        let failed = |failure| Ok(Seen::failed(failure, Kind::Http, Some(dst)));
        let unsupported = |why: String| Failure::Unsupported(Why::cut(why));
        let host = request.target.as_deref().unwrap_or_default();
        let plan = match Plan::new(spec, host) {
            Ok(plan) => plan,
            Err(failure) => return failed(failure),
        };
        let tls = if plan.tls {
            let Some(name) = server_name(host) else {
                return failed(unsupported(format!("{host} is no name that TLS can ask for")));
            };
            match tls::client(self.clock.clone(), &[&TLS12, &TLS13], &[ALPN]) {
                Ok((config, _)) => Some((Arc::new(config), name)),
                Err(error) => return failed(unsupported(error.to_string())),
            }
        } else {
            None
        };
        let started = self.moment();
        let mut exchange = Exchange::new(spec, started.monotonic);
        let src = http::run(&*self.clock, &plan, dst, tls, &mut exchange).await;
        Ok(Seen {
            outcome: Outcome::Http(Box::new(exchange.finish())),
            dst: Some(dst),
            src: src.or_else(|| source_address(dst).ok()),
            source: StampSource::User,
            rtt_error: None,
            time_to_resolve: None,
            started: Some(started),
        })
    }
}
