//! Log rows: the reports of one commit in one compressed block.
//!
//! A block is a sequence of entries, each a CBOR array: measurement, probe, session, boot, number, arrived at, run at,
//! what it is, the report's bytes. Entries of one measurement stand together (likeness compresses, and a large commit
//! that is cut into several rows has each measurement in few of them), in order of arrival. The block is one zstd frame,
//! level 1, with a checksum. Reading survives any bytes: sizes are bounded and every damage is an error.

use minicbor::{Decoder, decode, encode};
use rusqlite::{Connection, OptionalExtension, params};
use sonde_protocol::ids::{BootId, MeasurementId, ProbeId, Seq, SessionId};
use sonde_protocol::time::UnixNanos;
use zstd::zstd_safe::CParameter;

use super::files::Span;
use super::index::{self, Part};
use crate::StoreError;
use crate::results::StoredReport;

/// A row is full when it has this many bytes before compression.
const ROW_FULL: usize = 1 << 20;

/// The greatest row, and so the greatest single report with its frame: many times what a probe may send.
const ROW_MAX: usize = 16 << 20;

/// zstd's level; measured against others on such rows: the time to compress is what an append mostly costs.
const LEVEL: i32 = 1;

/// What an entry is, so that looking for results need not read reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Result = 0,
    Other = 1,
}

impl What {
    /// A report is a CBOR array whose first item says what it is ([`sonde_protocol::result::Report`]).
    fn of(report: &[u8]) -> Self {
        let mut decoder = Decoder::new(report);
        match (decoder.array(), decoder.u64()) {
            (Ok(Some(_)), Ok(0)) => What::Result,
            _ => What::Other,
        }
    }
}

/// A row that is to be written.
#[derive(Debug)]
pub(super) struct NewRow {
    count: usize,
    size: usize,
    entries: Vec<u8>,
    /// By measurement.
    pub(super) parts: Vec<Part>,
}

impl NewRow {
    pub(super) fn insert(&self, db: &Connection, now: UnixNanos) -> rusqlite::Result<()> {
        let (count, size) = (self.count as i64, self.size as i64);
        let log: i64 = db
            .prepare_cached("INSERT INTO log (arrived_at, count, size, entries) VALUES (?, ?, ?, ?) RETURNING id")?
            .query_row(params![now.0, count, size, self.entries], |row| row.get(0))?;
        index::add(db, log, &self.parts)
    }
}

/// Makes log rows; keeps the compressor's tables from one to the next.
pub(super) struct Encoder {
    compressor: zstd::bulk::Compressor<'static>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Encoder")
    }
}

impl Encoder {
    pub(super) fn new() -> Result<Self, StoreError> {
        let set_up = || {
            let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
            compressor.set_parameter(CParameter::ChecksumFlag(true))?;
            Ok(compressor)
        };
        let compressor = set_up().map_err(|error: std::io::Error| StoreError::backend("set up compression", error))?;
        Ok(Self { compressor })
    }

    /// The rows for these reports: one, unless there are very many.
    pub(super) fn rows(&mut self, reports: &[StoredReport]) -> Result<Vec<NewRow>, StoreError> {
        let mut order: Vec<&StoredReport> = reports.iter().collect();
        order.sort_by_key(|report| (report.measurement, report.arrived_at));
        let mut rows = Vec::new();
        let mut block = Vec::new();
        let mut parts: Vec<Part> = Vec::new();
        let mut count = 0;
        for report in order {
            if report.report.len() > ROW_MAX - 2 * ROW_FULL {
                return Err(StoreError::backend("append", format!("a report of {} bytes", report.report.len())));
            }
            encode_entry(report, &mut block).map_err(|error| StoreError::backend("append", error.to_string()))?;
            let span = Span { min_at: report.at, max_at: report.at };
            match parts.last_mut() {
                Some(part) if part.measurement == report.measurement => {
                    (part.span, part.count) = (part.span.with(span), part.count + 1);
                }
                _ => parts.push(Part { measurement: report.measurement, span, count: 1 }),
            }
            count += 1;
            if block.len() >= ROW_FULL {
                rows.push(self.row(&block, count, std::mem::take(&mut parts))?);
                (count, block) = (0, Vec::new());
            }
        }
        if count > 0 {
            rows.push(self.row(&block, count, parts)?);
        }
        Ok(rows)
    }

    fn row(&mut self, block: &[u8], count: usize, parts: Vec<Part>) -> Result<NewRow, StoreError> {
        let entries = self.compressor.compress(block).map_err(|error| StoreError::backend("compress", error))?;
        Ok(NewRow { count, size: block.len(), entries, parts })
    }
}

fn encode_entry(report: &StoredReport, block: &mut Vec<u8>) -> Result<(), encode::Error<std::convert::Infallible>> {
    minicbor::Encoder::new(block)
        .array(9)?
        .u64(report.measurement.0)?
        .u64(report.probe.0)?
        .u64(report.session.0)?
        .u64(report.boot.0)?
        .u64(report.seq.0)?
        .i64(report.arrived_at.0)?
        .i64(report.at.0)?
        .u8(What::of(&report.report) as u8)?
        .bytes(&report.report)?
        .ok()
}

/// An entry of a log row, its report not copied yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) measurement: MeasurementId,
    pub(super) probe: ProbeId,
    pub(super) session: SessionId,
    pub(super) boot: BootId,
    pub(super) seq: Seq,
    pub(super) arrived_at: UnixNanos,
    pub(super) at: UnixNanos,
    pub(super) is_result: bool,
    pub(super) report: &'a [u8],
}

impl Entry<'_> {
    pub(super) fn to_stored(self) -> StoredReport {
        let Entry { measurement, probe, session, boot, seq, arrived_at, at, report, .. } = self;
        StoredReport { probe, session, boot, seq, arrived_at, measurement, at, report: report.to_vec() }
    }
}

/// A log row as it was read, not yet unpacked.
#[derive(Debug)]
pub(super) struct Row {
    id: i64,
    count: i64,
    size: i64,
    entries: Vec<u8>,
}

impl Row {
    /// The row with this number; `None` when there is none.
    pub(super) fn find(db: &Connection, id: i64) -> rusqlite::Result<Option<Self>> {
        db.prepare_cached("SELECT id, count, size, entries FROM log WHERE id = ?")?
            .query_row([id], Self::read)
            .optional()
    }

    /// The first row behind the number `id`.
    pub(super) fn after(db: &Connection, id: i64) -> rusqlite::Result<Option<Self>> {
        db.prepare_cached("SELECT id, count, size, entries FROM log WHERE id > ? ORDER BY id LIMIT 1")?
            .query_row([id], Self::read)
            .optional()
    }

    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { id: row.get(0)?, count: row.get(1)?, size: row.get(2)?, entries: row.get(3)? })
    }

    pub(super) const fn id(&self) -> i64 {
        self.id
    }

    /// Bytes before compression.
    pub(super) fn size(&self) -> usize {
        usize::try_from(self.size).unwrap_or(usize::MAX)
    }

    /// Shows every entry. When there is damage, some may have been shown before it was found.
    pub(super) fn unpack(&self, mut show: impl FnMut(Entry<'_>)) -> Result<(), String> {
        let damage = |why: &dyn std::fmt::Display| format!("log row {}: {why}", self.id);
        if self.size() > ROW_MAX {
            return Err(damage(&format_args!("it claims {} bytes", self.size)));
        }
        let block = zstd::bulk::decompress(&self.entries, self.size()).map_err(|error| damage(&error))?;
        if block.len() != self.size() {
            return Err(damage(&format_args!("{} bytes instead of {}", block.len(), self.size)));
        }
        let mut decoder = Decoder::new(&block);
        for _ in 0..self.count {
            show(decode_entry(&mut decoder).map_err(|error| damage(&error))?);
        }
        if decoder.position() == block.len() { Ok(()) } else { Err(damage(&"more entries than it says")) }
    }
}

fn decode_entry<'b>(decoder: &mut Decoder<'b>) -> Result<Entry<'b>, decode::Error> {
    if decoder.array()? != Some(9) {
        return Err(decode::Error::message("an entry has nine items"));
    }
    Ok(Entry {
        measurement: MeasurementId(decoder.u64()?),
        probe: ProbeId(decoder.u64()?),
        session: SessionId(decoder.u64()?),
        boot: BootId(decoder.u64()?),
        seq: Seq(decoder.u64()?),
        arrived_at: UnixNanos(decoder.i64()?),
        at: UnixNanos(decoder.i64()?),
        is_result: decoder.u8()? == What::Result as u8,
        report: decoder.bytes()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(n: u64) -> StoredReport {
        StoredReport {
            probe: ProbeId(n % 3),
            session: SessionId(9),
            boot: BootId(u64::MAX - n),
            seq: Seq(n),
            arrived_at: UnixNanos(1_000 + n as i64),
            measurement: MeasurementId(1_000_000 + n % 2),
            at: UnixNanos(-5 + n as i64),
            report: vec![n as u8; n as usize % 50],
        }
    }

    fn stored(row: &NewRow) -> Row {
        Row { id: 7, count: row.count as i64, size: row.size as i64, entries: row.entries.clone() }
    }

    fn unpacked(row: &Row) -> Result<Vec<StoredReport>, String> {
        let mut reports = Vec::new();
        row.unpack(|entry| reports.push(entry.to_stored()))?;
        Ok(reports)
    }

    #[test]
    fn what_goes_in_comes_out() {
        let mut reports: Vec<_> = (0..100).map(report).collect();
        let rows = Encoder::new().unwrap().rows(&reports).unwrap();
        let [row] = rows.as_slice() else { panic!("{} rows", rows.len()) };
        let spans: Vec<_> =
            row.parts.iter().map(|p| (p.measurement.0, p.span.min_at.0, p.span.max_at.0, p.count)).collect();
        assert_eq!(spans, [(1_000_000, -5, 93, 50), (1_000_001, -4, 94, 50)]);
        reports.sort_by_key(|report| (report.measurement, report.arrived_at));
        assert_eq!(unpacked(&stored(row)).unwrap(), reports);
    }

    #[test]
    fn many_large_reports_take_several_rows_and_a_monster_is_refused() {
        let large = |n| StoredReport { report: vec![n as u8; 192 * 1024], ..report(n) };
        let reports: Vec<_> = (0..20).map(large).collect();
        let rows = Encoder::new().unwrap().rows(&reports).unwrap();
        assert!(rows.len() > 1);
        assert_eq!(rows.iter().map(|row| unpacked(&stored(row)).unwrap().len()).sum::<usize>(), 20);
        let monster = StoredReport { report: vec![0; ROW_MAX], ..report(1) };
        Encoder::new().unwrap().rows(&[monster]).unwrap_err();
    }

    #[test]
    fn no_flipped_bit_yields_a_wrong_report() {
        let rows = Encoder::new().unwrap().rows(&(0..30).map(report).collect::<Vec<_>>()).unwrap();
        let good = stored(&rows[0]);
        let mut harmless = 0;
        for byte in 0..good.entries.len() {
            for bit in 0..8 {
                let mut bad = Row { entries: good.entries.clone(), ..good };
                bad.entries[byte] ^= 1 << bit;
                // Not every bit means something; what counts is that no wrong report comes out.
                if let Ok(reports) = unpacked(&bad) {
                    assert!(reports == unpacked(&good).unwrap(), "byte {byte}, bit {bit}");
                    harmless += 1;
                }
            }
        }
        assert!(harmless * 20 < good.entries.len() * 8, "{harmless} flips were harmless");
        for (count, size) in [(29, good.size), (31, good.size), (30, good.size - 1), (30, good.size + 1), (30, -1)] {
            let bad = Row { count, size, entries: good.entries.clone(), ..good };
            assert!(unpacked(&bad).unwrap_err().contains("log row 7"));
        }
        let huge = Row { size: i64::MAX, entries: good.entries.clone(), ..good };
        assert!(unpacked(&huge).unwrap_err().contains("claims"));
    }

    proptest::proptest! {
        #[test]
        fn random_blocks_are_errors_at_worst(block: Vec<u8>, count in -1i64..5) {
            let entries = zstd::bulk::compress(&block, 1).unwrap();
            let row = Row { id: 1, count, size: block.len() as i64, entries };
            let _ = unpacked(&row);
            let _ = unpacked(&Row { entries: block, ..row });
        }
    }
}
