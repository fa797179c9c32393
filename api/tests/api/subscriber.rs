//! A client of the streams on a real WebSocket.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use sonde_protocol::ids::MeasurementId;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::lab::Lab;

/// A client.
pub struct Subscriber {
    pub socket: WebSocketStream<TcpStream>,
}

impl Subscriber {
    /// Connects to a path of the server.
    pub async fn open(address: SocketAddr, path: &str, key: Option<&str>) -> Result<Self, Error> {
        let mut request = format!("ws://{address}{path}").into_client_request()?;
        if let Some(key) = key {
            request.headers_mut().insert("authorization", format!("Key {key}").parse().unwrap());
        }
        let stream = TcpStream::connect(address).await.map_err(Error::Io)?;
        let (socket, _) = client_async(request, stream).await?;
        Ok(Self { socket })
    }

    pub async fn say_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    pub async fn say(&mut self, name: &str, parameters: &Value) {
        self.say_text(&json!([name, parameters]).to_string()).await;
    }

    /// The next text, as it came.
    pub async fn hear_text(&mut self) -> String {
        match self.socket.next().await.unwrap().unwrap() {
            Message::Text(text) => text.to_string(),
            other => panic!("{other:?}"),
        }
    }

    /// The next message.
    pub async fn hear(&mut self) -> (String, Value) {
        let text = self.hear_text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The next message, which is of this name; its payload.
    pub async fn expect(&mut self, name: &str) -> Value {
        let (found, payload) = self.hear().await;
        assert_eq!(found, name, "{payload}");
        payload
    }

    /// Subscribes and hears that it has.
    pub async fn subscribe(&mut self, parameters: Value) {
        self.say("atlas_subscribe", &parameters).await;
        assert_eq!(self.expect("atlas_subscribed").await, parameters);
    }

    /// How the server ends it.
    pub async fn closed(&mut self) -> Option<CloseCode> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }
}

impl Lab {
    /// A client of `/stream/`, without a key or with one.
    pub fn subscriber(&self, key: Option<&str>) -> Subscriber {
        self.runtime.block_on(Subscriber::open(self.address, "/stream/", key)).unwrap()
    }
}

/// Results of a measurement.
pub fn results_of(measurement: MeasurementId) -> Value {
    json!({"streamType": "result", "msm": measurement})
}
