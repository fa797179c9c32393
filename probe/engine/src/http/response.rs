//! The response, read as it comes: its head by `httparse`, of its body only the length. However it is cut into pieces, it
//! is read the same.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use httparse::{EMPTY_HEADER, ParserConfig, Status};
use sonde_protocol::result::HttpHead;

use super::Step;

/// The greatest head, interim ones (1xx) before it included.
pub const MAX_HEAD: usize = 64 * 1024;

/// The most bytes of sizes, extensions and trailers of a chunked body. A body of single bytes would need six times its
/// length; a server that does that is not worth waiting for.
pub const MAX_FRAMING: u64 = 1 << 20;

/// The most header lines.
const MAX_HEADERS: usize = 512;

/// How much of the header's lines is kept: the most that a definition may ask for.
const MAX_LINES: usize = 2048;

/// Every response begins so.
const BEGINNING: &[u8] = b"HTTP/";

/// How the body's end is found (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// So many bytes are left.
    Length(u64),
    /// In chunks.
    Chunked(Chunk),
    /// When the connection is closed.
    UntilClose,
}

/// Where in a chunked body (RFC 9112, section 7.1) the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    /// In a size so far, with so many digits.
    Size(u64, u8),
    /// Behind a size, before its line's end.
    Extension(u64),
    /// So many bytes before the end of a chunk's data, which are not none.
    Data(u64),
    /// In the line end behind a chunk's data.
    DataEnd,
    /// In a trailer line, which is empty so far or not.
    Trailer(bool),
}

/// A response as far as it has come.
#[derive(Debug, Clone)]
pub(super) struct Response {
    wants_body: bool,
    most: u64,
    /// The head while it is not whole.
    buffer: Vec<u8>,
    /// Bytes of interim heads.
    interim: usize,
    head: Option<HttpHead>,
    lines: Vec<u8>,
    framing: Framing,
    size: u64,
    overhead: u64,
    is_truncated: bool,
    is_whole: bool,
}

impl Response {
    /// A response with a body or, as to HEAD, without; `most` bytes of it are read.
    pub(super) const fn new(wants_body: bool, most: u64) -> Self {
        Self {
            wants_body,
            most,
            buffer: Vec::new(),
            interim: 0,
            head: None,
            lines: Vec::new(),
            framing: Framing::UntilClose,
            size: 0,
            overhead: 0,
            is_truncated: false,
            is_whole: false,
        }
    }

    /// Takes the next bytes. True when the response is whole or enough of it was read; what follows is dropped.
    ///
    /// # Errors
    /// When this is no HTTP, in words.
    pub(super) fn push(&mut self, data: &[u8]) -> Result<bool, String> {
        let mut rest = data;
        while !rest.is_empty() && !self.is_whole {
            rest = if self.head.is_none() { self.take_head(rest)? } else { self.take_body(rest)? };
        }
        Ok(self.is_whole)
    }

    /// The connection was closed; an error when something is missing.
    pub(super) fn close(&mut self) -> Result<(), ()> {
        if self.is_whole || (self.head.is_some() && self.framing == Framing::UntilClose) { Ok(()) } else { Err(()) }
    }

    pub(super) const fn head(&self) -> Option<HttpHead> {
        self.head
    }

    pub(super) const fn body_size(&self) -> u64 {
        self.size
    }

    pub(super) const fn is_truncated(&self) -> bool {
        self.is_truncated
    }

    /// The first bytes of the lines behind the status line.
    pub(super) fn header_lines(&self) -> &[u8] {
        &self.lines
    }

    /// What is being read.
    pub(super) fn step(&self) -> Step {
        match (self.head, self.framing) {
            (None, _) if !self.buffer.contains(&b'\n') => Step::Status,
            (None, _) => Step::Header,
            (Some(_), Framing::Chunked(_)) => Step::Chunk,
            (Some(_), _) => Step::Body,
        }
    }

    fn take_head<'a>(&mut self, data: &'a [u8]) -> Result<&'a [u8], String> {
        let before = self.buffer.len();
        self.buffer.extend_from_slice(data);
        if !self.buffer.iter().zip(BEGINNING).all(|(byte, expected)| byte == expected) {
            return Err("no HTTP status line".into());
        }
        let end = end_of_head(&self.buffer, before);
        if end.unwrap_or(self.buffer.len()) > MAX_HEAD.saturating_sub(self.interim) {
            return Err(format!("a header of more than {MAX_HEAD} bytes"));
        }
        let Some(end) = end else { return Ok(&[]) };
        let mut bytes = core::mem::take(&mut self.buffer);
        let behind = bytes.len().saturating_sub(end);
        bytes.truncate(end);
        self.read_head(&bytes)?;
        // The head's end was not there before, so what is behind it came just now.
        Ok(data.get(data.len().saturating_sub(behind)..).unwrap_or_default())
    }

    fn read_head(&mut self, bytes: &[u8]) -> Result<(), String> {
        let mut headers = vec![EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Response::new(&mut headers);
        let mut config = ParserConfig::default();
        // What is of no use to us shall not hide what is.
        config
            .allow_spaces_after_header_name_in_responses(true)
            .allow_obsolete_multiline_headers_in_responses(true)
            .allow_multiple_spaces_in_response_status_delimiters(true)
            .ignore_invalid_headers_in_responses(true);
        match config.parse_response(&mut parsed, bytes) {
            Ok(Status::Complete(_)) => {}
            Ok(Status::Partial) => return Err("a header without an end".into()),
            Err(error) => return Err(error.to_string()),
        }
        let (Some(status), Some(version)) = (parsed.code, parsed.version) else {
            return Err("no HTTP status line".into());
        };
        // Others may come before the final one (RFC 9110, section 15.2). Nobody has asked for a change of protocol; if
        // there is one, nothing of HTTP follows.
        if (100..200).contains(&status) && status != 101 {
            self.interim = self.interim.saturating_add(bytes.len());
            return Ok(());
        }
        let framing = framing(parsed.headers)?;
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.head = Some(HttpHead { status, version_1_1: version == 1, size });
        let first_line = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1);
        let lines = bytes.get(first_line..).unwrap_or_default();
        self.lines = lines.get(..MAX_LINES).unwrap_or(lines).to_vec();
        self.framing = framing;
        let has_body = self.wants_body && !matches!(status, 101 | 204 | 304);
        self.is_whole = !has_body || framing == Framing::Length(0);
        self.is_truncated = false;
        Ok(())
    }

    fn take_body<'a>(&mut self, data: &'a [u8]) -> Result<&'a [u8], String> {
        match self.framing {
            Framing::UntilClose => {
                self.count(data.len());
                Ok(&[])
            }
            Framing::Length(left) => {
                let taken = take(data, left);
                let left = left.saturating_sub(length(taken));
                self.framing = Framing::Length(left);
                self.count(taken.len());
                self.is_whole |= left == 0;
                Ok(data.get(taken.len()..).unwrap_or_default())
            }
            Framing::Chunked(Chunk::Data(left)) => {
                let taken = take(data, left);
                let left = left.saturating_sub(length(taken));
                self.framing = Framing::Chunked(if left == 0 { Chunk::DataEnd } else { Chunk::Data(left) });
                self.count(taken.len());
                Ok(data.get(taken.len()..).unwrap_or_default())
            }
            Framing::Chunked(chunk) => {
                let Some((byte, rest)) = data.split_first() else { return Ok(data) };
                self.overhead += 1;
                if self.overhead > MAX_FRAMING {
                    return Err("chunks of little more than their sizes".into());
                }
                match next(chunk, *byte)? {
                    Some(chunk) => self.framing = Framing::Chunked(chunk),
                    None => self.is_whole = true,
                }
                Ok(rest)
            }
        }
    }

    /// Counts bytes of the body, up to as many as are to be read.
    fn count(&mut self, more: usize) {
        let room = self.most.saturating_sub(self.size);
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        self.size = self.size.saturating_add(more.min(room));
        if more > room {
            self.is_truncated = true;
            self.is_whole = true;
        }
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// At most the first `most` bytes.
fn take(data: &[u8], most: u64) -> &[u8] {
    usize::try_from(most).ok().and_then(|most| data.get(..most)).unwrap_or(data)
}

/// Where the head ends: behind its first empty line, which is not before `from` but may have begun there.
fn end_of_head(buffer: &[u8], from: usize) -> Option<usize> {
    let start = from.saturating_sub(3);
    let tail = buffer.get(start..)?;
    let empty_line = |at: usize| {
        let rest = tail.get(at..).unwrap_or_default();
        [&b"\n\n"[..], b"\n\r\n"].into_iter().find(|end| rest.starts_with(end)).map(|end| at + end.len())
    };
    (0..tail.len()).find_map(empty_line).map(|end| start + end)
}

/// How the body of a response with these headers ends.
fn framing(headers: &[httparse::Header<'_>]) -> Result<Framing, String> {
    let named = |name: &'static str| headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    let text = |header: &httparse::Header<'_>| String::from_utf8_lossy(header.value).trim().to_ascii_lowercase();
    let codings: Vec<String> = named("transfer-encoding").map(text).collect();
    if let Some(last) = codings.last() {
        let is_chunked = last.rsplit(',').next().is_some_and(|coding| coding.trim() == "chunked");
        return Ok(if is_chunked { Framing::Chunked(Chunk::Size(0, 0)) } else { Framing::UntilClose });
    }
    let mut length = None;
    for header in named("content-length") {
        let text = text(header);
        let number = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        match (number, length) {
            (Some(number), None) => length = Some(number),
            (Some(number), Some(known)) if number == known => {}
            _ => return Err("Content-Length makes no sense".into()),
        }
    }
    Ok(length.map_or(Framing::UntilClose, Framing::Length))
}

/// Where the byte behind this one is; nowhere when this was the body's last.
fn next(chunk: Chunk, byte: u8) -> Result<Option<Chunk>, String> {
    let bad = || Err(String::from("a chunk's size makes no sense"));
    Ok(Some(match (chunk, byte) {
        (Chunk::Size(size, digits), _) => match (char::from(byte).to_digit(16), digits) {
            // Sixteen digits are 64 bits.
            (Some(_), 16..) => return bad(),
            (Some(digit), _) => Chunk::Size(size << 4 | u64::from(digit), digits + 1),
            (None, 0) => return bad(),
            (None, _) if byte == b'\n' => behind_size(size),
            (None, _) if matches!(byte, b'\r' | b';' | b' ' | b'\t') => Chunk::Extension(size),
            (None, _) => return bad(),
        },
        (Chunk::Extension(size), b'\n') => behind_size(size),
        (Chunk::Extension(size), _) => Chunk::Extension(size),
        (Chunk::DataEnd, b'\r') => Chunk::DataEnd,
        (Chunk::DataEnd, b'\n') => Chunk::Size(0, 0),
        (Chunk::DataEnd, _) => return Err("a chunk is longer than its size".into()),
        (Chunk::Trailer(true), b'\n') => return Ok(None),
        (Chunk::Trailer(true), b'\r') => Chunk::Trailer(true),
        (Chunk::Trailer(false), b'\n') => Chunk::Trailer(true),
        (Chunk::Trailer(_), _) => Chunk::Trailer(false),
        // Data is not read byte by byte; it is here so that every state has an answer.
        (Chunk::Data(left), _) => Chunk::Data(left),
    }))
}

fn behind_size(size: u64) -> Chunk {
    if size == 0 { Chunk::Trailer(true) } else { Chunk::Data(size) }
}
