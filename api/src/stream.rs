//! Answers that may be huge: made in pieces, each only when the one before has been taken. Nothing runs ahead of the client.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use sonde_store::StoreError;

use crate::error::ApiError;

/// A body in pieces.
pub(crate) trait Pieces: Send + 'static {
    /// The next piece, not empty; `None` at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Vec<u8>>, StoreError>> + Send;
}

/// The answer with this body. What fails before the first piece is an error like any other. What fails later aborts the
/// connection, so that a cut body never looks whole.
pub(crate) async fn respond(mut pieces: impl Pieces, content_type: &'static str) -> Result<Response, ApiError> {
    let first = pieces.next().await?;
    let body = stream::unfold((first, Some(pieces)), |(first, pieces)| async {
        if let Some(piece) = first {
            return Some((Ok(piece), (None, pieces)));
        }
        let mut pieces = pieces?;
        match pieces.next().await {
            Ok(piece) => Some((Ok(piece?), (None, Some(pieces)))),
            Err(error) => {
                tracing::error!(%error, "the store failed under a body that had begun; the connection is cut");
                Some((Err(error), (None, None)))
            }
        }
    });
    Ok(([(CONTENT_TYPE, content_type)], Body::from_stream(body)).into_response())
}
