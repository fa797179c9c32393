//! The way to the board's own system, on a machine that runs nothing else: it asks for updates and says how the board stands, and the
//! probe passes that on, because it has the connection. What is passed on is neither checked nor understood here
//! ([`sonde_protocol::board`]). Everywhere else there is no such way, and nothing of this happens.
//!
//! The way is a socket of datagrams that the system has given as standard input and names in `CHANNEL`. Nothing here waits for the
//! system: what it does not read is kept, a message of each sort at most, or is void by the time that it could be read.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram as Datagrams;

use sonde_protocol::board::{BoardState, FromSystem, MAX_MESSAGE, ToSystem};
use sonde_protocol::message::{from_cbor, to_cbor};
use tokio::net::UnixDatagram;
use tracing::{debug, warn};

/// The environment variable by which the board's system says that there is a way.
const CHANNEL: &str = "SONDE_OS_CHANNEL";

/// What stands in it: the way is standard input.
const STDIN: &str = "stdin";

/// Opens the way, if there is one. Before the sandbox; each boot takes a copy.
///
/// # Errors
/// When one was announced and is none.
pub fn open() -> io::Result<Option<Datagrams>> {
    match std::env::var_os(CHANNEL) {
        None => Ok(None),
        Some(place) if place == STDIN => take(io::stdin().as_fd().try_clone_to_owned()?).map(Some),
        Some(_) => Err(io::Error::other("the board's system names a way that this probe does not know")),
    }
}

/// A socket of datagrams, and nothing else.
fn take(descriptor: OwnedFd) -> io::Result<Datagrams> {
    if nix::sys::socket::getsockopt(&descriptor, nix::sys::socket::sockopt::SockType)?
        != nix::sys::socket::SockType::Datagram
    {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let socket = Datagrams::from(descriptor);
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The board's system, as a boot of the probe knows it.
#[derive(Debug, Default)]
pub struct System {
    socket: Option<UnixDatagram>,
    /// One byte more than a message may have shows that there is more.
    room: Vec<u8>,
    /// What it has not read yet.
    waiting: Waiting,
    /// It has been told that there is a connection.
    connected: bool,
    /// How it said last that the board stands.
    state: Option<BoardState>,
}

impl System {
    /// Over this way; without one there is no system. Within a runtime.
    ///
    /// # Errors
    /// When the runtime does not take it.
    pub fn new(way: Option<Datagrams>) -> io::Result<Self> {
        let socket = way.map(UnixDatagram::from_std).transpose()?;
        let room = vec![0; if socket.is_some() { MAX_MESSAGE + 1 } else { 0 }];
        let mut new = Self { socket, room, ..Self::default() };
        // An earlier boot of this process may have said otherwise.
        new.say(ToSystem::Connected(false));
        Ok(new)
    }

    /// How the board stands, if it is one and has said so.
    pub fn state(&self) -> Option<&BoardState> {
        self.state.as_ref()
    }

    /// Whether the collector can be asked now. True if that is news, and it can.
    pub fn connected(&mut self, connected: bool) -> bool {
        let news = self.socket.is_some() && self.connected != connected;
        if news {
            self.connected = connected;
            self.say(ToSystem::Connected(connected));
        }
        news && connected
    }

    /// To be told to it.
    pub fn say(&mut self, message: ToSystem) {
        if self.socket.is_some() {
            self.waiting.put(message);
            self.flush();
        }
    }

    /// Waits for the next thing that it says, and tells it what waits meanwhile. Without a system for ever. Dropping the future loses
    /// nothing.
    pub async fn hear(&mut self) -> FromSystem {
        loop {
            let Some(socket) = &self.socket else { return std::future::pending().await };
            let came = tokio::select! {
                came = socket.recv(&mut self.room) => Some(came),
                Ok(()) = socket.writable(), if !self.waiting.is_empty() => None,
            };
            match came {
                None => self.flush(),
                Some(Ok(length)) => {
                    if let Some(said) = read(self.room.get(..length).unwrap_or_default()) {
                        if let FromSystem::State(state) = &said {
                            self.state = Some(state.clone());
                        }
                        return said;
                    }
                }
                Some(Err(error)) => self.gone(&error),
            }
        }
    }

    fn flush(&mut self) {
        while let (Some(socket), Some(message)) = (&self.socket, self.waiting.first()) {
            match socket.try_send(&to_cbor(message)) {
                Ok(_) => self.waiting.done(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => return self.gone(&error),
            }
        }
    }

    /// A system that has gone takes the probe with it. Until then nobody is asked.
    fn gone(&mut self, error: &io::Error) {
        warn!(%error, "the board's system does not listen any more");
        *self = Self::default();
    }
}

fn read(bytes: &[u8]) -> Option<FromSystem> {
    let said = if bytes.len() > MAX_MESSAGE { Ok(None) } else { from_cbor(bytes) };
    said.unwrap_or_else(|error| {
        debug!(%error, "the board's system says what cannot be read");
        None
    })
}

/// What the system has not read yet: of answers and choices the last one, and of the connection where it stands, with its loss before
/// that if there was one.
#[derive(Debug, Default, PartialEq, Eq)]
struct Waiting(VecDeque<ToSystem>);

impl Waiting {
    fn put(&mut self, message: ToSystem) {
        self.0.retain(|waits| match (&message, waits) {
            // With the connection go the questions that were asked through it.
            (ToSystem::Connected(false), ToSystem::Connected(_) | ToSystem::Answer(_)) => false,
            (ToSystem::Connected(true), ToSystem::Connected(true)) => false,
            (ToSystem::Answer(_), ToSystem::Answer(_)) => false,
            (ToSystem::Choice(_), ToSystem::Choice(_)) => false,
            _ => true,
        });
        self.0.push_back(message);
    }

    fn first(&self) -> Option<&ToSystem> {
        self.0.front()
    }

    fn done(&mut self) {
        self.0.pop_front();
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;
    use sonde_protocol::board::{
        LogHead, MAX_PIECE, UpdateAnswer, UpdateAsk, UpdateChoice, UpdateFile, UpdatePiece, UpdateSaid, UpdateStage,
    };
    use sonde_protocol::bounded::{Bytes, List, Text};

    fn answer(id: u32) -> ToSystem {
        let bytes = Bytes::new(vec![7; MAX_PIECE]).unwrap();
        ToSystem::Answer(UpdateAnswer { id, said: UpdateSaid::Piece(UpdatePiece { length: 1 << 25, bytes }) })
    }

    fn ask(id: u32) -> FromSystem {
        let file = UpdateFile::Metadata(Text::cut("2.root.json"));
        FromSystem::Ask(UpdateAsk { id, file, offset: 0, at_most: 9 })
    }

    fn state(words: &str) -> FromSystem {
        FromSystem::State(BoardState {
            running: 202_611_290_211,
            name: Text::cut("0.1.0"),
            stage: UpdateStage::Newest,
            release: None,
            words: Text::cut(words),
            attempts: List::default(),
            choice: UpdateChoice::Pin(7),
            checked_at: None,
            log: Some(LogHead { size: 3, root: [1; 32] }),
        })
    }

    fn pair() -> (System, Datagrams) {
        let (ours, theirs) = Datagrams::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let mut system = System::new(Some(take(ours.into()).unwrap())).unwrap();
        system.flush();
        (system, theirs)
    }

    fn heard(socket: &Datagrams) -> Vec<ToSystem> {
        let mut bytes = vec![0; MAX_MESSAGE];
        let mut heard = Vec::new();
        while let Ok(length) = socket.recv(&mut bytes) {
            heard.push(from_cbor(&bytes[..length]).unwrap().unwrap());
        }
        heard
    }

    #[tokio::test]
    async fn what_is_said_arrives_and_what_makes_no_sense_is_passed_over() {
        let (mut system, theirs) = pair();
        for nonsense in [&b""[..], b"\xff", &vec![0x81; MAX_MESSAGE + 1], &to_cbor(&answer(3))] {
            theirs.send(nonsense).unwrap();
        }
        theirs.send(&to_cbor(&ask(4))).unwrap();
        theirs.send(&to_cbor(&state("well"))).unwrap();
        assert_eq!(system.hear().await, ask(4));
        assert!(system.state().is_none());
        assert_eq!(system.hear().await, state("well"));
        assert_eq!(system.state().unwrap().words.as_str(), "well");
        assert!(system.connected(true), "it is to be told how the board stands");
        assert!(!system.connected(true));
        system.say(answer(4));
        assert!(!system.connected(false));
        let said = [ToSystem::Connected(false), ToSystem::Connected(true), answer(4), ToSystem::Connected(false)];
        assert_eq!(heard(&theirs), said);
    }

    #[tokio::test]
    async fn a_system_that_does_not_read_is_not_waited_for_and_hears_later_what_still_counts() {
        let (mut system, theirs) = pair();
        // Far more than a socket's queue holds.
        for number in 0..1000 {
            system.connected(number % 2 == 0);
            system.say(answer(number));
            system.say(ToSystem::Choice(UpdateChoice::Delay(number.into())));
        }
        assert!(system.waiting.0.len() <= 4, "{}", system.waiting.0.len());
        let mut said = heard(&theirs);
        theirs.send(&to_cbor(&ask(1))).unwrap();
        let mut context = Context::from_waker(Waker::noop());
        // As the event loop does: begun, and dropped when something else happens.
        while !system.waiting.is_empty() {
            let _ = pin!(system.hear()).as_mut().poll(&mut context);
            tokio::task::yield_now().await;
            said.extend(heard(&theirs));
        }
        said.extend(heard(&theirs));
        assert_eq!(said.last(), Some(&ToSystem::Choice(UpdateChoice::Delay(999))));
        let connected = said.iter().rev().find(|said| matches!(said, ToSystem::Connected(_)));
        assert_eq!(connected, Some(&ToSystem::Connected(false)));
    }

    #[tokio::test]
    async fn a_machine_without_such_a_system_has_no_such_way() {
        let mut system = System::new(None).unwrap();
        assert!(!system.connected(true));
        system.say(answer(1));
        assert!(system.waiting.is_empty());
        let mut context = Context::from_waker(Waker::noop());
        assert!(pin!(system.hear()).as_mut().poll(&mut context).is_pending());
        let (stream, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(take(stream.into()).is_err(), "a stream is another thing");
        assert!(take(std::fs::File::open("/dev/null").unwrap().into()).is_err());
    }

    #[tokio::test]
    async fn a_system_that_has_gone_does_not_keep_the_loop_busy() {
        let (mut system, theirs) = pair();
        drop(theirs);
        system.say(answer(1));
        let mut context = Context::from_waker(Waker::noop());
        while system.socket.is_some() {
            assert!(pin!(system.hear()).as_mut().poll(&mut context).is_pending());
            tokio::task::yield_now().await;
        }
        assert!(system.waiting.is_empty());
    }
}
