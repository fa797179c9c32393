//! Writing SVG. Names of elements and attributes are ours; values and texts are anybody's and escaped.

use std::fmt::{self, Display, Write};

/// A finished picture; templates show it as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Svg(String);

impl Svg {
    /// The markup, to look into.
    #[cfg(test)]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Display for Svg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl askama::filters::HtmlSafe for Svg {}

/// Attributes: names and values.
pub(crate) type Attributes<'a> = &'a [(&'static str, &'a dyn Display)];

/// A picture that is being drawn. What is open is closed by itself.
#[derive(Debug)]
pub(crate) struct Drawing {
    out: String,
    open: Vec<&'static str>,
}

impl Drawing {
    /// A picture of this size, in its own units, which is an image by this name for whoever does not see it.
    pub fn new(class: &str, width: f64, height: f64, name: &str) -> Self {
        Self::part(class, (0.0, 0.0), (width, height), name)
    }

    /// The same of a part of what is drawn: where it begins and its size.
    pub fn part(class: &str, corner: (f64, f64), size: (f64, f64), name: &str) -> Self {
        Self::begin(class, corner, size, &[("role", &"img"), ("aria-label", &name)])
    }

    /// The same with a size in pixels, for pictures that are shown where no style gives them one.
    pub fn sized(class: &str, width: f64, height: f64, name: &str) -> Self {
        let size: Attributes =
            &[("width", &Number(width)), ("height", &Number(height)), ("role", &"img"), ("aria-label", &name)];
        Self::begin(class, (0.0, 0.0), (width, height), size)
    }

    /// A picture that says nothing which does not stand beside it as text.
    pub fn decoration(class: &str, width: f64, height: f64) -> Self {
        Self::begin(class, (0.0, 0.0), (width, height), &[("aria-hidden", &"true")])
    }

    fn begin(class: &str, (x, y): (f64, f64), (width, height): (f64, f64), more: Attributes) -> Self {
        let mut drawing = Self { out: String::new(), open: Vec::new() };
        let view = format!("{} {} {} {}", Number(x), Number(y), Number(width), Number(height));
        let first: Attributes = &[("xmlns", &"http://www.w3.org/2000/svg"), ("class", &class), ("viewBox", &view)];
        drawing.open("svg", &[first, more].concat());
        drawing
    }

    /// A group, or whatever else has something in it.
    pub fn open(&mut self, element: &'static str, attributes: Attributes) -> &mut Self {
        self.start(element, attributes);
        self.out.push('>');
        self.open.push(element);
        self
    }

    /// Ends what was opened last.
    pub fn close(&mut self) -> &mut Self {
        if let Some(element) = self.open.pop() {
            // Writing into a string cannot fail; here and below.
            let _ = write!(self.out, "</{element}>");
        }
        self
    }

    /// An element with nothing in it.
    pub fn leaf(&mut self, element: &'static str, attributes: Attributes) -> &mut Self {
        self.start(element, attributes);
        self.out.push_str("/>");
        self
    }

    /// A shape by its path, which has a name if one is given: what a mouse that rests on it is told.
    pub fn path(&mut self, class: &str, path: &str, title: Option<&str>) -> &mut Self {
        match title {
            None => self.leaf("path", &[("class", &class), ("d", &path)]),
            Some(title) => self.open("path", &[("class", &class), ("d", &path)]).title(title).close(),
        }
    }

    /// A straight line.
    pub fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) -> &mut Self {
        let (x1, y1, x2, y2) = (Number(from.0), Number(from.1), Number(to.0), Number(to.1));
        self.leaf("line", &[("class", &class), ("x1", &x1), ("y1", &y1), ("x2", &x2), ("y2", &y2)])
    }

    /// A rectangle; one that would have no or negative size is left out.
    pub fn rect(&mut self, class: &str, corner: (f64, f64), size: (f64, f64), title: Option<&str>) -> &mut Self {
        if !(size.0 > 0.0 && size.1 > 0.0) {
            return self;
        }
        let (x, y, width, height) = (Number(corner.0), Number(corner.1), Number(size.0), Number(size.1));
        let attributes: Attributes = &[("class", &class), ("x", &x), ("y", &y), ("width", &width), ("height", &height)];
        match title {
            None => self.leaf("rect", attributes),
            Some(title) => self.open("rect", attributes).title(title).close(),
        }
    }

    /// A circle.
    pub fn circle(&mut self, class: &str, centre: (f64, f64), radius: f64, title: Option<&str>) -> &mut Self {
        let (cx, cy, r) = (Number(centre.0), Number(centre.1), Number(radius));
        let attributes: Attributes = &[("class", &class), ("cx", &cx), ("cy", &cy), ("r", &r)];
        match title {
            None => self.leaf("circle", attributes),
            Some(title) => self.open("circle", attributes).title(title).close(),
        }
    }

    /// Words at a place. The class may say `end` or `middle`.
    pub fn text(&mut self, class: &str, at: (f64, f64), text: &str) -> &mut Self {
        let (x, y) = (Number(at.0), Number(at.1));
        self.open("text", &[("class", &class), ("x", &x), ("y", &y)]).words(text).close()
    }

    /// The name of what is open.
    pub fn title(&mut self, title: &str) -> &mut Self {
        self.open("title", &[]).words(title).close()
    }

    /// A style of its own, for a picture that travels alone. Ours, never made of data.
    pub fn style(&mut self, css: &'static str) -> &mut Self {
        let _ = write!(self.out, "<style>{css}</style>");
        self
    }

    /// Markup of ours that was prepared before, such as hatches.
    pub fn prepared(&mut self, markup: &'static str) -> &mut Self {
        self.out.push_str(markup);
        self
    }

    /// The picture.
    pub fn finish(mut self) -> Svg {
        while !self.open.is_empty() {
            self.close();
        }
        Svg(self.out)
    }

    fn start(&mut self, element: &'static str, attributes: Attributes) {
        let _ = write!(self.out, "<{element}");
        for (name, value) in attributes {
            let _ = write!(self.out, " {name}=\"");
            let _ = write!(Escaping(&mut self.out), "{value}");
            self.out.push('"');
        }
    }

    fn words(&mut self, text: &str) -> &mut Self {
        let _ = Escaping(&mut self.out).write_str(text);
        self
    }
}

/// A coordinate: at most two decimals, and never what is no number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Number(pub f64);

impl Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = if self.0.is_finite() { (self.0 * 100.0).round() / 100.0 } else { 0.0 };
        // Without the sign of a zero.
        write!(f, "{}", value + 0.0)
    }
}

/// A path of straight lines through points; `None` breaks it, as where nothing was measured.
pub(crate) fn polyline(points: impl IntoIterator<Item = Option<(f64, f64)>>) -> String {
    let mut path = String::new();
    let mut pen_down = false;
    for point in points {
        let Some((x, y)) = point else {
            pen_down = false;
            continue;
        };
        let _ = write!(path, "{}{} {}", if pen_down { 'L' } else { 'M' }, Number(x), Number(y));
        if !pen_down {
            // A point alone between two gaps is a dot (with round ends) and not nothing.
            path.push_str("h0");
        }
        pen_down = true;
    }
    path
}

/// Text as it may stand in an element or a quoted attribute. Characters that XML does not have become `U+FFFD`.
struct Escaping<'a>(&'a mut String);

impl Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '&' => self.0.push_str("&amp;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {
                    self.0.push('\u{fffd}')
                }
                _ => self.0.push(character),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_becomes_markup() {
        let mut drawing = Drawing::new("chart", 10.0, 5.0, "a\"><script>&'");
        drawing.circle("\" onload=\"x", (1.0, f64::NAN), 2.345, Some("</title><script>\u{0}")).text(
            "end",
            (1.0, 2.0),
            "<b>",
        );
        let svg = drawing.finish();
        assert!(!svg.as_str().contains("<script") && !svg.as_str().contains("<b>"), "{svg}");
        assert!(svg.as_str().contains("class=\"&quot; onload=&quot;x\" cx=\"1\" cy=\"0\" r=\"2.35\""), "{svg}");
        assert!(svg.as_str().ends_with("</text></svg>"), "{svg}");
    }

    #[test]
    fn a_gap_breaks_the_line() {
        let points = [Some((0.0, 1.0)), Some((1.0, 2.0)), None, Some((3.0, 4.0))];
        assert_eq!(polyline(points), "M0 1h0L1 2M3 4h0");
    }
}
