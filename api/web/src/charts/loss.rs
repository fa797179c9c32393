//! What became of requests over time, as a strip: how much was lost, and where nothing was measured. Height, darkness and hatch
//! say the same, so that it reads without colour: nothing for no loss, higher for more, a full dark bar where all was lost, a
//! crossed box where no run could be carried out, hatch where nobody measured.

use crate::charts::number::{count, share};
use crate::charts::svg::Drawing;
use crate::charts::time;

/// The height of a strip.
pub(crate) const HEIGHT: f64 = 12.0;

/// What happened in one bin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nobody reported.
    NotMeasured,
    /// No run could be carried out.
    Failed,
    /// So many requests, so many answers.
    Asked {
        /// Requests.
        sent: u64,
        /// Answers.
        received: u64,
    },
}

/// How a bin is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    NotMeasured,
    Failed,
    /// 0 without loss, up to 5 where all was lost.
    Loss(usize),
}

/// How high each class is.
const HEIGHTS: [f64; 6] = [1.0, 4.0, 6.0, 8.0, 10.0, HEIGHT];

impl Outcome {
    fn look(self) -> Look {
        match self {
            Outcome::NotMeasured => Look::NotMeasured,
            Outcome::Failed | Outcome::Asked { sent: 0, .. } => Look::Failed,
            Outcome::Asked { sent, received } => {
                let lost = sent.saturating_sub(received);
                let percent = 100.0 * lost as f64 / sent as f64;
                Look::Loss(match percent {
                    _ if lost == 0 => 0,
                    _ if received == 0 => 5,
                    _ if percent <= 1.0 => 1,
                    _ if percent <= 5.0 => 2,
                    _ if percent <= 25.0 => 3,
                    _ => 4,
                })
            }
        }
    }
}

/// A stretch of bins that look the same.
struct Run {
    look: Look,
    from: usize,
    to: usize,
    sent: u64,
    received: u64,
}

/// Draws the strip with its upper edge at `top`. `x` gives the left edge of a bin by its number, `begin` its time in Unix seconds.
pub(crate) fn strip(
    drawing: &mut Drawing,
    bins: &[Outcome],
    top: f64,
    x: impl Fn(usize) -> f64,
    begin: impl Fn(usize) -> i64,
) {
    for run in runs(bins) {
        let (left, right) = (x(run.from), x(run.to));
        let width = right - left;
        let when = format!("{} to {}", time::human_unix(begin(run.from)), time::human_unix(begin(run.to)));
        match run.look {
            Look::NotMeasured => {
                let fill = "url(#hatch-none)";
                hatched(drawing, fill, (left, top), (width, HEIGHT), &format!("{when}: not measured"));
            }
            Look::Failed => {
                let words = format!("{when}: no run could be carried out");
                drawing.rect("loss-failed", (left + 0.5, top + 0.5), (width - 1.0, HEIGHT - 1.0), Some(&words));
                drawing.line("loss-cross", (left + 0.5, top + HEIGHT - 0.5), (right - 0.5, top + 0.5));
            }
            Look::Loss(class) => {
                let height = HEIGHTS.get(class).copied().unwrap_or(HEIGHT);
                let lost = run.sent.saturating_sub(run.received);
                let part = share(lost as f64 / run.sent.max(1) as f64, run.sent);
                let words = format!("{when}: {} of {} lost ({part})", count(lost), count(run.sent));
                let corner = (left, top + HEIGHT - height);
                drawing.rect(&format!("loss-{class}"), corner, (width, height), Some(&words));
            }
        }
    }
}

fn hatched(drawing: &mut Drawing, fill: &str, corner: (f64, f64), size: (f64, f64), words: &str) {
    use crate::charts::svg::Number;
    let (x, y, width, height) = (Number(corner.0), Number(corner.1), Number(size.0), Number(size.1));
    if size.0 > 0.0 {
        drawing
            .open("rect", &[("fill", &fill), ("x", &x), ("y", &y), ("width", &width), ("height", &height)])
            .title(words)
            .close();
    }
}

fn runs(bins: &[Outcome]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (number, bin) in bins.iter().enumerate() {
        let (sent, received) = match bin {
            Outcome::Asked { sent, received } => (*sent, *received),
            _ => (0, 0),
        };
        match runs.last_mut().filter(|run| run.look == bin.look()) {
            Some(run) => {
                run.to = number + 1;
                run.sent = run.sent.saturating_add(sent);
                run.received = run.received.saturating_add(received);
            }
            None => runs.push(Run { look: bin.look(), from: number, to: number + 1, sent, received }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(bins: &[Outcome]) -> String {
        let mut drawing = Drawing::new("chart", 100.0, HEIGHT, "loss");
        strip(&mut drawing, bins, 0.0, |number| number as f64 * 10.0, |number| number as i64 * 60);
        drawing.finish().as_str().to_owned()
    }

    const fn asked(sent: u64, received: u64) -> Outcome {
        Outcome::Asked { sent, received }
    }

    #[test]
    fn the_states_differ_in_more_than_colour() {
        let svg = draw(&[asked(3, 3), asked(3, 0), Outcome::Failed, Outcome::NotMeasured]);
        assert!(svg.contains("class=\"loss-0\" x=\"0\" y=\"11\" width=\"10\" height=\"1\""), "{svg}");
        assert!(svg.contains("class=\"loss-5\" x=\"10\" y=\"0\" width=\"10\" height=\"12\""), "{svg}");
        assert!(svg.contains("loss-cross") && svg.contains("no run could be carried out"), "{svg}");
        assert!(svg.contains("fill=\"url(#hatch-none)\" x=\"30\"") && svg.contains("not measured"), "{svg}");
    }

    #[test]
    fn classes_of_loss() {
        let look = |sent, received| match asked(sent, received).look() {
            Look::Loss(class) => class,
            other => panic!("{other:?}"),
        };
        assert_eq!((look(100, 100), look(1000, 999), look(100, 96), look(100, 80)), (0, 1, 2, 3));
        assert_eq!((look(1000, 1), look(1000, 0)), (4, 5), "nearly all is not all");
        assert_eq!(asked(0, 0).look(), Look::Failed);
    }

    #[test]
    fn bins_that_look_the_same_are_one() {
        let svg = draw(&[asked(3, 3), asked(3, 3), asked(3, 3)]);
        assert_eq!(svg.matches("<rect").count(), 1);
        assert!(svg.contains("0 of 9 lost (0 %)") && svg.contains("width=\"30\""), "{svg}");
        assert_eq!(draw(&[]).matches("<rect").count(), 0);
    }
}
