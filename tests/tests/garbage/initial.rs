//! QUIC Initial packets by hand (RFC 9000, 17.2.2; RFC 9001, 5): what no QUIC library would send.

use rustls::Side;
use rustls::quic::{Keys, Version};

const SOURCE: [u8; 8] = *b"sender..";

/// The beginning of one connection.
pub struct First {
    /// What the client calls the server: the keys come from it, and the server tells connections apart by it.
    destination: [u8; 8],
}

fn keys(destination: &[u8]) -> Keys {
    let suite = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().unwrap().quic_suite().unwrap();
    suite.keys(destination, Side::Client, Version::V1)
}

/// A QUIC variable-length integer of four bytes.
fn varint(value: usize) -> [u8; 4] {
    (u32::try_from(value).unwrap() | 0x8000_0000).to_be_bytes()
}

/// A CRYPTO frame.
pub fn crypto(offset: usize, bytes: &[u8]) -> Vec<u8> {
    [&[0x06][..], &varint(offset), &varint(bytes.len()), bytes].concat()
}

impl First {
    pub fn new() -> Self {
        Self { destination: getrandom::u64().unwrap().to_be_bytes() }
    }

    /// The first packet of a connection with these frames, of at least 1200 bytes as it must be.
    pub fn packet(&self, frames: &[u8]) -> Vec<u8> {
        let mut payload = frames.to_vec();
        payload.resize(payload.len().max(1200), 0);
        let mut header = vec![0xc3, 0, 0, 0, 1, 8];
        header.extend(self.destination);
        header.push(8);
        header.extend(SOURCE);
        header.push(0);
        header.extend(varint(4 + payload.len() + 16));
        let number_at = header.len();
        header.extend([0; 4]);
        let keys = keys(&self.destination);
        let tag = keys.local.packet.encrypt_in_place(0, &header, &mut payload).unwrap();
        payload.extend(tag.as_ref());
        let (front, number) = header.split_at_mut(number_at);
        // The sample begins four bytes behind the number's first, which is where the payload begins.
        keys.local.header.encrypt_in_place(&payload[..16], &mut front[0], number).unwrap();
        [header, payload].concat()
    }

    /// The error code in the CONNECTION_CLOSE that answers, if the datagram is an Initial packet with one.
    pub fn close_code(&self, datagram: &[u8]) -> Option<u64> {
        let mut bytes = datagram.to_vec();
        if bytes.first()? & 0xf0 != 0xc0 {
            return None;
        }
        // First byte, version, our identifier behind its length, theirs, no token.
        let mut at = 5 + 1 + usize::from(*bytes.get(5)?);
        at += 1 + usize::from(*bytes.get(at)?);
        let mut reader = Varints(bytes.get(at..)?);
        let token = reader.next()?;
        let length = usize::try_from(reader.next()?).ok()?;
        let number_at = bytes.len() - reader.0.len() + usize::try_from(token).ok()?;
        let keys = keys(&self.destination);
        let (header, sample) = bytes.split_at_mut(number_at + 4);
        let (front, number) = header.split_at_mut(number_at);
        keys.remote.header.decrypt_in_place(sample.get(..16)?, &mut front[0], number).ok()?;
        let size = usize::from(bytes[0] & 3) + 1;
        let number = bytes[number_at..number_at + size].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let header = bytes[..number_at + size].to_vec();
        let payload = bytes.get_mut(number_at + size..number_at + length)?;
        let mut frames = Varints(keys.remote.packet.decrypt_in_place(number, &header, payload).ok()?);
        loop {
            match frames.next()? {
                0 | 1 => {}
                2 => {
                    let (_largest, _delay, ranges, _first) =
                        (frames.next()?, frames.next()?, frames.next()?, frames.next()?);
                    for _ in 0..ranges * 2 {
                        frames.next()?;
                    }
                }
                0x1c => return frames.next(),
                _ => return None,
            }
        }
    }
}

/// Reads variable-length integers.
struct Varints<'a>(&'a [u8]);

impl Varints<'_> {
    fn next(&mut self) -> Option<u64> {
        let size = 1 << (self.0.first()? >> 6);
        let (value, rest) = self.0.split_at_checked(size)?;
        self.0 = rest;
        let whole = value.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        Some(whole & (u64::MAX >> 2 >> (64 - 8 * size)))
    }
}
