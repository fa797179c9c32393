//! What a visitor has chosen: the query of an address, or the fields of a form. Every choice stands in the URL, and one that
//! makes no sense is answered in words, never silently replaced.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;

use crate::page::Problem;
use crate::site::App;

/// The most choices of one request. A form that lists probes sends them in one field.
const MAX_CHOICES: usize = 200;

/// The longest query, in bytes.
const MAX_QUERY: usize = 8 << 10;

/// The longest form, in bytes.
const MAX_FORM: usize = 256 << 10;

/// Names and values, in the order in which they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Choices(Vec<(String, String)>);

impl Choices {
    /// Of a query or the body of a form.
    pub fn of(bytes: &[u8]) -> Result<Self, Problem> {
        let pairs = form_urlencoded::parse(bytes).take(MAX_CHOICES + 1);
        let pairs: Vec<_> = pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        if pairs.len() > MAX_CHOICES {
            return Err(Problem::bad(&format!("At most {MAX_CHOICES} fields can be sent at a time.")));
        }
        Ok(Self(pairs))
    }

    /// Of a query, for tests.
    #[cfg(test)]
    pub fn from_query(query: &str) -> Self {
        Self::of(query.as_bytes()).unwrap()
    }

    /// The value of one, unless it is empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.all(name).find(|value| !value.is_empty())
    }

    /// The value of one as it was sent: of a password every space counts.
    pub fn raw(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// Every value under this name.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.trim())
    }

    /// Everything, for a form that shows again what was sent, or an address that keeps it.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.trim()))
    }

    /// One of a few words; the first of them when nothing was chosen.
    pub fn one_of<'a>(&self, name: &str, words: &[&'a str]) -> Result<&'a str, Problem> {
        let first = words.first().copied().unwrap_or_default();
        let Some(value) = self.text(name) else { return Ok(first) };
        let found = words.iter().find(|word| **word == value);
        found.copied().ok_or_else(|| Problem::bad(&format!("“{name}” is one of: {}.", words.join(", "))))
    }

    /// A number between two others, if one was chosen.
    pub fn number<N: FromStr + PartialOrd + Display>(
        &self,
        name: &str,
        least: N,
        most: N,
    ) -> Result<Option<N>, Problem> {
        let Some(value) = self.text(name) else { return Ok(None) };
        match value.parse() {
            Ok(number) if number >= least && number <= most => Ok(Some(number)),
            _ => Err(Problem::bad(&format!("“{name}” is a number from {least} to {most}."))),
        }
    }
}

/// Of the query.
impl FromRequestParts<Arc<App>> for Choices {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        if query.len() > MAX_QUERY {
            return Err(Problem::bad(&format!("An address may have {MAX_QUERY} bytes after the “?”, and no more.")));
        }
        Self::of(query.as_bytes())
    }
}

/// The fields of a form that was sent by `POST`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Form(pub Choices);

impl FromRequest<Arc<App>> for Form {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Arc<App>) -> Result<Self, Problem> {
        let bytes = to_bytes(request.into_body(), MAX_FORM).await;
        let bytes = bytes.map_err(|_| Problem::bad(&format!("A form may have {MAX_FORM} bytes, and no more.")))?;
        Choices::of(&bytes).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_make_sense_or_are_refused() {
        let choices = Choices::of(b"metric=clean6&min=7&empty=&x=a%20b&x=c").unwrap();
        assert_eq!(choices.one_of("metric", &["works6", "clean6"]).unwrap(), "clean6");
        assert_eq!(choices.one_of("other", &["works6", "clean6"]).unwrap(), "works6");
        choices.one_of("x", &["works6"]).unwrap_err();
        assert_eq!(choices.number("min", 1, 10).unwrap(), Some(7));
        choices.number("min", 1, 6).unwrap_err();
        choices.number("metric", 1, 6).unwrap_err();
        assert_eq!((choices.text("empty"), choices.text("x")), (None, Some("a b")));
        assert_eq!(Choices::of(b"p=+a+").unwrap().raw("p"), " a ");
        assert_eq!(choices.all("x").collect::<Vec<_>>(), ["a b", "c"]);
    }

    #[test]
    fn a_flood_of_choices_is_refused() {
        Choices::of("a=1&".repeat(MAX_CHOICES).as_bytes()).unwrap();
        Choices::of("a=1&".repeat(MAX_CHOICES + 1).as_bytes()).unwrap_err();
    }
}
