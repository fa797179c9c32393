//! Which ways packets go: probes on the left, the target on the right, a column for each hop. The width of an edge is how many
//! probes it stands for; dashes are hops that said nothing. What arrived ends in a circle, what did not in a square.

use crate::charts::number::{counted, duration_ms};
use crate::charts::svg::{Drawing, Number, Svg};

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A probe, or several of one network.
    Source,
    /// A router, or a network.
    Hop,
    /// Several of these.
    Others,
    /// Where the packets were to go.
    Target,
}

/// One node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// Its number, which edges name.
    pub id: u64,
    /// What it is.
    pub kind: Kind,
    /// Its column, from the left; columns without nodes are left out.
    pub layer: u64,
    /// What is written to it.
    pub label: String,
    /// How many probes' paths lead through it.
    pub probes: u64,
    /// How many end here and not at the target.
    pub ends: u64,
    /// Median round-trip time, in milliseconds.
    pub rtt: Option<f64>,
}

/// One edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edge {
    /// The node on its left.
    pub from: u64,
    /// The node on its right.
    pub to: u64,
    /// How many probes' paths it stands for.
    pub probes: u64,
    /// How many hops on it said nothing.
    pub silent: u64,
}

/// Room of a column and of a node.
const COLUMN: f64 = 176.0;
const ROW: f64 = 48.0;
const MARGIN: f64 = 24.0;
/// Width of the labels that stand beside the first and the last column.
const SIDE: f64 = 84.0;
/// Back and forth through the columns to untangle the edges.
const SWEEPS: usize = 8;
/// The longest label that is written; the whole stands in the title.
const MAX_LABEL: usize = 21;

/// A node's place.
#[derive(Debug, Clone, Copy)]
struct Spot {
    x: f64,
    y: f64,
}

/// Draws the graph, in its own size whatever the width of the page: labels are to be read. Edges to nodes that are not there are left out.
pub(crate) fn paths(nodes: &[Node], edges: &[Edge], name: &str) -> Svg {
    let columns = columns(nodes, edges);
    let rows = columns.iter().map(Vec::len).max().unwrap_or(1).max(1);
    let width = 2.0 * (MARGIN + SIDE) + COLUMN * columns.len().saturating_sub(1) as f64;
    let height = 2.0 * MARGIN + ROW * (rows - 1) as f64 + 24.0;
    let mut drawing = Drawing::sized("chart paths", width, height, name);
    let mut spots: Vec<Option<Spot>> = vec![None; nodes.len()];
    for (column, members) in columns.iter().enumerate() {
        // In the middle of the height, whatever their number.
        let first = MARGIN + ROW * (rows - members.len()) as f64 / 2.0;
        for (row, place) in members.iter().enumerate() {
            let spot = Spot { x: MARGIN + SIDE + COLUMN * column as f64, y: first + ROW * row as f64 };
            if let Some(slot) = spots.get_mut(*place) {
                *slot = Some(spot);
            }
        }
    }
    let place_of = |id: u64| nodes.iter().position(|node| node.id == id);
    let spot_of = |id: u64| place_of(id).and_then(|place| spots.get(place).copied().flatten());
    let label_of = |id: u64| place_of(id).and_then(|place| nodes.get(place)).map_or("", |node| &node.label);
    let most = edges.iter().map(|edge| edge.probes).max().unwrap_or(1).max(1);
    for edge in edges {
        let (Some(from), Some(to)) = (spot_of(edge.from), spot_of(edge.to)) else { continue };
        let bend = (to.x - from.x) / 2.0;
        let path = format!(
            "M{} {}C{} {} {} {} {} {}",
            Number(from.x),
            Number(from.y),
            Number(from.x + bend),
            Number(from.y),
            Number(to.x - bend),
            Number(to.y),
            Number(to.x),
            Number(to.y)
        );
        let thickness = Number(1.0 + 9.0 * (edge.probes as f64 / most as f64).sqrt());
        let silent = match edge.silent {
            0 => String::new(),
            silent => format!(", {} silent", counted(silent, "hop", "hops")),
        };
        let words = format!(
            "{} to {}: {}{silent}",
            label_of(edge.from),
            label_of(edge.to),
            counted(edge.probes, "probe", "probes")
        );
        let class = if edge.silent > 0 { "edge silent" } else { "edge" };
        drawing.open("path", &[("class", &class), ("d", &path), ("stroke-width", &thickness)]).title(&words).close();
        if edge.silent > 0 {
            let middle = ((from.x + to.x) / 2.0, (from.y + to.y) / 2.0 - 5.0);
            drawing.text("middle small", middle, &format!("{} × *", edge.silent));
        }
    }
    for (node, spot) in nodes.iter().zip(&spots) {
        if let Some(spot) = spot {
            node_at(&mut drawing, node, *spot);
        }
    }
    drawing.finish()
}

fn node_at(drawing: &mut Drawing, node: &Node, Spot { x, y }: Spot) {
    let mut words = format!("{}: {}", node.label, counted(node.probes, "probe", "probes"));
    if let Some(rtt) = node.rtt {
        words = format!("{words}, median {}", duration_ms(rtt));
    }
    if node.ends > 0 {
        words = format!("{words}; {} end here", counted(node.ends, "path", "paths"));
    }
    match (node.kind, node.ends) {
        (Kind::Target, _) => {
            drawing.circle("node target", (x, y), 9.0, Some(&words)).circle("node inner", (x, y), 4.0, None)
        }
        (_, 1..) => drawing.rect("node end-here", (x - 7.0, y - 7.0), (14.0, 14.0), Some(&words)),
        (Kind::Source, _) => drawing.rect("node source", (x - 5.0, y - 5.0), (10.0, 10.0), Some(&words)),
        (Kind::Others, _) => drawing.circle("node others", (x, y), 7.0, Some(&words)),
        (Kind::Hop, _) => drawing.circle("node", (x, y), 5.0, Some(&words)),
    };
    drawing.text("middle strong", (x, y + 21.0), &cut(&node.label));
    let under = match node.rtt {
        Some(rtt) => duration_ms(rtt),
        None if node.kind == Kind::Source && node.probes > 1 => counted(node.probes, "probe", "probes"),
        None => String::new(),
    };
    if !under.is_empty() {
        drawing.text("middle", (x, y - 11.0), &under);
    }
}

/// The beginning of a long label.
fn cut(label: &str) -> String {
    if label.chars().count() <= MAX_LABEL {
        return label.to_owned();
    }
    label.chars().take(MAX_LABEL - 1).chain(['…']).collect()
}

/// The columns: places in `nodes`, ordered so that edges cross little (barycentres, back and forth).
fn columns(nodes: &[Node], edges: &[Edge]) -> Vec<Vec<usize>> {
    let mut layers: Vec<u64> = nodes.iter().map(|node| node.layer).collect();
    layers.sort_unstable();
    layers.dedup();
    let mut columns: Vec<Vec<usize>> = layers
        .iter()
        .map(|layer| {
            (0..nodes.len()).filter(|place| nodes.get(*place).is_some_and(|node| node.layer == *layer)).collect()
        })
        .collect();
    let place_of = |id: u64| nodes.iter().position(|node| node.id == id);
    let known: Vec<(usize, usize, f64)> =
        edges.iter().filter_map(|edge| Some((place_of(edge.from)?, place_of(edge.to)?, edge.probes as f64))).collect();
    let mut neighbours: Vec<Vec<(usize, f64)>> = vec![Vec::new(); nodes.len()];
    for (from, to, weight) in known {
        for (one, other) in [(from, to), (to, from)] {
            if let Some(list) = neighbours.get_mut(one) {
                list.push((other, weight));
            }
        }
    }
    let mut height = vec![0.0; nodes.len()];
    let settle = |column: &[usize], height: &mut Vec<f64>| {
        for (row, place) in column.iter().enumerate() {
            if let Some(slot) = height.get_mut(*place) {
                *slot = row as f64 - (column.len() as f64 - 1.0) / 2.0;
            }
        }
    };
    columns.iter().for_each(|column| settle(column, &mut height));
    for sweep in 0..SWEEPS {
        let count = columns.len();
        for step in 0..count {
            let at = if sweep % 2 == 0 { step } else { count - 1 - step };
            let Some(column) = columns.get_mut(at) else { continue };
            let wish = |place: usize| {
                let near = neighbours.get(place).map(Vec::as_slice).unwrap_or_default();
                let weight: f64 = near.iter().map(|(_, weight)| weight).sum();
                let sum: f64 =
                    near.iter().map(|(other, weight)| weight * height.get(*other).copied().unwrap_or(0.0)).sum();
                if weight > 0.0 { sum / weight } else { height.get(place).copied().unwrap_or(0.0) }
            };
            let mut wishes: Vec<(f64, usize)> = column.iter().map(|place| (wish(*place), *place)).collect();
            wishes.sort_by(|one, other| one.0.total_cmp(&other.0));
            *column = wishes.into_iter().map(|(_, place)| place).collect();
            settle(column, &mut height);
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u64, layer: u64, kind: Kind) -> Node {
        Node { id, kind, layer, label: format!("node {id}"), probes: 1, ends: 0, rtt: Some(1.5) }
    }

    const fn edge(from: u64, to: u64) -> Edge {
        Edge { from, to, probes: 1, silent: 0 }
    }

    #[test]
    fn arrived_is_a_circle_and_lost_a_square_and_silence_dashed() {
        let mut lost = node(2, 3, Kind::Hop);
        lost.ends = 4;
        let nodes = [node(0, 0, Kind::Source), node(1, 1, Kind::Hop), lost, node(3, 9, Kind::Target)];
        let mut silent = edge(1, 3);
        silent.silent = 7;
        let svg = paths(&nodes, &[edge(0, 1), edge(1, 2), silent, edge(1, 77)], "paths").as_str().to_owned();
        assert!(
            svg.contains("<circle class=\"node target\"") && svg.contains("<rect class=\"node end-here\""),
            "{svg}"
        );
        assert!(
            svg.contains("class=\"edge silent\"") && svg.contains("7 × *") && svg.contains("7 hops silent"),
            "{svg}"
        );
        assert_eq!(svg.matches("class=\"edge").count(), 3, "an edge to nowhere is left out");
        assert!(svg.contains("4 paths end here"), "{svg}");
    }

    #[test]
    fn edges_are_untangled() {
        let nodes = [
            node(0, 0, Kind::Source),
            node(1, 0, Kind::Source),
            node(2, 1, Kind::Hop),
            node(3, 1, Kind::Hop),
            node(4, 2, Kind::Hop),
            node(5, 2, Kind::Hop),
        ];
        let columns = columns(&nodes, &[edge(0, 3), edge(1, 2), edge(3, 4), edge(2, 5)]);
        let row =
            |place: usize| columns.iter().flat_map(|column| column.iter().position(|known| *known == place)).next();
        assert_eq!((row(0), row(3)), (row(3), row(4)), "{columns:?}");
        assert_eq!((row(1), row(2)), (row(2), row(5)), "{columns:?}");
    }

    #[test]
    fn labels_are_text_and_cut() {
        let mut odd = node(0, 0, Kind::Hop);
        odd.label = "<script>alert(1)</script> and more".into();
        let svg = paths(&[odd], &[], "a").as_str().to_owned();
        assert!(!svg.contains("<script") && svg.contains('…'), "{svg}");
        assert!(paths(&[], &[], "none").as_str().ends_with("</svg>"));
    }
}
