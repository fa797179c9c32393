//! Two cells beside each other.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};
use sonde_store::reachability::{Cell, Figures, Share};

use super::answer::{Asked, Body};
use super::cell::CellObject;
use super::span::Span;
use super::{about, bias, named_scope, prefix, read_asn, sum};
use crate::Api;
use crate::auth::Access;
use crate::error::ApiError;
use crate::params::Params;
use crate::query::Ipv6Compare;

/// Reads a cell: `world`, a country's two letters, `AS` and a number, or a prefix.
fn read(params: &Params, name: &str) -> Result<Cell, ApiError> {
    let text = params.get(name).unwrap_or_default();
    if text.eq_ignore_ascii_case("world") {
        return Ok(Cell::World);
    }
    // "AS" alone is American Samoa.
    let country = text.parse().ok().map(Cell::Country);
    let network = || if text.len() > 2 { read_asn(text).map(Cell::Network) } else { None };
    let prefix = || prefix::parse(text).map(Cell::Prefix);
    country.or_else(network).or_else(prefix).ok_or_else(|| {
        let cells = "`world`, the two letters of a country, the number of an AS with AS before it, or a prefix";
        ApiError::parameter(name, format!("Enter {cells}."))
    })
}

/// The difference of two shares with its interval (Newcombe's, of the two intervals of Wilson), and whether it is more than chance.
fn difference(one: Option<Share>, other: Option<Share>) -> Value {
    let (Some(one), Some(other)) = (one, other) else { return Value::Null };
    let difference = one.share - other.share;
    let far = |left: f64, right: f64| (left * left + right * right).sqrt();
    let low = difference - far(one.share - one.interval.low, other.interval.high - other.share);
    let high = difference + far(one.interval.high - one.share, other.share - other.interval.low);
    let rounded = |share: f64| (share * 1e4).round() / 1e4;
    json!({
        "share": rounded(difference),
        "low": rounded(low.max(-1.0)),
        "high": rounded(high.min(1.0)),
        "is_clear": low > 0.0 || high < 0.0,
    })
}

/// `GET ipv6/compare/`: `a` beside `b`, and by how much more of `a`'s votes say that IPv6 works. `is_clear` only where the interval
/// of the difference does not hold 0.
#[utoipa::path(get, path = "/api/v2/ipv6/compare/", tag = "ipv6", params(Ipv6Compare), responses((status = 200, body = serde_json::Value)))]
pub(super) async fn compare(State(api): State<Arc<Api>>, _: Access, asked: Asked) -> Result<Response, ApiError> {
    asked
        .answer(&api, async |params| {
            let span = Span::read(params, api.clock.now())?;
            let cells = [read(params, "a")?, read(params, "b")?];
            let [one, other] = [sum(&api, cells[0], span).await?, sum(&api, cells[1], span).await?];
            let side = |cell: Cell, figures: &Figures| {
                json!({"scope": named_scope(&api, cell), "bias": bias(figures), "sum": CellObject::new(figures)})
            };
            let works = |figures: &Figures| figures.share(figures.counts.works6, figures.counts.votes);
            let clean = |figures: &Figures| figures.share(figures.counts.clean6, figures.counts.votes);
            let mut body = about(&api, span).await?;
            body.insert("a".into(), side(cells[0], &one));
            body.insert("b".into(), side(cells[1], &other));
            body.insert("works6".into(), difference(works(&one), works(&other)));
            body.insert("clean6".into(), difference(clean(&one), clean(&other)));
            Ok(Body::json(&Value::Object(body)).about(span, api.clock.now()))
        })
        .await
}

#[cfg(test)]
mod tests {
    use sonde_store::reachability::wilson;

    use super::*;

    fn share(count: u64, of: u64) -> Option<Share> {
        let interval = wilson(count as f64, of as f64)?;
        Some(Share { count, of, share: count as f64 / of as f64, interval })
    }

    /// R. G. Newcombe, Statistics in Medicine 17 (1998), 873: method 10, the first two of table II.
    #[test]
    fn intervals_of_differences_are_those_of_the_book() {
        let found = difference(share(56, 70), share(48, 80));
        assert_eq!((&found["share"], &found["low"], &found["high"]), (&json!(0.2), &json!(0.0524), &json!(0.3339)));
        assert_eq!(found["is_clear"], true);
        let found = difference(share(9, 10), share(3, 10));
        assert_eq!((&found["low"], &found["high"]), (&json!(0.1705), &json!(0.809)));
        assert_eq!(difference(share(5, 10), share(6, 10))["is_clear"], false);
        assert_eq!(difference(None, share(1, 1)), Value::Null);
    }
}
