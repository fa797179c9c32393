//! The site around an API of a few fixed answers: headers, caching, escaping, what is refused. A page's own tests are in a file of
//! its name.

// What cannot go on here has failed the test.
#![allow(clippy::unwrap_used)]

mod accounts;
mod docs;
mod fake;
mod ipv6;
mod measurements;
mod new;
mod probes;
mod skeleton;
