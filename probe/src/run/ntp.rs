//! A run of `ntp`.

use std::net::IpAddr;

use sonde_protocol::result::{Failure, Why};
use sonde_protocol::spec::{Kind, NtpSpec};

use super::{Runner, Seen};
use crate::net::NetError;

impl Runner {
    pub(super) async fn ntp(&self, _spec: &NtpSpec, dst: IpAddr) -> Result<Seen, NetError> {
        let why = Why::cut("this probe cannot measure this kind yet");
        Ok(Seen::failed(Failure::Unsupported(why), Kind::Ntp, Some(dst)))
    }
}
