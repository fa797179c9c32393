//! Pictures that travel alone: everything that one must know is drawn inside, in a style of their own. Nothing in them moves or loads.

use super::map::{self, Country};
use super::palette::Paint;
use super::series::{self, Series};
use super::svg::{Drawing, Svg};
use super::world::HEIGHT;

/// Of a map or a curve, in pixels.
const WIDTH: f64 = 1000.0;

/// Light and dark, as whoever looks prefers.
const STYLE: &str = include_str!("picture.css");

/// Hatches, the same as in pages.
const PATTERNS: &str = include_str!("../../templates/patterns.svg");

/// What is written around a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Words {
    /// What it shows.
    pub title: String,
    /// Of what time, from how many.
    pub about: String,
    /// Who says so, where and when.
    pub source: String,
}

fn begin(words: &Words, height: f64) -> Drawing {
    let mut drawing = Drawing::sized("", WIDTH, height, &words.title);
    drawing.style(STYLE).prepared(PATTERNS).rect("back", (0.0, 0.0), (WIDTH, height), None);
    drawing.text("title", (20.0, 32.0), &words.title).text("", (20.0, 54.0), &words.about);
    drawing.text("", (20.0, height - 14.0), &words.source);
    drawing
}

/// The map of a figure.
pub(crate) fn map(
    words: &Words,
    family: &str,
    legend: &[(Paint, String)],
    of: impl Fn(&str) -> Option<Country>,
) -> Svg {
    const SCALE: f64 = 0.48;
    let (top, bottom) = (66.0, 66.0 + HEIGHT * SCALE + 12.0);
    let mut drawing = begin(words, bottom + 82.0);
    drawing.open("g", &[("class", &"land"), ("transform", &format!("translate(20 {top}) scale({SCALE})"))]);
    map::countries(&mut drawing, family, of);
    drawing.close().open("g", &[("class", &"box")]);
    // Two rows: a word more than five is a new one.
    for (index, (paint, text)) in legend.iter().enumerate() {
        let corner = (20.0 + (index % 5) as f64 * 192.0, bottom + 10.0 + (index / 5) as f64 * 22.0);
        map::boxed(&mut drawing, family, *paint, corner, (22.0, 13.0));
        drawing.text("", (corner.0 + 29.0, corner.1 + 11.0), text);
    }
    drawing.finish()
}

/// A figure over time.
pub(crate) fn curve(words: &Words, series: &Series) -> Svg {
    const SIZE: (f64, f64) = (960.0, 300.0);
    let mut drawing = begin(words, 66.0 + SIZE.1 + 40.0);
    drawing.open("g", &[("transform", &"translate(20 66)")]);
    series::draw(&mut drawing, series, SIZE.0, SIZE.1);
    drawing.finish()
}

/// A label and a value in the size of a line of text, for a README.
pub(crate) fn badge(label: &str, value: &str, is_few: bool) -> Svg {
    // Widths by count: there is no font here to measure with. Seven pixels a character are enough for any.
    let width = |text: &str| text.chars().count() as f64 * 7.2 + 14.0;
    let (left, right) = (width(label), width(value));
    let mut drawing = Drawing::sized("", left + right, 22.0, &format!("{label}: {value}"));
    drawing.style(STYLE);
    drawing.rect("label", (0.0, 0.0), (left, 22.0), None);
    drawing.rect(if is_few { "few-value" } else { "value" }, (left, 0.0), (right, 22.0), None);
    drawing.text("light middle", (left / 2.0, 15.5), label).text("light middle", (left + right / 2.0, 15.5), value);
    drawing.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::charts::palette::SHARE_SPLITS;

    #[test]
    fn a_picture_says_what_it_is_and_does_nothing() {
        let words = Words { title: "<Title>".into(), about: "of 3 & more".into(), source: "a network".into() };
        let legend = map::meanings(&SHARE_SPLITS, "%", "few");
        let svg = map(&words, "share", &legend, |_| None);
        for text in ["&lt;Title&gt;", "of 3 &amp; more", "a network", "no probe", "prefers-color-scheme:dark"] {
            assert!(svg.as_str().contains(text), "{text}");
        }
        for active in ["<script", "onload", "href", "foreignObject"] {
            assert!(!svg.as_str().contains(active), "{active}");
        }
        assert!(badge("IPv6", "72 %", false).as_str().contains("aria-label=\"IPv6: 72 %\""));
    }
}
