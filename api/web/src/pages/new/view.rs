//! What the form's template shows: values as they were sent, complaints at their fields, and what an estimate says.

use std::borrow::Borrow;

use askama::Template;
use serde_json::Value;

use super::fields::{Field, Input, KINDS, Kind, SOURCES};
use super::request::{REQUESTED, name_of, source_name};
use crate::charts::number::{count, counted};
use crate::choices::Choices;
use crate::page::Base;

/// How many of the chosen probes are named.
const NAMED: usize = 60;

/// The page.
#[derive(Template)]
#[template(path = "new.html")]
pub(super) struct NewPage {
    pub base: Base,
    /// Of whom is signed in.
    pub email: Option<String>,
    pub form: Filled,
    pub preview: Option<Preview>,
    pub once: String,
    pub curl: String,
    pub sonde: String,
    /// Why there is no such line.
    pub no_sonde: &'static str,
}

impl NewPage {
    fn kinds(&self) -> &'static [Kind] {
        KINDS
    }

    fn sources(&self) -> &'static [(&'static str, &'static str, &'static str)] {
        SOURCES
    }

    fn count(&self, number: &u64) -> String {
        count(*number)
    }

    fn requested(&self) -> &'static str {
        REQUESTED
    }
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Complaint {
    /// The control that it is about.
    pub control: Option<String>,
    /// What and what to do.
    pub words: String,
}

/// The form's values and what is wrong with them.
#[derive(Debug, Clone)]
pub(super) struct Filled {
    choices: Choices,
    /// All that is wrong.
    pub complaints: Vec<Complaint>,
}

impl Filled {
    /// Of what was sent.
    pub fn new(choices: Choices, complaints: Vec<Complaint>) -> Self {
        Self { choices, complaints }
    }

    /// The id of a control.
    pub fn id(&self, name: &str) -> String {
        id_of(name)
    }

    /// The name of a control of one kind.
    pub fn name(&self, kind: &Kind, field: &Field) -> String {
        name_of(kind, field.name)
    }

    /// The name of a control of a source of probes.
    pub fn source(&self, row: &usize, field: &str) -> String {
        source_name(*row, field)
    }

    /// What stands in the empty field of a place.
    pub fn example(&self, row: &usize) -> &'static str {
        if *row == 0 { "WW" } else { "" }
    }

    /// The value of a control. That of the key is never shown again.
    pub fn value(&self, name: &str) -> &str {
        if name == super::KEY { "" } else { self.choices.text(name).unwrap_or_default() }
    }

    /// Is this what was chosen? `is_default`: also when nothing was.
    pub fn chose(&self, name: &str, value: &str, is_default: impl Borrow<bool>) -> bool {
        self.choices.text(name).map_or_else(|| *is_default.borrow(), |chosen| chosen == value)
    }

    /// Is it ticked?
    pub fn ticked(&self, name: &str) -> bool {
        self.choices.text(name).is_some()
    }

    /// What is wrong with it.
    pub fn wrong(&self, name: &str) -> Option<String> {
        let mine = self.complaints.iter().filter(|one| one.control.as_deref() == Some(name));
        let words: Vec<&str> = mine.map(|one| one.words.as_str()).collect();
        (!words.is_empty()).then(|| words.join(" "))
    }

    /// ` aria-…` of a control: that it is wrong, and where it is described.
    pub fn aria(&self, name: &str, has_hint: bool) -> Aria {
        Aria { id: id_of(name), is_wrong: self.wrong(name).is_some(), has_hint }
    }

    /// How many of these fields were changed.
    pub fn changed(&self, kind: &Kind) -> usize {
        kind.fields.iter().filter(|field| !field.is_main && self.is_changed(kind, field)).count()
    }

    fn is_changed(&self, kind: &Kind, field: &Field) -> bool {
        let Some(value) = self.choices.text(&name_of(kind, field.name)) else { return false };
        match field.input {
            Input::Choice(words) => words.first().is_none_or(|(first, _)| *first != value),
            Input::Number(default, ..) => value != default.to_string(),
            _ => true,
        }
    }

    /// Are some of these fields to be seen at once? Where something was changed or is wrong.
    pub fn opens(&self, kind: &Kind) -> bool {
        let is_wrong = |field: &&Field| self.wrong(&name_of(kind, field.name)).is_some();
        self.changed(kind) > 0 || kind.fields.iter().filter(|field| !field.is_main).any(|field| is_wrong(&field))
    }

    /// Is a source of probes given in this row, or wrong?
    pub fn has_row(&self, row: usize) -> bool {
        let says =
            |field: &str| self.ticked(&source_name(row, field)) || self.wrong(&source_name(row, field)).is_some();
        ["value", "include", "exclude"].into_iter().any(says)
    }

    /// Is one of these given or wrong?
    pub fn has_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.ticked(name) || self.wrong(name).is_some())
    }
}

/// The name of a control as an id, which a style and a link can point at.
fn id_of(name: &str) -> String {
    name.replace('.', "-")
}

/// What a control says to whoever does not see the page.
pub(super) struct Aria {
    id: String,
    is_wrong: bool,
    has_hint: bool,
}

impl std::fmt::Display for Aria {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_wrong {
            f.write_str(" aria-invalid=\"true\"")?;
        }
        let hint = self.has_hint.then(|| format!("{}-hint", self.id));
        let wrong = self.is_wrong.then(|| format!("{}-wrong", self.id));
        let described: Vec<String> = hint.into_iter().chain(wrong).collect();
        if described.is_empty() {
            return Ok(());
        }
        write!(f, " aria-describedby=\"{}\"", described.join(" "))
    }
}

// Made of names of ours alone.
impl askama::filters::HtmlSafe for Aria {}

/// What an estimate says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Preview {
    pub measurements: Vec<Priced>,
    pub balance: i64,
    pub allowed: bool,
    pub reasons: Vec<String>,
    /// By which the same probes are chosen again.
    pub seed: Option<u64>,
    /// Who would run it; of several measurements each of them once.
    pub probes: Vec<u64>,
}

/// One measurement of an estimate.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Priced {
    pub kind: String,
    pub target: String,
    pub probes: u64,
    pub per_result: u64,
    pub results_per_day: u64,
    pub per_day: u64,
    /// None for what has no end.
    pub total: Option<u64>,
}

impl Preview {
    /// Of the API's answer.
    pub fn of(answer: &Value) -> Self {
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        let measurements = answer["measurements"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut probes: Vec<u64> = Vec::new();
        for one in measurements {
            probes.extend(one["probe_ids"].as_array().into_iter().flatten().filter_map(Value::as_u64));
        }
        probes.sort_unstable();
        probes.dedup();
        let priced = |one: &Value| Priced {
            kind: one["type"].as_str().unwrap_or_default().to_owned(),
            target: one["target"].as_str().unwrap_or("the probes’ own resolvers").to_owned(),
            probes: number(&one["probes"]),
            per_result: number(&one["credits_per_result"]),
            results_per_day: number(&one["estimated_results_per_day"]),
            per_day: number(&one["credits_per_day"]),
            total: one["total"].as_u64(),
        };
        let reasons = answer["reasons"].as_array().into_iter().flatten();
        Self {
            measurements: measurements.iter().map(priced).collect(),
            balance: answer["balance"].as_i64().unwrap_or_default(),
            allowed: answer["allowed"].as_bool().unwrap_or_default(),
            reasons: reasons.filter_map(Value::as_str).map(str::to_owned).collect(),
            seed: answer["probe_sources"][0]["seed"].as_u64(),
            probes,
        }
    }

    /// Would anybody run it?
    pub fn has_probes(&self) -> bool {
        !self.probes.is_empty()
    }

    /// In a sentence or two.
    pub fn summary(&self) -> String {
        if !self.has_probes() {
            return "No connected probe fits: nothing would be measured. Ask for other places, or for fewer tags."
                .into();
        }
        let probes = counted(self.probes.len() as u64, "probe", "probes");
        let sum = |of: fn(&Priced) -> u64| self.measurements.iter().map(of).fold(0, u64::saturating_add);
        if sum(|one| one.per_result) == 0 {
            return format!("{probes} would run it. It costs nothing here.");
        }
        let total =
            self.measurements.iter().map(|one| one.total).try_fold(0u64, |sum, one| Some(sum.saturating_add(one?)));
        let cost = match total {
            Some(total) => format!("{} in all", counted(total, "credit", "credits")),
            None => format!("{} a day, until it is stopped", counted(sum(|one| one.per_day), "credit", "credits")),
        };
        format!("{probes} would run it, for {cost}. You have {}.", self.credits())
    }

    /// What the account has.
    pub fn credits(&self) -> String {
        let sign = if self.balance < 0 { "−" } else { "" };
        format!("{sign}{}", count(self.balance.unsigned_abs()))
    }

    /// The probes that are named.
    pub fn named(&self) -> &[u64] {
        self.probes.get(..NAMED).unwrap_or(&self.probes)
    }

    /// How many are not.
    pub fn unnamed(&self) -> usize {
        self.probes.len().saturating_sub(NAMED)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_preview_in_words() {
        let one = |total: Value| {
            json!({"type": "ping", "target": "example.net", "probes": 2, "probe_ids": [7, 3], "credits_per_result": 3,
                "estimated_results_per_day": 720, "credits_per_day": 2160, "total": total})
        };
        let answer = |measurements: Value| json!({"measurements": measurements, "probe_sources": [{"seed": 5}], "balance": -1500, "allowed": false, "reasons": ["no"]});
        let both = Preview::of(&answer(json!([one(json!(6)), one(json!(6))])));
        assert_eq!((both.seed, &both.probes, both.allowed), (Some(5), &vec![3, 7], false));
        assert_eq!(both.summary(), "2 probes would run it, for 12 credits in all. You have −1,500.");
        let endless = Preview::of(&answer(json!([one(Value::Null)])));
        assert!(endless.summary().contains("2,160 credits a day"), "{}", endless.summary());
        assert!(Preview::of(&json!({})).summary().starts_with("No connected probe"));
        assert!(!Preview::of(&json!({"measurements": 5, "allowed": "yes"})).allowed);
    }
}
