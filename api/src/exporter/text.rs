//! The text format of Prometheus, version 0.0.4: families with help and type, samples with labels. Pure.
//!
//! Names and help texts are ours; values of labels come from people and are escaped.

use std::fmt::Write as _;

/// The type of such a body.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The longest value of a label in characters: people write descriptions of any length, and every sample repeats its labels.
const MAX_VALUE: usize = 200;

/// A body that is being written.
#[derive(Debug, Default)]
pub(crate) struct Text(String);

impl Text {
    /// Begins a family.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing into memory cannot fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// A sample of the family.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(name);
        let mut before = '{';
        for (label, value) in labels {
            self.0.push(before);
            self.0.push_str(label);
            self.0.push_str("=\"");
            self.escape(value);
            self.0.push('"');
            before = ',';
        }
        if before == ',' {
            self.0.push('}');
        }
        // The shortest text that reads as the same number; whole numbers without a fraction.
        let _ = writeln!(self.0, " {value}");
    }

    fn escape(&mut self, value: &str) {
        for letter in value.chars().take(MAX_VALUE) {
            match letter {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                letter => self.0.push(letter),
            }
        }
    }

    /// The whole.
    pub fn into_body(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_labels_are_escaped_and_bounded() {
        let mut text = Text::default();
        text.family("a_total", "counter", "How many.");
        text.sample("a_total", &[("one", "\"quoted\" \\ and\nbroken"), ("two", "é")], 3.0);
        text.sample("a_total", &[], 0.5);
        let body = text.into_body();
        let lines: Vec<&str> = body.lines().collect();
        assert_eq!(lines[2], r#"a_total{one="\"quoted\" \\ and\nbroken",two="é"} 3"#);
        assert_eq!(lines[3], "a_total 0.5");
        let mut text = Text::default();
        text.sample("a", &[("long", &"ü".repeat(5000))], 1.0);
        assert!(text.into_body().chars().count() < 300);
    }
}
