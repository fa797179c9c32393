//! What `verify-image` reads: a card, a signed program, a release's list. All three come from whoever wants to be believed.

use std::io::Cursor;

use sonde_probe::verify_image::card::Card;
use sonde_probe::verify_image::efi::Efi;
use sonde_probe::verify_image::sums::Sums;

pub(super) fn card_image(data: &[u8]) {
    let Ok(mut card) = Card::open(Cursor::new(data)) else { return };
    let Ok(files) = card.files() else { return };
    for file in &files {
        assert!(!file.path.contains(char::is_control), "a name that moves a terminal");
        if let Ok(bytes) = card.read(file) {
            assert_eq!(bytes.len() as u64, file.size);
        }
    }
}

pub(super) fn efi_program(data: &[u8]) {
    let Ok(efi) = Efi::read(data) else { return };
    for text in [&efi.os_release, &efi.kernel].into_iter().flatten() {
        assert!(text.chars().all(|char| char == '\n' || !char.is_control()), "a text that moves a terminal");
    }
    // What is behind a signature no digest would cover.
    if efi.signed {
        assert!(Efi::read(&[data, b"x"].concat()).is_err());
    }
}

pub(super) fn sums_list(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(sums) = Sums::parse(text) else { return };
    for name in sums.names() {
        let sum = sums.sum_of(name).expect("it is in the list");
        assert!(sums.name_of(sum).is_some());
    }
}
