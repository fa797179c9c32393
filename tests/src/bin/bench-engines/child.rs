//! What the benchmark runs inside the lab as a process of its own, so that its time and memory can be told apart:
//! surge-ping towards any number of targets, and our driver as fast as it goes.

use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sonde_engine::icmp::sequences_needed;
use sonde_engine::ping::{Ping, PingConfig};
use sonde_probe::net::clock::{Moment, SystemClock};
use sonde_probe::net::{Driver, Job, Options};
use sonde_protocol::ids::ProbeId;
use sonde_protocol::net::Family;
use sonde_protocol::result::{Outcome, PingReply};
use sonde_protocol::spec::{PingSpec, Spec};
use surge_ping::{Client, Config, ICMP, PingIdentifier, PingSequence};
use tokio::task::JoinSet;

use super::machine::Usage;

/// `surge COUNT INTERVAL_MS TARGET…`; the targets from standard input, one a line, when the last is `-`.
pub const SURGE: &str = "surge";

/// `driver SECONDS PACKETS_PER_SECOND`; the targets from standard input. Prints
/// `SENT ANSWERS WALL_NANOSECONDS CPU_NANOSECONDS`.
pub const DRIVER: &str = "driver";

/// Pings under way at once in [`DRIVER`].
const JOBS: usize = 500;

/// Why a command line of these is wrong; only this program writes them.
const USAGE: &str = "surge COUNT INTERVAL_MS TARGET… | driver SECONDS PACKETS_PER_SECOND";

/// Runs one.
pub fn run(what: &str, arguments: &[String]) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match (what, arguments) {
        (SURGE, [count, interval, targets @ ..]) => {
            let targets = if targets == ["-"] { from_input()? } else { parse(targets.iter().map(String::as_str))? };
            runtime.block_on(surge(count.parse()?, Duration::from_millis(interval.parse()?), targets))
        }
        (DRIVER, [seconds, rate]) => {
            runtime.block_on(driver(Duration::from_secs(seconds.parse()?), rate.parse()?, from_input()?))
        }
        _ => bail!(USAGE),
    }
}

fn parse<'a>(words: impl Iterator<Item = &'a str>) -> Result<Vec<IpAddr>> {
    words.map(|word| word.parse().with_context(|| word.to_owned())).collect()
}

fn from_input() -> Result<Vec<IpAddr>> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    parse(text.lines())
}

async fn surge(count: u16, interval: Duration, targets: Vec<IpAddr>) -> Result<()> {
    let client = |kind| Client::new(&Config::builder().kind(kind).build());
    let (v4, v6) = (client(ICMP::V4)?, client(ICMP::V6));
    let mut tasks = JoinSet::new();
    for (number, target) in (0_u16..).zip(targets) {
        let client = if target.is_ipv4() { v4.clone() } else { v6.as_ref().ok().context("no IPv6 here")?.clone() };
        tasks.spawn(async move {
            let mut pinger = client.pinger(target, PingIdentifier(number)).await;
            pinger.timeout(Duration::from_secs(1));
            let began = tokio::time::Instant::now();
            let mut lines = Vec::new();
            for seq in 0..count {
                tokio::time::sleep_until(began + interval * u32::from(seq)).await;
                if let Ok((_, rtt)) = pinger.ping(PingSequence(seq), &[0x5a; 56]).await {
                    lines.push(format!("{target} {seq} {}\n", rtt.as_nanos()));
                }
            }
            lines
        });
    }
    // Written at the end: whoever writes does not ping.
    for lines in tasks.join_all().await {
        lines.into_iter().try_for_each(|line| io::stdout().write_all(line.as_bytes()))?;
    }
    Ok(())
}

async fn driver(time: Duration, rate: u32, targets: Vec<IpAddr>) -> Result<()> {
    let options = Options { packets_per_second: rate, quarantine: Duration::ZERO, ..Options::default() };
    let driver = Arc::new(Driver::new(Arc::new(SystemClock), options)?);
    let spec = PingSpec {
        packets: PingSpec::PACKETS.max,
        packet_interval: PingSpec::PACKET_INTERVAL.min,
        ..PingSpec::default()
    };
    let began = Instant::now();
    let used = Usage::of(std::process::id()).cpu;
    let mut tasks = JoinSet::new();
    let mut targets = targets.into_iter().cycle();
    let (mut sent, mut answers) = (0_u64, 0_usize);
    loop {
        while tasks.len() < JOBS && began.elapsed() < time {
            let dst = targets.next().context("no target")?;
            tasks.spawn(ping(Arc::clone(&driver), spec.clone(), dst));
        }
        let Some(result) = tasks.join_next().await else { break };
        let (more_sent, more_answers) = result??;
        sent += u64::from(more_sent);
        answers += more_answers;
    }
    writeln!(
        io::stdout(),
        "{sent} {answers} {} {}",
        began.elapsed().as_nanos(),
        (Usage::of(std::process::id()).cpu - used).as_nanos()
    )?;
    Ok(())
}

/// How many requests one ping sent and how many answers it got.
async fn ping(driver: Arc<Driver>, spec: PingSpec, dst: IpAddr) -> Result<(u32, usize)> {
    let config = PingConfig { spec: spec.clone(), dst, first_sequence: 0, cookie: 0x736f_6e64, probe_id: ProbeId(0) };
    let sequences = sequences_needed(&Spec::Ping(spec));
    let make =
        move |first_sequence, moment: Moment| Ping::new(PingConfig { first_sequence, ..config }, moment.monotonic);
    let finished = driver.run(Job { family: Family::of(dst), sequences, make }).await?;
    let Outcome::Ping(ping) = finished.outcome else { bail!("a ping with another outcome") };
    Ok((ping.sent, ping.replies.iter().filter(|reply| matches!(reply, PingReply::Reply(_))).count()))
}
