//! What a machine says on its serial console: firmware, loader, kernel, and the lines `sonde-os [SECONDS] STEP: TEXT` of its
//! operating system. Reads a file; waiting is [`super::machine`]'s.

use std::fs;
use std::path::{Path, PathBuf};

/// How every line of the system begins.
const MARK: &str = "sonde-os [";

/// One line of the operating system.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Seconds since the kernel started.
    pub at: f64,
    /// Which step it is about.
    pub step: String,
    /// What it says of it.
    pub text: String,
}

/// The console's record.
#[derive(Debug, Clone)]
pub struct Console {
    file: PathBuf,
}

impl Console {
    /// Of the machine that writes this file.
    pub fn of(file: &Path) -> Self {
        Self { file: file.to_owned() }
    }

    /// Everything so far, without what moves cursors and colours text.
    pub fn text(&self) -> String {
        // A console that has not said anything yet has no file.
        plain(&String::from_utf8_lossy(&fs::read(&self.file).unwrap_or_default()))
    }

    /// The operating system's lines so far.
    pub fn lines(&self) -> Vec<Line> {
        lines(&self.text())
    }

    /// Its last lines, for a message about what went wrong.
    pub fn tail(&self) -> String {
        let text = self.text();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let from = lines.len().saturating_sub(40);
        lines.get(from..).unwrap_or_default().join("\n")
    }
}

/// The lines of the operating system in a text that others write into as well.
pub fn lines(text: &str) -> Vec<Line> {
    // The last one may be half written.
    let whole = text.rfind('\n').map_or("", |end| text.get(..end).unwrap_or_default());
    whole.lines().filter_map(line).collect()
}

fn line(text: &str) -> Option<Line> {
    // The kernel's own words may stand before it in the same line.
    let (_, rest) = text.rsplit_once(MARK)?;
    let (at, rest) = rest.split_once("] ")?;
    let (step, said) = rest.split_once(": ")?;
    Some(Line { at: at.trim().parse().ok()?, step: step.to_owned(), text: said.trim_end().to_owned() })
}

/// Without the control sequences of ECMA-48, which firmware and loader use to draw their screens.
fn plain(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => {
                if characters.next() == Some('[') {
                    // Parameters up to the final byte.
                    for follower in characters.by_ref() {
                        if ('@'..='~').contains(&follower) {
                            break;
                        }
                    }
                }
            }
            '\n' | '\t' => clean.push(character),
            other if other.is_control() => {}
            other => clean.push(other),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_between_those_of_others() {
        let text = plain(
            "\u{1b}[2J\u{1b}[01;01HBdsDxe: starting Boot0001\r\n[    0.1] x sonde-os [1.250] link: eth0 up, 1000 Mb/s\r\n\
             sonde-os [2.000] state: mounted: whole\r\nsonde-os [2.5] cl",
        );
        let found = lines(&text);
        let line = |at, step: &str, text: &str| Line { at, step: step.to_owned(), text: text.to_owned() };
        assert_eq!(found, [line(1.25, "link", "eth0 up, 1000 Mb/s"), line(2.0, "state", "mounted: whole")]);
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        assert_eq!(lines("sonde-os [x] link: up\nsonde-os [1.0] link\nsonde-os 1.0 link: up\n"), []);
    }
}
