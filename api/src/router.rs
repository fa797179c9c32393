//! Paths, and what is said of them: a handler and its documentation come in together, so that nothing can be asked that
//! `/api/v2/openapi.json` does not describe.
//!
//! [`Routes`] knows what is the same everywhere: each path with and without the slash at its end, and the refusals that any
//! request can meet. What a path does stands beside its handler (`#[utoipa::path]`).

use std::sync::Arc;

use axum::routing::MethodRouter;
use axum::{Extension, Router};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::path::{HttpMethod, Operation, PathItem};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, Content, Info, OpenApi, Ref, RefOr, ResponseBuilder};
use utoipa_axum::router::UtoipaMethodRouter;

use crate::Api;
use crate::query::Documented;

/// The paths below `/api/v2/` and the stream, with their documentation.
pub(crate) struct Routes {
    router: Router<Arc<Api>>,
    docs: OpenApi,
}

/// Any refusal.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct ErrorBody {
    error: ErrorDetail,
}

/// What was refused and why.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorDetail {
    /// The status of the answer.
    status: u16,
    /// 102: the body does not validate. 104: everything else.
    code: u16,
    /// The status in words.
    title: String,
    /// What is wrong, in a sentence.
    detail: String,
    /// Each single problem, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<Vec<ErrorProblem>>,
}

/// One problem of a request.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorProblem {
    source: ErrorSource,
    /// What is wrong, in a sentence.
    detail: String,
}

/// Where a problem is: one of the two.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorSource {
    /// A place in the body (a JSON pointer, RFC 6901; empty for the whole).
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<String>,
    /// A parameter of the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<String>,
}

impl Routes {
    /// None yet.
    pub fn new() -> Self {
        let mut docs = OpenApi::new(Info::new("Sonde", env!("CARGO_PKG_VERSION")), utoipa::openapi::path::Paths::new());
        docs.info.description = Some(
            "The RIPE Atlas API v2 as this network offers it, and what it adds. Reads of what is public need no key."
                .into(),
        );
        let mut components = Components::new();
        let header = ApiKeyValue::with_description("Authorization", "`Key` and a space before the UUID of the key");
        components.add_security_scheme("key", SecurityScheme::ApiKey(ApiKey::Header(header)));
        let cookie = ApiKeyValue::with_description(
            "__Host-sonde",
            "Of accounts/login/; named `sonde` where there is no HTTPS. Whatever changes something needs X-CSRF-Token, too",
        );
        components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
        for (name, schema) in schemas::<ErrorBody>() {
            components.schemas.insert(name, schema);
        }
        docs.components = Some(components);
        Self { router: Router::new(), docs }
    }

    /// Adds what `routes!(handler, …)` gives: one path, some methods.
    pub fn add(&mut self, (schemas, paths, methods): UtoipaMethodRouter<Arc<Api>>) {
        for (path, item) in paths.paths {
            self.put(&path, item, methods.clone());
        }
        self.docs.components.get_or_insert_default().schemas.extend(schemas);
    }

    /// Adds it under another path than its documentation names.
    pub fn add_at(&mut self, path: &str, (schemas, paths, methods): UtoipaMethodRouter<Arc<Api>>) {
        for (_, item) in paths.paths {
            self.put(path, item, methods.clone());
        }
        self.docs.components.get_or_insert_default().schemas.extend(schemas);
    }

    fn put(&mut self, path: &str, mut item: PathItem, methods: MethodRouter<Arc<Api>>) {
        let bare = path.trim_end_matches('/');
        let operations = [&item.get, &item.put, &item.post, &item.delete, &item.patch];
        let documented = Documented::of(path, operations.into_iter().flatten());
        let methods = methods.layer(Extension(documented));
        let router = std::mem::take(&mut self.router);
        self.router = router.route(bare, methods.clone()).route(&format!("{bare}/"), methods);
        complete(path, &mut item);
        match self.docs.paths.paths.get_mut(path) {
            Some(known) => known.merge_operations(item),
            None => drop(self.docs.paths.paths.insert(path.to_owned(), item)),
        }
    }

    /// The router, and the document that describes it.
    pub fn finish(self) -> (Router<Arc<Api>>, OpenApi) {
        (self.router, self.docs)
    }
}

fn schemas<T: ToSchema>() -> Vec<(String, RefOr<utoipa::openapi::Schema>)> {
    let mut schemas = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut schemas);
    schemas
}

/// Adds what is the same for every operation: its name, that a key may be sent, and the refusals that any request can meet.
fn complete(path: &str, item: &mut PathItem) {
    let operations = [
        (HttpMethod::Get, &mut item.get),
        (HttpMethod::Put, &mut item.put),
        (HttpMethod::Post, &mut item.post),
        (HttpMethod::Delete, &mut item.delete),
        (HttpMethod::Patch, &mut item.patch),
    ];
    for (method, operation) in operations {
        let Some(operation) = operation else { continue };
        operation.operation_id = Some(name(&method, path));
        operation.security = Some(vec![
            SecurityRequirement::default(),
            SecurityRequirement::new("key", [""; 0]),
            SecurityRequirement::new("session", [""; 0]),
        ]);
        operation.summary = operation.summary.take().map(|summary| without_path(&summary));
        refusal(operation, 400, "The query or the body has a value that cannot be used; every one of them is named");
        refusal(operation, 403, "The key is missing, wrong, or not good for this");
        refusal(operation, 429, "Too many requests; `Retry-After` says when to come back");
        if path.contains('{') {
            refusal(operation, 404, "There is none, or it is not for this viewer to know of");
        } else if has_pages(operation) {
            refusal(operation, 404, "The list has no such page");
        }
        if operation.request_body.is_some() || matches!(method, HttpMethod::Post) {
            refusal(operation, 408, "The body took too long to arrive");
            refusal(operation, 413, "The body is too large");
        }
        if operation.request_body.is_some() {
            refusal(operation, 415, "The body has a Content-Encoding");
        }
    }
}

/// A handler's documentation begins with its method and path, for whoever reads the code; the document has them already.
fn without_path(summary: &str) -> String {
    let rest = summary.split_once("`: ").filter(|(head, _)| head.starts_with('`')).map_or(summary, |(_, rest)| rest);
    let mut letters = rest.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}

fn has_pages(operation: &Operation) -> bool {
    let parameters = operation.parameters.iter().flatten();
    parameters.into_iter().any(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.name == "page"))
}

fn refusal(operation: &mut Operation, status: u16, what: &str) {
    let error = Content::new(Some(Ref::from_schema_name("Error")));
    let response = ResponseBuilder::new().description(what).content("application/json", error).build();
    operation.responses.responses.entry(status.to_string()).or_insert(RefOr::T(response));
}

/// `get_measurements_id_results` for `GET /api/v2/measurements/{id}/results/`.
fn name(method: &HttpMethod, path: &str) -> String {
    let method = match method {
        HttpMethod::Put => "put",
        HttpMethod::Post => "post",
        HttpMethod::Delete => "delete",
        HttpMethod::Patch => "patch",
        _ => "get",
    };
    let words = path.strip_prefix("/api/v2").unwrap_or(path).split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(|word| !word.is_empty()).fold(method.to_owned(), |name, word| name + "_" + word)
}
