//! Many paths as one graph: nodes in layers, the layer the hop; edges with the number of probes whose packets went there.
//!
//! Hops that said nothing are no nodes: what lies between two that did is one edge with their number. All paths that reached the
//! target end in one node. Pure: addresses come as the viewer may see them.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use serde_json::{Value, json};
use sonde_protocol::ids::{Asn, ProbeId};

/// The most nodes between sources and target; of others there is one a layer.
pub(crate) const MAX_NODES: usize = 400;

/// The most sources that have a node of their own.
const MAX_SOURCES: usize = 40;

/// How many probes of a node are named.
const MAX_NAMED: usize = 20;

/// One probe's path.
#[derive(Debug, Clone)]
pub(crate) struct Path {
    /// Whose.
    pub probe: ProbeId,
    /// What its packets come from, in words: the probe, or its network.
    pub source: String,
    /// What is known of the way, in order. The target is not among it.
    pub steps: Vec<Step>,
    /// The target's layer and its round-trip time in nanoseconds, if it answered.
    pub reached: Option<(u8, Option<u64>)>,
}

/// Who answered at one hop.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// The hop, or of networks its place in their order.
    pub layer: u8,
    /// Who; `None` is silence.
    pub place: Option<Place>,
    /// Round-trip time in nanoseconds.
    pub rtt: Option<u64>,
}

/// A node on the way.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Place {
    /// A router.
    Router {
        /// As it is shown: a network where the viewer may not see more.
        address: IpAddr,
        /// It is a network.
        masked: bool,
        /// Who announces it.
        asn: Option<Asn>,
    },
    /// All routers of a network that follow each other.
    Network(Asn),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Key {
    Source(String),
    Step(u8, Place),
    Others(u8),
    Target,
}

#[derive(Default)]
struct Node {
    probes: Vec<ProbeId>,
    rtts: Vec<u64>,
    /// Paths that end here and not at the target.
    ends: u64,
    /// How many nodes it stands for.
    merged: u64,
}

#[derive(Default)]
struct Edge {
    probes: u64,
    silent: u64,
}

/// Nodes and edges as JSON, and how many nodes were merged into others.
pub(crate) fn graph(paths: &[Path], target: &str) -> (Vec<Value>, Vec<Value>, u64) {
    let (steps, sources) = kept(paths);
    let left_out = steps.values().filter(|is_kept| !**is_kept).count();
    let mut nodes: BTreeMap<Key, Node> = BTreeMap::new();
    let mut edges: BTreeMap<(Key, Key), Edge> = BTreeMap::new();
    let mut merged: HashMap<u8, u64> = HashMap::new();
    for (layer, _) in steps.iter().filter(|(_, is_kept)| !**is_kept).map(|(key, is_kept)| (key.0, is_kept)) {
        *merged.entry(layer).or_default() += 1;
    }
    for path in paths {
        let is_kept = sources.get(&path.source).copied().unwrap_or(false);
        let mut here = Key::Source(if is_kept { path.source.clone() } else { "other networks".into() });
        nodes.entry(here.clone()).or_default().probes.push(path.probe);
        let mut silent = 0;
        let mut go = |here: &mut Key, to: Key, silent: &mut u64, rtt: Option<u64>| {
            let edge = edges.entry((here.clone(), to.clone())).or_default();
            edge.probes += 1;
            edge.silent = edge.silent.max(std::mem::take(silent));
            let node = nodes.entry(to.clone()).or_default();
            // Two steps of a path may be in one node of others.
            if node.probes.last() != Some(&path.probe) {
                node.probes.push(path.probe);
            }
            node.rtts.extend(rtt);
            *here = to;
        };
        for step in &path.steps {
            let Some(place) = &step.place else {
                silent += 1;
                continue;
            };
            let key = (step.layer, place.clone());
            let is_kept = steps.get(&key).copied().unwrap_or(false);
            let to = if is_kept { Key::Step(key.0, key.1) } else { Key::Others(key.0) };
            go(&mut here, to, &mut silent, step.rtt);
        }
        match path.reached {
            Some((_, rtt)) => go(&mut here, Key::Target, &mut silent, rtt),
            None => nodes.entry(here).or_default().ends += 1,
        }
    }
    for (key, node) in &mut nodes {
        node.merged = match key {
            Key::Others(layer) => merged.get(layer).copied().unwrap_or_default(),
            _ => 1,
        };
    }
    let numbers: HashMap<&Key, usize> = nodes.keys().zip(0..).collect();
    let target_layer = target_layer(paths);
    let rows = nodes.iter().map(|(key, node)| node_json(key, node, numbers.get(key).copied(), target, target_layer));
    let lines = edges.iter().map(|((from, to), edge)| {
        json!({
            "from": numbers.get(from), "to": numbers.get(to), "probes": edge.probes, "silent": edge.silent,
        })
    });
    (rows.collect(), lines.collect(), left_out as u64)
}

/// Which nodes have a place of their own: those that most probes have in common.
fn kept(paths: &[Path]) -> (HashMap<(u8, Place), bool>, HashMap<String, bool>) {
    let mut steps: HashMap<(u8, Place), u64> = HashMap::new();
    let mut sources: HashMap<String, u64> = HashMap::new();
    for path in paths {
        *sources.entry(path.source.clone()).or_default() += 1;
        for step in &path.steps {
            if let Some(place) = &step.place {
                *steps.entry((step.layer, place.clone())).or_default() += 1;
            }
        }
    }
    (largest(steps, MAX_NODES), largest(sources, MAX_SOURCES))
}

fn largest<K: Ord + Clone + std::hash::Hash>(counts: HashMap<K, u64>, most: usize) -> HashMap<K, bool> {
    let mut sorted: Vec<(K, u64)> = counts.into_iter().collect();
    sorted.sort_by(|(a, one), (b, other)| other.cmp(one).then_with(|| a.cmp(b)));
    sorted.into_iter().enumerate().map(|(place, (key, _))| (key, place < most)).collect()
}

/// One layer for the target, to the right of everything on the way to it.
fn target_layer(paths: &[Path]) -> u64 {
    let answered = paths.iter().flat_map(|path| path.steps.iter().filter(|step| step.place.is_some()));
    let last = answered.map(|step| u64::from(step.layer)).max().unwrap_or(0);
    let reached = paths.iter().filter_map(|path| path.reached).map(|(layer, _)| u64::from(layer)).max().unwrap_or(0);
    reached.max(last + 1)
}

fn node_json(key: &Key, node: &Node, number: Option<usize>, target: &str, target_layer: u64) -> Value {
    let (kind, layer, label, asn, masked) = match key {
        Key::Source(label) => ("source", 0, label.clone(), None, false),
        Key::Step(layer, Place::Router { address, masked, asn }) => {
            let label = match (masked, address) {
                (true, IpAddr::V4(_)) => format!("{address}/24"),
                (true, IpAddr::V6(_)) => format!("{address}/48"),
                _ => address.to_string(),
            };
            ("hop", u64::from(*layer), label, *asn, *masked)
        }
        Key::Step(layer, Place::Network(asn)) => {
            ("network", u64::from(*layer), format!("AS{}", asn.0), Some(*asn), false)
        }
        Key::Others(layer) => ("others", u64::from(*layer), format!("{} others", node.merged), None, false),
        Key::Target => ("target", target_layer, target.to_owned(), None, false),
    };
    let named: Vec<ProbeId> = node.probes.iter().copied().take(MAX_NAMED).collect();
    json!({
        "id": number,
        "kind": kind,
        "layer": layer,
        "label": label,
        "masked": masked,
        "asn": asn,
        "probes": node.probes.len(),
        "prb_ids": named,
        "ends": node.ends,
        "rtt": median(&node.rtts),
    })
}

/// In milliseconds, by nearest rank.
fn median(nanos: &[u64]) -> Option<f64> {
    let mut sorted = nanos.to_vec();
    sorted.sort_unstable();
    let middle = sorted.len().checked_sub(1)? / 2;
    sorted.get(middle).map(|nanos| *nanos as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(last: u8) -> Option<Place> {
        Some(Place::Router { address: IpAddr::from([20, 0, 0, last]), masked: false, asn: None })
    }

    fn path(probe: u64, steps: &[Option<Place>], reached: bool) -> Path {
        let steps: Vec<Step> = (1..)
            .zip(steps)
            .map(|(layer, place)| Step { layer, place: place.clone(), rtt: place.as_ref().map(|_| 1_000_000) })
            .collect();
        let layer = u8::try_from(steps.len() + 1).unwrap();
        let reached = reached.then_some((layer, Some(9_000_000)));
        Path { probe: ProbeId(probe), source: format!("probe {probe}"), steps, reached }
    }

    fn find<'a>(nodes: &'a [Value], label: &str) -> &'a Value {
        nodes.iter().find(|node| node["label"] == label).unwrap_or_else(|| panic!("{label} in {nodes:?}"))
    }

    #[test]
    fn ways_that_join_and_part() {
        let paths = [
            path(1, &[router(1), router(5), None, None, router(9)], true),
            path(2, &[router(2), router(5), None, router(8)], true),
            path(3, &[router(2), None, None], false),
        ];
        let (nodes, edges, left_out) = graph(&paths, "192.0.2.1");
        assert_eq!(left_out, 0);
        let shared = find(&nodes, "20.0.0.5");
        assert_eq!((&shared["layer"], &shared["probes"], &shared["rtt"]), (&json!(2), &json!(2), &json!(1.0)));
        let target = find(&nodes, "192.0.2.1");
        assert_eq!((&target["layer"], &target["probes"], &target["kind"]), (&json!(6), &json!(2), &json!("target")));
        assert_eq!(find(&nodes, "20.0.0.2")["ends"], 1, "what did not arrive ends where it was last heard");
        let silent = |from: &str, to: &str| {
            let edge = edges
                .iter()
                .find(|edge| edge["from"] == find(&nodes, from)["id"] && edge["to"] == find(&nodes, to)["id"]);
            edge.map(|edge| edge["silent"].as_u64().unwrap())
        };
        assert_eq!(silent("20.0.0.5", "20.0.0.9"), Some(2));
        assert_eq!(silent("20.0.0.5", "20.0.0.8"), Some(1));
        assert_eq!(silent("probe 1", "20.0.0.1"), Some(0));
        assert_eq!(silent("20.0.0.2", "192.0.2.1"), None);
    }

    #[test]
    fn nodes_are_bounded_and_those_in_common_stay() {
        let paths: Vec<Path> = (0..600)
            .map(|n| {
                let alone = Some(Place::Router {
                    address: IpAddr::from([30, 0, (n / 256) as u8, (n % 256) as u8]),
                    masked: false,
                    asn: None,
                });
                path(n, &[alone, router(5)], n % 2 == 0)
            })
            .collect();
        let (nodes, edges, left_out) = graph(&paths, "t");
        assert_eq!(find(&nodes, "20.0.0.5")["probes"], 600);
        assert_eq!(find(&nodes, "20.0.0.5")["ends"], 300);
        let others = nodes.iter().find(|node| node["kind"] == "others").unwrap();
        assert_eq!((left_out, &others["layer"]), (201, &json!(1)));
        assert_eq!(others["label"], "201 others");
        assert!(nodes.len() <= MAX_NODES + MAX_SOURCES + 3, "{}", nodes.len());
        assert!(edges.iter().all(|edge| edge["from"].is_u64() && edge["to"].is_u64()));
    }

    #[test]
    fn nothing_gives_nothing() {
        let (nodes, edges, _) = graph(&[], "t");
        assert!(nodes.is_empty() && edges.is_empty());
        let (nodes, _, _) = graph(&[path(1, &[None, None], false)], "t");
        assert_eq!((nodes.len(), &nodes[0]["ends"]), (1, &json!(1)));
    }
}
