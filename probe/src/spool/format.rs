//! A block on the disk: a header, the content in CBOR, zeroes up to a whole number of pages. Pure.
//!
//! The header, little-endian: 8 bytes [`MAGIC`], u16 version, u16 zero, u32 length of the content, u64 the block's number,
//! u32 CRC-32C (RFC 3720) of all that and the content, u32 zero. A block stands for itself: whatever is around it may be
//! garbage, and one that is not whole is as good as none.

use sonde_protocol::message::to_cbor;
use sonde_protocol::spool::block::{Block, BlockId, MAX_BLOCK};

/// What a block begins with.
pub const MAGIC: [u8; 8] = *b"sondespl";

/// Blocks begin at multiples of this, which is a page of memory and no less than a sector of any disk.
pub const PAGE: usize = 4096;

/// The bytes before the content.
pub const HEADER: usize = 32;

/// The most bytes that a block takes on the disk.
pub const MAX_ON_DISK: usize = (HEADER + MAX_BLOCK).next_multiple_of(PAGE);

/// The greatest number that is believed: no probe writes so many.
const MAX_ID: u64 = 1 << 62;

const VERSION: u16 = 1;
const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The block's number.
    pub id: BlockId,
    /// Bytes that it takes on the disk.
    pub on_disk: usize,
    length: usize,
    crc: u32,
}

fn checksum(head: &[u8], content: &[u8]) -> u32 {
    let mut digest = CRC.digest();
    digest.update(head);
    digest.update(content);
    digest.finalize()
}

/// The bytes of a block.
pub fn encode(id: BlockId, block: &Block) -> Vec<u8> {
    seal(id, &to_cbor(block))
}

/// The bytes of a block with this content, whatever it is.
pub fn seal(id: BlockId, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity((HEADER + content.len()).next_multiple_of(PAGE));
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend([0; 2]);
    bytes.extend(u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend(id.0.to_le_bytes());
    bytes.extend(checksum(&bytes, content).to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(PAGE), 0);
    bytes
}

/// Reads a header, if these bytes begin with one that makes sense.
pub fn header(bytes: &[u8]) -> Option<Header> {
    let field = |from: usize, to: usize| bytes.get(from..to);
    let (magic, version) = (field(0, 8)?, u16::from_le_bytes(field(8, 10)?.try_into().ok()?));
    let length = usize::try_from(u32::from_le_bytes(field(12, 16)?.try_into().ok()?)).ok()?;
    let id = BlockId(u64::from_le_bytes(field(16, 24)?.try_into().ok()?));
    let crc = u32::from_le_bytes(field(24, 28)?.try_into().ok()?);
    let sane = magic == MAGIC && version == VERSION && length <= MAX_BLOCK && id.0 > 0 && id.0 < MAX_ID;
    sane.then(|| Header { id, on_disk: (HEADER + length).next_multiple_of(PAGE), length, crc })
}

/// Reads a whole block. `None`: it is not one.
pub fn decode(bytes: &[u8]) -> Option<(BlockId, Block)> {
    let header = header(bytes)?;
    let content = bytes.get(HEADER..HEADER + header.length)?;
    if checksum(bytes.get(..24)?, content) != header.crc {
        return None;
    }
    let block: Block = minicbor::decode(content).ok()?;
    Some((header.id, block))
}
