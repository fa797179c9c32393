//! The pages, one file each. A new one is a module here and a line in [`routes`].

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use crate::site::App;

mod compare;
mod embed;
mod front;
mod img;
mod ipv6;
mod measurement;
mod measurements;
mod method;
mod parts;
mod place;
mod status;

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
    Router::new()
        .route("/", get(front::page))
        .route("/ipv6", get(ipv6::page))
        .route("/country/{code}", get(place::country))
        .route("/as/{asn}", get(place::network))
        .route("/compare", get(compare::page))
        .route("/docs/method", get(method::page))
        .route("/status", get(status::page))
        .route("/img/map.svg", get(img::map))
        .route("/img/series.svg", get(img::series))
        .route("/img/badge.svg", get(img::badge))
        .route("/embed/map", get(embed::map))
        .route("/embed/series", get(embed::series))
        .route("/embed/probe", get(embed::probe))
        .route("/measurements", get(measurements::page))
        .route("/measurements/{id}", get(measurement::page))
        .route("/measurements/{id}/paths", get(measurement::paths::page))
        .route("/measurements/{id}/probe/{probe}", get(measurement::of_probe::page))
}
