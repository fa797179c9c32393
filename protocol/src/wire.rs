//! Messages on a stream: four bytes of length, most significant first, then the message.
//!
//! [`Reader`] takes bytes as they come and gives whole messages. It never holds more than the greatest message allowed,
//! whatever length the other side claims.

use alloc::vec::Vec;

/// A message with its length before it.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(message.len() + 4);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(message);
    bytes
}

/// A message is longer than allowed on this stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of {length} bytes, where {allowed} are allowed")]
pub struct TooLong {
    /// What the other side announced.
    pub length: u32,
    /// What is allowed.
    pub allowed: usize,
}

/// Cuts a stream of bytes into messages.
#[derive(Debug)]
pub struct Reader {
    allowed: usize,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were given out already.
    used: usize,
}

impl Reader {
    /// For messages of at most `allowed` bytes.
    pub const fn new(allowed: usize) -> Self {
        Self { allowed, buffer: Vec::new(), used: 0 }
    }

    /// Takes bytes from the stream. Call [`Reader::next_message`] until it gives `None` before the next `push`.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.used.min(self.buffer.len()));
        self.used = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message.
    pub fn next_message(&mut self) -> Result<Option<&[u8]>, TooLong> {
        let Some(size) = self.peek()?.map(<[u8]>::len) else { return Ok(None) };
        let begin = self.used + 4;
        self.used = begin + size;
        Ok(self.buffer.get(begin..self.used))
    }

    /// The next whole message, without taking it.
    pub fn peek(&self) -> Result<Option<&[u8]>, TooLong> {
        let rest = self.buffer.get(self.used..).unwrap_or_default();
        let Some((head, body)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*head);
        let Some(size) = usize::try_from(length).ok().filter(|&size| size <= self.allowed) else {
            return Err(TooLong { length, allowed: self.allowed });
        };
        Ok(body.get(..size))
    }

    /// Bytes held.
    pub fn held(&self) -> usize {
        self.buffer.len() - self.used.min(self.buffer.len())
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn messages_survive_every_cut() {
        let stream = [framed(b"one"), framed(b""), framed(b"three")].concat();
        for cut in 0..=stream.len() {
            let mut reader = Reader::new(10);
            let mut seen: Vec<Vec<u8>> = vec![];
            for part in [&stream[..cut], &stream[cut..]] {
                reader.push(part);
                while let Some(message) = reader.next_message().unwrap() {
                    seen.push(message.to_vec());
                }
            }
            assert_eq!(seen, [&b"one"[..], b"", b"three"]);
            assert_eq!(reader.held(), 0);
        }
    }

    #[test]
    fn a_length_beyond_the_bound_is_an_error_at_once() {
        let mut reader = Reader::new(10);
        reader.push(&[0, 0, 0, 11]);
        assert_eq!(reader.next_message(), Err(TooLong { length: 11, allowed: 10 }));
    }
}
