//! The pages, one file each. A new one is a module here and a line in [`routes`].

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::site::App;

mod api_docs;
mod compare;
mod embed;
mod front;
mod img;
mod ipv6;
mod join;
mod measurement;
mod measurements;
mod method;
mod new;
mod parts;
mod place;
mod probe;
mod probe_ipv6;
mod probe_own;
mod probe_view;
mod probes;
mod sign_in;
mod sign_up;
mod status;
mod visitor;

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
        .route("/measurements/{id}/live", get(measurement::live::stream))
        .route("/measurements/{id}/paths", get(measurement::paths::page))
        .route("/measurements/{id}/probe/{probe}", get(measurement::of_probe::page))
        .route("/probes", get(probes::page))
        .route("/probes/{id}", get(probe::page))
        .route("/probes/{id}/own", get(probe_own::page))
        .route("/new", get(new::page).post(new::send))
        .route("/new/estimate", post(new::live))
        .route("/new/made", get(new::list))
        .route("/sign-in", get(sign_in::page).post(sign_in::send))
        .route("/sign-out", post(sign_in::sign_out))
        .route("/sign-up", get(sign_up::page).post(sign_up::send))
        .route("/verify", get(sign_up::verify).post(sign_up::send_token))
        .route("/password-reset", get(sign_up::reset).post(sign_up::send_reset))
        .route("/session", get(sign_in::session))
        .route("/join", get(join::page))
        .route("/docs/api", get(api_docs::page))
}
