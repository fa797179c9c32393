//! Files that a host or an operator writes, and what a researcher sends.

use sonde_probe::config::{Config, parse_network};
use sonde_probe::page::request::{self, MAX_HEAD};
use sonde_probe::resolve::parse_resolv_conf;

/// `sonde.toml`. What is in force can be read back as such a file.
pub(super) fn probe_config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(config) = text.parse::<Config>() {
        let effective = config.effective();
        let again: Config = effective.parse().unwrap_or_else(|error| panic!("{error}: {effective}"));
        assert_eq!(again.effective(), effective);
    }
}

/// `network.toml`.
pub(super) fn network_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(network) = parse_network(text) {
        assert!(!network.roots.is_empty() && !network.collectors.is_empty());
    }
}

/// `/etc/resolv.conf`, which whoever runs the network's DHCP writes.
pub(super) fn resolv_conf(data: &[u8]) {
    for server in parse_resolv_conf(&String::from_utf8_lossy(data)) {
        assert_eq!(server.socket_address().port(), 53);
        assert_eq!(server.to_string().parse().ok(), Some(server));
    }
}

/// The body of `POST measurements/`.
pub(super) fn definitions(data: &[u8]) {
    let _ = sonde_api::check_body(data);
}

/// What a browser, or whoever else, says to the probe's page: as much as is read of it ends in an answer.
pub(super) fn page_request(data: &[u8]) {
    let read = request::read(data);
    assert!(read.is_some() || data.len() < MAX_HEAD, "more is awaited than may come");
    if let Some(Ok(_)) = read {
        let text = String::from_utf8_lossy(data).to_ascii_lowercase();
        assert!(["localhost", "127.", "["].iter().any(|name| text.contains(name)), "served to {text}");
        // What follows the head changes nothing.
        let more = [data, b"GET /nothing HTTP/1.1\r\n\r\n"].concat();
        assert_eq!(request::read(&more), read);
    }
}
