//! Where collectors are: from what a directory or a network's file lists to socket addresses.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sonde_protocol::address::Nat64Prefix;
use sonde_protocol::net::Family;

use super::{ConnectError, through_translators};
use crate::resolve::Resolver;
use crate::run::with_causes;

/// How long a name may take.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Where collectors are.
#[derive(Debug, Clone, Default)]
pub struct Addresses {
    /// By QUIC.
    pub quic: Vec<SocketAddr>,
    /// By TLS over TCP.
    pub tls: Vec<SocketAddr>,
}

impl Addresses {
    /// Those of these endpoints, by QUIC and by TLS; `remembered` is where one was last reached by QUIC. `translators` are those of a
    /// line without IPv4.
    ///
    /// # Errors
    /// When there is no address of either sort.
    pub async fn find(
        resolver: &Resolver,
        [quic, tls]: [&[String]; 2],
        remembered: Option<SocketAddr>,
        translators: &[Nat64Prefix],
    ) -> Result<Self, ConnectError> {
        let found =
            match tokio::join!(resolve_endpoints(resolver, quic, remembered), resolve_endpoints(resolver, tls, None)) {
                (Ok(quic), tls) => Self { quic, tls: tls.unwrap_or_default() },
                (Err(_), Ok(tls)) => Self { quic: Vec::new(), tls },
                (Err(error), Err(_)) => return Err(error),
            };
        let through = |addresses: &[SocketAddr]| through_translators(addresses, translators);
        Ok(Self { quic: through(&found.quic), tls: through(&found.tls) })
    }
}

/// The socket addresses of collectors: literals as they are, names in both families, IPv6 first and then in turn; and the
/// one where a collector was last reached, for when names lead nowhere, or astray. Whose key is right is asked there anyway.
async fn resolve_endpoints(
    resolver: &Resolver,
    endpoints: &[String],
    remembered: Option<SocketAddr>,
) -> Result<Vec<SocketAddr>, ConnectError> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    let mut why = String::from("the directory lists none");
    for endpoint in endpoints {
        if let Ok(literal) = endpoint.parse::<SocketAddr>() {
            addresses.push(literal);
            continue;
        }
        let Some((name, port)) = endpoint.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse().ok()?)))
        else {
            why = format!("{endpoint} is not host:port");
            continue;
        };
        let (v6, v4) = tokio::join!(
            resolver.addresses(name, Family::V6, RESOLVE_TIMEOUT),
            resolver.addresses(name, Family::V4, RESOLVE_TIMEOUT)
        );
        if let (Err(error), Err(_)) = (&v4, &v6) {
            why = format!("{name}: {}", with_causes(error));
        }
        let list = |found: Result<(Vec<IpAddr>, Duration), _>| found.map(|(list, _)| list).unwrap_or_default();
        let (v6, v4) = (list(v6), list(v4));
        for n in 0..v6.len().max(v4.len()) {
            addresses.extend([&v6, &v4].into_iter().filter_map(|list| Some(SocketAddr::new(*list.get(n)?, port))));
        }
    }
    addresses.extend(remembered.filter(|last| !addresses.contains(last)));
    if addresses.is_empty() { Err(ConnectError::NoAddress(why)) } else { Ok(addresses) }
}
