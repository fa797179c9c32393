//! Tables as text with commas (RFC 4180), for spreadsheets and scripts.

/// One table in the making.
pub(crate) struct Csv(String);

impl Csv {
    /// With these columns.
    pub fn new<'a>(columns: impl IntoIterator<Item = &'a str>) -> Self {
        let mut csv = Self(String::new());
        csv.row(columns);
        csv
    }

    /// Adds a row; absent values are empty.
    pub fn row<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = T>) {
        for (index, cell) in cells.into_iter().enumerate() {
            if index > 0 {
                self.0.push(',');
            }
            self.cell(cell.as_ref());
        }
        self.0.push_str("\r\n");
    }

    fn cell(&mut self, text: &str) {
        // A spreadsheet would run what begins like a formula; texts of ours never do, texts from outside may. Numbers may begin so.
        let is_formula = text.starts_with(['=', '+', '-', '@', '\t']) && text.parse::<f64>().is_err();
        let needs_quotes = is_formula || text.contains([',', '"', '\n', '\r']);
        if !needs_quotes {
            self.0.push_str(text);
            return;
        }
        self.0.push('"');
        if is_formula {
            self.0.push('\'');
        }
        for letter in text.chars() {
            if letter == '"' {
                self.0.push('"');
            }
            self.0.push(letter);
        }
        self.0.push('"');
    }

    /// All of it.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_formulas() {
        let mut csv = Csv::new(["a", "b"]);
        csv.row(["1,5", "say \"so\""]);
        csv.row(["-2.5", "=HYPERLINK(1)"]);
        csv.row(["", "-x"]);
        let text = String::from_utf8(csv.into_bytes()).unwrap();
        assert_eq!(text, "a,b\r\n\"1,5\",\"say \"\"so\"\"\"\r\n-2.5,\"'=HYPERLINK(1)\"\r\n,\"'-x\"\r\n");
    }
}
