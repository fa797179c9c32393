//! The REST API: RIPE Atlas's API v2 under `/api/v2/`.
//!
//! This crate must not know about QUIC or SQL, nor where its configuration comes from. It reads and changes the catalog,
//! reads the results, tells the collector through [`Dispatch`] whose orders and keys have changed, and asks it which hosts http may
//! measure; that is all it has to do with the probes.
//!
//! A request goes: [`serve()`] (connections and their limits) → `limits` (how often) → [`router`] (paths) → the extractors `auth` (who is looking),
//! `params`, `path`, `here`, `body` → a handler in `measurements`, `create`, `results`, `probes`, `anchors`, `keys` → the store. What
//! is refused leaves as `error`'s envelope. What a definition may say is in `definition` and `kinds`, which write down every
//! problem at once; `target` and `sources` are about the two ends of a measurement; `builtins` reads
//! those of the operator's file. Every output goes through
//! [`sonde_store::view::Viewer`]. The streams (`live`) take what the bus tells. Start reading at [`router`].

use std::sync::Arc;
use std::time::Instant;

use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONNECTION, COOKIE};
use axum::http::{HeaderValue, Method};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Json, Router};
use sonde_protocol::time::UnixNanos;
use sonde_store::places::Places;
use sonde_store::{Bus, Catalog, Reachability, Results};
use tokio::sync::watch;

mod accounts;
mod admission;
mod alerts;
mod anchors;
mod auth;
mod board_object;
mod boards;
mod body;
mod builtins;
mod charging;
mod clock;
mod config;
mod cors;
mod create;
mod credits;
mod csv;
mod datetimes;
mod definition;
mod dispatch;
pub mod egress;
mod error;
mod estimate;
mod etag;
mod exporter;
mod fields;
mod groups;
mod health_object;
mod here;
mod ipv6;
mod keys;
mod kinds;
mod limits;
mod line;
mod live;
mod mail;
mod mail_address;
mod masking;
mod measurement_filters;
mod measurement_object;
mod measurement_tags;
mod measurements;
mod metric;
mod once;
mod opt_out;
mod paging;
mod params;
mod participation;
mod password;
mod path;
mod paths;
mod permission;
mod places;
mod policy;
mod probe_edit;
mod probe_enrolment;
mod probe_filters;
mod probe_object;
mod probe_places;
mod probe_uptime;
mod probes;
mod query;
mod reader;
mod regions;
mod results;
mod router;
mod secret;
mod serve;
mod skipped;
mod sources;
mod status_check;
mod stream;
mod summary;
mod target;
mod target_updates;
mod times;
mod tls;
mod top_up;
mod transfers;
mod web_session;

pub use accounts::{INVITE_LIFE_SECS, RESET_LIFE_SECS};
pub use alerts::Watch;
pub use auth::digest;
pub use builtins::{AnchorBuiltins, BuiltinFile, BuiltinProblem, read_builtins};
pub use charging::{charge, keep_charging};
pub use clock::{Clock, SystemClock};
pub use config::{AccountsConfig, ApiConfig, Signup};
pub use definition::check_body;
pub use dispatch::{Dispatch, NoDispatch};
pub use ipv6::derive_votes;
pub use kinds::write as definition_fields;
pub use limits::{LimitsConfig, Visit};
pub use mail::{MailConfig, MailError, MailWay, Mailer};
pub use mail_address::is_mail_address;
pub use opt_out::stop_unwilling;
pub use permission::is_permission;
pub use places::{PlaceFiles, PlacesError};
pub use policy::{CreditsPolicy, Policy, QuotasPolicy, TargetsPolicy};
pub use secret::Secret;
pub use serve::{Listener, Neighbour, serve};
pub use target::{Resolve, SystemResolver};
pub use target_updates::TargetUpdates;
pub use tls::{CertificateError, CertificateSource, Certificates, certificate_names};
pub use top_up::Replacements;

use error::ApiError;
use limits::Limits;
use live::Hub;
use router::Routes;
use summary::Summaries;

/// What the API works with.
#[derive(Clone)]
pub struct Api {
    /// Who and what.
    pub catalog: Arc<dyn Catalog>,
    /// What the probes saw.
    pub results: Arc<dyn Results>,
    /// What they say of IPv6, summed up.
    pub reachability: Arc<dyn Reachability>,
    /// Tells what happens as it happens.
    pub bus: Arc<dyn Bus>,
    /// The way to the collector.
    pub dispatch: Arc<dyn Dispatch>,
    /// Looks host names up when a measurement is made.
    pub resolver: Arc<dyn Resolve>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Carries mail; without it people cannot show that an address is theirs, and the operator lets them in.
    pub mailer: Option<Mailer>,
    /// Where addresses come from.
    pub places: Arc<dyn Places>,
    /// When the first of the files expires without which boards take no update; nothing where there are no releases.
    pub updates_expire: watch::Receiver<Option<UnixNanos>>,
    /// What the operator has set.
    pub config: ApiConfig,
}

/// Every path. Those of `Routes` exist with and without the slash at their end, because clients use both with every method
/// and a redirected `POST` would become a `GET`.
pub fn router(api: Api) -> Router {
    let api = Arc::new(api);
    let limits = Arc::new(Limits::new(api.config.limits.clone(), Arc::clone(&api.clock)));
    let hub = Arc::new(Hub::new(Arc::clone(&api), Arc::clone(&limits)));
    let mut routes = Routes::new();
    measurements::routes(&mut routes);
    measurement_tags::routes(&mut routes);
    groups::routes(&mut routes);
    participation::routes(&mut routes);
    results::routes(&mut routes);
    status_check::routes(&mut routes);
    skipped::routes(&mut routes);
    exporter::routes(&mut routes);
    summary::routes(&mut routes);
    paths::routes(&mut routes);
    probe_enrolment::routes(&mut routes);
    probes::routes(&mut routes);
    probe_places::routes(&mut routes);
    boards::routes(&mut routes);
    probe_uptime::routes(&mut routes);
    anchors::routes(&mut routes);
    keys::routes(&mut routes);
    accounts::routes(&mut routes);
    estimate::routes(&mut routes);
    credits::routes(&mut routes);
    transfers::routes(&mut routes);
    alerts::routes(&mut routes);
    ipv6::routes(&mut routes);
    let (router, document) = routes.finish();
    router
        .merge(live::routes())
        .route("/healthz", get(async || "ok"))
        .route("/api/v2/openapi.json", get(async || Json(document)))
        .fallback(async || ApiError::not_found())
        .method_not_allowed_fallback(async |method: Method| ApiError::method_not_allowed(&method))
        .layer(middleware::from_fn_with_state(limits, limits::limit))
        .layer(middleware::from_fn(around))
        .layer(Extension(hub))
        .layer(Extension(Arc::new(ipv6::Memory::default())))
        .layer(Extension(Arc::new(exporter::Exporter::default())))
        .layer(Extension(Arc::new(Summaries::new())))
        .with_state(api)
}

/// Around every request: a line in the log, without the query because a key may be in it, and what other sites' pages may do.
async fn around(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let began = Instant::now();
    // Whoever shows a cookie may see more than the next one behind the same cache.
    let has_cookie = request.headers().contains_key(COOKIE);
    let is_read = method == Method::GET || method == Method::HEAD;
    if let Some(answer) = cors::preflight(&request) {
        return answer;
    }
    let mut response = next.run(request).await;
    cors::open(&path, response.headers_mut());
    if has_cookie {
        response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    }
    if !is_read && response.status().is_client_error() {
        // Perhaps its body was not read; then the connection ends here, and the client had better know.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let (status, took_us) = (response.status().as_u16(), began.elapsed().as_micros() as u64);
    tracing::debug!(%method, path, status, took_us, "request");
    response
}
