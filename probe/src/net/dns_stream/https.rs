//! DNS over HTTPS (RFC 8484): one POST over HTTP/2.

use std::future::poll_fn;
use std::io::Cursor;
use std::pin::pin;

use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use http::{Method, Request, Uri};
use sonde_engine::dns::{MEDIA_TYPE, StreamEvent, StreamPlan, StreamStep};
use sonde_protocol::bounded::Text;
use sonde_protocol::result::Why;

use super::{Failed, Notes};
use crate::net::stream::{self, Stream};

/// HTTP/2 over TLS (RFC 9113, 3.2).
pub(super) const ALPN: &[u8] = b"h2";
/// The most that a server may send before we take it: a little more than the longest message.
const WINDOW: u32 = 68 * 1024;
/// The most bytes of headers.
const MAX_HEADERS: u32 = 16 * 1024;
/// The port that a URL need not name.
const DEFAULT_PORT: u16 = 443;

pub(super) async fn converse(plan: &StreamPlan, notes: &mut Notes, stream: Stream) -> Result<(), Failed> {
    let at_step = |step| move |error: h2::Error| (step, words(&error));
    let request = request(plan).map_err(|error| (StreamStep::Send, Why::cut(error.to_string())))?;
    let opening = h2::client::Builder::new()
        .enable_push(false)
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_header_list_size(MAX_HEADERS)
        .handshake(stream);
    let (sender, connection) = opening.await.map_err(at_step(StreamStep::Send))?;
    let ask = async {
        let mut sender = sender.ready().await.map_err(at_step(StreamStep::Send))?;
        let (response, mut body) = sender.send_request(request, false).map_err(at_step(StreamStep::Send))?;
        body.send_data(Cursor::new(plan.request.clone()), true).map_err(at_step(StreamStep::Send))?;
        notes.sent();
        let (head, mut body) = response.await.map_err(at_step(StreamStep::Read))?.into_parts();
        let content_type = head.headers.get(CONTENT_TYPE).map(|text| String::from_utf8_lossy(text.as_bytes()));
        notes.events.push(StreamEvent::Head {
            at: notes.now(),
            status: head.status.as_u16(),
            content_type: content_type.map(Text::cut),
        });
        let mut reader = plan.reader();
        while let Some(data) = body.data().await {
            let data = data.map_err(at_step(StreamStep::Read))?;
            if data.is_empty() {
                continue;
            }
            notes.bytes(&data);
            if reader.push(&data) {
                return Ok(());
            }
            let _ = body.flow_control().release_capacity(data.len());
        }
        notes.closed();
        Ok(())
    };
    // The connection has to be driven for the request to move. When it ends first, the request has the better words.
    let (mut ask, mut connection) = (pin!(ask), pin!(connection));
    let mut is_open = true;
    poll_fn(|context| {
        if is_open && connection.as_mut().poll(context).is_ready() {
            is_open = false;
        }
        let asked = ask.as_mut().poll(context);
        // What the request has just queued is to leave now.
        if is_open && asked.is_pending() && connection.as_mut().poll(context).is_ready() {
            is_open = false;
            return ask.as_mut().poll(context);
        }
        asked
    })
    .await
}

fn request(plan: &StreamPlan) -> Result<Request<()>, http::Error> {
    let name = &plan.server_name;
    let mut authority = if name.contains(':') { format!("[{name}]") } else { name.clone() };
    if plan.port != DEFAULT_PORT {
        authority.push_str(&format!(":{}", plan.port));
    }
    let uri = Uri::builder().scheme("https").authority(authority).path_and_query(plan.path.as_str()).build()?;
    Request::builder()
        .method(Method::POST)
        .uri(uri)
        .header(CONTENT_TYPE, MEDIA_TYPE)
        .header(ACCEPT, MEDIA_TYPE)
        .header(CONTENT_LENGTH, plan.request.len())
        .body(())
}

fn words(error: &h2::Error) -> Why {
    match error.get_io() {
        Some(error) => stream::words(error),
        None => Why::cut(error.to_string()),
    }
}
