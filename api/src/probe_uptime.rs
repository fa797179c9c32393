//! `probes/{id}/uptime/`: when a probe was connected, step by step, over a day or over ninety. Everybody may know that, as of
//! Atlas's probes; the addresses it was connected from are not in it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use sonde_protocol::ids::ProbeId;
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{Presence, SessionSpan};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::Api;
use crate::auth::Access;
use crate::error::ApiError;
use crate::params::Params;
use crate::path::Id;
use crate::probes;
use crate::query::ProbeUptime;
use crate::router::Routes;

const SECOND: i64 = 1_000_000_000;

/// How far back one looks, and in which steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    name: &'static str,
    step_secs: i64,
    steps: i64,
}

const WINDOWS: [Window; 2] =
    [Window { name: "24h", step_secs: 900, steps: 96 }, Window { name: "90d", step_secs: 86_400, steps: 90 }];

/// The names of [`WINDOWS`], for the document.
pub(crate) const WINDOW_NAMES: &[&str] = &[WINDOWS[0].name, WINDOWS[1].name];

/// When a probe was connected.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = ProbeUptime)]
pub(crate) struct Uptime {
    /// The probe.
    #[schema(value_type = u64)]
    probe: ProbeId,
    /// `24h` or `90d`.
    window: &'static str,
    /// When the first step begins; steps are whole quarters of an hour or days of UTC.
    start: i64,
    /// When this was looked up. The last step goes on.
    now: i64,
    /// Seconds in a step.
    step: i64,
    /// When the probe was first connected; null for one that never was.
    first_connected: Option<i64>,
    /// Seconds that it was connected, of each step; null for a step before its first connection, or one that is too long ago for
    /// a probe that connects again and again (20,000 sessions are looked at).
    connected: Vec<Option<i64>>,
    /// Seconds that it was connected, in all of the window.
    connected_seconds: i64,
    /// Seconds of the window since its first connection, until now, as far as they are known: what `connected_seconds` is a part of.
    counted_seconds: i64,
}

/// Adds the path of this module.
pub(crate) fn routes(routes: &mut Routes) {
    routes.add(routes!(uptime));
}

/// `GET probes/{id}/uptime/`: when it was connected, over the last day in quarters of an hour or over the last 90 days.
#[utoipa::path(get, path = "/api/v2/probes/{id}/uptime/", tag = "probes", params(("id" = u64, Path), ProbeUptime), responses((status = 200, body = Uptime)))]
async fn uptime(State(api): State<Arc<Api>>, _: Access, Id(id): Id, params: Params) -> Result<Json<Uptime>, ApiError> {
    let window = match params.get("window") {
        None => WINDOWS[0],
        Some(word) => WINDOWS
            .into_iter()
            .find(|window| window.name == word)
            .ok_or_else(|| ApiError::parameter("window", "Enter 24h or 90d."))?,
    };
    let probe = probes::find(&api, ProbeId(id)).await?.id;
    let now = api.clock.now();
    let start = UnixNanos(begins(window, now));
    // The list begins after a number, so that the one before is asked for.
    let found = api.catalog.presence(id.checked_sub(1).map(ProbeId), 1, start).await?;
    let presence = found.into_iter().find(|presence| presence.probe == probe);
    Ok(Json(of(probe, window, presence.as_ref(), now)))
}

/// When the first step of a window begins, in nanoseconds.
fn begins(window: Window, now: UnixNanos) -> i64 {
    let step = window.step_secs * SECOND;
    let last = now.0.div_euclid(step) * step;
    last.saturating_sub((window.steps - 1) * step)
}

fn of(probe: ProbeId, window: Window, presence: Option<&Presence>, now: UnixNanos) -> Uptime {
    let start = begins(window, now);
    let step = window.step_secs * SECOND;
    let first = presence.map(|presence| presence.first_connected.0);
    let cut_before = presence.and_then(|presence| presence.cut_before).map(|before| before.0);
    let spans = presence.map(|presence| merged(&presence.sessions, now.0)).unwrap_or_default();
    let mut connected = Vec::new();
    for index in 0..window.steps {
        let (from, to) = (start + index * step, start + (index + 1) * step);
        let counts = first.is_some_and(|first| first < to) && cut_before.is_none_or(|before| before <= from);
        let inside = spans.iter().map(|&(begin, end)| (end.min(to) - begin.max(from)).max(0)).sum::<i64>();
        connected.push(counts.then_some(inside / SECOND));
    }
    let total = spans.iter().map(|&(begin, end)| (end - begin.max(start)).max(0)).sum::<i64>();
    let counted_from = |first: i64| first.max(start).max(cut_before.unwrap_or(start));
    let counted = first.map_or(0, |first| (now.0 - counted_from(first)).max(0));
    Uptime {
        probe,
        window: window.name,
        start: start / SECOND,
        now: now.as_secs(),
        step: window.step_secs,
        first_connected: presence.map(|presence| presence.first_connected.as_secs()),
        connected,
        connected_seconds: total.min(counted) / SECOND,
        counted_seconds: counted / SECOND,
    }
}

/// The sessions as spans that do not touch: one that is still open when the next begins counts once.
fn merged(sessions: &[SessionSpan], now: i64) -> Vec<(i64, i64)> {
    let mut spans: Vec<(i64, i64)> =
        sessions.iter().map(|span| (span.from.0, span.to.map_or(now, |to| to.0.min(now)))).collect();
    spans.sort_unstable();
    let mut merged: Vec<(i64, i64)> = Vec::new();
    for (from, to) in spans {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => merged.push((from, to.max(from))),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_760_000_000;

    fn presence(first: i64, spans: &[(i64, Option<i64>)]) -> Presence {
        let sessions = spans.iter().map(|&(from, to)| SessionSpan {
            from: UnixNanos::from_secs(from),
            to: to.map(UnixNanos::from_secs),
            families: Vec::new(),
        });
        Presence {
            probe: ProbeId(7),
            first_connected: UnixNanos::from_secs(first),
            sessions: sessions.collect(),
            cut_before: None,
        }
    }

    fn of(window: usize, presence: Option<&Presence>) -> Uptime {
        super::of(ProbeId(7), WINDOWS[window], presence, UnixNanos::from_secs(NOW))
    }

    #[test]
    fn steps_are_whole_and_the_last_goes_on() {
        // 08:53:20 UTC: the last quarter of an hour began at 08:45.
        let day = of(0, None);
        assert_eq!((day.start + 95 * 900, day.connected.len()), (NOW - 500, 96));
        let quarter = of(1, None);
        assert_eq!((quarter.start % 86_400, quarter.connected.len()), (0, 90));
        assert!(quarter.start + 89 * 86_400 <= NOW && NOW < quarter.start + 90 * 86_400);
    }

    #[test]
    fn what_never_was_there_is_no_outage() {
        let never = of(0, None);
        assert_eq!((never.first_connected, never.counted_seconds, never.connected_seconds), (None, 0, 0));
        assert!(never.connected.iter().all(Option::is_none));
        // First connected 1400 s ago, away since 500 s ago, which is when the last step began.
        let new = of(0, Some(&presence(NOW - 1400, &[(NOW - 1400, Some(NOW - 500))])));
        assert_eq!(new.connected[93..], [None, Some(900), Some(0)]);
        assert_eq!((new.connected_seconds, new.counted_seconds), (900, 1400));
    }

    #[test]
    fn two_sessions_at_once_count_once() {
        let spans = [(NOW - 90_000, Some(NOW - 300)), (NOW - 400, Some(NOW - 350)), (NOW - 310, None)];
        let both = of(0, Some(&presence(NOW - 90_000, &spans)));
        assert_eq!(both.connected[95], Some(500), "until now and not further");
        assert_eq!(both.connected_seconds, both.counted_seconds);
        assert!(both.connected[..95].iter().all(|seconds| *seconds == Some(900)));
    }

    #[test]
    fn what_was_too_much_to_look_at_is_not_known() {
        let mut known = presence(NOW - 90_000, &[(NOW - 800, Some(NOW - 700)), (NOW - 100, None)]);
        known.cut_before = Some(UnixNanos::from_secs(NOW - 800));
        let cut = of(0, Some(&known));
        // The last step began 500 s ago, the one before it 1400 s ago, in part of which nothing is known.
        assert_eq!(cut.connected[94..], [None, Some(100)]);
        assert_eq!((cut.connected_seconds, cut.counted_seconds), (200, 800));
    }

    #[test]
    fn a_session_that_ends_after_now_or_before_it_began() {
        let odd = of(0, Some(&presence(NOW - 100, &[(NOW - 100, Some(NOW + 100)), (NOW - 50, Some(NOW - 60))])));
        assert_eq!((odd.connected[95], odd.connected_seconds, odd.counted_seconds), (Some(100), 100, 100));
    }
}
