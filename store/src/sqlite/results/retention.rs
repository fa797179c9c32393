//! Retention: whole days go, what makes reports come exactly once stays.

use rusqlite::TransactionBehavior;
use sonde_protocol::time::UnixNanos;

use super::Writer;
use super::bookkeeping;
use super::day::Day;
use super::files::{self, Files};
use crate::StoreError;

/// Removes the files of all days that ended before `before` or then. Their range sets and boots are first written into
/// the newest file that remains, where they stay the longest. A crash in between does no harm: sets are united and boots
/// compared, so doing it again changes nothing.
pub(super) fn retain(files: &Files, writer: &mut Writer, before: UnixNanos) -> Result<(), StoreError> {
    let (gone, kept): (Vec<Day>, Vec<Day>) = files.all().into_iter().partition(|day| day.end() <= before);
    if gone.is_empty() {
        return Ok(());
    }
    let mut ranges = Vec::new();
    let mut boots = Vec::new();
    for &day in &gone {
        let Some(mut reader) = files.reader(day)? else { continue };
        ranges.extend(reader.read("read range sets", bookkeeping::ranges)?);
        boots.extend(reader.read("read boots", bookkeeping::boots)?);
    }
    if !(ranges.is_empty() && boots.is_empty()) {
        let day = kept.last().copied().unwrap_or(Day::of(before));
        let failed = |error| files::error(day, "carry range sets over", error);
        let carried = writer.connection(files, day).and_then(|connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
            bookkeeping::add_ranges(&transaction, &ranges).map_err(failed)?;
            bookkeeping::add_boots(&transaction, &boots).map_err(failed)?;
            transaction.commit().map_err(failed)
        });
        if let Err(error) = carried {
            writer.after_failure();
            return Err(error);
        }
    }
    writer.current.take_if(|(day, ..)| gone.contains(day));
    for day in gone {
        files.remove(day)?;
    }
    Ok(())
}
