//! ICMP extensions as `icmpext`: the structure of RFC 4884 (section 7), with MPLS labels (RFC 4950) spelled out.

use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};

/// Bytes of the structure's header, of an object's header, and of an MPLS label stack entry: four each.
const WORD: usize = 4;
/// Class and type of an MPLS label stack (RFC 4950, 3).
const MPLS: (u8, u8) = (1, 1);

/// The value of `icmpext`.
#[derive(Serialize)]
pub(super) struct Extensions<'a> {
    version: u8,
    /// Whether the ICMP message said where the structure begins.
    rfc4884: u8,
    obj: Objects<'a>,
}

impl<'a> Extensions<'a> {
    /// Reads a structure, its header included; none when there is no header.
    pub(super) fn parse(structure: &'a [u8], announced: bool) -> Option<Self> {
        let (header, objects) = structure.split_first_chunk::<WORD>()?;
        let [version_and_reserved, ..] = *header;
        Some(Self { version: version_and_reserved >> 4, rfc4884: u8::from(announced), obj: Objects(objects) })
    }
}

/// The list `obj`. An object whose length is impossible ends it.
struct Objects<'a>(&'a [u8]);

impl<'a> Objects<'a> {
    fn iter(&self) -> impl Iterator<Item = Object<'a>> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let [high, low, class, kind] = *rest.first_chunk::<WORD>()?;
            let (object, after) = rest.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
            let data = object.get(WORD..)?;
            rest = after;
            Some(Object { class, kind, mpls: ((class, kind) == MPLS).then_some(Labels(data)) })
        })
    }
}

impl Serialize for Objects<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

#[derive(Serialize)]
struct Object<'a> {
    class: u8,
    #[serde(rename = "type")]
    kind: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    mpls: Option<Labels<'a>>,
}

/// The list `mpls`: a label stack.
struct Labels<'a>(&'a [u8]);

impl Serialize for Labels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (entries, _) = self.0.as_chunks::<WORD>();
        let mut list = serializer.serialize_seq(Some(entries.len()))?;
        for entry in entries {
            let word = u32::from_be_bytes(*entry);
            list.serialize_element(&Label {
                label: word >> 12,
                exp: (word >> 9) & 7,
                s: (word >> 8) & 1,
                ttl: word & 0xff,
            })?;
        }
        list.end()
    }
}

#[derive(Serialize)]
struct Label {
    label: u32,
    exp: u32,
    s: u32,
    ttl: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn json(structure: &[u8]) -> Option<String> {
        Extensions::parse(structure, true).and_then(|found| serde_json::to_string(&found).ok())
    }

    #[test]
    fn a_label_stack_of_two() {
        // Label 24,013, exp 5, not last, TTL 1; label 16, exp 0, last, TTL 254.
        let structure = b"\x20\x00\xab\xcd\x00\x0c\x01\x01\x05\xdc\xda\x01\x00\x01\x01\xfe";
        let expected = r#"{"version":2,"rfc4884":1,"obj":[{"class":1,"type":1,"mpls":[{"label":24013,"exp":5,"s":0,"ttl":1},{"label":16,"exp":0,"s":1,"ttl":254}]}]}"#;
        assert_eq!(json(structure).as_deref(), Some(expected));
    }

    #[test]
    fn other_objects_are_named_and_an_impossible_one_ends_the_list() {
        let other = b"\x20\x00\x00\x00\x00\x08\x02\x05\x01\x02\x03\x04";
        let named = r#"{"version":2,"rfc4884":1,"obj":[{"class":2,"type":5}]}"#;
        assert_eq!(json(other).as_deref(), Some(named));
        for tail in [b"\x00\x03\x01\x01".as_slice(), b"\x00\x05\x01\x01", b"\x00\x00\x01\x01", b"\x00\x04\x01"] {
            assert_eq!(json(&[other, tail].concat()).as_deref(), Some(named), "{tail:?}");
        }
        assert_eq!(json(b"\x20\x00\x00"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_give_valid_json(structure in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(json) = json(&structure) {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
            }
        }

        #[test]
        fn many_objects_are_all_named(kinds in proptest::collection::vec((2_u8..9, any::<u8>()), 0..60)) {
            let mut structure = Vec::from([0x20, 0, 0, 0]);
            for (class, kind) in &kinds {
                structure.extend([0, 4, *class, *kind]);
            }
            let found: Vec<_> = Extensions::parse(&structure, true).unwrap().obj.iter().map(|o| (o.class, o.kind)).collect();
            prop_assert_eq!(found, kinds);
        }
    }
}
