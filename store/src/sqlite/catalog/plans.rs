//! How SQLite goes about lists: which index it takes. A list that is as long as there are measurements must be neither read
//! whole for a page nor sorted; this shows in SQLite's plans, whatever the machine. Without statistics (we keep none) they
//! depend on the schema alone, not on amounts.

use rusqlite::Connection;
use sonde_protocol::ids::AccountId;
use sonde_protocol::net::Family;
use sonde_protocol::spec::Kind;
use sonde_protocol::time::UnixNanos;

use super::{SCHEMA, measurements};
use crate::catalog::{MeasurementFilter, MeasurementOrder, Status, TextField, TextMatch};

/// What SQLite says it will do.
fn plan(db: &Connection, sql: &str) -> Vec<String> {
    let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    // Nothing is bound: without statistics the values play no part.
    statement.raw_query().mapped(|row| row.get("detail")).collect::<Result<_, _>>().unwrap()
}

/// A catalog that knows too few measurements for any text to be in many.
fn catalog() -> Connection {
    SCHEMA.open_in_memory().unwrap()
}

/// What the public sees.
fn public() -> MeasurementFilter {
    MeasurementFilter { visible_to: Some(None), ..MeasurementFilter::default() }
}

fn by(key: MeasurementOrder, descending: bool) -> MeasurementFilter {
    MeasurementFilter { order: vec![(key, descending)], ..public() }
}

#[test]
fn pages_of_measurements_are_found_by_an_index_and_not_sorted() {
    let db = catalog();
    let now = UnixNanos(0);
    let contains = vec![(TextField::Description, TextMatch::Contains, "number 777".to_owned())];
    // The list, what its page is found by, and what it is counted by.
    let cases = [
        (public(), "COVERING INDEX", "COVERING INDEX measurement_begins"),
        (by(MeasurementOrder::Start, true), "INDEX measurement_begins", "COVERING INDEX measurement_begins"),
        (by(MeasurementOrder::Start, false), "INDEX measurement_begins", "COVERING INDEX measurement_begins"),
        (by(MeasurementOrder::Interval, true), "INDEX measurement_interval", "COVERING INDEX measurement_begins"),
        (by(MeasurementOrder::Kind, true), "INDEX measurement_kind", "COVERING INDEX measurement_begins"),
        (
            MeasurementFilter { search: Some("number 777".into()), ..public() },
            "measurement_letters",
            "measurement_letters",
        ),
        (MeasurementFilter { texts: contains, ..public() }, "measurement_letters", "measurement_letters"),
        // Too short for the index of letters: all of the texts, but nothing else of the rows.
        (
            MeasurementFilter { search: Some("77".into()), ..public() },
            "INDEX measurement_texts",
            "COVERING INDEX measurement_texts",
        ),
        (
            MeasurementFilter { tags: vec!["bench".into()], ..public() },
            "measurement_tag USING PRIMARY KEY",
            "measurement_tag USING PRIMARY KEY",
        ),
        (
            MeasurementFilter { owner: Some(AccountId(1)), visible_to: None, ..public() },
            "INDEX measurement_owner",
            "(owner=?)",
        ),
        (
            MeasurementFilter { status: Some((vec![Status::Ongoing], now)), ..public() },
            "COVERING INDEX",
            "INDEX measurement_open",
        ),
    ];
    for (filter, page_by, count_by) in cases {
        let statements = measurements::conditions(&db, &filter).unwrap().statements("id", "measurement", false);
        let (page, count) = (plan(&db, &statements.page), plan(&db, &statements.count));
        assert!(page.iter().any(|step| step.contains(page_by)), "{filter:?}: {page:#?}");
        assert!(count.iter().any(|step| step.contains(count_by)), "{filter:?}: {count:#?}");
        for step in page.iter().chain(&count) {
            // A scan of the rows themselves names no index.
            assert!(step != "SCAN measurement", "{filter:?}: {page:#?} {count:#?}");
            // What is open is few of all.
            assert!(filter.status.is_some() || !step.contains("TEMP B-TREE"), "{filter:?}: {page:#?}");
        }
    }
}

#[test]
fn what_is_narrowed_by_kind_and_family_is_counted_in_an_index_alone() {
    let db = catalog();
    let filter = MeasurementFilter { kind: Some(Kind::Ping), af: Some(Family::V4), ..public() };
    let statements = measurements::conditions(&db, &filter).unwrap().statements("id", "measurement", false);
    let count = plan(&db, &statements.count);
    assert!(count.iter().any(|step| step.contains("COVERING INDEX measurement_by_kind")), "{count:#?}");
}
