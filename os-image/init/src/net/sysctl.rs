//! How the kernel does IPv6 by itself on an interface: written to /proc/sys before it may begin.

use std::fs;
use std::io;
use std::path::Path;

/// How addresses are made where the router lets hosts make their own.
///
/// An instrument keeps its address, so there are no temporary ones (RFC 8981): what it measures today is compared with what it measured
/// last month. Its interface identifier is made of the hardware address (RFC 4291, appendix A): the same on every start without
/// anything kept on a card that may be lost, and the address that the host finds in the list of the router. That the maker of the
/// network interface can be read in it, the host gains back by an address of choice in `sonde.toml`.
const ROWS: [(&str, &str); 11] = [
    ("ipv6/conf/*/accept_ra", "1"),
    ("ipv6/conf/*/autoconf", "1"),
    ("ipv6/conf/*/use_tempaddr", "0"),
    ("ipv6/conf/*/addr_gen_mode", "0"),
    ("ipv6/conf/*/dad_transmits", "1"),
    ("ipv6/conf/*/accept_redirects", "0"),
    ("ipv6/conf/*/forwarding", "0"),
    // A router that is not one could otherwise make every packet die at the first hop.
    ("ipv6/conf/*/accept_ra_min_hop_limit", "32"),
    ("ipv4/conf/*/accept_redirects", "0"),
    ("ipv4/conf/*/accept_source_route", "0"),
    ("ipv4/conf/*/forwarding", "0"),
];

/// Makes IPv6 ready on an interface without switching it on. `is_static` keeps the kernel from making addresses, `has_router` from
/// taking routes.
///
/// # Errors
/// When the kernel takes one not: an interface that has gone, for example.
pub fn prepare(interface: &str, is_static: bool, has_router: bool) -> io::Result<()> {
    for (path, value) in ROWS {
        write(interface, path, value)?;
    }
    write(interface, "ipv6/conf/*/autoconf", if is_static { "0" } else { "1" })?;
    write(interface, "ipv6/conf/*/accept_ra_defrtr", if has_router { "0" } else { "1" })
}

/// Switches IPv6 on or off. Off takes every IPv6 address and route from the interface; on begins as after a start: a link-local
/// address, then three solicitations of a router.
///
/// # Errors
/// As for [`prepare`].
pub fn switch_ipv6(interface: &str, on: bool) -> io::Result<()> {
    write(interface, "ipv6/conf/*/disable_ipv6", if on { "0" } else { "1" })
}

fn write(interface: &str, path: &str, value: &str) -> io::Result<()> {
    fs::write(Path::new("/proc/sys/net").join(path.replace('*', interface)), value)
}
