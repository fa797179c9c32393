//! The wire's record of every frame: what it was, which link it crossed, how long the wire really held it.
//!
//! This is the truth for a round-trip time: however late the machine ran, an exchange cannot have been faster than the
//! sum of what the wire held its frames. Records have a fixed size; the file is read back by [`WireLog`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use crate::lab::packet::{ICMP, ICMPV6, IpSummary, PacketSummary, SNAP_LENGTH, UDP};
use crate::lab::topology::{Direction, Link};

/// link, direction, fate, length of the kept bytes; received_at; held; kept bytes.
const RECORD_LENGTH: usize = 4 + 8 + 8 + SNAP_LENGTH;
/// Stands for "not sent" in the field `held`.
const NOT_HELD: u64 = u64::MAX;

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Sent on after its delay.
    Sent,
    /// Sent a second time.
    Duplicate,
    /// ARP, Neighbour Discovery or membership, sent on at once.
    Passed,
    /// Lost as the link's parameters say.
    Lost,
    /// Lost since the link was cut.
    Down,
    /// Not sent for want of room: the lab's fault, not the link's.
    Failed,
}

impl Fate {
    const ALL: [Self; 6] = [Self::Sent, Self::Duplicate, Self::Passed, Self::Lost, Self::Down, Self::Failed];
}

/// One frame on one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireRecord {
    /// The link.
    pub link: Link,
    /// Which way across it.
    pub direction: Direction,
    /// What became of it.
    pub fate: Fate,
    /// When the wire received it, kernel stamp, nanoseconds since 1970 (CLOCK_REALTIME).
    pub received_at: i64,
    /// How long the wire held it, at least; `None` if it was not sent.
    pub held: Option<Duration>,
    /// What the frame is about.
    pub summary: PacketSummary,
}

impl WireRecord {
    /// When the wire sent it, at the earliest, on the same clock as `received_at`.
    pub fn sent_at(&self) -> Option<i64> {
        self.held.map(|held| self.received_at.saturating_add(i64::try_from(held.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// Appends a record to what will be written.
    pub(super) fn write(
        to: &mut Vec<u8>,
        (link, direction): (Link, Direction),
        fate: Fate,
        received_at: i64,
        held: Option<Duration>,
        frame: &[u8],
    ) {
        let kept = frame.get(..SNAP_LENGTH).unwrap_or(frame);
        to.extend([link as u8, direction as u8, fate as u8, kept.len() as u8]);
        to.extend(received_at.to_le_bytes());
        let held = held.map_or(NOT_HELD, |held| u64::try_from(held.as_nanos()).unwrap_or(NOT_HELD - 1));
        to.extend(held.to_le_bytes());
        to.extend(kept);
        to.resize(to.len() + SNAP_LENGTH - kept.len(), 0);
    }

    fn read(record: &[u8]) -> Option<Self> {
        let &[link, direction, fate, length] = record.first_chunk()?;
        let received_at = i64::from_le_bytes(record.get(4..12)?.try_into().ok()?);
        let held = u64::from_le_bytes(record.get(12..20)?.try_into().ok()?);
        Some(Self {
            link: *Link::ALL.get(usize::from(link))?,
            direction: *Direction::ALL.get(usize::from(direction))?,
            fate: *Fate::ALL.get(usize::from(fate))?,
            received_at,
            held: (held != NOT_HELD).then(|| Duration::from_nanos(held)),
            summary: PacketSummary::of_frame(record.get(20..20 + usize::from(length))?)?,
        })
    }
}

/// What the wire did to the frames of one question and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// How long the wire held the question, over all links.
    pub there: Duration,
    /// How long the wire held the answer.
    pub back: Duration,
    /// Links that the question crossed.
    pub links_there: usize,
    /// Links that the answer crossed.
    pub links_back: usize,
}

impl Exchange {
    /// No honest round-trip time is below this.
    pub fn rtt_floor(&self) -> Duration {
        self.there + self.back
    }
}

/// Every frame the wire saw, in the order in which it finished with them.
#[derive(Debug, Clone, Default)]
pub struct WireLog {
    records: Vec<WireRecord>,
}

impl WireLog {
    /// Reads the file.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
        // The wire may be writing the next record; and a frame too short for an Ethernet header concerns no test.
        Ok(Self { records: bytes.chunks_exact(RECORD_LENGTH).filter_map(WireRecord::read).collect() })
    }

    /// Only the frames received at or after this time, nanoseconds since 1970.
    pub fn since(mut self, at: i64) -> Self {
        self.records.retain(|record| record.received_at >= at);
        self
    }

    /// All records.
    pub fn records(&self) -> &[WireRecord] {
        &self.records
    }

    /// The records that concern frames like this.
    pub fn matching(&self, wanted: impl Fn(&PacketSummary) -> bool) -> impl Iterator<Item = &WireRecord> {
        self.records.iter().filter(move |record| wanted(&record.summary))
    }

    /// What the wire did to one question and its answer, each given by what its frames look like; of several on one link
    /// the first counts. `None` unless both were sent on at least one link each.
    pub fn exchange(
        &self,
        question: impl Fn(&PacketSummary) -> bool,
        answer: impl Fn(&PacketSummary) -> bool,
    ) -> Option<Exchange> {
        let (there, links_there) = self.held(question);
        let (back, links_back) = self.held(answer);
        (links_there > 0 && links_back > 0).then_some(Exchange { there, back, links_there, links_back })
    }

    /// The exchange of one ICMP echo with `dst`. `id` tells it from others with the same sequence number; a NAT may
    /// change it, so leave it out there.
    pub fn echo(&self, dst: IpAddr, id: Option<u16>, seq: u16) -> Option<Exchange> {
        let same = |ip: &IpSummary| ip.icmp_seq == Some(seq) && (id.is_none() || ip.icmp_id == id);
        self.exchange(
            |frame| frame.ip.is_some_and(|ip| ip.dst == dst && matches!(ip.icmp_type, Some(8 | 128)) && same(&ip)),
            |frame| frame.ip.is_some_and(|ip| ip.src == dst && matches!(ip.icmp_type, Some(0 | 129)) && same(&ip)),
        )
    }

    /// The exchange of one packet towards `dst` and the ICMP error that quotes it. `same` picks the packet, as sent and
    /// as quoted, by ports or by ICMP id and sequence number.
    pub fn error(&self, dst: IpAddr, same: impl Fn(&IpSummary) -> bool) -> Option<Exchange> {
        self.exchange(
            |frame| frame.ip.is_some_and(|ip| ip.dst == dst && same(&ip)),
            |frame| frame.quoted.is_some_and(|ip| ip.dst == dst && same(&ip)),
        )
    }

    /// The exchange of one UDP packet and the ICMP error that quotes it, by the destination port.
    pub fn udp_error(&self, dst: IpAddr, dst_port: u16) -> Option<Exchange> {
        self.error(dst, |ip| ip.protocol == UDP && ip.dst_port == Some(dst_port))
    }

    /// How many echo requests towards `dst` the link saw that saw most of them: all that were sent, if the first link of
    /// their way is one of the wire's.
    pub fn echo_requests(&self, dst: IpAddr) -> usize {
        let requests = self.matching(|frame| {
            frame.ip.is_some_and(|ip| {
                ip.dst == dst && matches!((ip.protocol, ip.icmp_type), (ICMP, Some(8)) | (ICMPV6, Some(128)))
            })
        });
        let mut per_link: BTreeMap<(Link, Direction), usize> = BTreeMap::new();
        for record in requests.filter(|record| record.fate != Fate::Duplicate) {
            *per_link.entry((record.link, record.direction)).or_default() += 1;
        }
        per_link.into_values().max().unwrap_or(0)
    }

    fn held(&self, wanted: impl Fn(&PacketSummary) -> bool) -> (Duration, usize) {
        let mut first: BTreeMap<(Link, Direction), Duration> = BTreeMap::new();
        for record in self.matching(wanted).filter(|record| record.fate == Fate::Sent) {
            if let Some(held) = record.held {
                first.entry((record.link, record.direction)).or_insert(held);
            }
        }
        (first.values().sum(), first.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An echo request or reply from 20.0.0.`src` to 20.0.0.`dst`.
    fn echo(kind: u8, src: u8, dst: u8, seq: u8) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0, 20, 0, 0, src, 20, 0, 0, dst]);
        frame.extend([kind, 0, 0, 0, 0, 1, 0, seq]);
        frame
    }

    #[test]
    fn an_exchange_sums_what_the_wire_held_both_ways() {
        let mut bytes = Vec::new();
        let ms = |count| Some(Duration::from_millis(count));
        let out = |link| (link, Direction::Forward);
        let back = |link| (link, Direction::Backward);
        WireRecord::write(&mut bytes, out(Link::R1R2), Fate::Sent, 10, ms(1), &echo(8, 1, 2, 7));
        WireRecord::write(&mut bytes, out(Link::R2R3), Fate::Sent, 20, ms(2), &echo(8, 1, 2, 7));
        WireRecord::write(&mut bytes, out(Link::R2R3), Fate::Lost, 20, None, &echo(8, 1, 2, 8));
        WireRecord::write(&mut bytes, back(Link::R2R3), Fate::Sent, 30, ms(4), &echo(0, 2, 1, 7));
        WireRecord::write(&mut bytes, back(Link::R2R3), Fate::Duplicate, 30, ms(9), &echo(0, 2, 1, 7));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();

        let log = WireLog::read(file.path()).unwrap();
        let dst = "20.0.0.2".parse().unwrap();
        let exchange = log.echo(dst, Some(1), 7).unwrap();
        assert_eq!(exchange.rtt_floor(), Duration::from_millis(7));
        assert_eq!((exchange.links_there, exchange.links_back), (2, 1));
        assert_eq!(log.echo(dst, None, 8), None);
        assert_eq!(log.echo_requests(dst), 2);
        assert_eq!(log.records()[0].sent_at(), Some(1_000_010));
    }

    #[test]
    fn a_long_frame_is_cut_and_an_unfinished_record_ignored() {
        let mut bytes = Vec::new();
        let mut frame = echo(8, 1, 2, 7);
        frame.resize(1514, 0xff);
        WireRecord::write(&mut bytes, (Link::R1R2, Direction::Forward), Fate::Sent, 0, None, &frame);
        assert_eq!(bytes.len(), RECORD_LENGTH);
        let half = bytes[..RECORD_LENGTH / 2].to_vec();
        bytes.extend(half);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        assert_eq!(WireLog::read(file.path()).unwrap().records().len(), 1);
    }
}
