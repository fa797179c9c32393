//! Names of ASes, a line each as the registries publish them: `3320 DTAG Internet service provider operations, DE`. The number may
//! have `AS` before it; what follows the last comma is the country, if it is two letters, and is left out. Lines that are empty
//! or begin with `#` count for nothing.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use sonde_protocol::ids::Asn;

/// The most names: there are some 120,000 ASes.
const MAX_NAMES: usize = 1_000_000;

/// The longest name in characters; a longer one is cut. Pages have it in the cells of tables.
const MAX_NAME: usize = 80;

/// Names by number.
#[derive(Debug, Default)]
pub(super) struct Names {
    by_asn: HashMap<u32, Arc<str>>,
    version: u64,
}

impl Names {
    /// Reads a text. What is wrong is said with its line.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut by_asn = HashMap::new();
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (asn, name) = entry(line)
                .ok_or_else(|| format!("line {}: the number of an AS and its name are expected", number + 1))?;
            if by_asn.len() >= MAX_NAMES {
                return Err(format!("line {}: more than {MAX_NAMES} names", number + 1));
            }
            if !name.is_empty() {
                by_asn.insert(asn, name.into());
            }
        }
        Ok(Self { by_asn, version: hasher.finish() })
    }

    /// The name of an AS.
    pub fn find(&self, asn: Asn) -> Option<Arc<str>> {
        self.by_asn.get(&asn.0).cloned()
    }

    /// Another number for another text.
    pub fn version(&self) -> u64 {
        self.version
    }
}

fn entry(line: &str) -> Option<(u32, String)> {
    let (number, rest) = line.split_once(char::is_whitespace)?;
    let digits = number.strip_prefix("AS").unwrap_or(number);
    // `parse` would take a sign.
    let asn = digits.parse().ok().filter(|_| digits.bytes().all(|digit| digit.is_ascii_digit()))?;
    let is_country = |code: &str| code.len() == 2 && code.bytes().all(|letter| letter.is_ascii_uppercase());
    let name = match rest.rsplit_once(',') {
        Some((name, code)) if is_country(code.trim()) => name,
        _ => rest,
    };
    Some((asn, plain(name)))
}

/// A name in one line, without what would turn a line around or hide in it.
fn plain(name: &str) -> String {
    let is_hidden = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let words = name.split(|letter: char| letter.is_whitespace() || is_hidden(letter)).filter(|word| !word.is_empty());
    let name = words.collect::<Vec<_>>().join(" ");
    match name.char_indices().nth(MAX_NAME) {
        None => name,
        Some((end, _)) => format!("{}…", name.get(..end).unwrap_or_default().trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str, asn: u32) -> Option<String> {
        Names::read(text).unwrap().find(Asn(asn)).map(|name| name.to_string())
    }

    #[test]
    fn as_the_registries_publish_them() {
        let text = "# a comment\n\n3320 DTAG Internet service provider operations, DE\r\nAS7018 ATT-INTERNET4, US\n\
            64500 One, Two and Three, Inc., NL\n64501 No country\n64502 EVIL <b>\u{202e}x\u{7}, ZZ\n64503 , NL\n";
        assert_eq!(name(text, 3320).as_deref(), Some("DTAG Internet service provider operations"));
        assert_eq!(name(text, 7018).as_deref(), Some("ATT-INTERNET4"));
        assert_eq!(name(text, 64_500).as_deref(), Some("One, Two and Three, Inc."));
        assert_eq!(name(text, 64_501).as_deref(), Some("No country"));
        assert_eq!(name(text, 64_502).as_deref(), Some("EVIL <b> x"), "nothing turns the line around");
        assert_eq!((name(text, 64_503), name(text, 1)), (None, None));
        let long = format!("1 {}", "ä".repeat(10_000));
        assert_eq!(name(&long, 1).unwrap().chars().count(), MAX_NAME + 1);
        let [one, other] = ["1 A, DE", "1 B, DE"].map(|text| Names::read(text).unwrap().version());
        assert_ne!(one, other);
    }

    #[test]
    fn what_is_no_name_is_told_with_its_line() {
        for bad in ["1", "one Name", "4294967296 Name", "+1 Name", "AS Name", "-1 Name", "{\"1\": 2}"] {
            let error = Names::read(&format!("1 Good, DE\n{bad}\n")).unwrap_err();
            assert_eq!(error, "line 2: the number of an AS and its name are expected", "{bad}");
        }
    }
}
