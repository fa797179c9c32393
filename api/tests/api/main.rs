//! The API as its clients see it: a real listener on port 0, stores in a temporary directory, HTTP by ureq, and bytes by
//! hand where no client would send them.

// What cannot go on here has failed the test.
#![allow(clippy::unwrap_used)]

mod accounts;
mod alerts;
mod anchors;
mod builtins;
mod choices;
mod create;
mod credits;
mod egress;
mod enrolment;
mod exporter;
mod garbage;
mod golden;
mod ipv6;
mod ipv6_votes;
mod keys;
mod lab;
mod limits;
mod lists;
mod manage;
mod once;
mod openapi;
mod participation;
mod probe_edits;
mod probe_lists;
mod queries;
mod quotas;
mod results;
mod status_check;
mod streams;
mod streams_load;
mod streams_plain;
mod subscriber;
mod summary;
mod target_updates;
mod targets;
mod tls;
mod top_up;
mod views;
