//! `/measurements/{id}/paths`: the ways of a traceroute at a time, as a picture and hop by hop.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::Path;
use axum::response::IntoResponse;

use super::model::{self, OfProbe, Paths};
use super::range::{moment, now};
use crate::ask::{self, Asker};
use crate::charts::number::{counted, duration_ms};
use crate::charts::paths::{self as chart, Edge, Kind, Node};
use crate::charts::svg::Svg;
use crate::charts::time;
use crate::choices::Choices;
use crate::page::{Base, Page, Problem};

/// From so many sources on networks are shown instead of routers, unless somebody asks.
const NETWORKS_FROM: usize = 20;

/// The most nodes in a column of the picture.
const COLUMN: usize = 24;

/// How far a step back or forth in time goes when the measurement has no interval, in seconds.
const STEP: i64 = 900;

/// A graph, ready.
pub(crate) struct Graph {
    /// The picture.
    pub picture: Svg,
    /// What it shows, in a sentence.
    pub finding: String,
    /// As the API gave it.
    pub paths: Paths,
}

/// The graph as it was at a time, for the measurement's own page.
pub(crate) async fn graph(asker: &Asker, id: u64, probes: &[OfProbe], at: Option<i64>) -> Result<Graph, Problem> {
    let reporting = probes.iter().filter(|of| of.results > 0).count();
    // Of what is over, as it was at its end.
    let newest = probes.iter().filter_map(|of| of.last_timestamp).max();
    let by = if reporting > NETWORKS_FROM { "as" } else { "address" };
    read(asker, id, at.or(newest), by).await
}

async fn read(asker: &Asker, id: u64, at: Option<i64>, by: &str) -> Result<Graph, Problem> {
    let time = at.map(|at| at.to_string());
    let pairs = time.as_deref().map(|time| ("time", time)).into_iter().chain([("by", by)]);
    let paths: Paths = asker.read(&ask::path(&format!("/api/v2/measurements/{id}/paths/"), pairs)).await?;
    let finding = match paths.probes {
        0 => "No path of that time is known.".to_owned(),
        probes => format!(
            "{} of {} reached the target.",
            crate::charts::number::count(paths.reached),
            counted(probes, "probe", "probes")
        ),
    };
    let (nodes, edges) = condensed(&paths);
    let name = format!("Paths to {}. {finding} The table below has every hop.", paths.target);
    Ok(Graph { picture: chart::paths(&nodes, &edges, &name), finding, paths })
}

/// The graph with at most so many nodes in a column: those of fewest probes become one.
fn condensed(paths: &Paths) -> (Vec<Node>, Vec<Edge>) {
    let mut columns: BTreeMap<u64, Vec<&model::PathNode>> = BTreeMap::new();
    for node in &paths.nodes {
        columns.entry(node.layer).or_default().push(node);
    }
    let mut nodes = Vec::new();
    // Where a node that is not drawn has gone.
    let mut moved: BTreeMap<u64, u64> = BTreeMap::new();
    for (layer, mut members) in columns {
        members.sort_by_key(|node| (std::cmp::Reverse(node.probes), node.id));
        let rest = if members.len() > COLUMN { members.split_off(COLUMN - 1) } else { Vec::new() };
        nodes.extend(members.into_iter().map(node));
        if let Some(first) = rest.first() {
            moved.extend(rest.iter().map(|node| (node.id, first.id)));
            nodes.push(Node {
                id: first.id,
                kind: Kind::Others,
                layer,
                label: format!("{} others", rest.len()),
                probes: rest.iter().map(|node| node.probes).sum(),
                ends: rest.iter().map(|node| node.ends).sum(),
                rtt: None,
            });
        }
    }
    let place = |id: u64| moved.get(&id).copied().unwrap_or(id);
    let mut edges: BTreeMap<(u64, u64), Edge> = BTreeMap::new();
    for edge in &paths.edges {
        let (from, to) = (place(edge.from), place(edge.to));
        let joined = edges.entry((from, to)).or_insert(Edge { from, to, probes: 0, silent: 0 });
        joined.probes += edge.probes;
        joined.silent = joined.silent.max(edge.silent);
    }
    (nodes, edges.into_values().collect())
}

fn node(node: &model::PathNode) -> Node {
    let kind = match node.kind.as_str() {
        "source" => Kind::Source,
        "target" => Kind::Target,
        "others" => Kind::Others,
        _ => Kind::Hop,
    };
    Node {
        id: node.id,
        kind,
        layer: node.layer,
        label: node.label.clone(),
        probes: node.probes,
        ends: node.ends,
        rtt: node.rtt,
    }
}

#[derive(Template)]
#[template(path = "measurement_paths.html")]
struct PathsPage {
    base: Base,
    id: u64,
    title: String,
    time: i64,
    field_time: String,
    earlier: String,
    later: Option<String>,
    by_address: String,
    by_network: String,
    is_by_network: bool,
    finding: String,
    picture: Svg,
    is_empty: bool,
    hops: Vec<Hop>,
    left_out: u64,
    json: String,
}

/// A row of the table.
struct Hop {
    hop: String,
    label: String,
    asn: Option<u64>,
    probes: String,
    rtt: String,
    ends: String,
}

/// `GET /measurements/{id}/paths`.
pub(crate) async fn page(
    base: Base,
    asker: Asker,
    Path(id): Path<String>,
    choices: Choices,
) -> Result<impl IntoResponse, Problem> {
    let measurement = super::find(&asker, &id).await?;
    let id = measurement.id();
    if measurement.kind() != "traceroute" {
        return Err(Problem::not_found("Only measurements of the kind traceroute have paths."));
    }
    let asked = moment(&choices, "t")?;
    let chosen = choices.one_of("by", &["", "address", "as"])?;
    let are_many = measurement.0["participant_count"].as_u64().is_none_or(|probes| probes > NETWORKS_FROM as u64);
    let mut by = match chosen {
        "" if are_many => "as",
        "" => "address",
        chosen => chosen,
    };
    let at = asked.or(measurement.over());
    let mut graph = read(&asker, id, at, by).await?;
    // Where nobody knows whose the routers are, networks show nothing of the way.
    if chosen.is_empty() && by == "as" && !graph.paths.nodes.iter().any(|node| node.kind == "network") {
        by = "address";
        graph = read(&asker, id, at, by).await?;
    }
    let Graph { picture, finding, paths } = graph;
    let time = at.unwrap_or_else(now);
    let step = measurement.0["interval"].as_i64().filter(|step| *step > 0).unwrap_or(STEP);
    let link = |time: Option<i64>, by: &str| {
        let time = time.map(|time| time.to_string());
        let pairs = time.as_deref().map(|time| ("t", time)).into_iter().chain([("by", by)]);
        ask::path("", pairs)
    };
    let mut rows: Vec<&model::PathNode> = paths.nodes.iter().collect();
    rows.sort_by_key(|node| (node.layer, std::cmp::Reverse(node.probes), node.id));
    let base = base
        .titled(format!("Paths to {} (measurement {id})", measurement.subject()))
        .section("/measurements")
        .of(paths.newest.map(time::iso))
        .styles(&["css/measurement.css"]);
    Ok(Page::public(PathsPage {
        base,
        id,
        title: format!("Paths to {}", measurement.subject()),
        time,
        field_time: time::iso(time).get(..16).unwrap_or_default().to_owned(),
        earlier: link(Some(time.saturating_sub(step)), by),
        later: (time.saturating_add(step) <= now()).then(|| link(Some(time.saturating_add(step)), by)),
        by_address: link(asked, "address"),
        by_network: link(asked, "as"),
        is_by_network: by == "as",
        finding,
        picture,
        is_empty: paths.nodes.is_empty(),
        hops: rows.into_iter().map(hop).collect(),
        left_out: paths.left_out,
        json: {
            let time = at.map(|at| at.to_string());
            let pairs = time.as_deref().map(|time| ("time", time)).into_iter().chain([("by", by)]);
            ask::path(&format!("/api/v2/measurements/{id}/paths/"), pairs)
        },
    }))
}

/// A node as a row of the hop table.
fn hop(node: &model::PathNode) -> Hop {
    Hop {
        hop: match node.kind.as_str() {
            "source" => "from".to_owned(),
            "target" => "target".to_owned(),
            _ => node.layer.to_string(),
        },
        label: node.label.clone(),
        asn: node.asn,
        probes: crate::charts::number::count(node.probes),
        rtt: node.rtt.map_or_else(|| "–".to_owned(), duration_ms),
        ends: if node.ends > 0 { counted(node.ends, "path", "paths") } else { String::new() },
    }
}

/// The same rows for the measurement's own page.
pub(crate) struct HopRow {
    /// Which hop.
    pub hop: String,
    /// Who.
    pub label: String,
    /// How many probes.
    pub probes: String,
    /// Median.
    pub rtt: String,
    /// How many paths end here.
    pub ends: String,
}

/// Rows of the hop table.
pub(crate) fn hop_rows(paths: &Paths) -> Vec<HopRow> {
    let mut rows: Vec<&model::PathNode> = paths.nodes.iter().collect();
    rows.sort_by_key(|node| (node.layer, std::cmp::Reverse(node.probes), node.id));
    let rows = rows.into_iter().map(hop);
    rows.map(|Hop { hop, label, probes, rtt, ends, .. }| HopRow { hop, label, probes, rtt, ends }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowded_column_is_condensed() {
        let nodes = (0..100).map(|id| model::PathNode {
            id,
            kind: "hop".into(),
            layer: 1,
            label: format!("20.0.0.{id}"),
            probes: 100 - id,
            ..model::PathNode::default()
        });
        let edges = (1..100).map(|id| model::PathEdge { from: id, to: 0, probes: 1, silent: 0 });
        let paths = Paths { nodes: nodes.collect(), edges: edges.collect(), ..Paths::default() };
        let (nodes, edges) = condensed(&paths);
        assert_eq!(nodes.len(), COLUMN);
        assert_eq!(nodes.last().unwrap().label, "77 others");
        assert_eq!(edges.iter().map(|edge| edge.probes).sum::<u64>(), 99, "no path is lost");
        assert!(edges.iter().all(|edge| nodes.iter().any(|node| node.id == edge.from)), "{edges:?}");
    }
}
