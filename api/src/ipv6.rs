//! `ipv6/`: what all probes together say of IPv6 and IPv4, by country, network, prefix and time; and what one of them says.
//!
//! Nothing here is Atlas's. Every answer but a probe's own is the same for everybody, and says how many stand behind it. What the
//! numbers mean is in [`sonde_store::reachability`] and told by `ipv6/method/`; [`votes`] makes them
//! of results.

mod answer;
mod cell;
mod compare;
mod map;
mod method;
mod metrics;
mod prefix;
mod probe;
mod span;
mod votes;

pub(crate) use answer::Memory;
pub use votes::derive_votes;

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::{Map, Value, json};
use sonde_protocol::ids::Asn;
use sonde_protocol::result::ipv6::DEFINITION;
use sonde_store::reachability::{Cell, Cells, Country, Figures, Hour};
use utoipa_axum::routes;

use crate::Api;
use crate::auth::Access;
use crate::error::ApiError;
use crate::here::Here;
use crate::paging::{MAX_SIZE, Paging};
use crate::params::Params;
use crate::query::{Ipv6List, Ipv6Networks, Ipv6Series, Ipv6Sum};
use crate::router::Routes;
use answer::{Asked, Body, Format};
use cell::CellObject;
use span::Span;

/// Adds the paths of this module.
pub(crate) fn routes(routes: &mut Routes) {
    routes.add(routes!(world));
    routes.add(routes!(countries));
    routes.add(routes!(country));
    routes.add(routes!(networks));
    routes.add(routes!(network));
    routes.add(routes!(prefix::prefixes));
    routes.add(routes!(prefix::prefix));
    routes.add(routes!(series));
    routes.add(routes!(compare::compare));
    routes.add(routes!(map::map));
    routes.add(routes!(method::method));
    routes.add(routes!(metrics::metrics));
    routes.add(routes!(probe::probe));
}

/// Who stands behind it, in a sentence that belongs under every picture.
fn bias(figures: &Figures) -> String {
    let (probes, networks) = (figures.probes, figures.network_count());
    let (more, others) = (if probes == 1 { "" } else { "s" }, if networks == 1 { "" } else { "s" });
    format!(
        "Volunteers' probes, mostly technical people's, wired: not a sample of users. {probes} probe{more}, \
         {networks} network{others}, 95 % interval, definition v{DEFINITION}."
    )
}

/// What every answer says of itself.
async fn about(api: &Api, span: Span) -> Result<Map<String, Value>, ApiError> {
    let newest = api.reachability.state().await?.newest.map(|newest| newest.as_secs());
    let mut about = Map::new();
    about.insert("from".into(), json!(span.from.seconds()));
    about.insert("to".into(), json!(span.to.seconds()));
    about.insert("updated".into(), json!(newest));
    about.insert("definition".into(), json!(DEFINITION));
    Ok(about)
}

/// What an answer calls a cell.
fn scope(cell: Cell) -> Value {
    match cell {
        Cell::World => json!({"type": "world", "id": null}),
        Cell::Country(country) => json!({"type": "country", "id": country.to_string()}),
        Cell::Network(asn) => json!({"type": "network", "id": asn.0}),
        Cell::Prefix(prefix) => json!({"type": "prefix", "id": prefix.to_string()}),
    }
}

/// The same with the name of a network, where the operator has given one.
fn named_scope(api: &Api, cell: Cell) -> Value {
    let mut scope = scope(cell);
    if let (Cell::Network(asn), Value::Object(scope)) = (cell, &mut scope) {
        scope.insert("name".into(), json!(api.places.network_name(asn).as_deref()));
    }
    scope
}

/// Where the site shows the same: its page, pictures of the last day and pages for frames.
fn links(here: &Here, cell: Cell) -> Value {
    let (page, query) = match cell {
        Cell::World => ("ipv6".to_owned(), String::new()),
        Cell::Country(country) => (format!("country/{country}"), format!("?country={country}")),
        Cell::Network(Asn(asn)) => (format!("as/{asn}"), format!("?asn={asn}")),
        // It has no picture of its own.
        Cell::Prefix(prefix) => return json!({"page": here.site(&format!("probes?prefix={prefix}"))}),
    };
    let mut links = json!({
        "page": here.site(&page),
        "series": here.site(&format!("img/series.svg{query}")),
        "badge": here.site(&format!("img/badge.svg{query}")),
        "embed_series": here.site(&format!("embed/series{query}")),
    });
    if cell == Cell::World {
        links["map"] = here.site("img/map.svg").into();
        links["embed_map"] = here.site("embed/map").into();
    }
    links
}

/// The sum of one cell; of nothing where nothing was said.
async fn sum(api: &Api, cell: Cell, span: Span) -> Result<Figures, ApiError> {
    let sums = api.reachability.sums(Cells::One(cell), span.from, span.to).await?;
    Ok(sums.first().map(|(_, figures)| *figures).unwrap_or_default())
}

/// One cell with its sum, and the last whole hour beside it unless `to` says when.
async fn one(api: &Api, cell: Cell, params: &Params, here: &Here) -> Result<Body, ApiError> {
    let span = Span::read(params, api.clock.now())?;
    let figures = sum(api, cell, span).await?;
    if Format::read(params)? == Format::Csv {
        return Ok(Body::csv(&[], [(Vec::new(), CellObject::new(&figures))]).about(span, api.clock.now()));
    }
    let mut body = about(api, span).await?;
    body.insert("bias".into(), json!(bias(&figures)));
    body.insert("scope".into(), named_scope(api, cell));
    body.insert("links".into(), links(here, cell));
    body.insert("sum".into(), json!(CellObject::new(&figures)));
    if params.get("to").is_none() {
        // Beside a time of one's own choice it would only make the answer change every hour.
        let last = Hour::of(api.clock.now()).plus(-1);
        let latest = sum(api, cell, Span { from: last, to: last.plus(1) }).await?;
        body.insert("latest".into(), json!({"at": last.seconds(), "sum": CellObject::new(&latest)}));
    }
    if cell == Cell::World {
        let countries = api.reachability.sums(Cells::Countries, span.from, span.to).await?;
        let voted = countries.iter().filter(|(_, figures)| figures.probes > 0).count();
        body.insert("countries".into(), json!(voted));
        body.insert("networks".into(), json!(figures.network_count()));
    }
    Ok(Body::json(&Value::Object(body)).about(span, api.clock.now()))
}

/// `GET ipv6/`: all probes together: over the time asked for (the last 24 hours), and in the last whole hour.
#[utoipa::path(get, path = "/api/v2/ipv6/", tag = "ipv6", params(Ipv6Sum), responses((status = 200, content((serde_json::Value = "application/json"), (String = "text/csv")))))]
async fn world(State(api): State<Arc<Api>>, _: Access, asked: Asked) -> Result<Response, ApiError> {
    asked.answer(&api, async |params| one(&api, Cell::World, params, asked.here()).await).await
}

/// `GET ipv6/countries/{code}/`: the probes of one country together.
#[utoipa::path(get, path = "/api/v2/ipv6/countries/{code}/", tag = "ipv6", params(("code" = String, Path), Ipv6Sum), responses((status = 200, content((serde_json::Value = "application/json"), (String = "text/csv")))))]
async fn country(
    State(api): State<Arc<Api>>,
    _: Access,
    Path(code): Path<String>,
    asked: Asked,
) -> Result<Response, ApiError> {
    let country = code.parse::<Country>().map_err(|_| ApiError::not_found())?;
    asked.answer(&api, async |params| one(&api, Cell::Country(country), params, asked.here()).await).await
}

/// `GET ipv6/networks/{asn}/`: the probes of one network together, by the number of its AS.
#[utoipa::path(get, path = "/api/v2/ipv6/networks/{asn}/", tag = "ipv6", params(("asn" = u32, Path), Ipv6Sum), responses((status = 200, content((serde_json::Value = "application/json"), (String = "text/csv")))))]
async fn network(
    State(api): State<Arc<Api>>,
    _: Access,
    Path(asn): Path<String>,
    asked: Asked,
) -> Result<Response, ApiError> {
    let asn = read_asn(&asn).ok_or_else(ApiError::not_found)?;
    asked.answer(&api, async |params| one(&api, Cell::Network(asn), params, asked.here()).await).await
}

/// The number of an AS, with or without `AS` before it.
fn read_asn(text: &str) -> Option<Asn> {
    let digits = text.strip_prefix("AS").or_else(|| text.strip_prefix("as")).unwrap_or(text);
    // `parse` would take a sign.
    digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok().map(Asn))?
}

/// `GET ipv6/countries/`: each country in which a probe said anything, all on one page.
#[utoipa::path(get, path = "/api/v2/ipv6/countries/", tag = "ipv6", params(Ipv6List), responses((status = 200, content((serde_json::Value = "application/json"), (String = "text/csv")))))]
async fn countries(State(api): State<Arc<Api>>, _: Access, asked: Asked) -> Result<Response, ApiError> {
    asked
        .answer(&api, async |params| {
            let span = Span::read(params, api.clock.now())?;
            let mut found = api.reachability.sums(Cells::Countries, span.from, span.to).await?;
            Order::read(params)?.sort(&mut found);
            if Format::read(params)? == Format::Csv {
                return Ok(table("country", &found).about(span, api.clock.now()));
            }
            let results: Vec<Value> = found.iter().map(|found| row(&api, found)).collect();
            let mut body = about(&api, span).await?;
            body.insert("count".into(), json!(results.len()));
            body.insert("next".into(), Value::Null);
            body.insert("previous".into(), Value::Null);
            body.insert("results".into(), Value::Array(results));
            Ok(Body::json(&Value::Object(body)).about(span, api.clock.now()))
        })
        .await
}

/// `GET ipv6/networks/`: each network in which a probe said anything; with `country`, as far as it is there.
#[utoipa::path(get, path = "/api/v2/ipv6/networks/", tag = "ipv6", params(Ipv6Networks), responses((status = 200, content((serde_json::Value = "application/json"), (String = "text/csv")))))]
async fn networks(State(api): State<Arc<Api>>, _: Access, asked: Asked) -> Result<Response, ApiError> {
    asked
        .answer(&api, async |params| {
            let span = Span::read(params, api.clock.now())?;
            let cells = read_country(params)?.map_or(Cells::Networks, Cells::NetworksIn);
            let mut found = api.reachability.sums(cells, span.from, span.to).await?;
            Order::read(params)?.sort(&mut found);
            if Format::read(params)? == Format::Csv {
                return Ok(table("asn", &found).about(span, api.clock.now()));
            }
            let paging = Paging::read_unsorted(params, MAX_SIZE)?;
            let total = found.len() as u64;
            let results = paging.cut(found).iter().map(|found| row(&api, found)).collect();
            let mut body = about(&api, span).await?;
            if let Value::Object(envelope) = paging.envelope(total, results, asked.here())? {
                body.extend(envelope);
            }
            Ok(Body::json(&Value::Object(body)).about(span, api.clock.now()))
        })
        .await
}

fn read_country(params: &Params) -> Result<Option<Country>, ApiError> {
    let Some(text) = params.get("country") else { return Ok(None) };
    text.parse().map(Some).map_err(|_| ApiError::parameter("country", "Enter the two letters of a country (ISO 3166)."))
}

/// A cell as a member of a list.
fn row(api: &Api, (cell, figures): &(Cell, Figures)) -> Value {
    let mut row = Map::new();
    match cell {
        Cell::World => {}
        Cell::Country(country) => {
            row.insert("country_code".into(), json!(country.to_string()));
        }
        Cell::Network(asn) => {
            row.insert("asn".into(), json!(asn.0));
            row.insert("name".into(), json!(api.places.network_name(*asn).as_deref()));
        }
        Cell::Prefix(prefix) => {
            row.insert("prefix".into(), json!(prefix.to_string()));
        }
    }
    if let Value::Object(cell) = json!(CellObject::new(figures)) {
        row.extend(cell);
    }
    Value::Object(row)
}

/// A list as a table.
fn table(column: &str, found: &[(Cell, Figures)]) -> Body {
    let name = |cell: &Cell| match cell {
        Cell::World => String::new(),
        Cell::Country(country) => country.to_string(),
        Cell::Network(asn) => asn.0.to_string(),
        Cell::Prefix(prefix) => prefix.to_string(),
    };
    Body::csv(&[column], found.iter().map(|(cell, figures)| (vec![name(cell)], CellObject::new(figures))))
}

/// What a list is sorted by.
#[derive(Debug, Clone, Copy)]
enum Order {
    Id,
    Probes,
    Works,
}

impl Order {
    fn read(params: &Params) -> Result<(Self, bool), ApiError> {
        let text = params.get("sort").unwrap_or("id");
        let (name, descending) = text.strip_prefix('-').map_or((text, false), |name| (name, true));
        let order = match name {
            "id" => Self::Id,
            "probes" => Self::Probes,
            "works6" => Self::Works,
            _ => {
                return Err(ApiError::parameter(
                    "sort",
                    "Lists are sorted by id, probes or works6, or these with a -.",
                ));
            }
        };
        Ok((order, descending))
    }
}

/// Sorts a list in some order.
trait Sort {
    fn sort(self, found: &mut [(Cell, Figures)]);
}

impl Sort for (Order, bool) {
    /// By shares only those are ranked that may be; the others follow, by their number of probes. Those alike stay by their names.
    fn sort(self, found: &mut [(Cell, Figures)]) {
        let (order, descending) = self;
        let by = |one: &Figures, other: &Figures| match order {
            Order::Id => std::cmp::Ordering::Equal,
            Order::Probes => one.probes.cmp(&other.probes),
            Order::Works => {
                let share = |figures: &Figures| figures.counts.works6 as f64 / figures.counts.votes.max(1) as f64;
                share(one).total_cmp(&share(other))
            }
        };
        let turned = |ordering: std::cmp::Ordering| if descending { ordering.reverse() } else { ordering };
        found.sort_by(|(cell, one), (other_cell, other)| match order {
            Order::Id => turned(cell.cmp(other_cell)),
            Order::Probes => turned(by(one, other)),
            Order::Works => match (cell::is_ranked(one), cell::is_ranked(other)) {
                (true, true) => turned(by(one, other)),
                (false, false) => other.probes.cmp(&one.probes),
                (one, other) => other.cmp(&one),
            },
        });
    }
}

/// `GET ipv6/series/`: how it went: of the world, or of one `country`, `asn` or `prefix`, by hours or days. Hours and days in which
/// nothing was said are left out; days of a prefix whose votes are not kept any more, too.
#[utoipa::path(get, path = "/api/v2/ipv6/series/", tag = "ipv6", params(Ipv6Series), responses((status = 200, content((serde_json::Value = "application/json"), (String = "text/csv")))))]
async fn series(State(api): State<Arc<Api>>, _: Access, asked: Asked) -> Result<Response, ApiError> {
    asked
        .answer(&api, async |params| {
            let cell = read_cell(params)?;
            let step = span::Step::read(params)?;
            let span = Span::read_series(params, step, api.clock.now())?;
            let points = match step {
                span::Step::Hour => api.reachability.hours(cell, span.from, span.to).await?,
                span::Step::Day => api.reachability.days(cell, span.from, span.to).await?,
            };
            if Format::read(params)? == Format::Csv {
                let rows =
                    points.iter().map(|(at, figures)| (vec![at.seconds().to_string()], CellObject::new(figures)));
                return Ok(Body::csv(&["at"], rows).about(span, api.clock.now()));
            }
            let whole = points.iter().max_by_key(|(_, figures)| figures.probes).map(|(_, figures)| *figures);
            let point = |(at, figures): &(Hour, Figures)| {
                let mut point = Map::from_iter([("at".to_owned(), json!(at.seconds()))]);
                if let Value::Object(cell) = json!(CellObject::new(figures)) {
                    point.extend(cell);
                }
                Value::Object(point)
            };
            let mut body = about(&api, span).await?;
            body.insert("bias".into(), json!(bias(&whole.unwrap_or_default())));
            body.insert("scope".into(), named_scope(&api, cell));
            body.insert("links".into(), links(asked.here(), cell));
            body.insert("step".into(), json!(step.name()));
            body.insert("points".into(), points.iter().map(point).collect());
            Ok(Body::json(&Value::Object(body)).about(span, api.clock.now()))
        })
        .await
}

/// The AS that `asn` names.
fn read_network(params: &Params) -> Result<Option<Asn>, ApiError> {
    let Some(text) = params.get("asn") else { return Ok(None) };
    read_asn(text).map(Some).ok_or_else(|| ApiError::parameter("asn", "Enter the number of an AS."))
}

/// The cell that `country`, `asn` or `prefix` names.
fn read_cell(params: &Params) -> Result<Cell, ApiError> {
    let asn = read_network(params)?;
    let named =
        [read_country(params)?.map(Cell::Country), asn.map(Cell::Network), prefix::read(params)?.map(Cell::Prefix)];
    match named.into_iter().flatten().collect::<Vec<_>>().as_slice() {
        [] => Ok(Cell::World),
        [cell] => Ok(*cell),
        _ => {
            let last = if params.get("prefix").is_some() { "prefix" } else { "asn" };
            Err(ApiError::parameter(last, "Enter a country, an AS or a prefix, not several of them."))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_ases() {
        for (text, asn) in
            [("3320", Some(3320)), ("AS3320", Some(3320)), ("as0", Some(0)), ("4294967295", Some(u32::MAX))]
        {
            assert_eq!(read_asn(text), asn.map(Asn), "{text}");
        }
        for bad in ["", "AS", "-1", "+1", "4294967296", "AS-1", "1.5", "ASAS1", " 1"] {
            assert_eq!(read_asn(bad), None, "{bad}");
        }
    }
}
