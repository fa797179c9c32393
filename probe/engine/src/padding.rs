//! IPv6 options headers that hold nothing but padding, to see what the network does with them (RFC 8200, 4.2; sizes as
//! RIPE Atlas has them). It must not know who sends them.

use alloc::vec::Vec;

/// The longest header that Linux sends.
const MAX_HEADER: usize = 255 * 8;
/// The options that mean nothing: one byte, and as many as one likes.
const PAD_1: u8 = 0;
const PAD_N: u8 = 1;

/// Bytes of a header that has room for `size` bytes of options; none for 0. Headers come in eights, and the longest ones
/// asked for are cut to what can be sent.
pub fn header_len(size: u32) -> usize {
    let options = usize::try_from(size).unwrap_or(MAX_HEADER);
    if options == 0 { 0 } else { options.saturating_add(2).next_multiple_of(8).min(MAX_HEADER) }
}

/// The header, next header 0: whoever sends it fills that in. Empty for 0.
pub fn header(size: u32) -> Vec<u8> {
    let length = header_len(size);
    let mut header = Vec::with_capacity(length);
    if length > 0 {
        // At most 254, as MAX_HEADER is.
        header.extend([0, u8::try_from(length / 8 - 1).unwrap_or(u8::MAX)]);
    }
    while header.len() < length {
        match length - header.len() {
            1 => header.push(PAD_1),
            room => {
                let data = u8::try_from(room - 2).unwrap_or(u8::MAX);
                header.extend([PAD_N, data]);
                header.resize(header.len() + usize::from(data), 0);
            }
        }
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_padding_in_eights() {
        assert!(header(0).is_empty());
        assert_eq!(header(6), [0, 0, PAD_N, 4, 0, 0, 0, 0]);
        assert_eq!(header(7)[..4], [0, 1, PAD_N, 12]);
        // 255 + 2 bytes in the first option, one byte left over.
        let long = header(256);
        assert_eq!((long.len(), long[1], long[2], long[3], long[259], long[260]), (264, 32, PAD_N, 255, PAD_N, 3));
        for size in 1..=2048 {
            let header = header(size);
            assert_eq!((header.len(), header.len() % 8), (header_len(size), 0), "{size}");
            assert_eq!(usize::from(header[1]) * 8 + 8, header.len(), "{size}");
            assert!(header.len() >= (size as usize + 2).min(MAX_HEADER), "{size}");
        }
    }
}
