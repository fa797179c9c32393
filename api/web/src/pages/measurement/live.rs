//! `/measurements/{id}/live`: results as they come in, each in the words of the page's table, as Server-Sent Events. What a result
//! says is decided in one place ([`super::words`]); the script of the page only shows it.

use std::convert::Infallible;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use super::find;
use super::rows::result_row;
use crate::ask::Asker;
use crate::page::Problem;

/// The longest event of the API that is read, in bytes. A result of a probe is far smaller.
const MAX_EVENT: usize = 4 << 20;

/// What keeps a connection alive that proxies would take for dead.
const COMMENT: &str = ": \n\n";

/// `GET /measurements/{id}/live`.
pub(crate) async fn stream(asker: Asker, Path(id): Path<String>) -> Result<Response, Problem> {
    let id = find(&asker, &id).await?.id();
    let body = asker.follow(&format!("/stream/?streamType=result&msm={id}")).await?;
    let rows = stream::unfold((body, Events::default()), piece);
    Ok(([(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")], Body::from_stream(rows)).into_response())
}

type Following = (BodyDataStream, Events);

/// The next piece of the answer. It ends when the API's does, or says what makes no sense.
async fn piece((mut body, mut events): Following) -> Option<(Result<Bytes, Infallible>, Following)> {
    loop {
        let bytes = body.next().await?.ok()?;
        let text = events.read(&bytes)?;
        if !text.is_empty() {
            return Some((Ok(text.into()), (body, events)));
        }
    }
}

/// The API's events, of which the end may not have come yet.
#[derive(Debug, Default)]
struct Events {
    begun: Vec<u8>,
}

impl Events {
    /// What the page is told of these bytes; `None` when an event is longer than any can be.
    fn read(&mut self, bytes: &[u8]) -> Option<String> {
        self.begun.extend_from_slice(bytes);
        let mut told = String::new();
        while let Some(end) = self.begun.windows(2).position(|pair| pair == b"\n\n") {
            let event: Vec<u8> = self.begun.drain(..end + 2).collect();
            told += &translated(&String::from_utf8_lossy(&event));
        }
        (self.begun.len() <= MAX_EVENT).then_some(told)
    }
}

/// One event of the API as one of ours. Comments stay; what is no result is left out.
fn translated(event: &str) -> String {
    let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    if event.starts_with(':') {
        return COMMENT.to_owned();
    }
    if field("event") != Some("atlas_result") {
        return String::new();
    }
    let Some(result) = field("data").and_then(|data| serde_json::from_str::<Value>(data).ok()) else {
        return String::new();
    };
    let row = result_row(&result);
    // Where to go on after a break, for the API.
    let id = field("id").map(|id| format!("id: {id}\n")).unwrap_or_default();
    // In alphabetical order, which they have with each way that JSON can be kept.
    let row = json!({"at": row.at, "mood": row.mood, "probe": row.probe, "text": row.text});
    format!("event: row\n{id}data: {row}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESULT: &str = "event: atlas_result\nid: 1760000000\ndata: {\"type\":\"ping\",\"prb_id\":17,\"timestamp\":1759999999,\
        \"sent\":3,\"rcvd\":3,\"min\":10.1,\"avg\":11.0,\"max\":11.9}\n\n";
    const ROW: &str = "event: row\nid: 1760000000\ndata: {\"at\":1759999999,\"mood\":\"good\",\"probe\":17,\
        \"text\":\"3/3 back; min 10.1 ms, mean 11.0 ms, max 11.9 ms\"}\n\n";

    #[test]
    fn results_become_rows_wherever_the_pieces_end() {
        let all = format!("event: atlas_subscribed\ndata: {{}}\n\n{RESULT}: \n\n{RESULT}");
        for size in [1, 2, 7, all.len()] {
            let mut events = Events::default();
            let told: String = all.as_bytes().chunks(size).map(|piece| events.read(piece).unwrap()).collect();
            assert_eq!(told, format!("{ROW}{COMMENT}{ROW}"), "{size}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_left_out_and_never_grows() {
        for odd in
            ["event: atlas_result\n\n", "event: atlas_result\ndata: {\n\n", "data: {}\n\n", "\n\n", "\u{fffd}\n\n"]
        {
            assert_eq!(Events::default().read(odd.as_bytes()).as_deref(), Some(""), "{odd}");
        }
        let odd = "event: atlas_result\ndata: {\"type\":\"\\n\\nevent: row\"}\n\n";
        let told = Events::default().read(odd.as_bytes()).unwrap();
        assert_eq!(told.matches("\n\n").count(), 1, "a text makes no event: {told}");
        let mut events = Events::default();
        let endless = vec![b'a'; MAX_EVENT / 2];
        assert!(events.read(&endless).is_some() && events.read(&endless).is_some());
        assert_eq!(events.read(&endless), None);
    }
}
