//! What the API says when it refuses: Atlas's envelope, in words.

use std::fmt;

use serde_json::Value;

use super::clean;

/// The longest sentence that is shown.
const MAX_SENTENCE: usize = 400;

/// The most problems that are shown.
const MAX_PROBLEMS: usize = 50;

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refusal {
    /// HTTP's status.
    pub status: u16,
    /// What the server says in general.
    pub detail: String,
    /// What it says of single fields: where, and what.
    pub problems: Vec<(String, String)>,
    /// When to come back, in seconds.
    pub after: Option<u64>,
}

impl Refusal {
    /// Reads it. Whatever answered, there is something to say.
    pub fn read(status: u16, body: &Value, after: Option<u64>) -> Self {
        let error = &body["error"];
        let text = |value: &Value| clean::text(value.as_str().unwrap_or_default(), MAX_SENTENCE);
        let detail = [&error["detail"], &error["title"]].into_iter().map(text).find(|words| !words.is_empty());
        let problems = error["errors"].as_array().into_iter().flatten().take(MAX_PROBLEMS).map(|problem| {
            let place = ["pointer", "parameter"].into_iter().find_map(|name| problem["source"][name].as_str());
            (clean::text(place.unwrap_or_default(), MAX_SENTENCE), text(&problem["detail"]))
        });
        Self {
            status,
            detail: detail.unwrap_or_else(|| "it does not say why".into()),
            problems: problems.collect(),
            after,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server refuses ({}): {}", self.status, self.detail)?;
        for (place, detail) in &self.problems {
            match place.as_str() {
                "" => write!(f, "\n  {detail}")?,
                place => write!(f, "\n  {place}: {detail}")?,
            }
        }
        if let Some(seconds) = self.after {
            write!(f, "\n  Try again in {seconds} s.")?;
        }
        if self.status == 403 {
            write!(f, "\n  The key comes from --key-file or SONDE_KEY; the server's operator gives one out.")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_problem_with_its_place() {
        let body = json!({"error": {"status": 400, "code": 102, "title": "Bad Request",
            "detail": "There was a problem with your request", "errors": [
                {"source": {"pointer": "/definitions/0/packets"}, "detail": "Ensure this value is between 1 and 16."},
                {"source": {"pointer": ""}, "detail": "Not \u{1b}[31mtoday."}, {}]}});
        assert_eq!(
            Refusal::read(400, &body, None).to_string(),
            "the server refuses (400): There was a problem with your request\n  \
             /definitions/0/packets: Ensure this value is between 1 and 16.\n  Not \u{fffd}[31mtoday.\n  "
        );
    }

    #[test]
    fn whatever_answered() {
        assert_eq!(Refusal::read(502, &Value::Null, None).to_string(), "the server refuses (502): it does not say why");
        let busy = json!({"error": {"status": 429, "title": "Too Many Requests", "detail": "Slow down."}});
        assert_eq!(
            Refusal::read(429, &busy, Some(7)).to_string(),
            "the server refuses (429): Slow down.\n  Try again in 7 s."
        );
        let key = json!({"error": {"detail": "This key does not exist."}});
        assert!(Refusal::read(403, &key, None).to_string().contains("SONDE_KEY"));
    }
}
