//! What servers, probes and name servers say, made fit for a terminal. A control character could move the cursor, colour
//! the screen, or type into the shell; characters that turn the direction of writing could make a line read as another.

/// What stands for a character that must not reach a terminal.
const REPLACEMENT: char = '\u{fffd}';

/// The text without anything that a terminal would obey, cut to `longest` characters.
pub fn text(raw: &str, longest: usize) -> String {
    let mut clean: String = raw.chars().take(longest).map(|c| if is_harmful(c) { REPLACEMENT } else { c }).collect();
    if raw.chars().nth(longest).is_some() {
        clean.pop();
        clean.push('…');
    }
    clean
}

/// A line of JSON with such characters written as escapes: it means the same to a parser. Outside of strings JSON has none.
pub fn json(line: &str) -> String {
    let mut clean = String::with_capacity(line.len());
    for c in line.chars() {
        if is_harmful(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                clean.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            clean.push(c);
        }
    }
    clean
}

fn is_harmful(c: char) -> bool {
    // Control characters; line and paragraph separators; marks, embeddings, overrides and isolates of direction.
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        assert_eq!(
            text("a\u{1b}[31mred\u{9b}2J\r\n\u{202e}b", 80),
            "a\u{fffd}[31mred\u{fffd}2J\u{fffd}\u{fffd}\u{fffd}b"
        );
        assert_eq!(text("Zürich ☂", 80), "Zürich ☂");
    }

    #[test]
    fn long_text_is_cut_and_says_so() {
        assert_eq!(text("abcdef", 4), "abc…");
        assert_eq!(text("abcd", 4), "abcd");
    }

    #[test]
    fn json_keeps_its_meaning() {
        let line = "{\"a\":\"x\u{7f}\u{9b}\u{202e}y\"}";
        let clean = json(line);
        assert!(clean.is_ascii());
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&clean), value(line));
    }
}
