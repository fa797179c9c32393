//! The live streams: results as they are stored, and probes as they come and go, for whoever subscribes.
//!
//! [`fanout`] takes what the bus tells and puts it into the queues ([`outbox`]) of those whose subscriptions ([`wanted`],
//! [`filter`], [`subscription`]) it is for; [`hub`] finds them. A [`session`] is one client: what it says, and what it hears
//! in order, its [`backlog`] first. Three ways lead there: [`websocket`] (Atlas's own, and Socket.IO for older clients) and
//! [`answer`] (lines of JSON, Server-Sent Events). What is in a result is written by [`crate::line`], as everywhere.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{ConnectInfo, FromRequestParts, Request};
use axum::http::header::UPGRADE;
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};

use crate::Api;
use crate::auth::Access;
use crate::error::ApiError;
use crate::params::Params;
use crate::serve::Serving;

mod answer;
mod backlog;
mod fanout;
mod filter;
mod hub;
mod message;
mod outbox;
mod seats;
mod session;
mod subscription;
mod wanted;
mod websocket;

pub(crate) use hub::Hub;

use seats::Seat;
use session::Session;
use websocket::Dialect;

/// The largest message that a client may send.
const MAX_MESSAGE: usize = 16 << 10;

/// How much is read from a client, and gathered for it, at a time. Small, because there may be thousands that say nothing.
const BUFFER: usize = 4 << 10;

/// When to come back if there is no seat.
const NO_SEAT: Duration = Duration::from_secs(60);

/// The paths of the streams. They are in no OpenAPI document: that describes answers, and these have no end.
pub(crate) fn routes() -> Router<Arc<Api>> {
    let mut router = Router::new();
    for slash in ["", "/"] {
        router = router
            .route(&format!("/stream{slash}"), get(stream))
            .route(&format!("/stream/socket.io{slash}"), get(socket_io));
    }
    router
}

/// `GET /stream/`: a WebSocket, or the answer to a plain request that says in its query what it wants.
async fn stream(
    Extension(hub): Extension<Arc<Hub>>,
    access: Access,
    params: Params,
    request: Request,
) -> Result<Response, ApiError> {
    let (mut parts, _) = request.into_parts();
    let is_websocket = parts.headers.contains_key(UPGRADE);
    let (session, seat, serving) = enter(&hub, &access, &parts, !is_websocket)?;
    if !is_websocket {
        return answer::begin(session, seat, serving, &params, &parts.headers);
    }
    let upgrade = upgrade(&mut parts).await?;
    Ok(upgrade.on_upgrade(|socket| websocket::converse(socket, session, seat, serving, Dialect::Plain)))
}

/// `GET /stream/socket.io/?EIO=3&transport=websocket`: as much of Socket.IO as its clients of Atlas's streams use.
async fn socket_io(
    Extension(hub): Extension<Arc<Hub>>,
    access: Access,
    params: Params,
    request: Request,
) -> Result<Response, ApiError> {
    for (name, value) in [("EIO", "3"), ("transport", "websocket")] {
        if params.get(name) != Some(value) {
            return Err(ApiError::parameter(name, format!("Of Socket.IO only {name}={value} is offered.")));
        }
    }
    let (mut parts, _) = request.into_parts();
    let (session, seat, serving) = enter(&hub, &access, &parts, false)?;
    let upgrade = upgrade(&mut parts).await?;
    Ok(upgrade.on_upgrade(|socket| websocket::converse(socket, session, seat, serving, Dialect::SocketIo)))
}

/// Lets a client in, if there is a seat.
fn enter(
    hub: &Arc<Hub>,
    access: &Access,
    parts: &Parts,
    is_answer: bool,
) -> Result<(Session, Seat, Option<Serving>), ApiError> {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    let caller = peer.map(|peer| hub.limits.caller(peer, &parts.headers)).unwrap_or_default();
    let seat = hub.seats.take(caller.clone(), is_answer);
    let seat = seat.ok_or_else(|| ApiError::too_many("Too many streams are open; see Retry-After.", NO_SEAT))?;
    let session = Session::new(Arc::clone(hub), access.key().ok().cloned(), caller);
    Ok((session, seat, parts.extensions.get::<Serving>().cloned()))
}

async fn upgrade(parts: &mut Parts) -> Result<WebSocketUpgrade, ApiError> {
    let upgrade = WebSocketUpgrade::from_request_parts(parts, &()).await;
    let upgrade = upgrade.map_err(|refused| ApiError::bad_request(refused.body_text()))?;
    let upgrade = upgrade.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE);
    Ok(upgrade.read_buffer_size(BUFFER).write_buffer_size(BUFFER))
}

/// Waits until the server stops; for ever where nobody says so.
async fn stopped(serving: &mut Option<Serving>) {
    match serving {
        Some(serving) => serving.stopped().await,
        None => std::future::pending().await,
    }
}
