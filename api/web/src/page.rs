//! What a handler gives back: a page made of a template, or a problem in words.

use std::fmt::Display;
use std::sync::Arc;

use askama::Template;
use axum::extract::FromRequestParts;
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::ask::{Arrival, Asked};
use crate::assets;
use crate::site::App;

/// How long caches may keep a public page, in seconds, and how much longer they may show it while they ask again.
pub(crate) const PUBLIC: &str = "public, max-age=60, stale-while-revalidate=300";

/// What `base.html` needs. Each page's template has it as `base`.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    /// The network's name.
    pub network: String,
    /// Of the page, before the network's name.
    pub title: String,
    /// One sentence for search engines and previews.
    pub summary: String,
    /// The entry of the navigation that the page belongs to: its path.
    pub section: &'static str,
    /// Of what time the data are, as `2026-11-28T17:00:00Z`; in the footer.
    pub data_time: Option<String>,
    /// Scripts of `assets/js` beside those of every page, as modules: `js/live.js`.
    pub modules: &'static [&'static str],
    /// What the page asks the API for as the public; in the footer.
    pub asked: Asked,
    /// Styles of `assets/` beside the common one: `css/probe.css`.
    pub styles: &'static [&'static str],
}

impl Base {
    /// Of a page with this title.
    pub fn titled(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// In this part of the navigation.
    pub fn section(mut self, section: &'static str) -> Self {
        self.section = section;
        self
    }

    /// With these scripts.
    pub fn modules(mut self, modules: &'static [&'static str]) -> Self {
        self.modules = modules;
        self
    }

    /// With these styles.
    pub fn styles(mut self, styles: &'static [&'static str]) -> Self {
        self.styles = styles;
        self
    }

    /// Of data of this time.
    pub fn of(mut self, data_time: Option<String>) -> Self {
        self.data_time = data_time;
        self
    }

    /// The address of an asset; for templates.
    pub fn asset(&self, name: &str) -> String {
        assets::url(name)
    }

    /// ` aria-current` for the navigation's entry that the page belongs to; for templates.
    pub fn is_here(&self, section: &str) -> bool {
        self.section == section
    }
}

/// A handler asks for it, fills in what is its own, and puts it into its template.
impl FromRequestParts<Arc<App>> for Base {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Self::Rejection> {
        let asked = parts.extensions.get::<Arrival>().map(|arrival| arrival.asked.clone());
        Ok(Self { asked: asked.unwrap_or_default(), ..Self::new(app) })
    }
}

impl Base {
    /// Of a page that is nothing yet.
    pub fn new(app: &App) -> Self {
        let network = match app.site.network.is_empty() {
            true => "Sonde".to_owned(),
            false => app.site.network.clone(),
        };
        Self {
            network,
            title: String::new(),
            summary: "Small probes measure how the internet works, with IPv6 first.".into(),
            section: "",
            data_time: None,
            asked: Asked::default(),
            modules: &[],
            styles: &[],
        }
    }
}

/// A page.
#[derive(Debug, Clone)]
pub(crate) struct Page<T> {
    template: T,
    status: StatusCode,
    cache: &'static str,
}

impl<T: Template> Page<T> {
    /// The same for everybody; caches may keep it for a minute.
    pub fn public(template: T) -> Self {
        Self { template, status: StatusCode::OK, cache: PUBLIC }
    }

    /// For this visitor alone.
    pub fn own(template: T) -> Self {
        Self { template, status: StatusCode::OK, cache: "private, no-store" }
    }

    /// With another status than 200.
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }
}

impl<T: Template> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        match self.template.render() {
            Ok(html) => {
                let headers = [(CONTENT_TYPE, "text/html; charset=utf-8"), (CACHE_CONTROL, self.cache)];
                (self.status, headers, html).into_response()
            }
            Err(error) => Problem::internal("a template", &error).into_response(),
        }
    }
}

/// What is wrong, for people. It becomes a page in [`crate::headers::finish`], which knows the site.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    /// Of the answer.
    pub status: StatusCode,
    /// What and what to do, in a sentence or two. Plain text.
    pub words: String,
    retry_after: Option<u64>,
    allow: Option<&'static str>,
}

impl Problem {
    fn new(status: StatusCode, words: &str) -> Self {
        Self { status, words: words.to_owned(), retry_after: None, allow: None }
    }

    /// The visitor asked for something that makes no sense.
    pub fn bad(words: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, words)
    }

    /// There is no such thing, or none for this visitor.
    pub fn not_found(words: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, words)
    }

    /// Not from there, not by them.
    pub fn forbidden(words: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, words)
    }

    /// A page that is only looked at, or a form that is only sent.
    pub fn method_not_allowed(method: &Method) -> Self {
        let words = format!("This address takes no {method}.");
        Self { allow: Some("GET, HEAD"), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, &words) }
    }

    /// Asked too often, as the API says; seconds until the next.
    pub fn too_many(after: Option<u64>) -> Self {
        let words = match after {
            Some(seconds) => format!("Too many requests come from your address. Try again in {seconds} s."),
            None => "Too many requests come from your address. Try again in a minute.".to_owned(),
        };
        Self { retry_after: after, ..Self::new(StatusCode::TOO_MANY_REQUESTS, &words) }
    }

    /// Our fault. The cause is in the server's log, not on the page.
    pub fn internal(what: &str, cause: &dyn Display) -> Self {
        tracing::error!(what, %cause, "a page could not be made");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong here, and it is in the server's log.")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        if let Some(after) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(after));
        }
        if let Some(allow) = self.allow {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// The page of a problem.
#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage {
    base: Base,
    heading: String,
    words: String,
}

/// Makes the page of a problem.
pub(crate) fn of_problem(app: &App, problem: Problem) -> Response {
    let heading = match problem.status {
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::BAD_REQUEST => "That cannot be shown",
        StatusCode::FORBIDDEN => "Not allowed",
        StatusCode::TOO_MANY_REQUESTS => "Too many requests",
        StatusCode::METHOD_NOT_ALLOWED => "Not in this way",
        _ => "Something went wrong",
    };
    let base = Base::new(app).titled(heading);
    let page = ProblemPage { base, heading: heading.to_owned(), words: problem.words };
    Page { template: page, status: problem.status, cache: "no-store" }.into_response()
}
