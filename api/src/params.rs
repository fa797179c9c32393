//! The parameters of a query. Unknown ones are ignored, as Atlas does; a known one with a value that cannot be used is
//! refused by name, never ignored, because a filter that silently does nothing gives wrong answers.

use std::convert::Infallible;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;

use crate::error::ApiError;
use crate::query::Documented;
use crate::times;

/// The most identifiers one parameter may name, ranges counted by their members.
const MAX_IDS: usize = 10_000;

/// The decoded pairs of a query, in order; and which parameters the path is known to have, if that is known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Params(Vec<(String, String)>, Option<Documented>);

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // Percent-encoding that is no UTF-8 decodes to replacement characters, so this cannot fail in practice.
        let pairs = Query::try_from_uri(&parts.uri).map_or_else(|_| Vec::new(), |Query(pairs)| pairs);
        Ok(Self(pairs, parts.extensions.get().cloned()))
    }
}

impl Params {
    /// The last value of a parameter, also when it is empty.
    pub fn given(&self, name: &str) -> Option<&str> {
        if let Some(documented) = &self.1 {
            documented.expects(name);
        }
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The last value of a parameter; an empty one counts as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.given(name).map(str::trim).filter(|value| !value.is_empty())
    }

    /// All of them, as they came.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// A value that parses.
    pub fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| ApiError::parameter(name, "Enter a number."))
    }

    /// Yes or no.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" => Ok(Some(true)),
            "false" | "0" | "no" => Ok(Some(false)),
            _ => Err(ApiError::parameter(name, "Enter true or false.")),
        }
    }

    /// Values between commas; empty ones are left out.
    pub fn csv(&self, name: &str) -> Option<Vec<&str>> {
        let values = self.get(name)?.split(',').map(str::trim).filter(|value| !value.is_empty());
        Some(values.collect())
    }

    /// A time in seconds.
    pub fn time(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let seconds = times::from_text(text).filter(|seconds| *seconds >= 0);
        seconds.map(Some).ok_or_else(|| ApiError::parameter(name, "Enter a time as unix seconds or ISO 8601."))
    }

    /// Identifiers between commas, each also as a range `10-20`; sorted, without repeats.
    pub fn ids(&self, name: &str) -> Result<Option<Vec<u64>>, ApiError> {
        let Some(parts) = self.csv(name) else { return Ok(None) };
        let mut ids = Vec::new();
        for part in parts {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (Some(first), Some(last)) = (parse_id(first), parse_id(last)) else {
                return Err(ApiError::parameter(name, "Enter numbers, or ranges such as 10-20, separated by commas."));
            };
            let members = (last.saturating_sub(first) as usize).saturating_add(1);
            if members.saturating_add(ids.len()) > MAX_IDS {
                return Err(ApiError::parameter(name, format!("At most {MAX_IDS} identifiers can be named at once.")));
            }
            ids.extend(first..=last);
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(Some(ids))
    }
}

/// An identifier: what fits the store's signed numbers.
pub(crate) fn parse_id(text: &str) -> Option<u64> {
    text.trim().parse::<i64>().ok().and_then(|id| u64::try_from(id).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Params {
        let uri = format!("/x?{query}").parse().unwrap();
        let Query(pairs) = Query::try_from_uri(&uri).unwrap();
        Params(pairs, None)
    }

    #[test]
    fn identifiers_and_ranges() {
        assert_eq!(params("p=3,1,10-12,%2011").ids("p").unwrap(), Some(vec![1, 3, 10, 11, 12]));
        assert_eq!(params("p=").ids("p").unwrap(), None);
        assert_eq!(params("p=5-3").ids("p").unwrap(), Some(vec![]));
        for bad in ["p=a", "p=1-", "p=-5", "p=1-2-3", "p=0-18446744073709551615", "p=1-999999999"] {
            assert!(params(bad).ids("p").is_err(), "{bad}");
        }
    }

    #[test]
    fn flags_and_repeats() {
        assert_eq!(params("a=true&a=0").flag("a").unwrap(), Some(false), "the last one counts");
        assert!(params("a=perhaps").flag("a").is_err());
        assert_eq!(params("a=%ff").get("a"), Some("\u{fffd}"));
    }
}
