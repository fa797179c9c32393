//! A run of `sslcert`.

use std::net::IpAddr;

use sonde_protocol::result::{Failure, Why};
use sonde_protocol::spec::{Kind, SslcertSpec};

use super::{Request, Runner, Seen};
use crate::net::NetError;

impl Runner {
    pub(super) async fn sslcert(&self, _request: &Request, _spec: &SslcertSpec, dst: IpAddr) -> Result<Seen, NetError> {
        let why = Why::cut("this probe cannot measure this kind yet");
        Ok(Seen::failed(Failure::Unsupported(why), Kind::Sslcert, Some(dst)))
    }
}
