//! The API as its clients see it: a real listener on port 0, stores in a temporary directory, HTTP by ureq, and bytes by
//! hand where no client would send them.

mod create;
mod garbage;
mod lab;
mod lists;
mod manage;
mod results;
mod views;
