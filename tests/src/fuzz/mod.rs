//! One function for each parser of what comes from outside: bytes in, and it must not panic, hang, or hold more than it may.
//! A value that was read must survive being written and read again.
//!
//! The same functions are run in two ways: by `tests/tests/fuzz_corpus` on every build, over the inputs in
//! `tests/fuzz/corpus/NAME` and thousands of changed ones; and by cargo-fuzz for as long as one likes, from the one-line
//! programs in `tests/fuzz/fuzz_targets`. CONTRIBUTING says how. An input that broke something joins the corpus.
//!
//! Engines are given a whole conversation: `drive` reads the bytes as what happens to them.

mod drive;
mod engines;
mod exchanges;
mod images;
mod input;
mod ipv6;
mod messages;
mod spool;
mod texts;

/// A parser by its name, which is also that of its folder of inputs and of its program.
pub type Target = (&'static str, fn(&[u8]));

/// Every parser.
pub const TARGETS: &[Target] = &[
    ("icmp_message", engines::icmp_message),
    ("tcp_segment", engines::tcp_segment),
    ("quote", engines::quote),
    ("ping", engines::ping),
    ("traceroute", engines::traceroute),
    ("dns_udp", engines::dns_udp),
    ("dns_tcp", engines::dns_tcp),
    ("ntp", engines::ntp),
    ("path_mtu", engines::path_mtu),
    ("router_advert", ipv6::router_advert),
    ("ipv6_answer", ipv6::ipv6_answer),
    ("reference_echo", ipv6::reference_echo),
    ("http", exchanges::http),
    ("sslcert", exchanges::sslcert),
    ("dns_message", messages::dns_message),
    ("icmp_extension", messages::icmp_extension),
    ("wire", messages::wire),
    ("lanes", messages::lanes),
    ("up", messages::up),
    ("down", messages::down),
    ("board", messages::board),
    ("frame", messages::frame),
    ("report", messages::report),
    ("spec", messages::spec),
    ("directory", messages::directory),
    ("spool_file", spool::spool_file),
    ("probe_config", texts::probe_config),
    ("network_file", texts::network_file),
    ("resolv_conf", texts::resolv_conf),
    ("definitions", texts::definitions),
    ("page_request", texts::page_request),
    ("card_image", images::card_image),
    ("efi_program", images::efi_program),
    ("sums_list", images::sums_list),
];

/// Runs the target of this name.
///
/// # Panics
/// When there is none, or when the target has found something.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|(known, _)| *known == name);
    let (_, function) = target.unwrap_or_else(|| panic!("there is no fuzz target {name}"));
    function(data);
}
