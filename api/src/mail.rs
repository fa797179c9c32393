//! Mail to people: written here, carried in the background over SMTP or into files. A request only puts a letter into the
//! queue; it never waits for a mail server.
//!
//! The queue is bounded and in memory: what waits when the server ends is lost, and whoever waits for it asks again. What
//! is logged names the recipient's host, never the address or the text, which may hold a token.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::HEXLOWER;
use lettre::message::{Mailbox, header::ContentType};
use lettre::transport::smtp::AsyncSmtpTransport;
use lettre::{Address, AsyncTransport, Message, Tokio1Executor};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How many letters may wait to be carried, and as many to be carried again.
const MAX_WAITING: usize = 1000;

/// How long after a failure it is tried again.
const RETRIES: [Duration; 4] =
    [Duration::from_secs(60), Duration::from_secs(300), Duration::from_secs(900), Duration::from_secs(3600)];

/// How long one delivery may take.
const MAX_TIME: Duration = Duration::from_secs(60);

/// How mail leaves (`[mail]` of the server's file).
#[derive(Clone)]
pub struct MailConfig {
    /// Whom it is from: an address, with a name if wanted.
    pub from: String,
    /// Which way it goes.
    pub way: MailWay,
}

/// The way that mail goes.
#[derive(Clone)]
pub enum MailWay {
    /// To a server: `smtps://user:password@host:465`, or `smtp://host:587`, which must offer STARTTLS unless it is on
    /// loopback.
    Smtp(String),
    /// Into files in this directory, for the operator to read or carry.
    Directory(PathBuf),
}

impl fmt::Debug for MailWay {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MailWay::Smtp(_) => f.write_str("Smtp"),
            MailWay::Directory(path) => f.debug_tuple("Directory").field(path).finish(),
        }
    }
}

/// Why mail cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// `from` is no address.
    #[error("`from` in `[mail]` is no mail address: {0}")]
    From(#[source] lettre::address::AddressError),
    /// `smtp` cannot be used. What was given is not repeated, since it may hold a password.
    #[error("`smtp` in `[mail]` is not of the form smtps://user:password@host:465 or smtp://host:587")]
    Smtp,
    /// The directory cannot be made.
    #[error("the directory of `[mail]` cannot be made")]
    Directory(#[source] std::io::Error),
}

/// Where letters are posted.
#[derive(Clone)]
pub struct Mailer {
    queue: mpsc::Sender<Message>,
    from: Mailbox,
}

impl Mailer {
    /// Begins to carry letters, on the present runtime, until the last clone of this is dropped.
    pub fn start(config: &MailConfig) -> Result<Self, MailError> {
        let from: Mailbox = config.from.parse().map_err(MailError::From)?;
        let carrier = Carrier::new(&config.way)?;
        let (queue, letters) = mpsc::channel(MAX_WAITING);
        tokio::spawn(carry_all(letters, carrier, &RETRIES));
        Ok(Self { queue, from })
    }

    /// Posts a letter; a full queue drops it, and says so in the log.
    pub(crate) fn post(&self, to: Address, subject: &str, text: &str) {
        let host = to.domain().to_owned();
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .message_id(Some(format!("<{}@{}>", random_name(), self.from.email.domain())))
            .subject(subject)
            .header(ContentType::TEXT_PLAIN)
            .body(text.to_owned());
        match message {
            Ok(message) => {
                if self.queue.try_send(message).is_err() {
                    tracing::warn!(%host, "a mail was dropped: too many wait");
                }
            }
            Err(error) => tracing::error!(%host, %error, "a mail could not be written"),
        }
    }
}

fn random_name() -> String {
    let mut bytes = [0; 16];
    // Only to be unlike others: without random numbers nothing else works here anyway.
    let _ = getrandom::fill(&mut bytes);
    HEXLOWER.encode(&bytes)
}

enum Carrier {
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
    Directory(PathBuf),
}

struct Failure {
    is_permanent: bool,
    why: String,
}

impl Carrier {
    fn new(way: &MailWay) -> Result<Self, MailError> {
        match way {
            MailWay::Smtp(url) => {
                let url = with_tls(url).ok_or(MailError::Smtp)?;
                let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(&url).map_err(|_| MailError::Smtp)?;
                Ok(Carrier::Smtp(builder.timeout(Some(MAX_TIME)).build()))
            }
            MailWay::Directory(path) => {
                std::fs::create_dir_all(path).map_err(MailError::Directory)?;
                Ok(Carrier::Directory(path.clone()))
            }
        }
    }

    async fn carry(&self, message: &Message) -> Result<(), Failure> {
        match self {
            Carrier::Smtp(transport) => {
                let sent = tokio::time::timeout(MAX_TIME, transport.send(message.clone())).await;
                match sent {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(error)) => {
                        let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
                        let why = format!("{error}{}", source.unwrap_or_default());
                        Err(Failure { is_permanent: error.is_permanent(), why })
                    }
                    Err(_) => Err(Failure { is_permanent: false, why: "it took too long".into() }),
                }
            }
            Carrier::Directory(path) => {
                let (path, bytes) = (path.clone(), message.formatted());
                let written = tokio::task::spawn_blocking(move || write_file(&path, &bytes)).await;
                let written = written.unwrap_or_else(|error| Err(std::io::Error::other(error)));
                written.map_err(|error| Failure { is_permanent: false, why: error.to_string() })
            }
        }
    }
}

/// The URL with TLS required, unless the server is on this machine.
fn with_tls(url: &str) -> Option<String> {
    if url.starts_with("smtps://") {
        return Some(url.to_owned());
    }
    let rest = url.strip_prefix("smtp://")?;
    if rest.contains('?') {
        return None;
    }
    let authority = rest.split('/').next()?;
    let host_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host_port.strip_prefix('[') {
        Some(literal) => literal.split(']').next()?,
        None => host_port.split(':').next()?,
    };
    let is_here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    Some(if is_here { url.to_owned() } else { format!("{url}?tls=required") })
}

/// Writes a file that nobody else may read, whole or not at all.
fn write_file(directory: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let name = random_name();
    let unfinished = directory.join(format!("{name}.part"));
    let mut file = std::fs::File::options().create_new(true).write(true).mode(0o600).open(&unfinished)?;
    file.write_all(bytes)?;
    std::fs::rename(&unfinished, directory.join(format!("{name}.eml")))
}

/// A letter that could not be carried yet.
struct Waiting {
    due: Instant,
    retries: &'static [Duration],
    message: Message,
}

async fn carry_all(mut letters: mpsc::Receiver<Message>, carrier: Carrier, retries: &'static [Duration]) {
    let mut waiting: Vec<Waiting> = Vec::new();
    loop {
        let next = waiting.iter().enumerate().min_by_key(|(_, letter)| letter.due).map(|(at, letter)| (at, letter.due));
        let (message, retries) = tokio::select! {
            letter = letters.recv() => match letter {
                Some(message) => (message, retries),
                None => return,
            },
            Some(at) = due(next) => {
                let letter = waiting.swap_remove(at);
                (letter.message, letter.retries)
            }
        };
        let Err(failure) = carrier.carry(&message).await else { continue };
        let host = message.envelope().to().first().map(|to| to.domain().to_owned()).unwrap_or_default();
        match retries.split_first() {
            Some((after, retries)) if !failure.is_permanent && waiting.len() < MAX_WAITING => {
                tracing::warn!(%host, why = failure.why, again_in = ?after, "a mail could not be sent");
                waiting.push(Waiting { due: Instant::now() + *after, retries, message });
            }
            _ => tracing::error!(%host, why = failure.why, "a mail could not be sent and is dropped"),
        }
    }
}

/// The place of the letter that is due next, when it is; nothing when none waits.
async fn due(next: Option<(usize, Instant)>) -> Option<usize> {
    let (at, due) = next?;
    tokio::time::sleep_until(due).await;
    Some(at)
}

#[cfg(test)]
mod tests;
