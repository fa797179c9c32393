//! A file that comes in pieces from somebody who may lie: what of it to ask for next, and whether what came can be that. Pure.

use sonde_protocol::board::{MAX_PIECE, UpdatePiece};

/// A file on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pieces {
    /// Where the first byte of `bytes` belongs in the file.
    start: u64,
    /// Reading ends here, wherever the file does.
    end: u64,
    /// As it has been said; no other is believed after that.
    length: Option<u64>,
    /// What has come since `start`.
    bytes: Vec<u8>,
}

/// What came cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lie {
    /// The length is another than it was.
    #[error("the collector says that a file has {told} bytes, and it had {known}")]
    Length {
        /// What it says.
        told: u64,
        /// What was known.
        known: u64,
    },
    /// More than was asked for, or than there can be.
    #[error("the collector sends more of a file than was asked for")]
    TooMuch,
    /// Nothing, where there must be something.
    #[error("the collector sends nothing of a file that goes on")]
    Nothing,
}

impl Pieces {
    /// A file of unknown length. What is longer than `at_most` is read to one byte more, so that it can be refused in the words of
    /// whoever checks it.
    pub fn at_most(at_most: u64) -> Self {
        Self { start: 0, end: at_most.saturating_add(1), length: None, bytes: Vec::new() }
    }

    /// A file of a known length, from `start` on.
    pub fn of(length: u64, start: u64) -> Self {
        Self { start, end: length, length: Some(length), bytes: Vec::new() }
    }

    /// The first byte that is wanted, and how many; none if there is all.
    pub fn want(&self) -> Option<(u64, u32)> {
        let (next, end) = (self.next(), self.length.map_or(self.end, |length| length.min(self.end)));
        let left = end.saturating_sub(next).min(MAX_PIECE as u64);
        // A file of unknown length may be empty: that is to be asked.
        (left > 0).then(|| (next, u32::try_from(left).unwrap_or(u32::MAX)))
    }

    /// Takes the answer to what was wanted.
    ///
    /// # Errors
    /// When it cannot be true.
    pub fn take(&mut self, piece: &UpdatePiece) -> Result<(), Lie> {
        let (_, wanted) = self.want().ok_or(Lie::TooMuch)?;
        if let Some(known) = self.length.filter(|known| *known != piece.length) {
            return Err(Lie::Length { told: piece.length, known });
        }
        let came = piece.bytes.len() as u64;
        let next = self.next();
        if came > u64::from(wanted) || next.saturating_add(came) > piece.length {
            return Err(Lie::TooMuch);
        }
        if came == 0 && next < piece.length {
            return Err(Lie::Nothing);
        }
        self.length = Some(piece.length);
        self.bytes.extend_from_slice(&piece.bytes);
        Ok(())
    }

    /// How many bytes have come since the start.
    pub fn held(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes that have come.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes the bytes that have come, and where they belong. What comes next follows them.
    pub fn take_bytes(&mut self) -> (u64, Vec<u8>) {
        let bytes = std::mem::take(&mut self.bytes);
        let start = self.start;
        self.start = start.saturating_add(bytes.len() as u64);
        (start, bytes)
    }

    /// Where the next byte belongs.
    pub fn next(&self) -> u64 {
        self.start.saturating_add(self.bytes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sonde_protocol::bounded::Bytes;

    fn piece(length: u64, bytes: &[u8]) -> UpdatePiece {
        UpdatePiece { length, bytes: Bytes::new(bytes).unwrap() }
    }

    #[test]
    fn a_lie_ends_it() {
        let long = vec![0; MAX_PIECE];
        let second = |first: &[u8], length| {
            let mut pieces = Pieces::at_most(100_000);
            pieces.take(&piece(length, first)).unwrap();
            pieces
        };
        for (mut pieces, lie, expected) in [
            (Pieces::of(10, 0), piece(11, b"a"), Lie::Length { told: 11, known: 10 }),
            (Pieces::of(10, 0), piece(10, &[0; 11]), Lie::TooMuch),
            (Pieces::of(10, 8), piece(10, b"abc"), Lie::TooMuch),
            (Pieces::of(10, 0), piece(10, b""), Lie::Nothing),
            (Pieces::of(10, 10), piece(10, b"a"), Lie::TooMuch),
            (Pieces::at_most(5), piece(9, b"1234567"), Lie::TooMuch),
            (Pieces::at_most(5), piece(2, b"123"), Lie::TooMuch),
            (Pieces::at_most(5), piece(u64::MAX, b""), Lie::Nothing),
            (second(&long, 40_000), piece(40_001, b"a"), Lie::Length { told: 40_001, known: 40_000 }),
            (second(&long, 40_000), piece(40_000, b""), Lie::Nothing),
        ] {
            let before = pieces.clone();
            assert_eq!(pieces.take(&lie), Err(expected));
            assert_eq!(pieces, before);
        }
    }

    #[test]
    fn a_file_that_is_too_long_is_read_to_one_byte_more_and_an_empty_one_is_empty() {
        let mut pieces = Pieces::at_most(5);
        assert_eq!(pieces.want(), Some((0, 6)));
        pieces.take(&piece(u64::MAX, b"123456")).unwrap();
        assert_eq!((pieces.want(), pieces.bytes()), (None, &b"123456"[..]));
        let mut empty = Pieces::at_most(5);
        empty.take(&piece(0, b"")).unwrap();
        assert_eq!((empty.want(), empty.bytes()), (None, &b""[..]));
        assert_eq!(Pieces::at_most(u64::MAX).want(), Some((0, MAX_PIECE as u32)));
        assert_eq!(Pieces::of(3, 7).want(), None);
    }

    proptest! {
        #[test]
        fn an_honest_file_arrives_whole(length in 0_usize..200_000, cut in 1_usize..=MAX_PIECE, start in 0_usize..1000) {
            let file: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let start = start.min(length);
            let mut pieces = Pieces::of(length as u64, start as u64);
            let mut whole = file[..start].to_vec();
            while let Some((offset, at_most)) = pieces.want() {
                let from = offset as usize;
                let to = (from + (at_most as usize).min(cut)).min(length);
                pieces.take(&piece(length as u64, &file[from..to])).unwrap();
                if pieces.held() > 50_000 {
                    let (at, bytes) = pieces.take_bytes();
                    prop_assert_eq!(at, whole.len() as u64);
                    whole.extend(bytes);
                }
            }
            whole.extend(pieces.take_bytes().1);
            prop_assert_eq!(whole, file);
        }
    }
}
