use data_encoding::HEXLOWER;

use super::*;

/// A program with these sections, not signed.
pub(crate) fn program(sections: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut image = vec![0; 1024];
    image[..2].copy_from_slice(b"MZ");
    image[0x3c] = 0x40;
    image[0x40..0x44].copy_from_slice(b"PE\0\0");
    image[0x46] = u8::try_from(sections.len()).unwrap();
    image[0x54] = 240;
    image[0x58..0x5a].copy_from_slice(&[0x0b, 0x02]);
    image[0x58 + 108] = 16;
    for (number, (name, content)) in sections.iter().enumerate() {
        let row = 0x58 + 240 + 40 * number;
        let start = u32::try_from(image.len()).unwrap();
        let size = u32::try_from(content.len()).unwrap();
        image[row..row + name.len()].copy_from_slice(name);
        image[row + 8..row + 12].copy_from_slice(&size.to_le_bytes());
        image[row + 16..row + 20].copy_from_slice(&size.next_multiple_of(512).to_le_bytes());
        image[row + 20..row + 24].copy_from_slice(&start.to_le_bytes());
        image.extend_from_slice(content);
        image.resize(image.len().next_multiple_of(512), 0);
    }
    image
}

/// The same, with something in the signatures' place.
pub(crate) fn sign(mut image: Vec<u8>, signature: &[u8]) -> Vec<u8> {
    let start = u32::try_from(image.len()).unwrap();
    image[0x58 + 64..0x58 + 68].copy_from_slice(&[1, 2, 3, 4]);
    image[0x58 + 144..0x58 + 148].copy_from_slice(&start.to_le_bytes());
    image[0x58 + 148..0x58 + 152].copy_from_slice(&u32::try_from(signature.len()).unwrap().to_le_bytes());
    image.extend_from_slice(signature);
    image
}

fn ours() -> Vec<u8> {
    program(&[
        (b".osrel", b"ID=sonde\nIMAGE_VERSION=1.2.3\n"),
        (b".uname", b"6.12.95+deb12-arm64"),
        (b".linux", &[7; 700]),
    ])
}

#[test]
fn a_signature_changes_no_digest_and_anything_else_does() {
    let image = ours();
    let plain = Efi::read(&image).unwrap();
    let signed = Efi::read(&sign(image.clone(), &[9; 64])).unwrap();
    assert!(!plain.signed && signed.signed);
    assert_eq!(plain.digest, signed.digest);
    // The checksum and the place of the signatures are not counted, and every other byte is.
    let apart = |at: usize| (0x58 + 64..0x58 + 68).contains(&at) || (0x58 + 144..0x58 + 152).contains(&at);
    for at in (0..image.len()).filter(|at| !apart(*at)) {
        let mut changed = image.clone();
        changed[at] ^= 0x10;
        assert_ne!(Efi::read(&changed).map(|efi| efi.digest), Ok(plain.digest), "byte {at}");
    }
}

#[test]
fn a_digest_is_the_one_that_other_tools_say() {
    // os-image/lib/authenticode.py says this of the same bytes, and sbsign signs it.
    let digest = HEXLOWER.encode(&Efi::read(&ours()).unwrap().digest);
    assert_eq!(digest, "c815d802eda581bb864e4e2612e28b9ba73d33d566a8893516b07dea890cfdc0");
}

#[test]
fn texts_come_out_of_their_sections() {
    let efi = Efi::read(&ours()).unwrap();
    assert_eq!(efi.version(), Some("1.2.3"));
    let named = Efi::read(&program(&[(b".osrel", b"VERSION_ID=\"1.2.3\"\nIMAGE_VERSION=12\n")])).unwrap();
    assert_eq!((named.version(), named.stated("VERSION_ID"), named.stated("ID")), (Some("12"), Some("1.2.3"), None));
    assert_eq!(efi.kernel.as_deref(), Some("6.12.95+deb12-arm64"));
    let evil = Efi::read(&program(&[(b".uname", b"6\x1b[2J\x07.12")])).unwrap();
    assert_eq!(evil.kernel.as_deref(), Some("6[2J.12"), "nothing that moves a terminal");
    assert_eq!(evil.version(), None);
}

#[test]
fn nothing_hides_behind_or_before_a_signature() {
    let signed = sign(ours(), &[9; 64]);
    let longer = [&signed[..], b"more"].concat();
    assert_eq!(Efi::read(&longer), Err(NotEfi::Tail));
    assert_eq!(Efi::read(&signed[..signed.len() - 1]), Err(NotEfi::Tail));
    let mut early = signed;
    early[0x58 + 144..0x58 + 148].copy_from_slice(&8u32.to_le_bytes());
    let size = u32::try_from(early.len() - 8).unwrap();
    early[0x58 + 148..0x58 + 152].copy_from_slice(&size.to_le_bytes());
    assert_eq!(Efi::read(&early), Err(NotEfi::Tail), "a table that begins before the header ends");
}

#[test]
fn what_is_no_program_is_called_so() {
    for bytes in [&b""[..], b"MZ", &[0; 4096], b"#!/bin/sh\n"] {
        assert_eq!(Efi::read(bytes), Err(NotEfi::Header));
    }
    assert_eq!(Efi::read(&ours()[..0x80]), Err(NotEfi::Header));
    assert_eq!(Efi::read(&ours()[..0x160]), Err(NotEfi::Short));
}
