//! System tags from what probes really did, beyond those that a session gives when it opens.
//!
//! - `system-resolves-a-correctly` and `system-resolves-aaaa-correctly`: the probe's own resolvers gave addresses of that
//!   family, in a dns measurement that asked them or when the probe looked up a target. The newest evidence counts, for
//!   a week.
//! - `system-dns-problem-suspected`: the newest evidence is that they did not. A failure is evidence only if another probe
//!   got an answer to the same question at about that time, or else one measurement of a broken name would take the tags of
//!   everybody.
//! - `system-ipvN-stable-1d`, `-30d`, `-90d`: known for that long, and connected with that family for 95 % of it at least.
//!
//! [`derive_from_result`], [`judge`] and [`stable`] are pure. [`SystemTags`] applies them to a catalog and results; doing it again
//! changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sonde_protocol::atlas::has_answer;
use sonde_protocol::ids::ProbeId;
use sonde_protocol::net::Family;
use sonde_protocol::result::{DnsReply, MeasurementResult, Outcome, Report};
use sonde_protocol::spec::Spec;
use sonde_protocol::time::UnixNanos;

use crate::catalog::{Measurement, Presence, ResolverEvidence, TagChange};
use crate::results::ResultQuery;
use crate::{Catalog, Results, StoreError};

const DAY: Duration = Duration::from_secs(86_400);

/// How long evidence about resolvers counts.
const EVIDENCE: Duration = Duration::from_secs(7 * 86_400);

/// How far back the first look goes.
const FIRST_LOOK: Duration = DAY;

/// How much later than others a result may come and still be seen.
const LATE: Duration = Duration::from_secs(120);

/// How often sessions are looked through.
const PRESENCE: Duration = Duration::from_secs(3600);

/// The most measurements that one look takes in.
const MEASUREMENTS: u64 = 1000;

/// How many reports or probes are read at a time.
const BATCH: usize = 1000;

/// The most pages of reports of one measurement in one look.
const PAGES: usize = 100;

/// The part of the time that a stable probe is connected.
const STABLE: f64 = 0.95;

/// Record types (RFC 1035, RFC 3596).
const A: u16 = 1;
const AAAA: u16 = 28;

/// What a result says of the probe's own resolvers: for which family, and whether they gave addresses. `None`: nothing.
pub fn derive_from_result(spec: &Spec, resolves_on_probe: bool, result: &MeasurementResult) -> Option<(Family, bool)> {
    match (spec, &result.outcome) {
        (Spec::Dns(spec), Outcome::Dns(seen)) if spec.use_probe_resolver && seen.own_resolvers => {
            let family = match (spec.query_class, spec.query_type) {
                (1, A) => Family::V4,
                (1, AAAA) => Family::V6,
                _ => return None,
            };
            let replies = || seen.responses.iter().map(|response| &response.outcome);
            let answers =
                |reply: &DnsReply| matches!(reply, DnsReply::Answer(a) if has_answer(&a.message, spec.query_type));
            // Programs ask the next resolver when one fails, and so one that answers is enough.
            if replies().any(answers) {
                return Some((family, true));
            }
            // An answer without addresses may be the truth. Silence and refusals by all of them are not.
            let fails = |reply: &DnsReply| match reply {
                DnsReply::Timeout(_) | DnsReply::Connect(_) | DnsReply::Read(_) | DnsReply::SendError(_) => true,
                DnsReply::Answer(answer) => answer.message.get(3).is_some_and(|flags| matches!(flags & 0x0f, 2 | 5)),
                DnsReply::NotAllowed => false,
            };
            (!seen.responses.is_empty() && replies().all(fails)).then_some((family, false))
        }
        // The probe looked a name up before it measured, and found an address.
        _ if resolves_on_probe && result.time_to_resolve.is_some() && result.dst_addr.is_some() => {
            Some((result.af, true))
        }
        _ => None,
    }
}

/// What one measurement's results say together: failures count where somebody else got an answer.
pub fn judge(seen: &[ResolverEvidence]) -> Vec<ResolverEvidence> {
    let mut answered: BTreeMap<u8, BTreeSet<ProbeId>> = BTreeMap::new();
    for one in seen.iter().filter(|one| one.works) {
        answered.entry(one.family.number()).or_default().insert(one.probe);
    }
    let answered_elsewhere = |one: &ResolverEvidence| {
        let probes = answered.get(&one.family.number());
        probes.is_some_and(|probes| probes.len() > usize::from(probes.contains(&one.probe)))
    };
    let mut newest: BTreeMap<(ProbeId, u8), ResolverEvidence> = BTreeMap::new();
    for one in seen.iter().filter(|one| one.works || answered_elsewhere(one)) {
        let known = newest.entry((one.probe, one.family.number())).or_insert(*one);
        if one.at >= known.at {
            *known = *one;
        }
    }
    newest.into_values().collect()
}

/// For how long a probe counts as stable, and the tags for it.
const SPANS: [(u32, [&str; 2]); 3] = [
    (1, ["system-ipv4-stable-1d", "system-ipv6-stable-1d"]),
    (30, ["system-ipv4-stable-30d", "system-ipv6-stable-30d"]),
    (90, ["system-ipv4-stable-90d", "system-ipv6-stable-90d"]),
];

/// The tags that a probe's sessions give it or take from it.
pub fn stable(presence: &Presence, now: UnixNanos) -> Vec<TagChange> {
    let mut changes = Vec::new();
    for (days, tags) in SPANS {
        let span = DAY * days;
        for (family, tag) in [Family::V4, Family::V6].into_iter().zip(tags) {
            let known_long_enough = now.since(presence.first_connected) >= span;
            let has = known_long_enough && connected(presence, family, now - span, now) >= span.mul_f64(STABLE);
            changes.push(TagChange { probe: presence.probe, tag, has });
        }
    }
    changes
}

/// For how long within `from..to` the probe was connected and the family worked. Sessions may overlap.
fn connected(presence: &Presence, family: Family, from: UnixNanos, to: UnixNanos) -> Duration {
    let mut reached = from;
    let mut sum = Duration::ZERO;
    for session in presence.sessions.iter().filter(|session| session.families.contains(&family)) {
        let end = session.to.unwrap_or(to).min(to);
        sum += end.since(session.from.max(reached));
        reached = reached.max(end);
    }
    sum
}

/// Keeps the tags of a catalog as the results and sessions say.
#[derive(Debug, Default)]
pub struct SystemTags {
    looked: Option<UnixNanos>,
    looked_through_sessions: Option<UnixNanos>,
}

impl SystemTags {
    /// Looks at what is new. To be called now and then.
    pub async fn refresh(
        &mut self,
        catalog: &dyn Catalog,
        results: &dyn Results,
        now: UnixNanos,
    ) -> Result<(), StoreError> {
        let since = self.looked.map_or(now - FIRST_LOOK, |looked| looked - LATE);
        let mut evidence = Vec::new();
        for measurement in catalog.resolving_measurements(since, MEASUREMENTS).await? {
            evidence.extend(judge(&look_at(catalog, results, &measurement, since, now).await?));
        }
        catalog.record_resolvers(&evidence, now - EVIDENCE).await?;
        self.looked = Some(now);
        if self.looked_through_sessions.is_none_or(|looked| now.since(looked) >= PRESENCE) {
            look_through_sessions(catalog, now).await?;
            self.looked_through_sessions = Some(now);
        }
        Ok(())
    }
}

/// What the newest results of one measurement say.
async fn look_at(
    catalog: &dyn Catalog,
    results: &dyn Results,
    measurement: &Measurement,
    since: UnixNanos,
    now: UnixNanos,
) -> Result<Vec<ResolverEvidence>, StoreError> {
    // A probe may report what it likes; what was asked of it counts.
    let mut probes: Vec<ProbeId> =
        catalog.participants(measurement.id).await?.into_iter().map(|part| part.probe).collect();
    probes.sort_unstable();
    let query = ResultQuery { measurement: measurement.id, from: Some(since), to: None, probes: Some(probes) };
    let (mut seen, mut after) = (Vec::new(), None);
    for _ in 0..PAGES {
        let page = results.scan(&query, after.as_ref(), BATCH).await?;
        for report in &page.reports {
            // What cannot be read is nobody's evidence.
            let Ok(Report::Result(result)) = Report::from_cbor(&report.report) else { continue };
            let said = derive_from_result(&measurement.asked.spec, measurement.asked.resolve_on_probe, &result);
            seen.extend(said.map(|(family, works)| ResolverEvidence {
                probe: report.probe,
                family,
                // A clock that is ahead must not make evidence that nothing newer replaces.
                at: report.at.min(now),
                works,
            }));
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(seen)
}

async fn look_through_sessions(catalog: &dyn Catalog, now: UnixNanos) -> Result<(), StoreError> {
    let since = now - SPANS.map(|(days, _)| DAY * days).into_iter().max().unwrap_or(DAY);
    let mut after = None;
    loop {
        let probes = catalog.presence(after, BATCH as u64, since).await?;
        let Some(last) = probes.last() else { return Ok(()) };
        after = Some(last.probe);
        let changes: Vec<TagChange> = probes.iter().flat_map(|presence| stable(presence, now)).collect();
        catalog.change_tags(&changes).await?;
    }
}

#[cfg(test)]
mod tests {
    use sonde_protocol::bounded::{Bytes, List, Text};
    use sonde_protocol::ids::MeasurementId;
    use sonde_protocol::net::{Ip, Transport};
    use sonde_protocol::result::{DnsAnswer, DnsOutcome, DnsResponse, Timing};
    use sonde_protocol::spec::DnsSpec;

    use super::*;
    use crate::catalog::SessionSpan;

    const NOW: UnixNanos = UnixNanos::from_secs(1_800_000_000);

    /// An answer to a question for example.net with one record of this type, and this RCODE.
    fn message(rcode: u8, answers: &[u16]) -> DnsReply {
        let mut bytes = vec![0, 1, 0x81, 0x80 | rcode, 0, 1, 0, answers.len() as u8, 0, 0, 0, 0];
        bytes.extend(b"\x07example\x03net\x00\x00\x01\x00\x01");
        for kind in answers {
            bytes.extend([0xc0, 12]);
            bytes.extend(kind.to_be_bytes());
            bytes.extend([0, 1, 0, 0, 0, 9, 0, 2, 1, 2]);
        }
        DnsReply::Answer(DnsAnswer {
            rt: 1,
            message: Bytes::new(bytes).unwrap(),
            show_message: false,
            connect: None,
            truncated_first: false,
            handshake: None,
            exchange: None,
        })
    }

    fn response(outcome: DnsReply) -> DnsResponse {
        DnsResponse {
            sent_at: NOW,
            dst_addr: Ip("9.9.9.9".parse().unwrap()),
            dst_port: 53,
            src_addr: None,
            protocol: Transport::Udp,
            retries: 0,
            query: None,
            outcome,
            secure: None,
            strays: List::default(),
            strays_seen: 0,
            id_mismatches: 0,
        }
    }

    fn result(outcome: Outcome) -> MeasurementResult {
        MeasurementResult {
            measurement: MeasurementId(1),
            planned_at: NOW,
            started_at: NOW,
            ended_at: NOW,
            timing: Timing::default(),
            af: Family::V4,
            dst_name: None,
            dst_addr: None,
            src_addr: None,
            time_to_resolve: None,
            interval: None,
            outcome,
        }
    }

    #[test]
    fn what_a_result_says_of_resolvers() {
        let ask = |query_type| {
            Spec::Dns(DnsSpec {
                query_type,
                use_probe_resolver: true,
                query_argument: Text::cut("example.net"),
                ..DnsSpec::default()
            })
        };
        let yes = |family| Some((family, true));
        let no = |family| Some((family, false));
        let (silence, servfail) = (|| DnsReply::Timeout(5000), || message(2, &[]));
        for (query_type, replies, expected) in [
            (A, vec![message(0, &[A])], yes(Family::V4)),
            (AAAA, vec![message(0, &[5, AAAA])], yes(Family::V6)),
            (A, vec![message(0, &[5])], None),
            (A, vec![message(0, &[])], None),
            (A, vec![message(3, &[])], None),
            (A, vec![message(3, &[A])], None),
            (A, vec![silence(), message(0, &[A])], yes(Family::V4)),
            (A, vec![silence(), servfail()], no(Family::V4)),
            (AAAA, vec![message(5, &[])], no(Family::V6)),
            (A, vec![servfail(), message(3, &[])], None),
            (A, vec![DnsReply::NotAllowed], None),
            (A, vec![], None),
            (16, vec![message(0, &[16])], None),
        ] {
            let responses = List::cut(replies.into_iter().map(response));
            let seen = result(Outcome::Dns(DnsOutcome { own_resolvers: true, responses }));
            assert_eq!(derive_from_result(&ask(query_type), false, &seen), expected, "{seen:?}");
        }
        let at_a_server = DnsOutcome { own_resolvers: false, responses: List::cut([response(message(0, &[A]))]) };
        assert_eq!(derive_from_result(&ask(A), false, &result(Outcome::Dns(at_a_server.clone()))), None);
        // A target that was looked up.
        let looked_up = MeasurementResult {
            time_to_resolve: Some(5),
            dst_addr: Some(Ip("20.0.0.1".parse().unwrap())),
            ..result(Outcome::Dns(at_a_server))
        };
        let spec = Spec::Dns(DnsSpec::default());
        assert_eq!(derive_from_result(&spec, true, &looked_up), yes(Family::V4));
        assert_eq!(derive_from_result(&spec, false, &looked_up), None);
        assert_eq!(derive_from_result(&spec, true, &MeasurementResult { dst_addr: None, ..looked_up }), None);
    }

    #[test]
    fn failures_count_where_somebody_else_got_an_answer() {
        let said = |probe, family, at, works| ResolverEvidence {
            probe: ProbeId(probe),
            family,
            at: UnixNanos::from_secs(at),
            works,
        };
        let (v4, v6) = (Family::V4, Family::V6);
        assert_eq!(judge(&[said(1, v4, 5, false), said(2, v4, 5, false)]), [], "the name itself is broken");
        assert_eq!(judge(&[said(1, v4, 5, false), said(2, v6, 5, true)]), [said(2, v6, 5, true)]);
        assert_eq!(judge(&[said(1, v4, 5, false), said(1, v4, 4, true)]), [said(1, v4, 4, true)], "nobody else");
        let all = [said(2, v4, 9, true), said(1, v4, 5, true), said(1, v4, 7, false), said(1, v4, 6, true)];
        assert_eq!(judge(&all), [said(1, v4, 7, false), said(2, v4, 9, true)]);
    }

    #[test]
    fn stable_is_who_was_there_nearly_all_the_time() {
        let hours_ago = |hours: u64| NOW - Duration::from_secs(hours * 3600);
        let span = |from: u64, to: Option<u64>, families: &[Family]| SessionSpan {
            from: hours_ago(from),
            to: to.map(hours_ago),
            families: families.to_vec(),
        };
        let both = &[Family::V4, Family::V6][..];
        let v4 = &[Family::V4][..];
        let day = 24;
        for (first, sessions, expected) in [
            (23, vec![span(23, None, both)], vec![]),
            (24, vec![span(24, None, both)], vec!["system-ipv4-stable-1d", "system-ipv6-stable-1d"]),
            (24, vec![span(24, None, v4)], vec!["system-ipv4-stable-1d"]),
            (
                48,
                vec![span(48, Some(13), both), span(12, None, both)],
                vec!["system-ipv4-stable-1d", "system-ipv6-stable-1d"],
            ),
            (48, vec![span(48, Some(14), both), span(12, None, both)], vec![]),
            // What overlaps counts once.
            (48, vec![span(48, Some(12), v4), span(24, Some(12), v4)], vec![]),
            (
                48,
                vec![span(48, Some(10), v4), span(30, Some(2), v4), span(12, Some(1), v4)],
                vec!["system-ipv4-stable-1d"],
            ),
            (
                100 * day,
                vec![span(100 * day, Some(20), v4), span(16, None, v4)],
                vec!["system-ipv4-stable-30d", "system-ipv4-stable-90d"],
            ),
        ] {
            let presence =
                Presence { probe: ProbeId(1), first_connected: hours_ago(first), sessions, cut_before: None };
            let has: Vec<&str> =
                stable(&presence, NOW).into_iter().filter(|change| change.has).map(|change| change.tag).collect();
            assert_eq!(has, expected, "{presence:?}");
        }
    }
}
