//! Where everything is written: a terminal, on which the table is drawn anew in place; a file or pipe, which gets lines as
//! they come; or JSON alone. Plain ANSI: the cursor up, the rest of the screen away.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::clean;

/// How often the table is drawn at most.
const REDRAW: Duration = Duration::from_millis(100);

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A table that changes in place.
    Live,
    /// Lines as they come.
    Plain,
    /// Each result as JSON.
    Json,
}

/// The screen.
pub struct Screen {
    form: Form,
    /// How many lines of the table stand above the cursor.
    drawn: usize,
    drawn_at: Option<Instant>,
}

impl Screen {
    /// What fits to where standard output goes.
    pub fn new(wants_json: bool) -> Self {
        let form = match (wants_json, io::stdout().is_terminal()) {
            (true, _) => Form::Json,
            (false, true) => Form::Live,
            (false, false) => Form::Plain,
        };
        Self { form, drawn: 0, drawn_at: None }
    }

    /// What is written.
    pub fn form(&self) -> Form {
        self.form
    }

    /// A line of output.
    ///
    /// # Errors
    /// When nobody reads it any more.
    pub fn line(&mut self, line: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{line}")?;
        // Whoever reads a pipe wants to see it now.
        out.flush()
    }

    /// Something to know beside the output.
    pub fn note(&mut self, note: &str) {
        // Above the table, which is drawn anew below.
        let _ = self.clear();
        let lines: Vec<String> = note.lines().map(|line| clean::text(line, 400)).collect();
        let _ = writeln!(io::stderr(), "{}", lines.join("\n"));
        self.drawn_at = None;
    }

    /// Is it time to draw the table again?
    pub fn is_due(&self) -> bool {
        self.form == Form::Live && self.drawn_at.is_none_or(|at| at.elapsed() >= REDRAW)
    }

    /// Draws the table in place of the one before.
    ///
    /// # Errors
    /// When nobody reads it any more.
    pub fn draw(&mut self, head: &str, lines: &[String], foot: &str) -> io::Result<()> {
        let (columns, rows) = size();
        let frame = fit(head, lines, foot, columns, rows);
        let mut text = back(self.drawn);
        for line in &frame {
            text.push_str(line);
            text.push('\n');
        }
        self.drawn = frame.len();
        self.drawn_at = Some(Instant::now());
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Takes the table away.
    ///
    /// # Errors
    /// When nobody reads it any more.
    pub fn clear(&mut self) -> io::Result<()> {
        if self.drawn == 0 {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        out.write_all(back(self.drawn).as_bytes())?;
        self.drawn = 0;
        out.flush()
    }
}

/// To the beginning of the line so many lines above, and what is below away.
fn back(lines: usize) -> String {
    if lines == 0 { "\r\u{1b}[J".into() } else { format!("\r\u{1b}[{lines}A\u{1b}[J") }
}

/// The terminal's columns and rows.
fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => (80, 24),
    }
}

/// The part of a table that a terminal has room for. What were scrolled out could not be drawn again.
fn fit(head: &str, lines: &[String], foot: &str, columns: usize, rows: usize) -> Vec<String> {
    // Beside the lines: head, foot, where the cursor stands, and perhaps how many more there are.
    let room = rows.saturating_sub(4).max(1);
    let shown = lines.get(..room.min(lines.len())).unwrap_or(lines);
    let more = lines.len() - shown.len();
    let more = (more > 0).then(|| format!("… and {more} more"));
    let all = std::iter::once(head).chain(shown.iter().map(String::as_str)).chain(more.as_deref()).chain([foot]);
    // A line that wraps would be two; the last column is left free, because some terminals wrap there already.
    all.map(|line| clean::text(line, columns.saturating_sub(1).max(1))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_fits_the_terminal() {
        let lines: Vec<String> = (0..30).map(|n| format!("line {n} {}", "x".repeat(100))).collect();
        let frame = fit("head", &lines, "foot", 20, 10);
        assert_eq!(frame.len(), 9);
        assert!(frame.iter().all(|line| line.chars().count() < 20), "{frame:?}");
        assert_eq!((frame[0].as_str(), frame[7].as_str(), frame[8].as_str()), ("head", "… and 24 more", "foot"));
        assert_eq!(fit("head", &lines[..2], "foot", 200, 10).len(), 4);
        assert_eq!(fit("head", &lines, "foot", 0, 0).len(), 4);
    }

    #[test]
    fn the_cursor_goes_back_over_what_was_drawn() {
        assert_eq!(back(3), "\r\u{1b}[3A\u{1b}[J");
        assert_eq!(back(0), "\r\u{1b}[J");
    }
}
