//! What RIPE Atlas shows of a TCP segment: `flags` and `hdropts`.

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

/// The value of `flags`: a letter for each flag that is set, in Atlas's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flags(pub u8);

impl Flags {
    /// Bit of the flags byte (RFC 9293, 3.1) and letter.
    const LETTERS: [(u8, char); 6] = [(1, 'F'), (2, 'S'), (4, 'R'), (8, 'P'), (16, 'A'), (32, 'U')];
}

impl core::fmt::Display for Flags {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        use core::fmt::Write;
        let mut set = Self::LETTERS.into_iter().filter(|(bit, _)| self.0 & bit != 0);
        set.try_for_each(|(_, letter)| f.write_char(letter))
    }
}

impl Serialize for Flags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The value of `hdropts`, from the options of a segment: `mss`, and the kind of the first other one, with which Atlas
/// stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Options<'a>(pub &'a [u8]);

/// Kind and length of the maximum segment size (RFC 9293, 3.7.1).
const MSS: (u8, u8) = (2, 4);

impl Serialize for Options<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        let mut rest = self.0;
        loop {
            match *rest {
                [kind, length, high, low, ref after @ ..] if (kind, length) == MSS => {
                    list.serialize_element(&Entry("mss", u16::from_be_bytes([high, low])))?;
                    rest = after;
                }
                // A length of its own is impossible for this kind: Atlas shows nothing of it.
                [kind, ..] if kind == MSS.0 => break,
                [kind, ..] => {
                    list.serialize_element(&Entry("unknown-opt", kind.into()))?;
                    break;
                }
                [] => break,
            }
        }
        list.end()
    }
}

struct Entry(&'static str, u16);

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.0, &self.1)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn flags_are_letters_in_atlas_order() {
        for (flags, letters) in [(0x12, "SA"), (0x14, "RA"), (0x04, "R"), (0xff, "FSRPAU"), (0, "")] {
            assert_eq!(Flags(flags).to_string(), letters);
        }
    }

    #[test]
    fn options_end_at_the_first_that_is_not_mss() {
        let json = |bytes: &[u8]| serde_json::to_string(&Options(bytes)).unwrap();
        assert_eq!(json(&[2, 4, 5, 180]), r#"[{"mss":1460}]"#);
        assert_eq!(json(&[2, 4, 5, 180, 4, 2, 8, 10]), r#"[{"mss":1460},{"unknown-opt":4}]"#);
        assert_eq!(json(&[1, 2, 4, 5, 180]), r#"[{"unknown-opt":1}]"#);
        for nothing in [&[][..], &[2], &[2, 4, 5], &[2, 3, 5, 180]] {
            assert_eq!(json(nothing), "[]", "{nothing:?}");
        }
    }
}
