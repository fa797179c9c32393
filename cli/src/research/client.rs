//! The API as a researcher's program uses it: JSON over HTTP, with a key or without.

use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Body};

use super::access::Access;
use super::clean;
use super::refusal::Refusal;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);

/// How long an answer may take that is not a stream.
const ANSWER: Duration = Duration::from_secs(60);

/// The longest answer that is read whole.
const MAX_ANSWER: u64 = 64 << 20;

/// The longest line of a stream. Certificates and traceroutes are long, and far from this.
const MAX_LINE: u64 = 16 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server said no.
    #[error("{0}")]
    Refused(Refusal),
    /// There was no server, or the connection broke.
    #[error("{server} cannot be reached: {why}")]
    Unreachable {
        /// Its address.
        server: String,
        /// What the system says.
        why: String,
    },
    /// It is no server of this kind, or it broke off.
    #[error("{server} gave an answer that makes no sense: {why}")]
    Nonsense {
        /// Its address.
        server: String,
        /// What is wrong with it.
        why: String,
    },
}

impl ClientError {
    /// Does the server not have this at all?
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.status == 404)
    }
}

/// A client of one server.
#[derive(Clone)]
pub struct Client {
    server: String,
    authorization: Option<String>,
    agent: Agent,
}

impl Client {
    /// A client with this access.
    pub fn new(access: &Access) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // A key must not follow to wherever an answer points; and a server of this kind redirects nobody.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT))
            .user_agent(concat!("sonde/", env!("CARGO_PKG_VERSION")))
            .tls_config(access.tls.clone())
            .build();
        let authorization = access.key.as_ref().map(|key| format!("Key {}", key.secret()));
        Self { server: access.server.clone(), authorization, agent: config.into() }
    }

    /// The server's address.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Reads what is at a path.
    ///
    /// # Errors
    /// When there is no such answer.
    pub fn get(&self, path: &str) -> Result<Value, ClientError> {
        let mut request = self.agent.get(self.url(path)).config().timeout_global(Some(ANSWER)).build();
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        self.json(request.call())
    }

    /// Posts JSON to a path.
    ///
    /// # Errors
    /// When the server does not accept it.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        let mut request = self.agent.post(self.url(path)).config().timeout_global(Some(ANSWER)).build();
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        self.json(request.send_json(body))
    }

    /// Deletes what is at a path.
    ///
    /// # Errors
    /// When the server does not do it.
    pub fn delete(&self, path: &str) -> Result<(), ClientError> {
        let mut request = self.agent.delete(self.url(path)).config().timeout_global(Some(ANSWER)).build();
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        self.accepted(request.call()).map(|_| ())
    }

    /// Reads a path line by line, for as long as there are lines.
    ///
    /// # Errors
    /// When there is no such answer.
    pub fn lines(&self, path: &str) -> Result<Lines, ClientError> {
        let mut request = self.agent.get(self.url(path)).config().timeout_recv_response(Some(ANSWER)).build();
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let response = self.accepted(request.call())?;
        Ok(Lines { reader: BufReader::new(Box::new(response.into_body().into_reader())), server: self.server.clone() })
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server)
    }

    fn json(&self, answer: Result<Response<Body>, ureq::Error>) -> Result<Value, ClientError> {
        let mut response = self.accepted(answer)?;
        response.body_mut().with_config().limit(MAX_ANSWER).read_json().map_err(|error| self.nonsense(error))
    }

    /// An answer that is not a refusal.
    fn accepted(&self, answer: Result<Response<Body>, ureq::Error>) -> Result<Response<Body>, ClientError> {
        let mut response = answer.map_err(|error| self.unreachable(error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status.is_redirection() {
            let to = response.headers().get("location").and_then(|to| to.to_str().ok()).unwrap_or("somewhere else");
            return Err(self.nonsense(format!("it points to {to}; give that address")));
        }
        let after = response.headers().get("retry-after").and_then(|after| after.to_str().ok()?.parse().ok());
        let body = response.body_mut().with_config().limit(MAX_ANSWER).read_json().unwrap_or(Value::Null);
        Err(ClientError::Refused(Refusal::read(status.as_u16(), &body, after)))
    }

    fn unreachable(&self, error: ureq::Error) -> ClientError {
        let why = match error {
            ureq::Error::HostNotFound => "there is no such host".into(),
            ureq::Error::Timeout(_) => "it did not answer in time".into(),
            ureq::Error::Io(error) => error.to_string(),
            error => error.to_string(),
        };
        ClientError::Unreachable { server: self.server.clone(), why: clean::text(&why, 200) }
    }

    fn nonsense(&self, why: impl ToString) -> ClientError {
        ClientError::Nonsense { server: self.server.clone(), why: clean::text(&why.to_string(), 200) }
    }
}

/// The lines of an answer.
pub struct Lines {
    reader: BufReader<Box<dyn Read + Send>>,
    server: String,
}

impl Iterator for Lines {
    type Item = Result<String, ClientError>;

    /// The next line that is not empty; the end when the answer is complete.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mut line = Vec::new();
            match self.reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => {
                    let why = format!("the connection broke: {error}");
                    return Some(Err(ClientError::Unreachable { server: self.server.clone(), why }));
                }
            }
            if line.len() as u64 == MAX_LINE {
                let why = "a line has no end".into();
                return Some(Err(ClientError::Nonsense { server: self.server.clone(), why }));
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim();
            if !text.is_empty() {
                return Some(Ok(text.to_owned()));
            }
        }
    }
}
