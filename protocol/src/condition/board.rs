//! What to do on a board: it has no shell, no files to edit but `sonde.toml` on its card, and a clock that its collector sets.

use super::Word;

/// How a board's operating system names itself in the software that a probe tells, before its version.
pub const SYSTEM: &str = "sonde-os/";

/// Is the software that a probe tells (`sonde-probe/0.1.0 sonde-os/0.1.0`) a board's?
pub fn is_board(software: &str) -> bool {
    software.split_ascii_whitespace().any(|part| part.starts_with(SYSTEM))
}

/// The advice where it is another one than on other machines.
pub(super) const fn advice(word: Word) -> Option<&'static str> {
    Some(match word {
        Word::NoResolver => {
            "The network names none by DHCP or router advertisements: put `resolvers = [\"ADDRESS\"]` into sonde.toml on the card, section [address]."
        }
        Word::DnsSilent | Word::DnsFails => {
            "Name other resolvers in sonde.toml on the card, section [address], and see whether port 53 may pass."
        }
        Word::NoPing => {
            "The board's system allows it, so this is a mistake: restart the board, and report this if it stays."
        }
        Word::ClockWrong => {
            "Nothing is to be done: the board goes by its collector's clock. If this stays, restart the board."
        }
        Word::DuplicateKey => {
            "Two cards are copies of each other. Stop one board and write its card anew with a token of its own: it becomes another probe."
        }
        Word::TooOld => "Write the network's newest image to the card.",
        Word::NotUnderstood => "Write the network's newest image to the card, and report this if it stays.",
        Word::DiskFull | Word::DiskReadOnly => "Restart the board; if this comes again, put the image on another card.",
        Word::Paused => {
            "Nothing is broken. To go on, take the pause out of sonde.toml on the card, and restart the board."
        }
        Word::NeverConnected | Word::NotConnected => {
            "See whether the board has power and its cable. Its LED and its console say which step does not work."
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_is_known_by_its_software() {
        for (software, expected) in [
            ("sonde-probe/0.1.0 sonde-os/0.2.0", true),
            ("sonde-probe/0.1.0", false),
            ("sonde-probe/0.1.0 not-sonde-os/1", false),
            ("", false),
        ] {
            assert_eq!(is_board(software), expected, "{software}");
        }
    }

    #[test]
    fn no_board_is_told_to_run_a_command() {
        for word in Word::ALL {
            let advice = word.advice_on(true);
            assert!(advice.ends_with('.'), "{word}");
            for impossible in ["/etc/", "NTP", "doctor", "sonde-probe resume", "state directory", "Update the probe"] {
                assert!(!advice.contains(impossible), "{word}: {advice}");
            }
        }
        assert_eq!(Word::ClockWrong.advice_on(false), Word::ClockWrong.advice());
    }
}
