//! The three lanes over one stream of bytes, for where UDP is blocked: TLS over TCP has one stream where QUIC has three.
//!
//! A lane's bytes are cut into records: four bytes of length as before any message ([`crate::wire`]), one byte that says
//! what the record is, then the bytes. What the lanes carry is the same as on QUIC's streams. Records are short, so that
//! whoever writes can put a fresh report between two pieces of a long backlog; a lane's own order is kept. What QUIC does
//! beside its streams, ask whether the other end is still there, is a record too.

use alloc::vec::Vec;

use crate::wire::{Reader, TooLong, framed};

/// The most bytes of a lane in one record: with its head it still fits into one record of TLS (RFC 8446, section 5.1).
pub const MAX_PIECE: usize = 16 * 1024 - 5;

/// Which of the three streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Control messages, both ways.
    Control,
    /// Fresh reports.
    Fresh,
    /// Older reports.
    Backlog,
}

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record<'a> {
    /// Bytes of a stream.
    Data(Stream, &'a [u8]),
    /// Are you there?
    Ping,
    /// I am here.
    Pong,
}

impl Record<'_> {
    /// The record's bytes. Pieces longer than [`MAX_PIECE`] are the caller's mistake, and the other end refuses them.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (kind, piece): (u8, &[u8]) = match self {
            Record::Data(Stream::Control, piece) => (0, piece),
            Record::Data(Stream::Fresh, piece) => (1, piece),
            Record::Data(Stream::Backlog, piece) => (2, piece),
            Record::Ping => (3, &[]),
            Record::Pong => (4, &[]),
        };
        framed(&[&[kind], piece].concat())
    }
}

/// Cuts a stream of bytes into records.
#[derive(Debug)]
pub struct RecordReader(Reader);

impl Default for RecordReader {
    fn default() -> Self {
        Self(Reader::new(MAX_PIECE + 1))
    }
}

impl RecordReader {
    /// Takes bytes from the stream. Call [`RecordReader::next_record`] until it gives `None` before the next `push`.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.push(bytes);
    }

    /// The next whole record. Records of a newer version, and empty ones, are skipped.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, TooLong> {
        // Not a loop around the return: the borrow checker cannot see that a skipped record is not held any more.
        while self.0.peek()?.is_some_and(|message| !matches!(message.first(), Some(0..=4))) {
            let _ = self.0.next_message()?;
        }
        let Some([kind, piece @ ..]) = self.0.next_message()? else { return Ok(None) };
        Ok(Some(match kind {
            0 => Record::Data(Stream::Control, piece),
            1 => Record::Data(Stream::Fresh, piece),
            2 => Record::Data(Stream::Backlog, piece),
            3 => Record::Ping,
            _ => Record::Pong,
        }))
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::String;
    use alloc::vec;

    use super::*;

    fn read(reader: &mut RecordReader, seen: &mut Vec<String>) {
        while let Some(record) = reader.next_record().unwrap() {
            seen.push(format!("{record:?}"));
        }
    }

    #[test]
    fn records_survive_every_cut_and_newer_ones_are_skipped() {
        let records = [
            Record::Data(Stream::Control, b"one"),
            Record::Ping,
            Record::Data(Stream::Fresh, b""),
            Record::Data(Stream::Backlog, b"two"),
            Record::Pong,
        ];
        let mut stream = vec![];
        for record in &records {
            stream.extend(framed(&[9, 1, 2]));
            stream.extend(framed(&[]));
            stream.extend(record.to_bytes());
        }
        let expected: Vec<String> = records.iter().map(|record| format!("{record:?}")).collect();
        for cut in 0..=stream.len() {
            let (mut reader, mut seen) = (RecordReader::default(), vec![]);
            for part in [&stream[..cut], &stream[cut..]] {
                reader.push(part);
                read(&mut reader, &mut seen);
            }
            assert_eq!(seen, expected);
        }
    }

    #[test]
    fn the_longest_piece_passes_and_one_byte_more_does_not() {
        let mut reader = RecordReader::default();
        let piece = vec![7; MAX_PIECE];
        reader.push(&Record::Data(Stream::Backlog, &piece).to_bytes());
        assert_eq!(reader.next_record(), Ok(Some(Record::Data(Stream::Backlog, &piece))));
        reader.push(&Record::Data(Stream::Backlog, &vec![7; MAX_PIECE + 1]).to_bytes());
        assert!(reader.next_record().is_err());
    }
}
