//! The site: pages for people, made of what the public API says.
//!
//! This crate must not know the store, the collector or a probe. It asks the API's own router, in the same process, what it shows
//! ([`axum::Router`] is a service), as the one who looks at the page; so a page can show nothing that the API would not.
