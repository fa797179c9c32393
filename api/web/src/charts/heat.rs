//! Each probe a row, each bin a dot: who saw what, when. Darker is slower, black is lost, nothing is not measured. For some dozens
//! of probes; of hundreds `heat.js` draws the same on a canvas.

use crate::charts::svg::{Drawing, Svg};

/// What a cell shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cell {
    /// Nobody reported.
    NotMeasured,
    /// No run could be carried out.
    Failed,
    /// All was lost.
    Lost,
    /// Of seven classes, 0 the least.
    Class(usize),
}

/// Where the seven classes are split, in milliseconds.
pub(crate) const SPLITS: [f64; 6] = [1.0, 5.0, 20.0, 50.0, 100.0, 250.0];

/// The class of a time in milliseconds.
pub(crate) fn class(ms: f64) -> usize {
    SPLITS.iter().filter(|split| ms >= **split).count()
}

const ROW: f64 = 14.0;
const LEFT: f64 = 76.0;
const WIDTH: f64 = 960.0;

/// Draws rows of cells, each with its label. Cells in a row that look the same are one.
pub(crate) fn heat(rows: &[(String, Vec<Cell>)], name: &str) -> Svg {
    let mut drawing = Drawing::new("chart heat", WIDTH, ROW * rows.len().max(1) as f64, name);
    for (number, (label, cells)) in rows.iter().enumerate() {
        let top = ROW * number as f64;
        drawing.text("end", (LEFT - 6.0, top + 10.5), label);
        let width = (WIDTH - LEFT) / cells.len().max(1) as f64;
        let mut at = 0;
        for run in cells.chunk_by(|one, next| one == next) {
            let left = LEFT + width * at as f64;
            let length = width * run.len() as f64;
            at += run.len();
            match run.first() {
                Some(Cell::Class(class)) => {
                    drawing.rect(&format!("share-{}", (*class).min(6)), (left, top + 1.0), (length, ROW - 2.0), None)
                }
                Some(Cell::Lost) => drawing.rect("loss-5", (left, top + 1.0), (length, ROW - 2.0), None),
                Some(Cell::Failed) => drawing.rect("loss-failed", (left, top + 4.0), (length, ROW - 8.0), None),
                Some(Cell::NotMeasured) | None => &mut drawing,
            };
        }
    }
    drawing.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_is_empty_and_what_was_lost_is_not() {
        let row = vec![Cell::Class(class(0.4)), Cell::Class(class(300.0)), Cell::Lost, Cell::Failed, Cell::NotMeasured];
        let svg = heat(&[("probe <1>".into(), row)], "heat").as_str().to_owned();
        assert_eq!(svg.matches("<rect").count(), 4, "{svg}");
        assert!(svg.contains("share-0") && svg.contains("share-6") && svg.contains("loss-5"), "{svg}");
        assert!(svg.contains("probe &lt;1&gt;"), "{svg}");
    }
}
