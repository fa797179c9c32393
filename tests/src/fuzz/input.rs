//! Bytes read as choices. When they are used up everything is 0, so that every input means something.

/// What is left of an input.
pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn u8(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from(self.u8()) << 8 | u16::from(self.u8())
    }

    pub(super) fn flag(&mut self) -> bool {
        self.u8() & 1 == 1
    }

    /// A number from `least` to `most`.
    pub(super) fn within(&mut self, least: u32, most: u32) -> u32 {
        least + u32::from(self.u16()) % (most - least + 1)
    }

    pub(super) fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Bytes behind one that says how many.
    pub(super) fn bytes(&mut self) -> &'a [u8] {
        let count = self.u8();
        self.take(usize::from(count))
    }

    /// Changes some bytes of `bytes`, and perhaps its length.
    pub(super) fn spoil(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..self.u8() % 8 {
            let (at, value) = (usize::from(self.u16()), self.u8());
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= value;
            }
        }
        match self.u8() % 4 {
            0 => bytes.truncate(usize::from(self.u8())),
            1 => bytes.extend_from_slice(self.bytes()),
            _ => {}
        }
    }
}
