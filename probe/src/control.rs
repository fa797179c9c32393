//! The host's commands to the running probe: one line of JSON each way over a socket in the state directory, which is open to
//! the probe's user and to root alone. What a command does is the agent's business.
//!
//! Somebody who connects and says nothing keeps nobody waiting: each connection is a task of its own, they are few, and each
//! has a time.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener as Listener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::meeting;
use crate::policy::Pause;

/// How long somebody may take to say what they want, and to listen.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long the command waits for its answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// The longest command.
const MAX_COMMAND: u64 = 4096;

/// The longest answer.
const MAX_ANSWER: u64 = 1024 * 1024;

/// The most who may be talking at once.
const MAX_TALKING: usize = 8;

/// What the host may want of its running probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Command {
    /// Measure nothing for a while.
    Pause(Pause),
    /// Go on.
    Resume,
    /// What has been measured today, which is not all on disk yet.
    Activity,
    /// How the probe is, and what it measured today and yesterday: what its page shows.
    Look,
}

/// A command, and where its answer goes: JSON, or why it was not done.
#[derive(Debug)]
pub struct Asked {
    /// The command.
    pub command: Command,
    /// Dropping it answers that the probe stops.
    pub answer: oneshot::Sender<Result<Value, String>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Reply {
    Done(Value),
    Failed(String),
}

/// The socket's name.
const SOCKET: &str = "control.sock";

/// Listens in the state directory, or where [`meeting`] says. Before the sandbox, which allows no listening.
/// `None`: there is no place for it.
///
/// # Errors
/// When the socket cannot be made.
pub fn open(state: &Path) -> io::Result<Option<Listener>> {
    meeting::listen(state, SOCKET, 0o600)
}

/// A way for commands to the agent.
pub fn channel() -> (mpsc::Sender<Asked>, mpsc::Receiver<Asked>) {
    mpsc::channel(MAX_TALKING)
}

/// Gives the commands that come to `to`. Its task ends with the receiver.
///
/// # Errors
/// When the runtime cannot take the socket.
pub fn listen(listener: Listener, to: mpsc::Sender<Asked>) -> io::Result<()> {
    let listener = UnixListener::from_std(listener)?;
    tokio::spawn(async move {
        let places = Arc::new(Semaphore::new(MAX_TALKING));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                // The agent that listened is gone.
                () = to.closed() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let to = to.clone();
                    tokio::spawn(async move {
                        if let Err(error) = serve(stream, &to).await {
                            debug!(%error, "a command was not heard out");
                        }
                        drop(place);
                    });
                }
                // Out of descriptors: it will pass.
                Err(_) => sleep(PATIENCE).await,
            }
        }
    });
    Ok(())
}

async fn serve(mut stream: UnixStream, to: &mpsc::Sender<Asked>) -> io::Result<()> {
    let late = || io::Error::from(io::ErrorKind::TimedOut);
    let line = timeout(PATIENCE, read_line(&mut stream)).await.map_err(|_| late())??;
    let result = match serde_json::from_slice::<Command>(&line) {
        Ok(command) => {
            let (answer, answered) = oneshot::channel();
            let stops = || Err("the probe is stopping".to_owned());
            match to.send(Asked { command, answer }).await {
                Ok(()) => answered.await.unwrap_or_else(|_| stops()),
                Err(_) => stops(),
            }
        }
        Err(error) => Err(format!("not a command: {error}")),
    };
    let reply = result.map_or_else(Reply::Failed, Reply::Done);
    let mut text = serde_json::to_vec(&reply)?;
    text.push(b'\n');
    timeout(PATIENCE, stream.write_all(&text)).await.map_err(|_| late())?
}

/// Bytes up to the first newline, the end, or the bound.
async fn read_line(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut limited = stream.take(MAX_COMMAND);
    let mut piece = [0; 512];
    loop {
        let length = limited.read(&mut piece).await?;
        line.extend_from_slice(piece.get(..length).unwrap_or_default());
        if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            line.truncate(end);
            return Ok(line);
        }
        if length == 0 {
            return Ok(line);
        }
    }
}

/// Gives a command to the running probe of a state directory, and its answer.
///
/// # Errors
/// When none runs there, or it could not do it.
pub fn ask(state: &Path, command: Command) -> io::Result<Value> {
    let mut stream = meeting::connect(state, SOCKET)?;
    stream.set_read_timeout(Some(ANSWER_PATIENCE))?;
    let mut text = serde_json::to_vec(&command)?;
    text.push(b'\n');
    stream.write_all(&text)?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_ANSWER)).read_line(&mut line)?;
    match serde_json::from_str(&line)? {
        Reply::Done(value) => Ok(value),
        Reply::Failed(why) => Err(io::Error::other(why)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream as Blocking;

    use serde_json::json;

    use super::*;

    fn say(state: &Path, bytes: &[u8]) -> String {
        let mut stream = Blocking::connect(state.join(SOCKET)).unwrap();
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut line = String::new();
        let _ = BufReader::new(stream).read_line(&mut line);
        line
    }

    #[tokio::test]
    async fn commands_are_done_and_garbage_is_answered_in_words() {
        let dir = tempfile::tempdir().unwrap();
        let (to, mut commands) = channel();
        listen(open(dir.path()).unwrap().unwrap(), to).unwrap();
        tokio::spawn(async move {
            while let Some(Asked { command, answer }) = commands.recv().await {
                let _ = answer.send(match command {
                    Command::Pause(pause) => Ok(json!(pause.until)),
                    _ => Err("no".into()),
                });
            }
        });
        // Silent ones take places, for a time.
        let silent: Vec<Blocking> = (0..20).map(|_| Blocking::connect(dir.path().join(SOCKET)).unwrap()).collect();
        let state = dir.path().to_owned();
        tokio::task::spawn_blocking(move || {
            assert_eq!(ask(&state, Command::Pause(Pause { until: Some(7) })).unwrap(), json!(7));
            assert_eq!(ask(&state, Command::Resume).unwrap_err().to_string(), "no");
            for bytes in [&b""[..], b"\n", b"hello\n", b"\xff\xfe", &[b'x'; 1 << 20], b"{\"pause\":{\"until\":-1}}\n"] {
                let reply = say(&state, bytes);
                assert!(reply.is_empty() || reply.contains("not a command"), "{reply}");
            }
            assert_eq!(ask(&state, Command::Pause(Pause { until: None })).unwrap(), Value::Null);
        })
        .await
        .unwrap();
        drop(silent);
    }
}
