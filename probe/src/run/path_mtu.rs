//! A run of `pathmtu`.

use std::net::IpAddr;

use sonde_protocol::result::{Failure, Why};
use sonde_protocol::spec::{Kind, PathMtuSpec};

use super::{Runner, Seen};
use crate::net::NetError;

impl Runner {
    pub(super) async fn path_mtu(&self, _spec: &PathMtuSpec, dst: IpAddr) -> Result<Seen, NetError> {
        let why = Why::cut("this probe cannot measure this kind yet");
        Ok(Seen::failed(Failure::Unsupported(why), Kind::PathMtu, Some(dst)))
    }
}
