//! The socket layer against real sockets: every test makes network namespaces of its own, so nothing of the machine is
//! touched and nothing leaves it. Without root the tests say that they skip.

mod adverts;
mod datagrams;
mod drive;
mod errors;
mod icmp;
mod lab;
mod raw;
mod tcp;
mod udp;
mod web;
