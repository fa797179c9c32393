//! What is known at both ends of the path: which packets the own interface takes, and in which pieces replies come back. It
//! must not know packets or times.

use sonde_protocol::result::Mtu;

use super::search::{CLASSIC, MAX_SIZE, Wall};

/// What the own interface takes.
#[derive(Debug, Default)]
pub(super) struct Interface {
    /// The longest packet that left.
    pub left: Option<u32>,
    /// The shortest that was refused.
    pub refused: Option<u32>,
    /// Sending failed for another reason: nothing can be learned.
    pub broken: bool,
}

impl Interface {
    /// The next size that is worth a try: down through the classic ones until one leaves, then upwards to the byte.
    pub fn next(&self) -> Option<u32> {
        if self.broken {
            return None;
        }
        match (self.left, self.refused) {
            (None, None) => Some(MAX_SIZE),
            (None, Some(refused)) => CLASSIC.iter().rev().find(|size| **size < refused).copied(),
            (Some(left), Some(refused)) if left + 1 < refused => {
                Some(if CLASSIC.contains(&left) { left + 1 } else { left + (refused - left) / 2 })
            }
            (Some(_), _) => None,
        }
    }

    /// Its MTU, when a longer packet was refused and one of that size left.
    pub fn known(&self) -> Option<u32> {
        self.left.filter(|left| self.refused == Some(*left + 1))
    }

    /// The greatest size that can be tried, and what is behind it.
    pub fn top(&self) -> (u32, Wall) {
        self.refused.map_or((MAX_SIZE, Wall::NotTried), |refused| (refused.saturating_sub(1), Wall::Refused))
    }
}

/// What replies show of the way back.
#[derive(Debug, Default)]
pub(super) struct Reverse {
    /// The longest that came in one piece.
    pub whole: Option<u32>,
    /// The shortest that came in pieces.
    pub cut: Option<u32>,
    /// The longest piece.
    pub piece: Option<u32>,
    /// A target that sends less back than it was sent.
    pub shortens: bool,
    /// How often the size that is asked for now stayed without an answer.
    pub silent: u32,
}

impl Reverse {
    /// A reply of `size` bytes to a request of `asked`, in one piece or with this one as its greatest.
    pub fn reply(&mut self, asked: u32, size: u32, fragment: Option<u32>) {
        self.shortens |= size < asked;
        match fragment.filter(|fragment| *fragment < size) {
            Some(fragment) => {
                self.piece = self.piece.max(Some(fragment));
                self.cut = Some(self.cut.map_or(size, |cut| cut.min(size)));
            }
            // A longer one than was asked for is no echo.
            None => self.whole = self.whole.max(Some(size.min(asked))),
        }
    }

    /// The greatest size that has come in one packet.
    fn least(&self) -> Option<u32> {
        self.whole.max(self.piece)
    }

    /// The next size whose reply may come in one piece or not; `None` when the MTU is known, or cannot be.
    pub fn next(&self) -> Option<u32> {
        let (least, cut) = (self.least()?, self.cut?);
        if self.shortens || least + 1 >= cut {
            return None;
        }
        // The pieces of a packet are multiples of 8 bytes long but for the last (RFC 791, section 3.2; RFC 8200, section
        // 4.5), so most often the MTU is less than 8 above the greatest.
        let beyond = self.piece.map(|piece| piece + 8).filter(|beyond| *beyond > least && *beyond < cut);
        Some(beyond.unwrap_or(least + (cut - least) / 2))
    }

    pub fn known(&self) -> Mtu {
        mtu(self.least(), self.cut.is_some_and(|cut| self.least().is_some_and(|least| least + 1 == cut)))
    }
}

/// A size that did pass as an MTU.
pub(super) fn mtu(size: Option<u32>, exact: bool) -> Mtu {
    match size {
        None => Mtu::Unknown,
        Some(size) if exact => Mtu::Exactly(size),
        Some(size) => Mtu::AtLeast(size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_interface_is_found_to_the_byte_with_few_packets() {
        for mtu in [68, 576, 1280, 1281, 1399, 1442, 1500, 1501, 9000, 9215] {
            let mut interface = Interface::default();
            let (mut asked, mut left) = (0, 0);
            while let Some(size) = interface.next() {
                asked += 1;
                if size <= mtu {
                    left += 1;
                    interface.left = interface.left.max(Some(size));
                } else {
                    interface.refused = Some(interface.refused.map_or(size, |refused| refused.min(size)));
                }
            }
            assert_eq!((interface.known(), interface.top()), (Some(mtu), (mtu, Wall::Refused)));
            assert!(asked <= 26 && left <= 14, "{mtu}: {asked} asked, {left} left");
        }
        let large = Interface { left: Some(MAX_SIZE), ..Interface::default() };
        assert_eq!((large.next(), large.known(), large.top()), (None, None, (MAX_SIZE, Wall::NotTried)));
    }

    #[test]
    fn the_way_back_is_found_to_the_byte_by_its_pieces() {
        for mtu in 200..1500 {
            // Pieces as most cut them, and as a router might that halves.
            for unit in [8, 300] {
                let mut reverse = Reverse::default();
                let piece =
                    |size: u32| (size > mtu).then_some((mtu - 20) / unit * unit + 20).filter(|piece| *piece > 20);
                reverse.reply(1500, 1500, piece(1500).or(Some(68)));
                let mut asked = 0;
                while let Some(size) = reverse.next() {
                    asked += 1;
                    reverse.reply(size, size, piece(size).or((size > mtu).then_some(68)));
                }
                assert_eq!(reverse.known(), Mtu::Exactly(mtu), "pieces of {unit}");
                assert!(asked <= 14, "{asked}");
            }
        }
    }
}
