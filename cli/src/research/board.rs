//! What is known of a measurement that is under way: who was asked, who has answered. Pure: events in, lines out.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;
use sonde_protocol::spec::Kind;

use super::people::People;
use super::row::Row;
use super::summary::Summary;
use super::table::{self, Table};

/// Statuses from here on are ends: stopped, forced to stop, no suitable probes, failed, denied, canceled.
const FIRST_END: u64 = 4;

/// What a probe has said in one of the measurements.
#[derive(Debug, Clone)]
enum Place {
    Waiting,
    /// It will not measure, and why.
    Skipped(String),
    Answered(Vec<String>),
}

/// One measurement.
#[derive(Debug, Clone)]
struct Course {
    af: u8,
    /// The status: Atlas's number and name; unknown at first.
    status: Option<(u64, String)>,
    /// Are its probes known?
    is_staffed: bool,
}

/// All of it.
pub struct Board {
    kind: Kind,
    is_oneoff: bool,
    courses: BTreeMap<u64, Course>,
    /// By probe and measurement.
    places: BTreeMap<(u64, u64), Place>,
    /// What was seen: a backlog and a second connection repeat.
    seen: HashSet<u64>,
    /// Countries and ASes.
    pub people: People,
    /// The results together.
    pub summary: Summary,
}

impl Board {
    /// For measurements of a kind: number and family of each.
    pub fn new(kind: Kind, is_oneoff: bool, measurements: &[(u64, u8)]) -> Self {
        let course = |af: u8| Course { af, status: None, is_staffed: false };
        Self {
            kind,
            is_oneoff,
            courses: measurements.iter().map(|&(id, af)| (id, course(af))).collect(),
            places: BTreeMap::new(),
            seen: HashSet::new(),
            people: People::default(),
            summary: Summary::default(),
        }
    }

    /// Takes in what the server says of a measurement (`status` and `probes`).
    pub fn take_status(&mut self, id: u64, measurement: &Value) {
        let Some(course) = self.courses.get_mut(&id) else { return };
        let status = &measurement["status"];
        if let (Some(number), Some(name)) = (status["id"].as_u64(), status["name"].as_str()) {
            course.status = Some((number, name.to_owned()));
        }
        if let Some(probes) = measurement["probes"].as_array() {
            course.is_staffed = true;
            for probe in probes.iter().filter_map(|probe| probe["id"].as_u64()) {
                self.places.entry((probe, id)).or_insert(Place::Waiting);
            }
        }
    }

    /// Takes in a result; gives its row if it is new.
    pub fn take_result(&mut self, id: u64, result: &Value) -> Option<Row> {
        let mut row = Row::read(result)?;
        if !self.seen.insert(name_of(id, result)) {
            return None;
        }
        // Results of the own resolvers, and those without any outcome, do not say.
        row.af = row.af.or_else(|| self.courses.get(&id).map(|course| course.af));
        self.summary.add(&row, &self.people);
        self.places.insert((row.probe, id), Place::Answered(row.cells.clone()));
        Some(row)
    }

    /// Takes in that a run will not take place. Of a periodic measurement the next one may.
    pub fn take_skipped(&mut self, id: u64, probe: u64, reason: &str) {
        if let Some(place @ Place::Waiting) = self.places.get_mut(&(probe, id))
            && self.is_oneoff
        {
            *place = Place::Skipped(format!("not measured: {reason}"));
        }
    }

    /// Everybody who was asked.
    pub fn probes(&self) -> HashSet<u64> {
        self.places.keys().map(|(probe, _)| *probe).collect()
    }

    /// So many probes have yet to answer.
    pub fn waiting(&self) -> usize {
        self.places.values().filter(|place| matches!(place, Place::Waiting)).count()
    }

    /// Have all said what they had to say?
    pub fn is_complete(&self) -> bool {
        self.is_oneoff && self.courses.values().all(|course| course.is_staffed) && self.waiting() == 0
    }

    /// Has the server ended all measurements?
    pub fn is_over(&self) -> bool {
        self.courses.values().all(|course| matches!(course.status, Some((number, _)) if number >= FIRST_END))
    }

    /// What the server calls the state, where it is not just going on: `1000001: No suitable probes`.
    pub fn ends(&self) -> Vec<String> {
        let ended = self.courses.iter().filter_map(|(id, course)| match &course.status {
            Some((number, name)) if *number > FIRST_END => Some(format!("measurement {id} (IPv{}): {name}", course.af)),
            _ => None,
        });
        ended.collect()
    }

    /// The table as it stands: the line above, and one for each probe and measurement.
    pub fn table(&self) -> (String, Vec<String>) {
        let table = Table::of_kind(Some(self.kind), false);
        let lines: Vec<Vec<String>> = self
            .places
            .iter()
            .map(|(&(probe, id), place)| {
                let af = self.courses.get(&id).map_or(4, |course| course.af);
                match place {
                    Place::Waiting => table::silent(probe, af, "…", &self.people),
                    Place::Skipped(why) => table::silent(probe, af, why, &self.people),
                    Place::Answered(cells) => {
                        table::who(probe, Some(af), &self.people).into_iter().chain(cells.iter().cloned()).collect()
                    }
                }
            })
            .collect();
        // What a silent probe says stands where it likes and widens no column.
        let whole = lines.iter().zip(self.places.values()).filter(|(_, place)| matches!(place, Place::Answered(_)));
        let mut widths = table.widths(whole.map(|(line, _)| line.as_slice()));
        for (width, who) in widths.iter_mut().zip(table.widths(lines.iter().filter_map(|line| line.get(..4)))) {
            *width = (*width).max(who);
        }
        (table.head(&widths), lines.iter().map(|line| table.line(line, &widths)).collect())
    }
}

/// What a result is called for ever: its measurement, and its probe's process and number, else all that it says.
fn name_of(id: u64, result: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    let sonde = &result["sonde"];
    match (&sonde["boot"], &sonde["seq"]) {
        (Value::Null, _) | (_, Value::Null) => result.to_string().hash(&mut hasher),
        (boot, seq) => (result["prb_id"].as_u64(), boot.to_string(), seq.to_string()).hash(&mut hasher),
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn measurement(status: u64, probes: &[u64]) -> Value {
        let probes: Vec<Value> = probes.iter().map(|id| json!({"id": id, "url": ""})).collect();
        json!({"status": {"id": status, "name": "Some Name"}, "probes": probes})
    }

    fn ping(probe: u64, seq: u64) -> Value {
        json!({"prb_id": probe, "type": "ping", "af": 4, "dst_addr": "192.0.2.1", "sent": 1, "rcvd": 1, "min": 1, "avg": 1,
               "max": 1, "sonde": {"boot": "b", "seq": seq}})
    }

    #[test]
    fn it_is_complete_when_all_have_answered_or_said_why_not() {
        let mut board = Board::new(Kind::Ping, true, &[(100, 4), (101, 6)]);
        assert!(!board.is_complete(), "nobody knows who was asked");
        board.take_status(100, &measurement(2, &[1, 2]));
        board.take_status(101, &measurement(2, &[1]));
        assert_eq!(board.waiting(), 3);
        assert!(board.take_result(100, &ping(1, 1)).is_some());
        assert!(board.take_result(100, &ping(1, 1)).is_none(), "it was there before");
        assert!(board.take_result(101, &ping(1, 2)).is_some());
        board.take_skipped(100, 2, "limit");
        board.take_skipped(100, 1, "limit");
        assert!(board.is_complete() && !board.is_over());
        assert_eq!(board.summary.results(), 2);
        let (_, lines) = board.table();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].contains("192.0.2.1") && lines[2].ends_with("not measured: limit"), "{lines:?}");
    }

    #[test]
    fn what_is_periodic_goes_on_until_the_server_ends_it() {
        let mut board = Board::new(Kind::Ping, false, &[(100, 4)]);
        board.take_status(100, &measurement(2, &[1]));
        board.take_result(100, &ping(1, 1));
        assert!(!board.is_complete() && !board.is_over());
        assert!(board.take_result(100, &ping(1, 2)).is_some());
        board.take_status(100, &measurement(4, &[1]));
        assert!(board.is_over() && board.ends().is_empty());
    }

    #[test]
    fn nobody_fits() {
        let mut board = Board::new(Kind::Ping, true, &[(100, 4)]);
        board.take_status(100, &measurement(6, &[]));
        assert!(board.is_over());
        assert_eq!(board.ends(), ["measurement 100 (IPv4): Some Name"]);
    }
}
