//! A client on a WebSocket: each message is a frame of its own. Atlas's own form, or Socket.IO's (Engine.IO 3), which puts
//! digits before it: `0` and `40` open, `2` asks for `3`, and `42` is a message.
//!
//! The server sends no pings: a client that waits for data with a deadline takes them for some. Who is gone is found by
//! TCP's keep-alive, and who does not read for a minute by TCP's time-out.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message as Frame, Utf8Bytes, WebSocket, close_code};
use tokio::time::timeout;
use uuid::Uuid;

use super::message::Message;
use super::seats::Seat;
use super::session::Session;
use super::stopped;
use crate::serve::Serving;

/// How long the last frames may take.
const LAST_FRAMES: Duration = Duration::from_secs(2);

/// How the messages are wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Not at all.
    Plain,
    /// As Socket.IO has it.
    SocketIo,
}

/// What follows from what a client said.
enum Reply {
    /// Nothing, or something in the session.
    Nothing,
    /// This, at once.
    Raw(Utf8Bytes),
    /// The end.
    End,
}

/// Serves a client until one side has enough. The seat is free then.
pub(crate) async fn converse(
    mut socket: WebSocket,
    mut session: Session,
    _seat: Seat,
    mut serving: Option<Serving>,
    dialect: Dialect,
) {
    for greeting in dialect.greeting() {
        if !send(&mut socket, greeting, &mut serving).await {
            return;
        }
    }
    loop {
        let next = tokio::select! {
            () = stopped(&mut serving) => return say_goodbye(socket, close_code::AWAY, "the server stops").await,
            message = session.next() => dialect.wrap(&message),
            frame = socket.recv(), if session.may_speak() => match hear(frame, &mut session, dialect) {
                Reply::Nothing => continue,
                Reply::Raw(text) => text,
                Reply::End => return say_goodbye(socket, close_code::NORMAL, "").await,
            },
        };
        if !send(&mut socket, next, &mut serving).await {
            return say_goodbye(socket, close_code::AWAY, "the server stops").await;
        }
    }
}

fn hear(frame: Option<Result<Frame, axum::Error>>, session: &mut Session, dialect: Dialect) -> Reply {
    match frame {
        Some(Ok(Frame::Text(text))) => dialect.hear(&text, session),
        Some(Ok(Frame::Binary(_))) => {
            session.complain("message", None, "Messages are text.");
            Reply::Nothing
        }
        Some(Ok(Frame::Ping(_) | Frame::Pong(_))) => Reply::Nothing,
        Some(Ok(Frame::Close(_)) | Err(_)) | None => Reply::End,
    }
}

/// Sends a frame. `false` when that is not possible any more, or the server stops meanwhile.
async fn send(socket: &mut WebSocket, text: Utf8Bytes, serving: &mut Option<Serving>) -> bool {
    tokio::select! {
        sent = socket.send(Frame::Text(text)) => sent.is_ok(),
        () = stopped(serving) => false,
    }
}

/// Ends it as the protocol says, if the client goes along.
async fn say_goodbye(mut socket: WebSocket, code: u16, reason: &'static str) {
    let goodbye = async {
        // If the client began to close this only brings its answer on its way.
        let _ = socket.send(Frame::Close(Some(CloseFrame { code, reason: reason.into() }))).await;
        while let Some(Ok(_)) = socket.recv().await {}
    };
    let _ = timeout(LAST_FRAMES, goodbye).await;
}

impl Dialect {
    /// What the server says first.
    fn greeting(self) -> Vec<Utf8Bytes> {
        match self {
            Dialect::Plain => Vec::new(),
            Dialect::SocketIo => {
                let sid = Uuid::new_v4().simple();
                let open = format!(r#"0{{"sid":"{sid}","upgrades":[],"pingInterval":25000,"pingTimeout":60000}}"#);
                vec![open.into(), "40".into()]
            }
        }
    }

    fn wrap(self, message: &Message) -> Utf8Bytes {
        match self {
            Dialect::Plain => message.text().clone(),
            Dialect::SocketIo => format!("42{}", message.text()).into(),
        }
    }

    fn hear(self, text: &str, session: &mut Session) -> Reply {
        if self == Dialect::Plain {
            session.hear(text);
            return Reply::Nothing;
        }
        if let Some(message) = text.strip_prefix("42") {
            session.hear(message);
        } else if let Some(data) = text.strip_prefix('2') {
            return Reply::Raw(format!("3{data}").into());
        } else if text == "1" || text.starts_with("41") {
            return Reply::End;
        }
        // Whatever else there is (`40` once more, `5` after an upgrade of transports that we do not have) asks for nothing.
        Reply::Nothing
    }
}
