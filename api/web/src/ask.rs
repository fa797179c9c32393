//! Asking the API, in the same process, as the public or as the visitor.
//!
//! Public pages ask as the public: no cookie and no key goes along, so that everybody gets the same bytes and caches may keep
//! them. What is the visitor's own goes by [`Asker::own`], and the page must then be [`crate::page::Page::own`]. The visitor's
//! address goes along in any case: it is whom the API's limits count for, a page as one request ([`crate::Site::visit`]).

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, BodyDataStream, to_bytes};
use axum::extract::{FromRequestParts, OriginalUri, Request};
use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, COOKIE, FORWARDED, HOST, ORIGIN, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::Response;
use form_urlencoded::Serializer;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::page::Problem;
use crate::site::App;

/// The longest answer of the API that a page is made of, in bytes.
const MAX_ANSWER: usize = 32 << 20;

/// The most addresses of data that a page names.
const MAX_ASKED: usize = 20;

/// Headers that say where a request comes from; only proxies that the API trusts are believed.
const FROM: [HeaderName; 3] = [HOST, FORWARDED, HeaderName::from_static("x-forwarded-for")];

/// Where a reader of events was when its connection broke.
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

/// Headers that the API judges the visitor by.
const VISITOR: [HeaderName; 4] = [COOKIE, AUTHORIZATION, ORIGIN, HeaderName::from_static("sec-fetch-site")];

/// What a page has asked for as the public: where its data are, for programs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked(Arc<Mutex<Vec<String>>>);

impl Asked {
    fn note(&self, path: &str) {
        let mut paths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if paths.len() < MAX_ASKED && !paths.iter().any(|known| known == path) {
            paths.push(path.to_owned());
        }
    }

    /// The API's paths with their queries, in the order in which they were asked.
    pub fn paths(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A request as it came, before any route has looked at it.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    extensions: Extensions,
    headers: HeaderMap,
    /// What is asked for it.
    pub asked: Asked,
}

impl Arrival {
    /// What goes along with each question.
    pub fn of(request: &Request) -> Self {
        let kept = |name: &HeaderName| FROM.contains(name) || VISITOR.contains(name) || *name == LAST_EVENT;
        let headers = request.headers().iter().filter(|(name, _)| kept(name));
        let mut extensions = request.extensions().clone();
        // The page's own address is none of the questions': the API would take one for the other.
        extensions.remove::<OriginalUri>();
        let headers = headers.map(|(name, value)| (name.clone(), value.clone())).collect();
        Self { extensions, headers, asked: Asked::default() }
    }

    /// What goes along beside the headers.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.extensions
    }
}

/// Asks the API for one visitor.
#[derive(Clone)]
pub(crate) struct Asker {
    app: Arc<App>,
    arrival: Arrival,
}

/// An answer, whatever its status.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// As the API gave it.
    pub status: StatusCode,
    /// With `set-cookie`, where there is one.
    pub headers: HeaderMap,
    /// The JSON; null when there is none.
    pub body: Value,
}

impl Asker {
    /// What the public may read: the answer to a `GET`.
    pub async fn get(&self, path: &str) -> Result<Value, Problem> {
        self.arrival.asked.note(path);
        let answer = self.send(Method::GET, path, None, HeaderMap::new()).await?;
        self.good(path, answer)
    }

    /// The same, in the shape that the page needs.
    pub async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, Problem> {
        shaped(path, self.get(path).await?)
    }

    /// The same, where there may be none: `None` instead of 404.
    pub async fn find<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Problem> {
        let answer = self.send(Method::GET, path, None, HeaderMap::new()).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        self.arrival.asked.note(path);
        shaped(path, self.good(path, answer)?).map(Some)
    }

    /// What the visitor may do, by cookie or by a key of his. The page that shows it must not be kept by caches.
    /// `more` may have `X-CSRF-Token`, which the API wants with a cookie, and `Authorization: Key …`.
    pub async fn own(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        more: &[(HeaderName, &str)],
    ) -> Result<Answer, Problem> {
        let visitors = self.arrival.headers.iter().filter(|(name, _)| VISITOR.contains(name));
        let mut headers: HeaderMap = visitors.map(|(name, value)| (name.clone(), value.clone())).collect();
        for (name, value) in more {
            let value = HeaderValue::from_str(value)
                .map_err(|_| Problem::bad("That cannot be sent: it has characters that a header must not have."))?;
            headers.insert(name, value);
        }
        self.send(method, path, body, headers).await
    }

    /// Does the request show a cookie or a key? Without, asking as the visitor would tell no more than the public may know.
    pub fn shows_something(&self) -> bool {
        self.arrival.headers.contains_key(COOKIE) || self.arrival.headers.contains_key(AUTHORIZATION)
    }

    /// What the public may follow: the body of a stream of events, from where the visitor's browser says that it was.
    pub async fn follow(&self, path: &str) -> Result<BodyDataStream, Problem> {
        let mut headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("text/event-stream"))]);
        if let Some(last) = self.arrival.headers.get(LAST_EVENT) {
            headers.insert(LAST_EVENT, last.clone());
        }
        let response = self.request(Method::GET, path, None, headers).await?;
        if response.status().is_success() {
            return Ok(response.into_body().into_data_stream());
        }
        let answer = read(path, response).await?;
        self.good(path, answer)?;
        Err(Problem::internal(path, &"an answer that is no stream"))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        mut headers: HeaderMap,
    ) -> Result<Answer, Problem> {
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        read(path, self.request(method, path, body, headers).await?).await
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        mut headers: HeaderMap,
    ) -> Result<Response, Problem> {
        for name in FROM {
            headers.extend(self.arrival.headers.get_all(&name).iter().map(|value| (name.clone(), value.clone())));
        }
        let mut request = Request::builder().method(method).uri(path);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let mut request = request.body(body).map_err(|error| Problem::internal(path, &error))?;
        request.headers_mut().extend(headers);
        *request.extensions_mut() = self.arrival.extensions.clone();
        let Ok(response) = self.app.api.clone().oneshot(request).await;
        Ok(response)
    }

    fn good(&self, path: &str, answer: Answer) -> Result<Value, Problem> {
        match answer.status {
            status if status.is_success() => Ok(answer.body),
            StatusCode::NOT_FOUND => Err(Problem::not_found("There is nothing here, or nothing that is public.")),
            StatusCode::TOO_MANY_REQUESTS => {
                let after = answer.headers.get(RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
                Err(Problem::too_many(after))
            }
            status if status.is_client_error() => Err(Problem::bad(&answer.words())),
            status => Err(Problem::internal(path, &format!("the API answered {status}"))),
        }
    }

    /// Where this site is, for absolute links: `https://sonde.example.net`, without a slash at the end.
    pub fn here(&self) -> String {
        if let Some(url) = &self.app.site.public_url {
            return url.trim_end_matches('/').to_owned();
        }
        let host = self.arrival.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
        // Without an address of its own the site is a trial on a machine at hand.
        format!("http://{host}")
    }
}

/// An answer of the API, whole.
async fn read(path: &str, response: Response) -> Result<Answer, Problem> {
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, MAX_ANSWER).await.map_err(|error| Problem::internal(path, &error))?;
    let body = match bytes.is_empty() {
        true => Value::Null,
        false => serde_json::from_slice(&bytes).map_err(|error| Problem::internal(path, &error))?,
    };
    Ok(Answer { status: parts.status, headers: parts.headers, body })
}

impl Answer {
    /// What the API says is wrong, for people: each problem of Atlas's envelope, or its one sentence.
    pub fn words(&self) -> String {
        let error = &self.body["error"];
        let each = error["errors"].as_array().into_iter().flatten();
        let each: Vec<&str> = each.filter_map(|problem| problem["detail"].as_str()).collect();
        match each.is_empty() {
            false => each.join(" "),
            true => error["detail"].as_str().unwrap_or("The request was refused.").to_owned(),
        }
    }
}

impl FromRequestParts<Arc<App>> for Asker {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let arrival = parts.extensions.get().cloned();
        let arrival = arrival.ok_or_else(|| Problem::internal("", &"a request without its arrival"))?;
        Ok(Self { app: Arc::clone(app), arrival })
    }
}

/// A path with a query, encoded: whatever a value holds, it stays that value.
pub(crate) fn path<'a>(path: &str, query: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut pairs = Serializer::new(String::new());
    pairs.extend_pairs(query);
    match pairs.finish() {
        query if query.is_empty() => path.to_owned(),
        query => format!("{path}?{query}"),
    }
}

fn shaped<T: DeserializeOwned>(path: &str, value: Value) -> Result<T, Problem> {
    serde_json::from_value(value).map_err(|error| Problem::internal(path, &error))
}
