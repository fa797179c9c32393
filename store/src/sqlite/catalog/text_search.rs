//! Finding texts of measurements by a part of them: an index of all that is three letters long (FTS5's trigrams), which
//! says where a longer text can be. Whether it is there is for the caller to compare.
//!
//! New measurements come into the index later ([`index`]); until then they are all candidates.

use rusqlite::types::Value;
use rusqlite::{Connection, params};

/// As many candidates as are few. With more of them a look at every text is the quicker way.
const FEW: i64 = 1000;

/// The most trigrams that are looked up of one text; a few are as good as all.
const MAX_TRIGRAMS: usize = 12;

/// How many measurements come into the index at once: some ten milliseconds.
const AT_ONCE: i64 = 500;

/// Binds the query for the trigrams, and the number of the newest measurement in the index.
const CANDIDATES: &str = "SELECT rowid FROM measurement_letters WHERE measurement_letters MATCH ?
    UNION ALL SELECT id FROM measurement WHERE id > ?";

/// A condition that is true of whatever has `text`, folded, in its target or description, and of not much else. `None` where
/// the index is of no use.
pub(super) fn candidates(db: &Connection, text: &str) -> rusqlite::Result<Option<(String, [Value; 2])>> {
    let Some(query) = query(text) else { return Ok(None) };
    let newest: i64 = db.prepare_cached("SELECT upto FROM text_indexed")?.query_row([], |row| row.get(0))?;
    let found: i64 = db
        .prepare_cached(&format!("SELECT count(*) FROM (SELECT * FROM ({CANDIDATES}) LIMIT ?)"))?
        .query_row(params![query, newest, FEW], |row| row.get(0))?;
    let condition = || (format!("id IN ({CANDIDATES})"), [Value::from(query), Value::from(newest)]);
    Ok((found < FEW).then(condition))
}

/// What to ask the index for: trigrams side by side, and the last one. `None` for texts that are too short.
fn query(text: &str) -> Option<String> {
    let letters: Vec<char> = text.chars().collect();
    // What SQLite would read as the end of the query.
    if letters.contains(&'\0') {
        return None;
    }
    let last = letters.last_chunk::<3>()?;
    let mut trigrams: Vec<&[char]> = letters.chunks_exact(3).take(MAX_TRIGRAMS).collect();
    trigrams.push(last);
    let quoted = |trigram: &[char]| format!("\"{}\"", String::from_iter(trigram).replace('"', "\"\""));
    Some(trigrams.into_iter().map(quoted).collect::<Vec<_>>().join(" AND "))
}

/// Takes the next measurements into the index; says whether there may be more.
pub(super) fn index(db: &Connection) -> rusqlite::Result<bool> {
    let next = "SELECT id FROM measurement WHERE id > (SELECT upto FROM text_indexed) ORDER BY id LIMIT ?";
    let newest: Option<i64> =
        db.prepare_cached(&format!("SELECT max(id) FROM ({next})"))?.query_row([AT_ONCE], |row| row.get(0))?;
    let Some(newest) = newest else { return Ok(false) };
    let taken = db
        .prepare_cached(
            "INSERT INTO measurement_letters (rowid, target, description)
             SELECT id, target_folded, description_folded FROM measurement
             WHERE id > (SELECT upto FROM text_indexed) AND id <= ?",
        )?
        .execute([newest])?;
    db.prepare_cached("UPDATE text_indexed SET upto = ?")?.execute([newest])?;
    Ok(taken as i64 == AT_ONCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        let cases = [
            ("ab", None),
            ("", None),
            ("abc", Some(r#""abc" AND "abc""#)),
            ("abcd", Some(r#""abc" AND "bcd""#)),
            ("abcdef", Some(r#""abc" AND "def" AND "def""#)),
            ("größe\"", Some(r#""grö" AND "ße""" AND "ße""""#)),
            ("ab\0c", None),
        ];
        for (text, expected) in cases {
            assert_eq!(query(text).as_deref(), expected, "{text:?}");
        }
        assert_eq!(query(&"abc".repeat(100)).map(|query| query.matches("AND").count()), Some(MAX_TRIGRAMS));
    }
}
