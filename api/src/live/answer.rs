//! Streams as the answer to a plain `GET`: a line for each message, or Server-Sent Events for those who accept them. The
//! query is the subscription.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::{Map, Value};

use super::message::Message;
use super::seats::Seat;
use super::session::Session;
use super::stopped;
use crate::error::ApiError;
use crate::params::Params;
use crate::serve::Serving;

/// After how much silence an event stream sends a comment, for proxies that would take it for dead.
const SILENCE: Duration = Duration::from_secs(15);

/// Parameters of the query that are not the subscription's: above all the key, which is not to come back in an answer.
const NOT_OURS: [&str; 2] = ["key", "client"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The message and a line's end.
    Lines,
    /// Its name as the event's, and its payload as the data (HTML, 9.2).
    Events,
}

/// What the body is made from.
struct Answer {
    session: Session,
    form: Form,
    serving: Option<Serving>,
    _seat: Seat,
}

/// Begins the answer.
pub(crate) fn begin(
    mut session: Session,
    seat: Seat,
    serving: Option<Serving>,
    params: &Params,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let accepts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let wants_events = accepts.into_iter().any(|value| value.contains("text/event-stream"));
    let form = if wants_events { Form::Events } else { Form::Lines };
    let pairs = params.pairs().iter().filter(|(name, _)| !NOT_OURS.contains(&name.as_str()));
    let parameters: Map<String, Value> = pairs.map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    let subscribed = session.subscribe(&parameters, last_event(headers).filter(|_| wants_events));
    subscribed.map_err(|unusable| ApiError::parameter(unusable.parameter, unusable.detail))?;
    let answer = Answer { session, form, serving, _seat: seat };
    let body = Body::from_stream(stream::unfold(answer, Answer::piece));
    let content_type = match form {
        Form::Lines => "application/x-ndjson",
        Form::Events => "text/event-stream",
    };
    Ok(([(CONTENT_TYPE, content_type), (CACHE_CONTROL, "no-store")], body).into_response())
}

/// Where a reader of events was when its connection broke.
fn last_event(headers: &HeaderMap) -> Option<i64> {
    headers.get("last-event-id")?.to_str().ok()?.trim().parse().ok()
}

impl Answer {
    /// The next piece of the body. It ends with the server only.
    async fn piece(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        let piece = tokio::select! {
            () = stopped(&mut self.serving) => return None,
            message = self.session.next() => self.form.write(&message),
            () = tokio::time::sleep(SILENCE), if self.form == Form::Events => ": \n\n".into(),
        };
        Some((Ok(piece.into()), self))
    }
}

impl Form {
    fn write(self, message: &Message) -> String {
        match self {
            Form::Lines => format!("{}\n", message.text()),
            Form::Events => {
                // JSON without line breaks is one line of data.
                let id = message.stored_at().map(|at| format!("id: {at}\n")).unwrap_or_default();
                format!("event: {}\n{id}data: {}\n\n", message.name().text(), message.payload())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_events() {
        let message = Message::result("{\"msm_id\":1}", 1_760_000_000);
        assert_eq!(Form::Lines.write(&message), "[\"atlas_result\",{\"msm_id\":1}]\n");
        assert_eq!(Form::Events.write(&message), "event: atlas_result\nid: 1760000000\ndata: {\"msm_id\":1}\n\n");
    }
}
