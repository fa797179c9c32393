//! The API as its clients see it: a real listener on port 0, stores in a temporary directory, HTTP by ureq, and bytes by
//! hand where no client would send them.

// What cannot go on here has failed the test.
#![allow(clippy::unwrap_used)]

mod accounts;
mod alerts;
mod anchors;
mod builtins;
mod create;
mod egress;
mod garbage;
mod golden;
mod keys;
mod lab;
mod limits;
mod lists;
mod manage;
mod openapi;
mod participation;
mod probe_edits;
mod probe_lists;
mod queries;
mod results;
mod status_check;
mod streams;
mod streams_load;
mod streams_plain;
mod subscriber;
mod tls;
mod top_up;
mod views;
