//! Where a request goes: to the API, or to a page.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, COOKIE, LOCATION};
use axum::http::{Extensions, HeaderValue, Method, StatusCode};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use tower::ServiceExt as _;

use crate::ask::Arrival;
use crate::assets::{self, Assets};
use crate::page::Problem;
use crate::{headers, origin, pages};

/// What the operator has set, as far as pages show it.
#[derive(Debug, Clone, Default)]
pub struct Site {
    /// The network's name, for people.
    pub network: String,
    /// `https://sonde.example.net`, for absolute links; without it they are made of the request's `Host`.
    pub public_url: Option<String>,
    /// A folder that assets are read from instead of the program's own, for whoever changes them.
    pub assets: Option<PathBuf>,
    /// Marks what a page asks the API as belonging together, so that a page counts as one request of its visitor.
    pub visit: Option<fn(&mut Extensions)>,
}

/// What pages are made with.
pub(crate) struct App {
    /// The API's router.
    pub api: Router,
    /// What the operator has set.
    pub site: Site,
    /// What browsers load beside the page.
    pub assets: Assets,
}

/// The site around the API: pages, what they load, and everything else as the API answers it.
pub fn router(api: Router, site: Site) -> Router {
    let app = Arc::new(App { assets: Assets::new(site.assets.clone()), api: api.clone(), site });
    let pages = pages::routes()
        .route("/assets/{version}/{*name}", axum::routing::get(assets::serve))
        .fallback(async || Problem::not_found("There is no such page."))
        .method_not_allowed_fallback(async |method: Method| Problem::method_not_allowed(&method))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), headers::finish))
        .layer(headers::compression())
        .with_state(app.clone());
    let packed = api.clone().layer(headers::compression());
    Router::new().fallback(async move |request: Request| {
        if matches!(request.uri().path(), "/api/v2/docs" | "/api/v2/docs/") {
            // Where the API's page for people was before there was a site.
            return (StatusCode::PERMANENT_REDIRECT, [(LOCATION, "/docs/api")]).into_response();
        }
        if is_for_api(request.uri().path()) {
            // Its answers are never anything but answers.
            let api = if is_large_and_public(&request) { packed } else { api };
            return api.oneshot(request).await.into_response();
        }
        let mut request = request;
        // Before any route has left its parameters in the request: they are not the API's.
        let mut arrival = Arrival::of(&request);
        if let Some(visit) = app.site.visit {
            visit(arrival.extensions_mut());
        }
        request.extensions_mut().insert(arrival);
        let refused = match without_slash(&request) {
            Some(moved) => Some(moved),
            None => origin::check(&request, app.site.public_url.as_deref()).err().map(IntoResponse::into_response),
        };
        match refused {
            // Dressed as every page is.
            Some(refused) => headers::dress(&app, refused).await,
            None => pages.oneshot(request).await.into_response(),
        }
    })
}

/// The paths of the API. Whatever is not among them is the site's, also what does not exist.
fn is_for_api(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    matches!(first, "api" | "stream" | "healthz")
}

/// What maps and charts load in one large piece, for whoever shows no secret: beside one, an answer's length could tell something.
/// Everything else of the API goes out as it is.
fn is_large_and_public(request: &Request) -> bool {
    let path = request.uri().path().trim_end_matches('/');
    let is_large = path == "/api/v2/probes/places" || path.ends_with("/summary/heat");
    let has_secret = [COOKIE, AUTHORIZATION].iter().any(|name| request.headers().contains_key(name))
        || request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("key=")));
    *request.method() == Method::GET && is_large && !has_secret
}

/// Pages have one address each, without a slash at its end; who comes with one is sent on.
fn without_slash(request: &Request) -> Option<Response> {
    let path = request.uri().path();
    let bare = path.trim_end_matches('/');
    // `//example.net/` would be another site's address: only what begins with a name is sent anywhere.
    let is_ours =
        bare.strip_prefix('/').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_alphanumeric()));
    if bare == path || !is_ours || !matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let location = HeaderValue::from_str(&format!("{bare}{query}")).ok()?;
    Some((StatusCode::PERMANENT_REDIRECT, [(LOCATION, location)]).into_response())
}
