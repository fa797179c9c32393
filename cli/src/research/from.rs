//! `--from`: where to measure from, read into the sources of a request.
//!
//! Pieces stand between commas, or the option is repeated: `WW*10`, `DE*5,NL`, `AS64500`, `192.0.2.0/24`, `area:West`,
//! `region:europe*20`, `msm:1000001`, `probes:1-5,9`. A number behind a star says how many probes.

use ipnet::IpNet;
use serde_json::{Value, json};

/// How many probes of a place when nobody says.
pub const DEFAULT_COUNT: u32 = 5;

/// The most probes that a measurement may have.
const MAX_PROBES: u32 = 1000;

/// The most pieces of one command line.
const MAX_SOURCES: usize = 100;

/// Atlas's areas.
const AREAS: [&str; 6] = ["WW", "West", "North-Central", "South-Central", "North-East", "South-East"];

/// What places can be, for those who wrote something else.
const FORMS: &str = "places are WW, a country (DE), AS64500, a prefix (192.0.2.0/24), area:West, region:europe, \
                     msm:1000001, probes:1-5,9; how many stands behind a star: DE*10";

/// One source of probes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Atlas's word for what kind of place it is.
    pub kind: &'static str,
    /// Which one.
    pub value: String,
    /// How many probes; `None`: all that the measurement has which is named.
    pub requested: Option<u32>,
}

/// What is wrong with a `--from`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--from {piece}: {why}")]
pub struct FromError {
    piece: String,
    why: String,
}

fn wrong<T>(piece: &str, why: impl Into<String>) -> Result<T, FromError> {
    Err(FromError { piece: piece.into(), why: why.into() })
}

/// Reads all of them; everywhere without any.
///
/// # Errors
/// When one is no place.
pub fn parse(words: &[String]) -> Result<Vec<Source>, FromError> {
    let mut sources: Vec<Source> = Vec::new();
    for word in words {
        // Numbers behind `probes:` go on behind commas, within one word.
        let mut in_probes = false;
        for piece in word.split(',').map(str::trim) {
            match sources.last_mut().filter(|_| in_probes && is_numbers(piece)) {
                Some(probes) => add_probes(probes, piece, piece)?,
                None => {
                    let source = read(piece)?;
                    in_probes = source.kind == "probes";
                    sources.push(source);
                }
            }
            if sources.len() > MAX_SOURCES {
                return wrong(piece, format!("at most {MAX_SOURCES} places can be named"));
            }
        }
    }
    if sources.is_empty() {
        sources.push(Source { kind: "area", value: "WW".into(), requested: Some(DEFAULT_COUNT) });
    }
    Ok(sources)
}

/// One piece: a place and how many.
fn read(piece: &str) -> Result<Source, FromError> {
    let (place, count) = match piece.rsplit_once('*') {
        None => (piece, None),
        Some((place, count)) => match count.parse() {
            Ok(count @ 1..=MAX_PROBES) => (place, Some(count)),
            _ => return wrong(piece, format!("how many is a number from 1 to {MAX_PROBES}")),
        },
    };
    let source =
        |kind, value: &str| Source { kind, value: value.into(), requested: Some(count.unwrap_or(DEFAULT_COUNT)) };
    if let Ok(prefix) = place.parse::<IpNet>() {
        return Ok(source("prefix", &prefix.trunc().to_string()));
    }
    if let Some((kind, value)) = place.split_once(':') {
        return match kind.to_ascii_lowercase().as_str() {
            "area" => match area(value) {
                Some(name) => Ok(source("area", name)),
                None => wrong(piece, format!("areas are {}", AREAS.join(", "))),
            },
            "country" if is_country(value) => Ok(source("country", &value.to_ascii_uppercase())),
            "country" => wrong(piece, "a country is two letters, such as DE"),
            "as" | "asn" => match as_number(value) {
                Some(asn) => Ok(source("asn", &asn.to_string())),
                None => wrong(piece, "this is no AS number"),
            },
            "prefix" => wrong(piece, "a prefix is such as 192.0.2.0/24 or 2001:db8::/32"),
            "region" if !value.is_empty() => Ok(source("region", &value.to_ascii_lowercase())),
            "msm" => match value.parse::<u64>() {
                Ok(id) => Ok(Source { requested: count, ..source("msm", &id.to_string()) }),
                Err(_) => wrong(piece, "behind msm: stands the number of a measurement"),
            },
            "probe" | "probes" if count.is_some() => {
                wrong(piece, "probes that are named are all asked: leave the star out")
            }
            "probe" | "probes" => {
                let mut source = Source { kind: "probes", value: String::new(), requested: Some(0) };
                add_probes(&mut source, value, piece)?;
                Ok(source)
            }
            _ => wrong(piece, FORMS),
        };
    }
    if let Some(asn) = place.get(..2).filter(|start| start.eq_ignore_ascii_case("as")).and(as_number(place)) {
        return Ok(source("asn", &asn.to_string()));
    }
    if let Some(name) = area(place) {
        return Ok(source("area", name));
    }
    if is_country(place) {
        return Ok(source("country", &place.to_ascii_uppercase()));
    }
    if is_numbers(place) {
        return wrong(piece, format!("a number alone can be much: probes:{place}, AS{place} or msm:{place}?"));
    }
    wrong(piece, FORMS)
}

/// Adds `7` or `1-5` to the probes of a source.
fn add_probes(source: &mut Source, numbers: &str, piece: &str) -> Result<(), FromError> {
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let (Ok(first), Ok(last)) = (first.parse::<u64>(), last.parse::<u64>()) else {
        return wrong(piece, "probes are named by number: probes:7 or probes:1-5,9");
    };
    let room = u64::from(MAX_PROBES - source.requested.unwrap_or(0).min(MAX_PROBES));
    match last.checked_sub(first) {
        None => return wrong(piece, "the first number is larger than the last"),
        Some(more) if more >= room => return wrong(piece, format!("at most {MAX_PROBES} probes can be named")),
        Some(_) => {}
    }
    for number in first..=last {
        if !source.value.is_empty() {
            source.value.push(',');
        }
        source.value.push_str(&number.to_string());
        source.requested = source.requested.map(|count| count + 1);
    }
    Ok(())
}

fn area(text: &str) -> Option<&'static str> {
    AREAS.into_iter().find(|area| area.eq_ignore_ascii_case(text))
}

fn is_country(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_alphabetic())
}

fn as_number(text: &str) -> Option<u32> {
    let digits = text.get(..2).filter(|start| start.eq_ignore_ascii_case("as")).and(text.get(2..)).unwrap_or(text);
    digits.parse().ok()
}

fn is_numbers(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit()) && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
}

impl Source {
    /// As a request has it.
    pub fn to_json(&self, include: &[String], exclude: &[String]) -> Value {
        json!({
            "type": self.kind,
            "value": self.value,
            "requested": self.requested.unwrap_or(MAX_PROBES),
            "tags": {"include": include, "exclude": exclude},
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parsed = (&'static str, String, Option<u32>);

    fn parse(words: &[&str]) -> Result<Vec<Parsed>, String> {
        let words: Vec<String> = words.iter().map(|&word| word.into()).collect();
        let sources = super::parse(&words).map_err(|error| error.to_string())?;
        Ok(sources.into_iter().map(|source| (source.kind, source.value, source.requested)).collect())
    }

    #[test]
    fn places() {
        for (word, kind, value, requested) in [
            ("WW*10", "area", "WW", 10),
            ("ww", "area", "WW", 5),
            ("west*2", "area", "West", 2),
            ("area:north-east", "area", "North-East", 5),
            ("DE*3", "country", "DE", 3),
            ("as", "country", "AS", 5),
            ("country:nl", "country", "NL", 5),
            ("AS64500*3", "asn", "64500", 3),
            ("asn:as64500", "asn", "64500", 5),
            ("192.0.2.7/24", "prefix", "192.0.2.0/24", 5),
            ("2001:db8::/32*4", "prefix", "2001:db8::/32", 4),
            ("region:Europe*20", "region", "europe", 20),
            ("msm:1000001*3", "msm", "1000001", 3),
            ("probe:7", "probes", "7", 1),
            ("probes:1-3,9", "probes", "1,2,3,9", 4),
        ] {
            assert_eq!(parse(&[word]), Ok(vec![(kind, value.into(), Some(requested))]), "{word}");
        }
        assert_eq!(parse(&["msm:5"]), Ok(vec![("msm", "5".into(), None)]));
        assert_eq!(parse(&[]), Ok(vec![("area", "WW".into(), Some(5))]));
    }

    #[test]
    fn several_by_commas_and_by_words() {
        let expected = vec![
            ("country", "DE".to_owned(), Some(5)),
            ("country", "NL".to_owned(), Some(2)),
            ("probes", "1,2".to_owned(), Some(2)),
            ("asn", "64500".to_owned(), Some(5)),
        ];
        assert_eq!(parse(&["DE, NL*2", "probes:1,2,AS64500"]), Ok(expected));
    }

    #[test]
    fn mistakes_are_named() {
        for (word, says) in [
            ("DE*0", "from 1 to 1000"),
            ("DE*many", "from 1 to 1000"),
            ("Mars", "places are WW"),
            ("area:Mars", "areas are WW, West"),
            ("7", "probes:7, AS7 or msm:7?"),
            ("DE,7", "probes:7"),
            ("country:DEU", "two letters"),
            ("AS4294967296", "places are"),
            ("asn:x", "no AS number"),
            ("prefix:10", "192.0.2.0/24"),
            ("msm:x", "number of a measurement"),
            ("probes:x", "by number"),
            ("probes:5-1", "larger than the last"),
            ("probes:1-18446744073709551615", "at most 1000"),
            ("probes:1-999,1000-1002", "at most 1000"),
            ("probes:1*4", "leave the star out"),
            ("", "places are"),
            ("ß", "places are"),
        ] {
            let error = parse(&[word]).unwrap_err();
            assert!(error.contains(says), "{word}: {error}");
        }
    }

    #[test]
    fn tags_go_with_every_source() {
        let source = Source { kind: "asn", value: "64500".into(), requested: Some(3) };
        let json = source.to_json(&["home".into()], &["datacentre".into()]);
        let expected = json!({"type": "asn", "value": "64500", "requested": 3,
                              "tags": {"include": ["home"], "exclude": ["datacentre"]}});
        assert_eq!(json, expected);
    }
}
