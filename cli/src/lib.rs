//! The `sonde` command: the server, its administration, the demo, the researcher's commands, and the probe (the same as
//! `sonde-probe`).
//!
//! `main` parses and reports; everything else is here, where tests reach it. Start reading at [`server`] and [`research`].

pub mod admin;
mod board_card;
pub mod builtins;
pub mod card_image;
pub mod config;
pub mod data;
pub mod demo;
mod people;
mod probe_admin;
pub mod references;
pub mod release;
pub mod research;
pub mod roll_outs;
pub mod server;
pub mod upkeep;
