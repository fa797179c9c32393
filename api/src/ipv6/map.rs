//! Everything that a map of the world shows, packed small.
//!
//! A probe is five bytes: tenths of degrees of latitude from -90 and of longitude from -180, both as two bytes with the higher one
//! first, and the number of its state. Places are those of the public's grid for everybody, so that the answer is the same for all.
//! The numbers of the probes stand apart, each as what it is more than the one before, in groups of seven bits (LEB128).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use data_encoding::BASE64;
use serde_json::{Value, json};
use sonde_protocol::ids::ProbeId;
use sonde_protocol::result::ipv6::FamilyState;
use sonde_store::catalog::{ProbeFilter, Slice};
use sonde_store::reachability::{Cells, Record};
use sonde_store::view::snapped;

use super::about;
use super::answer::{Asked, Body};
use super::cell::CellObject;
use super::span::Span;
use crate::Api;
use crate::auth::Access;
use crate::error::ApiError;
use crate::query::Ipv6Map;

/// The state of a dot: of IPv6, where there is a vote; otherwise as if it were offline, or inconclusive.
fn state(record: &Record) -> u8 {
    match (record.vote, record.silence) {
        (Some(vote), _) => vote.v6.number(),
        (None, sonde_store::reachability::Silence::Offline) => FamilyState::Offline.number(),
        (None, _) => FamilyState::Inconclusive.number(),
    }
}

/// Dots by number of the probe.
#[derive(Debug, Default)]
struct Dots {
    count: u64,
    packed: Vec<u8>,
    numbers: Vec<u8>,
    last: u64,
}

impl Dots {
    fn push(&mut self, probe: ProbeId, place: (f64, f64), state: u8) {
        let (latitude, longitude) = snapped(place);
        // Both are inside of what the globe has, so they fit into sixteen bits.
        let tenths = |degrees: f64, least: f64| (((degrees - least) * 10.0).round().max(0.0) as u16).to_be_bytes();
        self.packed.extend(tenths(latitude, -90.0));
        self.packed.extend(tenths(longitude, -180.0));
        self.packed.push(state);
        let mut more = probe.0.saturating_sub(self.last);
        while more >= 0x80 {
            self.numbers.push((more & 0x7f) as u8 | 0x80);
            more >>= 7;
        }
        self.numbers.push(more as u8);
        self.last = probe.0;
        self.count += 1;
    }
}

/// `GET ipv6/map/`: the share of each country, and a dot for each probe that has said anything lately and whose place is known:
/// five bytes each in Base64 (`dots`) with the probes' numbers beside them (`probes`), as the researcher's guide tells.
#[utoipa::path(get, path = "/api/v2/ipv6/map/", tag = "ipv6", params(Ipv6Map), responses((status = 200, body = serde_json::Value)))]
pub(super) async fn map(State(api): State<Arc<Api>>, _: Access, asked: Asked) -> Result<Response, ApiError> {
    asked
        .answer(&api, async |params| {
            let span = Span::read(params, api.clock.now())?;
            let newest = api.reachability.newest(span.from, span.to).await?;
            let all = Slice { offset: 0, limit: i64::MAX.unsigned_abs(), descending: false };
            let probes = api.catalog.probes(&ProbeFilter::default(), all).await?.items;
            let places: BTreeMap<ProbeId, (f64, f64)> =
                probes.iter().filter_map(|probe| Some((probe.id, probe.place?))).collect();
            let mut dots = Dots::default();
            for (probe, _, record) in &newest {
                if let Some(place) = places.get(probe) {
                    dots.push(*probe, *place, state(record));
                }
            }
            let countries = api.reachability.sums(Cells::Countries, span.from, span.to).await?;
            let country = |(cell, figures)| {
                let sum = json!(CellObject::new(figures));
                let mut row = serde_json::Map::new();
                row.insert("country_code".into(), super::scope(cell)["id"].clone());
                for name in ["probes", "networks", "works6", "shown", "ranked"] {
                    row.insert(name.into(), sum[name].clone());
                }
                Value::Object(row)
            };
            let states = FamilyState::ALL.iter().map(|state| (state.number().to_string(), json!(state.word())));
            let mut body = about(&api, span).await?;
            body.insert(
                "countries".into(),
                countries.iter().map(|(cell, figures)| country((*cell, figures))).collect(),
            );
            body.insert("count".into(), json!(dots.count));
            body.insert("dots".into(), json!(BASE64.encode(&dots.packed)));
            body.insert("probes".into(), json!(BASE64.encode(&dots.numbers)));
            body.insert("states".into(), Value::Object(states.collect()));
            Ok(Body::json(&Value::Object(body)).about(span, api.clock.now()))
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_is_five_bytes_on_the_grid() {
        let mut dots = Dots::default();
        dots.push(ProbeId(7), (52.3731, 4.8922), 1);
        dots.push(ProbeId(307), (-90.0, -180.0), 10);
        dots.push(ProbeId(308), (90.0, 180.0), 5);
        assert_eq!(&dots.packed[..5], [0x05, 0x90, 0x07, 0x39, 1], "142.4 and 184.9 degrees");
        assert_eq!(dots.packed[5..10], [0, 0, 0, 0, 10]);
        assert_eq!(dots.packed[10..], [0x07, 0x08, 0x0e, 0x10, 5]);
        assert_eq!(dots.numbers, [7, 0xac, 0x02, 1]);
        assert_eq!(dots.count, 3);
    }
}
