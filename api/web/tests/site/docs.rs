//! The API for people, and how to take part.

use axum::http::StatusCode;
use serde_json::json;

use crate::fake::Fake;

#[tokio::test]
async fn what_the_document_says_is_text_and_never_markup() {
    let document = json!({"info": {"description": "<i>"}, "paths": {"/x/{id}/": {"get": {
        "tags": ["one"], "operationId": "get_x", "summary": "Gives `a<b`.",
        "parameters": [{"name": "id", "required": true, "schema": {"type": "integer"}, "description": "<script>"}],
        "responses": {"200": {"description": "fine"}},
    }}}});
    let site = Fake::new(&[("/api/v2/openapi.json", document)]);
    let page = site.get("/docs/api").await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    assert!(page.text.contains("<code>a&#60;b</code>") && page.text.contains("integer, required"), "{}", page.text);
    assert!(page.text.contains("id=\"get_x\"") && page.text.contains("href=\"#one\""));
    assert!(!page.text.contains("<script>") && !page.text.contains("<i>"), "{}", page.text);
    for old in ["/api/v2/docs/", "/api/v2/docs"] {
        let moved = site.get(old).await;
        assert_eq!((moved.status, moved.header("location")), (StatusCode::PERMANENT_REDIRECT, "/docs/api"), "{old}");
    }
}

#[tokio::test]
async fn whoever_wants_to_take_part_is_told_how() {
    let page = Fake::new(&[]).get("/join").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("sonde-probe enroll network.toml"), "{}", page.text);
}
