//! A run of `sslcert`.

use std::net::IpAddr;

use rustls::version::{TLS12, TLS13};
use sonde_engine::sslcert::{Plan, outcome};
use sonde_protocol::result::{Failure, Outcome, StampSource, Why};
use sonde_protocol::spec::{Kind, SslcertSpec};

use super::{Request, Runner, Seen};
use crate::net::stream::server_name;
use crate::net::{NetError, certificates, source_address, tls};

impl Runner {
    pub(super) async fn sslcert(&self, request: &Request, spec: &SslcertSpec, dst: IpAddr) -> Result<Seen, NetError> {
        let failed = |failure| Ok(Seen::failed(failure, Kind::Sslcert, Some(dst)));
        let unsupported = |why: String| Failure::Unsupported(Why::cut(why));
        let started = self.moment();
        let plan = match Plan::new(spec, request.target.as_deref(), dst, started.monotonic) {
            Ok(plan) => plan,
            Err(failure) => return failed(failure),
        };
        let Some(name) = server_name(&plan.name) else {
            return failed(unsupported(format!("{} is no name that TLS can ask for", plan.name)));
        };
        let client = match tls::client(self.clock.clone(), &[&TLS12, &TLS13], &[]) {
            Ok(client) => client,
            Err(error) => return failed(unsupported(error.to_string())),
        };
        let told = certificates::fetch(&*self.clock, &plan, dst, client, name).await;
        Ok(Seen {
            outcome: Outcome::Sslcert(Box::new(outcome(&plan, &told.events))),
            dst: Some(dst),
            src: told.src.or_else(|| source_address(dst).ok()),
            source: StampSource::User,
            rtt_error: None,
            time_to_resolve: None,
            started: Some(started),
        })
    }
}
