//! An API of fixed answers, and asking the site around it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{OriginalUri, Request};
use axum::http::{Extensions, HeaderMap, Method, StatusCode};
use axum::response::IntoResponse;
use serde_json::{Value, json};
use sonde_web::Site;
use tower::ServiceExt as _;

/// A request as the fake API saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: Method,
    /// With its query.
    pub path: String,
    pub headers: HeaderMap,
    /// Which page asked, if one did.
    pub visit: Option<usize>,
}

/// A mark that the site puts on what one page asks.
#[derive(Clone)]
struct Visit(usize);

impl Visit {
    fn begin(extensions: &mut Extensions) {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        extensions.insert(Self(NEXT.fetch_add(1, Ordering::Relaxed)));
    }
}

/// The site around a fake API.
pub struct Fake {
    site: Router,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// What the site answered.
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Fake {
    /// An API that knows these paths (without query) and answers 404 in Atlas's way to all others. An answer that is an object with
    /// `error` has the status that it names.
    pub fn new(answers: &[(&str, Value)]) -> Self {
        let answers: Vec<(String, Value)> =
            answers.iter().map(|(path, value)| ((*path).to_owned(), value.clone())).collect();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sees = Arc::clone(&seen);
        let api = Router::new().fallback(async move |OriginalUri(uri): OriginalUri, request: Request| {
            let (method, headers) = (request.method().clone(), request.headers().clone());
            let visit = request.extensions().get().map(|Visit(number)| *number);
            // The API goes by the address as it came, and so does this one.
            let path = uri.path_and_query().map(ToString::to_string).unwrap_or_default();
            sees.lock().unwrap().push(Seen { method, path, headers, visit });
            let found = answers.iter().find(|(path, _)| path == uri.path());
            let missing = json!({"error": {"status": 404, "code": 104, "detail": "Not found.", "title": "Not Found"}});
            let answer = found.map_or(missing, |(_, value)| value.clone());
            let status = answer["error"]["status"].as_u64().and_then(|status| StatusCode::from_u16(status as u16).ok());
            (status.unwrap_or(StatusCode::OK), axum::Json(answer)).into_response()
        });
        let site = Site { network: "Net <&> One".into(), visit: Some(Visit::begin), ..Site::default() };
        Self { site: sonde_web::router(api, site), seen }
    }

    /// What the API was asked so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &[], "").await
    }

    /// Any request.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.site.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        Reply { status: parts.status, headers: parts.headers, text: String::from_utf8_lossy(&bytes).into_owned() }
    }
}

impl Reply {
    /// A header's text; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}
