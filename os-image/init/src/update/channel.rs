//! The system's end of the way to its probe: a pair of sockets, of which the probe has one as standard input, a new pair with each start.
//! What the probe says is read with suspicion, for it may have been taken over: nothing of it is longer than a message, what cannot be
//! read is nothing, and a probe that does not read is not waited for.

use std::io;
use std::os::fd::OwnedFd;

use sonde_protocol::board::{BoardState, FromSystem, MAX_MESSAGE, ToSystem, UpdateAsk};
use sonde_protocol::message::{from_cbor, to_cbor};
use tokio::net::UnixDatagram;

/// The environment variable that tells the probe of it.
pub const VARIABLE: &str = "SONDE_OS_CHANNEL";

/// What stands in it.
pub const STDIN: &str = "stdin";

/// The system's end.
#[derive(Debug)]
pub struct Channel {
    socket: UnixDatagram,
    /// One byte more than a message may have shows that there is more.
    room: Vec<u8>,
    /// What the probe has not taken yet. A newer one of the same sort replaces it.
    state: Option<BoardState>,
    ask: Option<UpdateAsk>,
}

impl Channel {
    /// A new pair: the system's end, and the probe's. Within a runtime.
    ///
    /// # Errors
    /// When the system gives no sockets.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = std::os::unix::net::UnixDatagram::pair()?;
        ours.set_nonblocking(true)?;
        let socket = UnixDatagram::from_std(ours)?;
        Ok((Self { socket, room: vec![0; MAX_MESSAGE + 1], state: None, ask: None }, theirs.into()))
    }

    /// To be told to the probe, now or when it reads.
    pub fn say(&mut self, message: FromSystem) {
        match message {
            FromSystem::State(state) => self.state = Some(state),
            FromSystem::Ask(ask) => self.ask = Some(ask),
        }
        self.flush();
    }

    /// Waits for what the probe says next, and tells it what waits meanwhile. After an error for ever: a probe that has gone is started
    /// again, with another pair. Dropping the future loses nothing.
    pub async fn hear(&mut self) -> ToSystem {
        loop {
            let waits = self.state.is_some() || self.ask.is_some();
            let came = tokio::select! {
                came = self.socket.recv(&mut self.room) => Some(came),
                Ok(()) = self.socket.writable(), if waits => None,
            };
            match came {
                None => self.flush(),
                Some(Ok(length)) => {
                    if let Some(said) = read(self.room.get(..length).unwrap_or_default()) {
                        return said;
                    }
                    // One that says nonsense without end must not keep the first process from its other work.
                    tokio::task::yield_now().await;
                }
                Some(Err(_)) => std::future::pending().await,
            }
        }
    }

    fn next(&mut self) -> Option<FromSystem> {
        let state = self.state.take().map(FromSystem::State);
        state.or_else(|| self.ask.take().map(FromSystem::Ask))
    }

    fn flush(&mut self) {
        while let Some(message) = self.next() {
            match self.socket.try_send(&to_cbor(&message)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match message {
                        FromSystem::State(state) => self.state = Some(state),
                        FromSystem::Ask(ask) => self.ask = Some(ask),
                    }
                    return;
                }
                // Said, or the probe has gone.
                _ => {}
            }
        }
    }
}

fn read(bytes: &[u8]) -> Option<ToSystem> {
    if bytes.len() > MAX_MESSAGE {
        return None;
    }
    from_cbor(bytes).ok().flatten()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram as Datagrams;

    use sonde_protocol::board::{
        MAX_PIECE, UpdateAnswer, UpdateChoice, UpdateFile, UpdatePiece, UpdateSaid, UpdateStage,
    };
    use sonde_protocol::bounded::{Bytes, List, Text};

    use super::*;

    fn pair() -> (Channel, Datagrams) {
        let (channel, probe) = Channel::pair().unwrap();
        let probe = Datagrams::from(probe);
        probe.set_nonblocking(true).unwrap();
        (channel, probe)
    }

    fn ask(id: u32) -> UpdateAsk {
        UpdateAsk { id, file: UpdateFile::Metadata(Text::cut("timestamp.json")), offset: 0, at_most: 1 }
    }

    fn state(words: &str) -> BoardState {
        BoardState {
            running: 1,
            name: Text::cut("0.1.0"),
            stage: UpdateStage::Unknown,
            release: None,
            words: Text::cut(words),
            attempts: List::default(),
            choice: UpdateChoice::Follow,
            checked_at: None,
            log: None,
        }
    }

    #[tokio::test]
    async fn a_hijacked_probe_is_heard_where_it_makes_sense_and_nowhere_else() {
        let (mut channel, probe) = pair();
        let bytes = Bytes::new(vec![1; MAX_PIECE]).unwrap();
        let answer = UpdateAnswer { id: 1, said: UpdateSaid::Piece(UpdatePiece { length: u64::MAX, bytes }) };
        let mut long = to_cbor(&ToSystem::Answer(answer.clone()));
        long.resize(MAX_MESSAGE + 1, 0);
        // What a newer one might say; half a message; the other direction; more than a message may have.
        for nonsense in
            [&b"\x82\x18\x63\x01"[..], b"\x82\x00", b"", b"\xff\xff", &to_cbor(&FromSystem::Ask(ask(1))), &long]
        {
            probe.send(nonsense).unwrap();
        }
        probe.send(&to_cbor(&ToSystem::Answer(answer.clone()))).unwrap();
        assert_eq!(channel.hear().await, ToSystem::Answer(answer));
        probe.send(&to_cbor(&ToSystem::Choice(UpdateChoice::Delay(u64::MAX)))).unwrap();
        assert_eq!(channel.hear().await, ToSystem::Choice(UpdateChoice::Delay(u64::MAX)));
    }

    #[tokio::test]
    async fn a_probe_that_does_not_read_is_not_waited_for_and_hears_the_last_word() {
        let (mut channel, probe) = pair();
        for number in 0..1000 {
            channel.say(FromSystem::State(state(&number.to_string())));
            channel.say(FromSystem::Ask(ask(number)));
        }
        let mut heard = Vec::new();
        let mut bytes = vec![0; MAX_MESSAGE];
        while channel.state.is_some() || channel.ask.is_some() {
            while let Ok(length) = probe.recv(&mut bytes) {
                heard.push(from_cbor::<FromSystem>(&bytes[..length]).unwrap().unwrap());
            }
            // Its own answer wakes the loop.
            probe.send(&to_cbor(&ToSystem::Connected(true))).unwrap();
            assert_eq!(channel.hear().await, ToSystem::Connected(true));
        }
        while let Ok(length) = probe.recv(&mut bytes) {
            heard.push(from_cbor::<FromSystem>(&bytes[..length]).unwrap().unwrap());
        }
        assert!(heard.contains(&FromSystem::State(state("999"))));
        assert_eq!(heard.last(), Some(&FromSystem::Ask(ask(999))));
    }

    #[tokio::test]
    async fn a_probe_that_has_gone_harms_nothing() {
        let (mut channel, probe) = pair();
        drop(probe);
        channel.say(FromSystem::Ask(ask(1)));
        channel.say(FromSystem::State(state("well")));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        while channel.ask.is_some() || channel.state.is_some() {
            assert!(std::pin::pin!(channel.hear()).as_mut().poll(&mut context).is_pending());
            tokio::task::yield_now().await;
        }
    }
}
