//! Lines of a table: whose result it is, and what the kind shows of it.

use sonde_protocol::spec::Kind;

use super::people::People;
use super::row::{self, Column, Row, number, text};

/// What stands before the columns of the kind.
const WHO: [Column; 4] = [number("PROBE", 6), text("CC", 2), text("AS", 8), text("AF", 2)];

/// What stands where nothing is known.
const NONE: &str = "–";

/// How many spaces part the columns.
const GAP: &str = "  ";

/// The columns of a table.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<Column>,
}

impl Table {
    /// Of results of a kind. With `is_dated` each line begins with its time.
    pub fn of_kind(kind: Option<Kind>, is_dated: bool) -> Self {
        let date = is_dated.then_some(text("TIME (UTC)", 19));
        Self { columns: date.into_iter().chain(WHO).chain(row::columns(kind).iter().copied()).collect() }
    }

    /// Of other things.
    pub fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec() }
    }

    /// The line above.
    pub fn head(&self, widths: &[usize]) -> String {
        let titles: Vec<String> = self.columns.iter().map(|column| column.title.to_owned()).collect();
        self.line(&titles, widths)
    }

    /// Widths for a table whose lines are not all known yet.
    pub fn usual_widths(&self) -> Vec<usize> {
        self.columns.iter().map(|column| column.width.max(column.title.chars().count())).collect()
    }

    /// Widths that fit these lines.
    pub fn widths<'a>(&self, lines: impl Iterator<Item = &'a [String]>) -> Vec<usize> {
        let mut widths: Vec<usize> = self.columns.iter().map(|column| column.title.chars().count()).collect();
        for line in lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
        widths
    }

    /// One line.
    pub fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let cells = self.columns.iter().zip(cells).zip(widths).map(|((column, cell), &width)| {
            if column.is_number { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
    }
}

/// The cells that say whose result it is.
pub fn who(probe: u64, af: Option<u8>, people: &People) -> Vec<String> {
    let person = people.get(probe);
    let or_none = |text: Option<String>| text.unwrap_or_else(|| NONE.into());
    vec![
        probe.to_string(),
        or_none(person.country.clone()),
        or_none(person.asn(af).map(|asn| format!("AS{asn}"))),
        or_none(af.map(|af| format!("v{af}"))),
    ]
}

/// All cells of a result.
pub fn cells(row: &Row, is_dated: bool, people: &People) -> Vec<String> {
    let date = is_dated.then(|| date(row.timestamp));
    date.into_iter().chain(who(row.probe, row.af, people)).chain(row.cells.iter().cloned()).collect()
}

/// The cells of a probe that has not answered, and why.
pub fn silent(probe: u64, af: u8, why: &str, people: &People) -> Vec<String> {
    let mut cells = who(probe, Some(af), people);
    cells.push(why.to_owned());
    cells
}

/// Unix seconds as `2026-11-28 07:35:00`.
pub fn date(seconds: i64) -> String {
    // Days since 1 March of year 0, in eras of 400 years: the calendar repeats after one, and leap days come last.
    let (days, second) = (seconds.div_euclid(86_400).saturating_add(719_468), seconds.rem_euclid(86_400));
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year + era * 400 + next;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_stand_right_and_text_left() {
        let people = People::known(&[(7, json!({"country_code": "DE", "asn_v4": 64500}))]);
        let ping = json!({"prb_id": 7, "type": "ping", "af": 4, "timestamp": 1_795_851_300, "dst_addr": "192.0.2.1",
                          "sent": 3, "rcvd": 3, "min": 1.5, "avg": 2, "max": 10});
        let table = Table::of_kind(Some(Kind::Ping), false);
        let cells = cells(&Row::read(&ping).unwrap(), false, &people);
        let widths = table.widths([cells.as_slice()].into_iter());
        assert_eq!(table.head(&widths), "PROBE  CC  AS       AF  TARGET     LOSS    MIN    AVG     MAX");
        assert_eq!(table.line(&cells, &widths), "    7  DE  AS64500  v4  192.0.2.1    0%  1.500  2.000  10.000");
        let stranger = silent(8, 6, "waiting", &people);
        assert_eq!(table.line(&stranger, &widths), "    8  –   –        v6  waiting");
    }

    #[test]
    fn dates() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_795_851_300, "2026-11-28 07:35:00"),
            (4_107_542_399, "2100-02-28 23:59:59"),
            (4_107_542_400, "2100-03-01 00:00:00"),
            (-1, "1969-12-31 23:59:59"),
        ] {
            assert_eq!(date(seconds), expected);
        }
    }
}
