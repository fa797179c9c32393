//! A researcher's view of the API: HTTP and JSON.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde_json::Value;
use ureq::Agent;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A client with a key.
#[derive(Clone)]
pub struct Client {
    base: String,
    key: String,
    agent: Agent,
}

impl Client {
    /// For the server at `base`.
    pub fn new(base: String, key: String) -> Self {
        let config = Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false).build();
        Self { base, key, agent: config.into() }
    }

    /// Reads a path.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let (client, url) = (self.clone(), format!("{}{path}", self.base));
        tokio::task::spawn_blocking(move || {
            let response = client.agent.get(&url).call().with_context(|| url.clone())?;
            read(response, &url)
        })
        .await?
    }

    /// Posts JSON to a path.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let (client, url, body) = (self.clone(), format!("{}{path}", self.base), body.clone());
        tokio::task::spawn_blocking(move || {
            let request = client.agent.post(&url).header("Authorization", format!("Key {}", client.key));
            let response = request.send_json(&body).with_context(|| url.clone())?;
            read(response, &url)
        })
        .await?
    }
}

fn read(mut response: ureq::http::Response<ureq::Body>, url: &str) -> Result<Value> {
    let status = response.status();
    let body: Value = response.body_mut().read_json().with_context(|| format!("{url} answered {status}"))?;
    if status.is_success() { Ok(body) } else { Err(anyhow!("{url} answered {status}: {body}")) }
}
