//! A run of `http`.

use std::net::IpAddr;

use sonde_protocol::result::{Failure, Why};
use sonde_protocol::spec::{HttpSpec, Kind};

use super::{Request, Runner, Seen};
use crate::net::NetError;

impl Runner {
    pub(super) async fn http(&self, _request: &Request, _spec: &HttpSpec, dst: IpAddr) -> Result<Seen, NetError> {
        let why = Why::cut("this probe cannot measure this kind yet");
        Ok(Seen::failed(Failure::Unsupported(why), Kind::Http, Some(dst)))
    }
}
