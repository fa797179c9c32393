//! The pages, one file each. A new one is a module here and a line in [`routes`].

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use crate::site::App;

mod front;

/// The entries of the navigation: path and name.
pub(crate) const SECTIONS: [(&str, &str); 5] = [
    ("/ipv6", "IPv6"),
    ("/probes", "Probes"),
    ("/measurements", "Measurements"),
    ("/new", "Measure"),
    ("/join", "Take part"),
];

/// Every page's path.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new().route("/", get(front::page))
}
