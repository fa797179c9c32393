//! `boards/metrics/`: how many boards run which release, and how releases do on those that fetched them, for Prometheus in its text format.
//! Numbers of all boards together, which name nobody.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{BoardCount, RollOut, lost_before};
use utoipa_axum::routes;

use crate::Api;
use crate::auth::Access;
use crate::error::ApiError;
use crate::exporter::text::{CONTENT_TYPE as TEXT, Text};
use crate::router::Routes;

/// How many lines of boards, and how many releases: those with the highest numbers.
const LINES: u64 = 500;
const RELEASES: u64 = 50;

/// Adds the paths of this module.
pub(crate) fn routes(routes: &mut Routes) {
    routes.add(routes!(metrics));
}

/// `GET boards/metrics/`: boards by release and stage, and how releases do, for Prometheus.
#[utoipa::path(get, path = "/api/v2/boards/metrics/", tag = "probes", responses((status = 200, content_type = "text/plain", body = String)))]
async fn metrics(State(api): State<Arc<Api>>, _: Access) -> Result<Response, ApiError> {
    let boards = api.catalog.count_boards(LINES).await?;
    let roll_outs = api.catalog.roll_outs(lost_before(api.clock.now()), RELEASES).await?;
    let expire = *api.updates_expire.borrow();
    Ok(([(CONTENT_TYPE, TEXT)], page(&boards, &roll_outs, expire)).into_response())
}

fn page(boards: &[BoardCount], roll_outs: &[RollOut], expire: Option<UnixNanos>) -> String {
    let mut text = Text::default();
    text.family(
        "sonde_boards",
        "gauge",
        "Boards by the release that runs and what goes on with updates, as they told last",
    );
    for BoardCount { release, name, stage, boards } in boards {
        let release = release.to_string();
        let labels = [("release", release.as_str()), ("name", name), ("stage", stage.name())];
        text.sample("sonde_boards", &labels, *boards as f64);
    }
    text.family(
        "sonde_release_boards",
        "gauge",
        "Boards that fetched a release, since it last went on, by what became of it",
    );
    for RollOut { release, counts, .. } in roll_outs {
        let release = release.to_string();
        for (came, boards) in
            [("well", counts.well), ("badly", counts.badly), ("lost", counts.lost), ("out", counts.out)]
        {
            text.sample("sonde_release_boards", &[("release", &release), ("came", came)], boards as f64);
        }
    }
    text.family(
        "sonde_release_stopped",
        "gauge",
        "1 for a release that is stopped because boards did not come back with it",
    );
    for roll_out in roll_outs {
        let stopped = if roll_out.stopped().is_some() { 1.0 } else { 0.0 };
        text.sample("sonde_release_stopped", &[("release", &roll_out.release.to_string())], stopped);
    }
    if let Some(UnixNanos(nanos)) = expire {
        let name = "sonde_updates_expire_timestamp_seconds";
        text.family(name, "gauge", "When the first signed file expires without which boards take no update");
        text.sample(name, &[], nanos as f64 / 1e9);
    }
    text.into_body()
}

#[cfg(test)]
mod tests {
    use sonde_protocol::board::UpdateStage;
    use sonde_store::catalog::{ReleaseStop, RollOutCounts};

    use super::*;

    #[test]
    fn a_page_says_what_runs_and_what_is_stopped() {
        let boards = [
            BoardCount { release: 13, name: "0.5.0".into(), stage: UpdateStage::Trial, boards: 1 },
            BoardCount { release: 12, name: "a\"b\\\n".into(), stage: UpdateStage::Newest, boards: 40 },
        ];
        let stop = ReleaseStop { stopped_at: UnixNanos(0), why: "why".into(), resumed_at: None };
        let counts = RollOutCounts { well: 1, badly: 2, lost: 3, out: 4 };
        let roll_outs = [RollOut { release: 13, counts, stop: Some(stop) }];
        let lines: Vec<String> = page(&boards, &roll_outs, Some(UnixNanos(1_800_000_000_500_000_000)))
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(str::to_owned)
            .collect();
        assert_eq!(
            lines,
            [
                r#"sonde_boards{release="13",name="0.5.0",stage="trial"} 1"#,
                r#"sonde_boards{release="12",name="a\"b\\\n",stage="newest"} 40"#,
                r#"sonde_release_boards{release="13",came="well"} 1"#,
                r#"sonde_release_boards{release="13",came="badly"} 2"#,
                r#"sonde_release_boards{release="13",came="lost"} 3"#,
                r#"sonde_release_boards{release="13",came="out"} 4"#,
                r#"sonde_release_stopped{release="13"} 1"#,
                "sonde_updates_expire_timestamp_seconds 1800000000.5",
            ]
        );
    }
}
