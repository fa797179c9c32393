//! A probe with a good key and bad manners: it may harm nobody but itself.

use sonde_protocol::bounded::{Bytes, List, Text};
use sonde_protocol::ids::{BootId, ProbeId, Seq};
use sonde_protocol::key::PublicKey;
use sonde_protocol::message::{
    Bye, Frame, Gap, GapReason, Hello, SpooledBoot, TimeRequest, Up, VERSION, from_cbor, to_cbor,
};
use sonde_protocol::result::{Report, SkipReason, Skipped};
use sonde_protocol::time::UnixNanos;
use sonde_protocol::wire::framed;

use super::collector::Collector;
use super::link::Stream;
use super::world::Cx;

/// The hostile probe.
#[derive(Debug)]
pub struct Hostile {
    index: usize,
    /// Its number, if it takes part.
    pub id: Option<ProbeId>,
    links: Vec<u64>,
    boots: Vec<BootId>,
}

impl Hostile {
    /// A hostile probe in this place, behind the real ones.
    pub const fn new(index: usize) -> Self {
        Self { index, id: None, links: Vec::new(), boots: Vec::new() }
    }

    /// Does something.
    pub fn act(&mut self, cx: &mut Cx, collector: &mut Collector) {
        if self.links.is_empty() || cx.rng.one_in(4) {
            let link = cx.connect((self.index, 0), collector.life);
            collector.accept(link, PublicKey([self.index as u8 + 1; 32]));
            self.links.push(link);
            if self.links.len() > 4 {
                let old = self.links.remove(0);
                cx.probe_leaves(old, true);
            }
            let hello = to_cbor(&Up::Hello(self.hello(cx)));
            cx.send(link, Stream::Up, &hello);
        }
        let link = self.links[cx.rng.below(self.links.len() as u64) as usize];
        for _ in 0..cx.rng.below(6) {
            let stream = [Stream::Up, Stream::Fresh, Stream::Backlog][cx.rng.below(3) as usize];
            let mut message = self.message(cx, stream);
            if cx.rng.one_in(3) && !message.is_empty() {
                let at = cx.rng.below(message.len() as u64) as usize;
                message[at] ^= 1 << cx.rng.below(8);
                // Whatever it is now, reading it must not hurt.
                let _ = from_cbor::<Up>(&message);
                let _ = from_cbor::<Frame>(&message);
            }
            if cx.rng.one_in(10) {
                let mut bytes = framed(&message);
                let at = cx.rng.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << cx.rng.below(8);
                cx.send_bytes(link, stream, bytes);
            } else {
                cx.send(link, stream, &message);
            }
        }
    }

    /// Its own boots, one of somebody else, or a new one.
    fn boot(&mut self, cx: &mut Cx) -> BootId {
        match cx.rng.below(4) {
            0 => {
                let others: Vec<BootId> = cx.truth.boots.keys().map(|(_, boot)| *boot).collect();
                others.get(cx.rng.below(others.len() as u64) as usize).copied().unwrap_or(BootId(0))
            }
            1 => {
                self.boots.push(BootId(cx.rng.next_u64()));
                self.boots[self.boots.len() - 1]
            }
            _ => self.boots.get(cx.rng.below(self.boots.len() as u64) as usize).copied().unwrap_or(BootId(1)),
        }
    }

    fn hello(&mut self, cx: &mut Cx) -> Hello {
        let boot = self.boot(cx);
        let other = self.boot(cx);
        Hello {
            versions: List::cut([VERSION]),
            software: Text::cut("hostile"),
            boot,
            uptime: if cx.rng.one_in(2) { cx.rng.next_u64() } else { 5 },
            now: UnixNanos(cx.rng.next_u64().cast_signed()),
            clock_synchronised: true,
            orders: None,
            boots: List::cut([boot, other].map(|boot| SpooledBoot {
                boot,
                next: Seq(cx.rng.below(100)),
                started_at: cx.rng.one_in(2).then(|| UnixNanos(cx.rng.next_u64().cast_signed())),
            })),
            spool_depth: u64::MAX,
            addresses: List::default(),
            token: None,
            directory: u64::MAX,
            kinds: List::default(),
            families: List::default(),
            conditions: None,
        }
    }

    fn number(cx: &mut Cx) -> u64 {
        match cx.rng.below(4) {
            0 => cx.rng.next_u64(),
            1 => u64::MAX - cx.rng.below(4),
            _ => cx.rng.below(200),
        }
    }

    fn time(cx: &mut Cx) -> UnixNanos {
        match cx.rng.below(3) {
            0 => UnixNanos(cx.rng.next_u64().cast_signed()),
            1 => UnixNanos(i64::MAX),
            _ => cx.collector_wall(),
        }
    }

    fn message(&mut self, cx: &mut Cx, stream: Stream) -> Vec<u8> {
        let boot = self.boot(cx);
        if stream != Stream::Up {
            let reports: Vec<_> = (0..cx.rng.below(20)).filter_map(|_| Bytes::new(Self::report(cx))).collect();
            return to_cbor(&Frame {
                boot,
                first: Seq(Self::number(cx)),
                reports: List::cut(reports),
                settled: Self::time(cx),
            });
        }
        match cx.rng.below(6) {
            0 => to_cbor(&Up::Bye(Bye {
                boot,
                last: Seq(Self::number(cx)),
                at: Self::time(cx),
                crashed: cx.rng.one_in(2),
            })),
            1 => to_cbor(&Up::TimeRequest(TimeRequest { sent_at: cx.rng.next_u64().cast_signed() })),
            2 => to_cbor(&Up::OrdersApplied(None)),
            3 => (0..cx.rng.below(60)).map(|_| cx.rng.next_u64() as u8).collect(),
            _ => {
                let gap = Gap {
                    boot,
                    first: Seq(Self::number(cx)),
                    last: Some(Seq(Self::number(cx))),
                    reason: GapReason::SpoolFull,
                    from: Self::time(cx),
                    to: Self::time(cx),
                };
                to_cbor(&Up::Gaps(List::cut([gap])))
            }
        }
    }

    fn report(cx: &mut Cx) -> Vec<u8> {
        let measurement = cx.truth.orders.keys().next().map(|(measurement, _)| *measurement);
        match measurement {
            // Somebody else's measurement.
            Some(measurement) if cx.rng.one_in(2) => {
                let planned_at = Self::time(cx);
                Report::Skipped(Skipped { measurement, planned_at, runs: 1, reason: SkipReason::Other }).to_cbor()
            }
            _ => (0..cx.rng.below(40)).map(|_| cx.rng.next_u64() as u8).collect(),
        }
    }
}
