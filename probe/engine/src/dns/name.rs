//! Domain names from text to wire format (RFC 1035, 3.1 and 5.1; no compression, no IDNA).
//!
//! Text is taken byte by byte: `\.` and other escaped characters stand for themselves, `\DDD` for the byte with that
//! decimal number. Bytes beyond ASCII go out as they are, as DNS allows; who wants an internationalised name writes its
//! `xn--` form.

use alloc::format;
use alloc::vec::Vec;

use sonde_protocol::result::Why;

/// The longest label (RFC 1035, 2.3.4).
const MAX_LABEL: usize = 63;
/// The longest name on the wire, length bytes and root included (RFC 1035, 2.3.4).
const MAX_NAME: usize = 255;

/// Appends the wire form of `text`; says what is wrong with a name that has none.
pub(super) fn encode(text: &str, out: &mut Vec<u8>) -> Result<(), Why> {
    let start = out.len();
    if text.is_empty() {
        return Err(Why::cut("the name to ask for is empty"));
    }
    if text != "." {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let (label, after) = label(rest)?;
            match label.len() {
                0 => return Err(Why::cut(format!("{text:?} has an empty label"))),
                length @ 1..=MAX_LABEL => out.push(length as u8),
                length => return Err(Why::cut(format!("a label of {length} bytes; 63 are allowed"))),
            }
            out.extend_from_slice(&label);
            rest = after;
        }
    }
    out.push(0);
    match out.len() - start {
        length if length > MAX_NAME => Err(Why::cut(format!("a name of {length} bytes; 255 are allowed"))),
        _ => Ok(()),
    }
}

/// The first label, and what follows behind its dot.
fn label(text: &[u8]) -> Result<(Vec<u8>, &[u8]), Why> {
    let mut label = Vec::new();
    let mut rest = text;
    loop {
        match rest {
            [] => return Ok((label, rest)),
            [b'.', after @ ..] => return Ok((label, after)),
            [b'\\', digits @ ..] if digits.first().is_some_and(u8::is_ascii_digit) => {
                let (byte, after) = decimal(digits)?;
                label.push(byte);
                rest = after;
            }
            [b'\\'] => return Err(Why::cut("the name ends in a backslash")),
            [b'\\', byte, after @ ..] | [byte, after @ ..] => {
                label.push(*byte);
                rest = after;
            }
        }
    }
}

/// The byte that three decimal digits name, and what follows them.
fn decimal(digits: &[u8]) -> Result<(u8, &[u8]), Why> {
    let Some((three, after)) =
        digits.split_first_chunk::<3>().filter(|(three, _)| three.iter().all(u8::is_ascii_digit))
    else {
        return Err(Why::cut("a backslash and a digit need three digits"));
    };
    let number = three.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    match u8::try_from(number) {
        Ok(byte) => Ok((byte, after)),
        Err(_) => Err(Why::cut(format!("\\{number} is no byte"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use proptest::prelude::*;

    fn wire(text: &str) -> Result<Vec<u8>, Why> {
        let mut out = Vec::new();
        encode(text, &mut out).map(|()| out)
    }

    #[test]
    fn names_and_their_bytes() {
        let cases: [(&str, &[u8]); 9] = [
            (".", b"\x00"),
            ("net", b"\x03net\x00"),
            ("example.net", b"\x07example\x03net\x00"),
            ("example.net.", b"\x07example\x03net\x00"),
            (r"john\.doe.example", b"\x08john.doe\x07example\x00"),
            (r"a\032b", b"\x03a b\x00"),
            (r"\000\255", b"\x02\x00\xff\x00"),
            (r"back\\slash", b"\x0aback\\slash\x00"),
            ("m\u{fc}", b"\x03m\xc3\xbc\x00"),
        ];
        for (text, bytes) in cases {
            assert_eq!(wire(text).as_deref(), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn names_that_have_no_wire_form() {
        let long_label = "a".repeat(64);
        let long_name = "abcdefg.".repeat(32);
        for text in ["", "..", ".a", "a..b", r"a\", r"a\1", r"a\12x", r"a\256", &long_label, &long_name] {
            assert!(wire(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_greatest_lengths_are_allowed() {
        assert!(wire(&"a".repeat(63)).is_ok());
        // 31 labels of 8 bytes, one of 6, the root: 255.
        let longest = String::from("abcdefg.").repeat(31) + "abcde";
        assert_eq!(wire(&longest).map(|bytes| bytes.len()), Ok(255));
        assert!(wire(&(longest + "f")).is_err());
    }

    proptest! {
        #[test]
        fn any_text_gives_a_bounded_name_or_a_reason(text in r"([a-z\\.0-9]|\PC){0,300}") {
            if let Ok(bytes) = wire(&text) {
                prop_assert!(bytes.len() <= MAX_NAME);
                prop_assert_eq!(bytes.last(), Some(&0));
            }
        }
    }
}
