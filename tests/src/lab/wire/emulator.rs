//! The `lab-wire` process: frames in, frames out when due.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::log::{Fate, WireRecord};
use super::stats::Stats;
use super::{Command, LinkParams, Reply, WireConfig, WireLink};
use crate::lab::capture::{control_space, nanoseconds, packet_socket, receive};
use crate::lab::packet::PacketSummary;
use crate::lab::sys;
use crate::lab::topology::{Direction, Link};

/// The last stretch before a frame is due is spun, not slept, since waking up takes tens of microseconds.
const SPIN: i64 = 100_000;
/// Records are written to the file when nothing is due for this long.
const IDLE: i64 = 2_000_000;
/// Records are written even when busy beyond this many bytes.
const RECORDS_LIMIT: usize = 8 << 20;
/// How long the lab may wait for an answer while the process spins.
const COMMAND_INTERVAL: i64 = 1_000_000;
/// Frames under way at most; more than that is a mistake in a test.
const IN_FLIGHT_LIMIT: usize = 200_000;
/// Frames taken from the kernel before looking at what is due.
const BATCH: usize = 16;

/// Runs until standard input closes. `config` is the file that the lab wrote.
pub fn run(config: &Path) -> anyhow::Result<()> {
    let config: WireConfig = serde_json::from_slice(&std::fs::read(config).context("read the configuration")?)
        .context("parse the configuration")?;
    let mut emulator = Emulator::new(&config)?;
    fcntl(io::stdin(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).context("make standard input non-blocking")?;
    emulator.answer(&Reply::Done)?;
    while emulator.turn()? {}
    emulator.write_records()
}

struct Emulator {
    receiver: Socket,
    sender: Socket,
    ports: HashMap<u32, InPort>,
    /// By link and direction, as `lane` counts.
    lanes: Vec<Lane>,
    in_flight: BinaryHeap<Reverse<InFlight>>,
    /// Numbers frames, so that equal due times keep their order.
    order: u64,
    buffer: Vec<u8>,
    control: Vec<u8>,
    commands: Vec<u8>,
    log: File,
    logging: bool,
    records: Vec<u8>,
    stats: Stats,
    real_time: bool,
    /// When the lab's questions were last looked for, CLOCK_MONOTONIC.
    polled: i64,
}

/// Where frames come in.
struct InPort {
    lane: usize,
    link: Link,
    direction: Direction,
    /// The interface at the other end.
    out: SockAddr,
}

struct Lane {
    params: LinkParams,
    random: SplitMix,
}

/// Ordered by `due`, then `order`, as the fields stand; the others never decide since `order` is unique.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct InFlight {
    /// CLOCK_MONOTONIC.
    due: i64,
    order: u64,
    /// When it came in, CLOCK_MONOTONIC.
    since: i64,
    /// When it came in, CLOCK_REALTIME.
    received_at: i64,
    interface: u32,
    copy: bool,
    bytes: Vec<u8>,
}

impl Emulator {
    fn new(config: &WireConfig) -> anyhow::Result<Self> {
        let receiver = packet_socket().context("open the receiving socket")?;
        sys::set_packet_option(receiver.as_fd(), sys::PACKET_IGNORE_OUTGOING, 1).context("ignore outgoing frames")?;
        let sender = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0))).context("open the sender")?;
        sys::set_packet_option(sender.as_fd(), sys::PACKET_QDISC_BYPASS, 1).context("bypass queues")?;
        let mut ports = HashMap::new();
        for WireLink { link, interfaces: [first, second] } in &config.links {
            let first = nix::net::if_::if_nametoindex(first.as_str()).context("find an interface")?;
            let second = nix::net::if_::if_nametoindex(second.as_str()).context("find an interface")?;
            for (direction, from, to) in [(Direction::Forward, first, second), (Direction::Backward, second, first)] {
                let out = sys::link_layer_address(to).context("make an address")?;
                ports.insert(from, InPort { lane: lane(*link, direction), link: *link, direction, out });
            }
        }
        let mut emulator = Self {
            receiver,
            sender,
            ports,
            lanes: Vec::new(),
            in_flight: BinaryHeap::new(),
            order: 0,
            buffer: vec![0; 1 << 16],
            control: control_space(),
            commands: Vec::new(),
            log: File::options().append(true).create(true).open(&config.log).context("open the log")?,
            logging: true,
            records: Vec::with_capacity(RECORDS_LIMIT),
            stats: Stats::default(),
            real_time: sys::real_time().is_ok(),
            polled: 0,
        };
        for _ in Link::ALL.iter().flat_map(|_| Direction::ALL) {
            emulator.lanes.push(Lane { params: LinkParams::delay(Duration::ZERO), random: SplitMix(0) });
        }
        emulator.reseed(config.seed);
        Ok(emulator)
    }

    /// Waits for the next thing and does it; false when the lab is gone.
    fn turn(&mut self) -> anyhow::Result<bool> {
        let now = monotonic()?;
        let next = self.in_flight.peek().map(|Reverse(frame)| frame.due);
        if next.is_none_or(|due| due - now > IDLE) || self.records.len() > RECORDS_LIMIT {
            self.write_records()?;
        }
        let wait = next.map(|due| (due - now - SPIN).max(0));
        // While spinning, the lab's questions are still looked for now and then.
        if wait != Some(0) || now - self.polled > COMMAND_INTERVAL {
            self.polled = now;
            let stdin = io::stdin();
            let mut ready =
                [PollFd::new(self.receiver.as_fd(), PollFlags::POLLIN), PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
            let wait = wait.map(|wait| TimeSpec::new(wait / 1_000_000_000, wait % 1_000_000_000));
            match ppoll(&mut ready, wait, None) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error).context("wait for frames"),
            }
            if ready[1].any() == Some(true) && !self.take_commands()? {
                return Ok(false);
            }
        }
        for _ in 0..BATCH {
            if !self.take_frame()? {
                break;
            }
        }
        self.send_due()?;
        Ok(true)
    }

    /// Takes one frame from the kernel and decides what becomes of it; false if there is none.
    fn take_frame(&mut self) -> anyhow::Result<bool> {
        let Some(frame) = receive(&self.receiver, &mut self.buffer, &mut self.control)? else { return Ok(false) };
        let Some(port) = self.ports.get(&frame.interface_index) else { return Ok(true) };
        let bytes = self.buffer.get(..frame.length).unwrap_or(&self.buffer).to_vec();
        let (now, now_real) = (monotonic()?, real()?);
        let received_at = frame.at.unwrap_or(now_real);
        // A step of the machine's clock in between must not hold a frame for long.
        let since = now - (now_real - received_at).clamp(0, 1_000_000_000);
        let lane = self.lanes.get_mut(port.lane).context("a lane for each port")?;
        let params = lane.params;
        let mut frame = InFlight {
            due: since,
            order: self.order,
            since,
            received_at,
            interface: frame.interface_index,
            copy: false,
            bytes,
        };
        self.order += 2;
        if params.down {
            self.finish(&frame, Fate::Down, None);
            return Ok(true);
        }
        let about = PacketSummary::of_frame(&frame.bytes);
        if about.is_none_or(|about| about.is_arp() || about.is_nd() || about.is_membership()) {
            self.send(&frame, Fate::Passed)?;
            return Ok(true);
        }
        // Always three draws, so that one fault's setting does not shift another's pattern.
        let [lost, duplicated, reordered] =
            [params.loss, params.duplicate, params.reorder].map(|share| lane.random.share() < share);
        if lost {
            self.finish(&frame, Fate::Lost, None);
            return Ok(true);
        }
        frame.due += nanos(params.delay) + if reordered { nanos(params.reorder_extra) } else { 0 };
        if self.in_flight.len() >= IN_FLIGHT_LIMIT {
            self.finish(&frame, Fate::Failed, None);
            return Ok(true);
        }
        if duplicated {
            let copy = InFlight { copy: true, order: frame.order + 1, bytes: frame.bytes.clone(), ..frame };
            self.in_flight.push(Reverse(copy));
        }
        self.in_flight.push(Reverse(frame));
        Ok(true)
    }

    fn send_due(&mut self) -> anyhow::Result<()> {
        while self.in_flight.peek().is_some_and(|Reverse(frame)| monotonic().is_ok_and(|now| frame.due <= now)) {
            if let Some(Reverse(frame)) = self.in_flight.pop() {
                let fate = if frame.copy { Fate::Duplicate } else { Fate::Sent };
                self.send(&frame, fate)?;
            }
        }
        Ok(())
    }

    fn send(&mut self, frame: &InFlight, fate: Fate) -> anyhow::Result<()> {
        let Some(port) = self.ports.get(&frame.interface) else { return Ok(()) };
        // Before the send: what is logged is then never more than what the frame really waited.
        let now = monotonic()?;
        let fate = match self.sender.send_to(&frame.bytes, &port.out) {
            Ok(_) => fate,
            Err(_) => Fate::Failed,
        };
        if matches!(fate, Fate::Sent | Fate::Duplicate) {
            self.stats.late(now - frame.due);
        }
        self.finish(frame, fate, Some(now - frame.since));
        Ok(())
    }

    /// Counts and records what became of a frame.
    fn finish(&mut self, frame: &InFlight, fate: Fate, held: Option<i64>) {
        match fate {
            Fate::Lost | Fate::Down => self.stats.lost += 1,
            Fate::Failed => self.stats.failed += 1,
            Fate::Sent | Fate::Duplicate | Fate::Passed => {}
        }
        if let (true, Some(port)) = (self.logging, self.ports.get(&frame.interface)) {
            let held = held.map(|held| Duration::from_nanos(u64::try_from(held).unwrap_or(0)));
            WireRecord::write(
                &mut self.records,
                (port.link, port.direction),
                fate,
                frame.received_at,
                held,
                &frame.bytes,
            );
        }
    }

    fn write_records(&mut self) -> anyhow::Result<()> {
        self.log.write_all(&self.records).context("write the log")?;
        self.records.clear();
        Ok(())
    }

    /// Reads what the lab asks and does it; false at the end of input.
    fn take_commands(&mut self) -> anyhow::Result<bool> {
        let mut chunk = [0; 4096];
        match io::stdin().lock().read(&mut chunk) {
            Ok(0) => return Ok(false),
            Ok(length) => self.commands.extend(chunk.iter().take(length)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error).context("read a command"),
        }
        // Frames that came before a command meet what was in force then.
        for _ in 0..IN_FLIGHT_LIMIT {
            if self.commands.is_empty() || !self.take_frame()? {
                break;
            }
        }
        while let Some(end) = self.commands.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.commands.drain(..=end).collect();
            let reply = self.obey(serde_json::from_slice(&line).context("parse a command")?)?;
            self.answer(&reply)?;
        }
        Ok(true)
    }

    fn obey(&mut self, command: Command) -> anyhow::Result<Reply> {
        match command {
            Command::Set { link, direction, params } => {
                if let Some(lane) = self.lanes.get_mut(lane(link, direction)) {
                    lane.params = params;
                }
            }
            Command::Reseed { seed } => self.reseed(seed),
            Command::Log { on } => self.logging = on,
            Command::Flush => self.write_records()?,
            Command::Stats => {
                self.stats.failed += sys::packet_drops(self.receiver.as_fd()).context("ask for missed frames")?;
                return Ok(Reply::Stats(self.stats.report(self.real_time)));
            }
            Command::ResetStats => {
                sys::packet_drops(self.receiver.as_fd()).context("ask for missed frames")?;
                self.stats = Stats::default();
            }
        }
        Ok(Reply::Done)
    }

    fn answer(&self, reply: &Reply) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(reply).context("write a reply")?;
        line.push(b'\n');
        let mut out = io::stdout().lock();
        if let Err(error) = out.write_all(&line).and_then(|()| out.flush()) {
            bail!("the lab is gone: {error}");
        }
        Ok(())
    }

    fn reseed(&mut self, seed: u64) {
        let mut seeds = SplitMix(seed);
        for lane in &mut self.lanes {
            lane.random = SplitMix(seeds.next());
        }
    }
}

/// The number of a link's direction among the lanes.
fn lane(link: Link, direction: Direction) -> usize {
    link as usize * Direction::ALL.len() + direction as usize
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX / 4)
}

fn monotonic() -> anyhow::Result<i64> {
    Ok(nanoseconds(clock_gettime(ClockId::CLOCK_MONOTONIC)?))
}

fn real() -> anyhow::Result<i64> {
    Ok(nanoseconds(clock_gettime(ClockId::CLOCK_REALTIME)?))
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, seedable, good enough for loss.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in 0 ≤ x < 1: never below a share of 0, always below a share of 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_extreme_where_they_should_be_and_repeat() {
        let mut random = SplitMix(7);
        let first: Vec<f64> = (0..1000).map(|_| random.share()).collect();
        assert!(first.iter().all(|share| (0.0..1.0).contains(share)));
        let mut again = SplitMix(7);
        assert!(first.iter().all(|share| *share == again.share()));
    }

    #[test]
    fn every_link_and_direction_has_a_lane_of_its_own() {
        let mut lanes: Vec<usize> =
            Link::ALL.into_iter().flat_map(|link| Direction::ALL.map(|direction| lane(link, direction))).collect();
        lanes.sort_unstable();
        assert!(lanes.iter().copied().eq(0..Link::ALL.len() * 2));
    }
}
