//! `/join`: how to take part, in short.

use askama::Template;
use axum::response::IntoResponse;

use crate::ask::Asker;
use crate::page::{Base, Page};

#[derive(Template)]
#[template(path = "join.html")]
struct Join {
    base: Base,
    here: String,
}

/// `GET /join`.
pub(super) async fn page(base: Base, asker: Asker) -> impl IntoResponse {
    let base = Base {
        summary: "Run a probe: what it does, what it never does, how to install it.".into(),
        ..base.titled("Take part").section("/join")
    };
    Page::public(Join { base, here: asker.here() })
}
