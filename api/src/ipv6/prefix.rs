//! Sums by prefix: of probes whose public network (/48, or /24 of IPv4) lies in it. These networks everybody may see with each
//! probe, so a sum of them says no more than is known; nothing longer is kept with votes.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::{Value, json};
use sonde_protocol::net::Family;
use sonde_store::reachability::{Cell, Cells, Prefix};

use super::answer::{Asked, Body, Format};
use super::cell::CellObject;
use super::span::Span;
use super::{Order, Sort as _, about, bias, one, row, scope, sum, table};
use crate::Api;
use crate::auth::Access;
use crate::error::ApiError;
use crate::paging::{MAX_SIZE, Paging};
use crate::params::Params;
use crate::query::{Ipv6Prefixes, Ipv6Sum};

/// No registry has given away more than this at once.
const SHORTEST: u8 = 8;

const WANTED: &str = "Enter a prefix such as 2001:db8::/32: from /8 to /48, or to /24 of IPv4.";

/// A prefix that can be asked for.
pub(super) fn parse(text: &str) -> Option<Prefix> {
    text.parse().ok().filter(|prefix: &Prefix| prefix.length() >= SHORTEST)
}

/// The prefix that `prefix` names.
pub(super) fn read(params: &Params) -> Result<Option<Prefix>, ApiError> {
    let Some(text) = params.get("prefix") else { return Ok(None) };
    parse(text).map(Some).ok_or_else(|| ApiError::parameter("prefix", WANTED))
}

/// `GET ipv6/prefixes/{address}/{length}/`: the probes together whose public network is in a prefix, such as
/// `ipv6/prefixes/2001:db8::/32/`.
#[utoipa::path(get, path = "/api/v2/ipv6/prefixes/{address}/{length}/", tag = "ipv6", params(("address" = String, Path), ("length" = u8, Path), Ipv6Sum), responses((status = 200, content((serde_json::Value = "application/json"), (String = "text/csv")))))]
pub(super) async fn prefix(
    State(api): State<Arc<Api>>,
    _: Access,
    Path((address, length)): Path<(String, String)>,
    asked: Asked,
) -> Result<Response, ApiError> {
    let prefix = parse(&format!("{address}/{length}")).ok_or_else(ApiError::not_found)?;
    asked.answer(&api, async |params| one(&api, Cell::Prefix(prefix), params, asked.here()).await).await
}

/// What a list of prefixes is of.
struct Wanted {
    /// The prefix that was named.
    named: Option<Prefix>,
    within: Prefix,
    length: u8,
}

impl Wanted {
    fn read(params: &Params) -> Result<Self, ApiError> {
        let named = read(params)?;
        let af = match params.get("af") {
            None => None,
            Some("4") => Some(Family::V4),
            Some("6") => Some(Family::V6),
            Some(_) => return Err(ApiError::parameter("af", "Enter 4 or 6.")),
        };
        if let (Some(named), Some(af)) = (named, af)
            && named.af() != af
        {
            return Err(ApiError::parameter("af", "It is not the family of `prefix`."));
        }
        let within = named.unwrap_or_else(|| Prefix::all(af.unwrap_or(Family::V6)));
        let longest = Prefix::longest(within.af());
        let length = params.parsed("length")?.unwrap_or(longest);
        if length < SHORTEST.max(within.length()) || length > longest {
            let least = SHORTEST.max(within.length());
            return Err(ApiError::parameter("length", format!("Enter a length from {least} to {longest}.")));
        }
        Ok(Self { named, within, length })
    }
}

/// `GET ipv6/prefixes/`: each prefix in which a probe said anything: each probe's public network, or shorter ones with `length`; with
/// `prefix` those in it, and the sum of all of it. A probe with both families is in a prefix of each.
#[utoipa::path(get, path = "/api/v2/ipv6/prefixes/", tag = "ipv6", params(Ipv6Prefixes), responses((status = 200, content((serde_json::Value = "application/json"), (String = "text/csv")))))]
pub(super) async fn prefixes(State(api): State<Arc<Api>>, _: Access, asked: Asked) -> Result<Response, ApiError> {
    asked
        .answer(&api, async |params| {
            let span = Span::read(params, api.clock.now())?;
            let Wanted { named, within, length } = Wanted::read(params)?;
            let mut found = api.reachability.sums(Cells::Prefixes { within, length }, span.from, span.to).await?;
            Order::read(params)?.sort(&mut found);
            if Format::read(params)? == Format::Csv {
                return Ok(table("prefix", &found).about(span, api.clock.now()));
            }
            let paging = Paging::read_unsorted(params, MAX_SIZE)?;
            let total = found.len() as u64;
            let results = paging.cut(found).iter().map(|found| row(&api, found)).collect();
            let mut body = about(&api, span).await?;
            body.insert("af".into(), json!(within.af().number()));
            body.insert("length".into(), json!(length));
            if let Some(prefix) = named {
                let all = sum(&api, Cell::Prefix(prefix), span).await?;
                body.insert("bias".into(), json!(bias(&all)));
                body.insert("scope".into(), scope(Cell::Prefix(prefix)));
                body.insert("sum".into(), json!(CellObject::new(&all)));
            }
            if let Value::Object(envelope) = paging.envelope(total, results, asked.here())? {
                body.extend(envelope);
            }
            Ok(Body::json(&Value::Object(body)).about(span, api.clock.now()))
        })
        .await
}
