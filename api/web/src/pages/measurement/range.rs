//! Which time a page is about: the last hours or days, or from one moment to another. It stands in the URL.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::ask;
use crate::charts::time;
use crate::choices::Choices;
use crate::page::Problem;

/// What is offered: the word in the URL, what people read, seconds.
const OFFERED: [(&str, &str, i64); 5] = [
    ("1h", "hour", 3_600),
    ("6h", "6 hours", 21_600),
    ("1d", "day", 86_400),
    ("7d", "7 days", 604_800),
    ("30d", "30 days", 2_592_000),
];

/// A time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Range {
    /// The word, when it was one.
    pub word: Option<&'static str>,
    /// In Unix seconds; `None`: what the API takes.
    pub start: Option<i64>,
    /// The same, inclusive.
    pub stop: Option<i64>,
}

/// A link to another range; for templates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    /// What people read.
    pub name: &'static str,
    /// Where it leads: the query with its `?`.
    pub query: String,
    /// It is the one that is shown.
    pub is_here: bool,
}

impl Range {
    /// Reads `range`, or `start` and `stop`. The last time of a measurement that is over is before its end.
    pub fn read(choices: &Choices, over: Option<i64>) -> Result<Self, Problem> {
        let start = moment(choices, "start")?;
        let stop = moment(choices, "stop")?;
        if let (Some(start), Some(stop)) = (start, stop)
            && start > stop
        {
            return Err(Problem::bad("The beginning of that time is after its end."));
        }
        if start.is_some() || stop.is_some() {
            return Ok(Self { word: None, start, stop });
        }
        let Some(word) = choices.text("range") else { return Ok(Self::default()) };
        let found = OFFERED.iter().find(|(known, ..)| *known == word);
        let Some((word, _, seconds)) = found else {
            let words: Vec<&str> = OFFERED.iter().map(|(word, ..)| *word).collect();
            return Err(Problem::bad(&format!("“range” is one of: {}.", words.join(", "))));
        };
        let end = over.unwrap_or(i64::MAX).min(now());
        Ok(Self { word: Some(word), start: Some(end.saturating_sub(*seconds)), stop: None })
    }

    /// For the API.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let start = self.start.map(|start| ("start", start.to_string()));
        let stop = self.stop.map(|stop| ("stop", stop.to_string()));
        start.into_iter().chain(stop).collect()
    }

    /// For links of the page to itself.
    pub fn own_pairs(&self) -> Vec<(&'static str, String)> {
        match self.word {
            Some(word) => vec![("range", word.to_owned())],
            None => self.pairs(),
        }
    }

    /// Links to what is offered, each with the other choices of the page. Without a choice the API shows a day.
    pub fn links(&self, others: &[(&str, String)], without_choice: &'static str) -> Vec<Link> {
        let is_chosen = self.word.is_some() || self.start.is_some() || self.stop.is_some();
        OFFERED
            .iter()
            .map(|(word, name, _)| {
                let others = others.iter().map(|(name, value)| (*name, value.as_str()));
                let query = ask::path("", std::iter::once(("range", *word)).chain(others));
                let is_here = self.word == Some(word) || (!is_chosen && *word == without_choice);
                Link { name, query, is_here }
            })
            .collect()
    }
}

/// Seconds, to the minute, so that everybody who looks within one gets the same page.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    seconds - seconds % 60
}

/// Unix seconds, `2026-11-28T17:00:00Z`, or what a field for a date and a time of day sends: `2026-11-28T17:00`, which is UTC.
pub(crate) fn moment(choices: &Choices, name: &str) -> Result<Option<i64>, Problem> {
    let Some(text) = choices.text(name) else { return Ok(None) };
    let read = text.parse::<i64>().ok().or_else(|| {
        let endings = ["", "Z", ":00Z", "T00:00:00Z"];
        endings.iter().find_map(|ending| time::parse(&format!("{text}{ending}")))
    });
    let read = read.filter(|seconds| (0..=253_402_300_799).contains(seconds));
    read.map(Some)
        .ok_or_else(|| Problem::bad(&format!("“{name}” is a time, as 2026-11-28T17:00 (UTC) or in Unix seconds.")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choices::Choices;

    fn read(query: &str) -> Result<Range, Problem> {
        Range::read(&Choices::of(query.as_bytes()).unwrap(), Some(1_000_000))
    }

    #[test]
    fn words_and_moments() {
        assert_eq!(read("").unwrap(), Range::default());
        let day = read("range=1d").unwrap();
        assert_eq!((day.start, day.stop, day.word), (Some(1_000_000 - 86_400), None, Some("1d")), "before its end");
        let exact = read("start=1970-01-02&stop=1970-01-02T01:00").unwrap();
        assert_eq!((exact.start, exact.stop), (Some(86_400), Some(90_000)));
        assert_eq!(read("start=86400").unwrap().start, Some(86_400));
        for odd in ["range=2d", "start=soon", "start=9&stop=5", "start=-5", "start=99999999999999"] {
            read(odd).unwrap_err();
        }
    }

    #[test]
    fn links_keep_what_else_was_chosen() {
        let links = read("range=7d").unwrap().links(&[("order", "loss".into())], "1d");
        assert_eq!(links[3], Link { name: "7 days", query: "?range=7d&order=loss".into(), is_here: true });
        assert!(read("").unwrap().links(&[], "1d")[2].is_here);
    }
}
