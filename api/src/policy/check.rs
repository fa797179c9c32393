//! What speaks against making measurements: quotas, targets that are measured enough, credits that are not there.

use std::net::IpAddr;

use ipnet::IpNet;
use sonde_store::catalog::{NewMeasurement, ONEOFF_BURST_SECS, Price, Usage};

use super::{Policy, TargetsPolicy};

const DAY_SECS: u64 = 86_400;

/// What somebody asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// The measurements, with the probes that were chosen.
    pub new: &'a [NewMeasurement],
    /// Their prices.
    pub prices: &'a [Price],
    /// How many of each one's probes cost something.
    pub paid: &'a [u64],
    /// Targets of the operator's own.
    pub allowed: &'a [IpNet],
    /// They are there already, and only get more probes.
    pub is_change: bool,
}

/// What a measurement gives and costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Results a day; of a one-off all of them.
    pub results_per_day: u64,
    /// What these cost.
    pub credits_per_day: u64,
    /// What it costs in all; nobody knows for one without an end.
    pub total: Option<u64>,
    /// What has to be there when it is made: all of a one-off, and a day of what goes on.
    pub needed: u64,
}

impl Asked<'_> {
    /// The costs, one by one.
    pub fn costs(&self) -> Vec<Cost> {
        let each = self.new.iter().zip(self.prices).zip(self.paid);
        each.map(|((new, price), &paid)| cost(new, u64::from(price.credits), paid)).collect()
    }
}

fn cost(new: &NewMeasurement, credits: u64, paid: u64) -> Cost {
    let probes = new.probes.len() as u64;
    let of = |runs: u64| paid.saturating_mul(runs).saturating_mul(credits);
    let Some(interval) = new.interval else {
        return Cost { results_per_day: probes, credits_per_day: of(1), total: Some(of(1)), needed: of(1) };
    };
    let interval = u64::from(interval.max(1));
    let lasts = new.stop.map(|stop| (stop.as_secs() - new.start.as_secs()).max(0).unsigned_abs());
    let credits_per_day = of(DAY_SECS).checked_div(interval).unwrap_or(0);
    let total = lasts.map(|seconds| of(seconds.div_ceil(interval)));
    Cost {
        results_per_day: probes.saturating_mul(DAY_SECS) / interval,
        credits_per_day,
        total,
        needed: total.map_or(credits_per_day, |total| total.min(credits_per_day)),
    }
}

/// Every reason why it may not be done; none if it may.
pub(crate) fn against(policy: &Policy, asked: &Asked<'_>, usage: &Usage) -> Vec<String> {
    let mut reasons = Vec::new();
    let costs = asked.costs();
    if policy.quotas.enabled {
        quotas(policy, asked, &costs, usage, &mut reasons);
    }
    targets(&policy.targets, asked, usage, &mut reasons);
    if policy.credits.enabled {
        let needed: u64 = costs.iter().fold(0, |sum, cost| sum.saturating_add(cost.needed));
        let there = usage.balance.saturating_sub(usage.reserved).max(0).unsigned_abs();
        if needed > there {
            reasons.push(format!("This needs {needed} credits, and you have {there} to spend."));
        }
    }
    reasons
}

/// What speaks against measuring these targets, whoever pays.
pub(crate) fn against_targets(policy: &Policy, asked: &Asked<'_>, usage: &Usage) -> Vec<String> {
    let mut reasons = Vec::new();
    targets(&policy.targets, asked, usage, &mut reasons);
    reasons
}

fn quotas(policy: &Policy, asked: &Asked<'_>, costs: &[Cost], usage: &Usage, reasons: &mut Vec<String>) {
    let quotas = &policy.quotas;
    let mut limit = |most: u64, would_be: u64, what: &str| {
        if most > 0 && would_be > most {
            reasons.push(format!("You may have at most {most} {what}; with this it would be {would_be}."));
        }
    };
    let sum = |of: fn(&Cost) -> u64| costs.iter().map(of).fold(0, u64::saturating_add);
    if !asked.is_change {
        let running = asked.new.iter().filter(|new| !new.probes.is_empty()).count() as u64;
        limit(quotas.concurrent_measurements, usage.measurements.saturating_add(running), "measurements at a time");
    }
    let results = usage.results_per_day.saturating_add(sum(|cost| cost.results_per_day));
    limit(quotas.results_per_day, results, "results a day");
    if policy.credits.enabled {
        let credits = usage.credits_per_day.saturating_add(sum(|cost| cost.credits_per_day));
        limit(quotas.credits_per_day, credits, "credits spent in a day");
    }
    for (index, new) in asked.new.iter().enumerate() {
        let probes = new.probes.len() as u64;
        limit(quotas.probes_per_measurement, probes, "probes in a measurement");
        if let Some(interval) = new.interval {
            let most = quotas.results_per_second.saturating_mul(u64::from(interval.max(1)));
            limit(most, probes, &format!("probes in a measurement with an interval of {interval} s"));
        }
        if asked.is_change || new.target.is_none() {
            continue;
        }
        let same = |other: &&NewMeasurement| other.target == new.target && other.spec.kind() == new.spec.kind();
        let before = asked.new.iter().take(index + 1).filter(same).count() as u64;
        let alike = usage.targets.get(index).map_or(0, |target| target.alike).saturating_add(before);
        let (most, what) = match new.is_oneoff {
            true => (quotas.oneoff_alike, "one-off"),
            false => (quotas.periodic_alike, "periodic"),
        };
        limit(most, alike, &format!("{what} measurements of one type to one target at a time"));
    }
    reasons.dedup();
}

/// Packets a second, as if those of a one-off came within a minute.
fn packets(new: &NewMeasurement, price: &Price) -> f64 {
    let every = new.interval.unwrap_or(ONEOFF_BURST_SECS).max(1);
    f64::from(price.packets) * new.probes.len() as f64 / f64::from(every)
}

fn targets(policy: &TargetsPolicy, asked: &Asked<'_>, usage: &Usage, reasons: &mut Vec<String>) {
    let is_near = |a: IpAddr, b: IpAddr| match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => a.to_bits() >> 8 == b.to_bits() >> 8,
        (IpAddr::V6(a), IpAddr::V6(b)) => a.to_bits() >> 80 == b.to_bits() >> 80,
        _ => false,
    };
    for (index, new) in asked.new.iter().enumerate() {
        let (Some(target), Some(known)) = (&new.target, usage.targets.get(index)) else { continue };
        let address = new.resolved.first().copied();
        if address.is_some_and(|address| asked.allowed.iter().any(|net| net.contains(&address))) {
            continue;
        }
        // Of this request, what comes before this measurement, and itself.
        let own = |matches: &dyn Fn(&NewMeasurement) -> bool| -> f64 {
            let own = asked.new.iter().zip(asked.prices).take(index + 1).filter(|(other, _)| matches(other));
            own.map(|(other, price)| packets(other, price)).sum()
        };
        let to_address = own(&|other| match address {
            Some(address) => other.resolved.first() == Some(&address),
            None => other.target.as_ref() == Some(target),
        });
        let to_network = own(&|other| match (address, other.resolved.first()) {
            (Some(address), Some(&other)) => is_near(address, other),
            _ => false,
        });
        let too_much = |most: u32, known: f64, own: f64| most > 0 && known + own > f64::from(most);
        if too_much(policy.packets_per_second, known.address_packets, to_address) {
            let most = policy.packets_per_second;
            reasons.push(format!(
                "{target} would get more than {most} packets a second from all measurements of this network together."
            ));
        } else if too_much(policy.network_packets_per_second, known.network_packets, to_network) {
            let most = policy.network_packets_per_second;
            reasons.push(format!(
                "The network of {target} would get more than {most} packets a second from all measurements together."
            ));
        }
    }
}
