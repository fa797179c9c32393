//! A healthy host on a line that loses packets: what its runs say by chance must never settle.

use alloc::vec::Vec;

use sonde_protocol::bounded::List;
use sonde_protocol::result::ipv6::*;
use sonde_protocol::seed::Rng;
use sonde_protocol::spec::Ipv6Scope;
use std::eprintln;

use super::super::decide::decide;
use super::super::hysteresis::{Run, step};
use super::host::Host;

/// A line that loses so many packets of ten thousand, each way.
struct Line {
    rng: Rng,
    lost: u64,
}

impl Line {
    /// Does an exchange, a packet and its answer, fail?
    fn fails(&mut self) -> bool {
        let gone = |rng: &mut Rng, lost| rng.below(10_000) < lost;
        let up = gone(&mut self.rng, self.lost);
        let down = gone(&mut self.rng, self.lost);
        up || down
    }

    /// Do so many tries of one exchange fail, all of them?
    fn all_fail(&mut self, tries: u32) -> bool {
        (0..tries).all(|_| self.fails())
    }

    /// Do so many of these exchanges fail?
    fn count(&mut self, exchanges: u32) -> u32 {
        (0..exchanges).filter(|_| self.fails()).count().try_into().unwrap()
    }

    fn attempt(&mut self, exchanges: u32, tries: u32) -> Attempt {
        match (0..exchanges).any(|_| self.all_fail(tries)) {
            true => Attempt::Failed(TroubleKind::Timeout.into()),
            false => Attempt::Done(1),
        }
    }

    /// What a run sees of a host of which all is well.
    fn run(&mut self, healthy: &Evidence, scope: Ipv6Scope) -> Evidence {
        let mut seen = healthy.clone();
        seen.dns = List::cut(seen.dns.into_iter().map(|check| match self.all_fail(3) {
            true => DnsCheck { saw: DnsSaw::Timeout, ..check },
            false => check,
        }));
        seen.pairs = List::cut(seen.pairs.into_iter().map(|pair| {
            let connects: Vec<Connect> = pair
                .connects
                .iter()
                .map(|connect| {
                    let tcp = self.attempt(1, 3);
                    // A handshake is some exchanges, which the kernel repeats five times within five seconds.
                    let tls = tcp.is_done().then(|| self.attempt(4, 5));
                    Connect { tcp: Some(tcp), tls, quic: Some(self.attempt(4, 3)), ..*connect }
                })
                .collect();
            Pair { connects: List::cut(connects), ..pair }
        }));
        seen.echoes =
            List::cut(seen.echoes.into_iter().map(|echo| Echo { received: echo.sent - self.count(echo.sent), ..echo }));
        let bound = seen.selection.iter().flat_map(|selection| selection.bound.iter());
        let bound: Vec<BoundConnect> = bound.map(|one| BoundConnect { tcp: self.attempt(1, 3), ..*one }).collect();
        seen.selection = Some(Selection { bound: List::cut(bound), ..Selection::default() });
        if scope == Ipv6Scope::Light {
            seen.sizes = List::default();
            seen.icmp = List::default();
            seen.headers = None;
            return seen;
        }
        seen.sizes = List::cut(seen.sizes.into_iter().map(|sizes| {
            let mut way = |tries: &[SizeTry]| {
                List::cut(tries.iter().map(|one| {
                    // Four are sent only of what does not arrive sooner.
                    let lost = (0..4_u8).take_while(|_| self.fails()).count();
                    let controls = self.count(4).try_into().unwrap();
                    SizeTry { sent: 4, lost: lost.try_into().unwrap(), controls_lost: controls, ..*one }
                }))
            };
            SizesSeen { up: way(&sizes.up), down: way(&sizes.down), ..sizes }
        }));
        seen
    }
}

fn seed() -> u64 {
    let seed = std::env::var("SONDE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_261_128);
    eprintln!("SONDE_SEED={seed}");
    seed
}

/// A thousand times: a full run and three light ones, and every other look that is asked for. Gives what was settled and not
/// `native`, and how many runs said something else than `native`.
fn thousand(lost: u64) -> (Vec<FamilyState>, u32) {
    let mut line = Line { rng: Rng::new(seed()), lost };
    let mut healthy = Host::healthy().0;
    // A host with three more addresses of the same network has more that can fail.
    let source = healthy.selection.as_ref().unwrap().bound[0];
    healthy.selection = Some(Selection { bound: List::cut([source; 4]), ..Selection::default() });
    let mut memory = Memory::default();
    let (mut settled, mut deviations) = (Vec::new(), 0);
    for n in 0..1000_u64 {
        let mut due = Vec::from([Ipv6Scope::Light, Ipv6Scope::Light, Ipv6Scope::Light, Ipv6Scope::Full]);
        let mut looks = 0;
        while let Some(scope) = due.pop() {
            let evidence = line.run(&healthy, scope);
            let decision = decide(&evidence, &memory.path, &[]);
            let trigger = if looks > 0 { Trigger::Confirm } else { Trigger::Timer };
            let step = step(&mut memory, &decision, Run { scope, trigger }, n);
            deviations += u32::from(step.verdicts.iter().any(|verdict| verdict.raw != FamilyState::Native));
            let wrong = step.verdicts.into_iter().filter_map(|verdict| verdict.settled).map(|settled| settled.state);
            settled.extend(wrong.filter(|state| *state != FamilyState::Native));
            if let Some(confirm) = step.confirm.filter(|_| looks < 8) {
                looks += 1;
                due.push(confirm.scope);
            }
        }
    }
    (settled, deviations)
}

#[test]
fn a_thousand_repeats_at_two_per_cent_loss_settle_nothing_wrong() {
    let (settled, deviations) = thousand(200);
    assert_eq!(settled, []);
    eprintln!("{deviations} runs said otherwise");
}

#[test]
fn more_loss_makes_runs_differ_and_is_named() {
    let (_, deviations) = thousand(700);
    assert!(deviations > 0, "the simulation loses nothing");
    let (settled, _) = thousand(3000);
    assert!(settled.contains(&FamilyState::NativePartial), "{settled:?}");
}
