//! `sonde-probe`: runs measurements for a network, within what its host allows, and delivers every report exactly once.
//!
//! This crate must not know about HTTP, accounts or storage, nor use the collector's code: what both must agree on is in
//! `sonde_protocol`. The engines are in `sonde_engine` and touch no socket; the sockets are in [`net`].
//!
//! Start reading at [`agent`], the loop; [`scheduler`] and [`policy`] decide, [`run`] carries out.

pub mod activity;
pub mod agent;
pub mod cli;
pub mod condition;
pub mod config;
pub mod control;
pub mod doctor;
pub mod enroll;
pub mod identity;
pub mod kept;
pub mod local;
pub mod local_time;
pub mod looks;
pub mod measure;
pub mod meeting;
pub mod net;
pub mod packet_filter;
pub mod page;
pub mod policy;
pub mod reachability;
pub mod resolve;
pub mod run;
pub mod sandbox;
pub mod scheduler;
pub mod service_manager;
pub mod spool;
pub mod status;
pub mod system;
pub mod uplink;
pub mod verdict;
pub mod verify_image;
pub mod wall_clock;
