//! `sslcert` results.

use alloc::format;
use alloc::string::String;

use data_encoding::BASE64;
use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};

use super::{Line, Millis, NOT_ALLOWED, entry, failure_entry};
use crate::result::{Failure, SslcertFailure, SslcertOutcome};
use crate::spec::Spec;

/// A fatal alert's level (RFC 8446, section 6). Others end no handshake.
const FATAL: u8 = 2;

/// Characters in a line of PEM (RFC 7468).
const PEM_LINE: usize = 64;

pub(super) fn write<M: SerializeMap>(line: &Line<'_>, map: &mut M, seen: &SslcertOutcome) -> Result<(), M::Error> {
    target(line, map)?;
    if seen.version.is_some() || matches!(seen.failure, Some(SslcertFailure::Alert(_))) {
        map.serialize_entry("method", "TLS")?;
    }
    if let Some(version) = seen.version {
        map.serialize_entry("ver", &version_name(version))?;
    }
    entry(map, "ttc", seen.connect.map(Millis))?;
    entry(map, "rt", seen.rt.map(Millis))?;
    if let Some(cipher) = seen.cipher {
        map.serialize_entry("server_cipher", &format!("0x{cipher:04x}"))?;
    }
    if !seen.certificates.is_empty() {
        return map.serialize_entry("cert", &Chain(seen));
    }
    match &seen.failure {
        Some(SslcertFailure::Alert(description)) => {
            map.serialize_entry("alert", &Alert { level: FATAL, description: *description })
        }
        Some(SslcertFailure::Failed(why)) => map.serialize_entry("err", &**why),
        None => Ok(()),
    }
}

/// The members of `sonde`: what Atlas has no word for.
pub(super) fn extension<M: SerializeMap>(map: &mut M, seen: &SslcertOutcome) -> Result<(), M::Error> {
    if seen.client_certificate_wanted {
        map.serialize_entry("client_certificate_wanted", &true)?;
    }
    if seen.certificates_left_out > 0 {
        map.serialize_entry("certificates_left_out", &seen.certificates_left_out)?;
    }
    match &seen.failure {
        // Beside certificates Atlas has no place for it.
        Some(failure) if !seen.certificates.is_empty() => match failure {
            SslcertFailure::Alert(description) => map.serialize_entry("handshake", &format!("alert {description}")),
            SslcertFailure::Failed(why) => map.serialize_entry("handshake", &**why),
        },
        _ => Ok(()),
    }
}

/// A run that could not be carried out.
pub(super) fn write_failure<M: SerializeMap>(line: &Line<'_>, map: &mut M, failure: &Failure) -> Result<(), M::Error> {
    target(line, map)?;
    match failure {
        Failure::NotAllowed => map.serialize_entry("error", NOT_ALLOWED),
        // Atlas has a name of its own for what the socket refuses.
        Failure::Socket(why) => {
            map.serialize_entry("sockerr", &**why)?;
            failure_entry(map, failure)
        }
        _ => failure_entry(map, failure),
    }
}

fn target<M: SerializeMap>(line: &Line<'_>, map: &mut M) -> Result<(), M::Error> {
    line.target(map)?;
    if let Some(Spec::Sslcert(spec)) = line.ctx.spec {
        // Clients in Go insist on a string for ports.
        map.serialize_entry("dst_port", &format!("{}", spec.port))?;
    }
    line.time_to_resolve(map)
}

fn version_name(version: u16) -> String {
    match version {
        0x0300 => String::from("3.0"),
        // TLS 1.0 is 0x0301, and so on.
        0x0301..=0x03ff => format!("1.{}", version - 0x0301),
        other => format!("0x{other:04x}"),
    }
}

/// The object `alert`.
#[derive(Serialize)]
struct Alert {
    level: u8,
    description: u8,
}

/// The list `cert`.
struct Chain<'a>(&'a SslcertOutcome);

impl Serialize for Chain<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.certificates.len()))?;
        for der in self.0.certificates.iter() {
            list.serialize_element(&pem(der))?;
        }
        list.end()
    }
}

/// A certificate in PEM, with lines of 64 characters and real line ends.
fn pem(der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let mut pem = String::with_capacity(text.len() + text.len() / PEM_LINE + 60);
    pem.push_str("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII, so every place is a character's end.
        let (line, after) = rest.split_at_checked(PEM_LINE).unwrap_or((rest, ""));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}
