//! Tests across the parts of Sonde, and what they need: a virtual internet ([`lab`]), the real programs in it ([`world`]),
//! both together as most tests begin ([`scene`]), a web server ([`web`]), a probe whose clock
//! somebody sets ([`stepped`]), and a collector that means harm ([`rogue`]). And the
//! parts without any network, in virtual time ([`sim`]), or fed with any bytes at all ([`fuzz`]). What must hold after all of it:
//! [`audit`]. The lab for people to look at: [`show`]. A whole network that nobody had to wait for, to look at and to test
//! pages with: [`seed`], and as running programs [`look`]. A board's whole operating system, emulated: [`os`].

pub mod audit;
pub mod fuzz;
pub mod lab;
pub mod look;
pub mod loopback;
pub mod os;
pub mod rogue;
pub mod scene;
pub mod seed;
pub mod show;
pub mod sim;
pub mod stepped;
pub mod votes;
pub mod web;
pub mod world;
