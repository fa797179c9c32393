//! `POST measurements/`: from a request to measurements with their probes, all of them or none.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::{Value, json};
use sonde_protocol::ids::{AccountId, ProbeId};
use sonde_protocol::net::Family;
use sonde_protocol::spec::Kind;
use sonde_store::catalog::{Checked, NewMeasurement, Once, Usage};
use sonde_store::places::Places;
use sonde_store::view::Viewer;
use tokio::task::JoinSet;

use crate::Api;
use crate::admission::{self, Priced};
use crate::auth::Access;
use crate::body::JsonBody;
use crate::definition::{self, Asked};
use crate::error::{ApiError, Problem};
use crate::groups;
use crate::measurements::OfKind;
use crate::once::{self, IdempotencyKey};
use crate::opt_out;
use crate::permission::Permission;
use crate::router::ErrorBody;
use crate::sources;
use crate::target::{self, Target};

/// Makes measurements: 201 and `{"measurements":[ids]}`, one a definition, in their order. With an `Idempotency-Key` a
/// request that is sent again makes nothing more and has the same answer.
#[utoipa::path(post, path = "/api/v2/measurements/", tag = "measurements", request_body = serde_json::Value,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = serde_json::Value), (status = 422, body = ErrorBody, description = "The Idempotency-Key was sent before with another request")))]
pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    access: Access,
    key: IdempotencyKey,
    only: Option<Extension<OfKind>>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let account = access.may(Permission::CreateMeasurement, None)?;
    let once = key.once(account, &body)?;
    let answer = |ids: Vec<u64>| (StatusCode::CREATED, Json(json!({ "measurements": ids }))).into_response();
    if let Some(ids) = once::before(&api, once.as_ref()).await? {
        return Ok(answer(ids));
    }
    let new = prepare(&api, (&access, account), only.map(|Extension(OfKind(kind))| kind), &body).await?;
    let priced = Priced::of(&api, new).await?;
    admission::open_ledger(&api, account).await?;
    // In a task of its own, so that a client that goes away cannot part the commit from the news of it.
    let ids = tokio::spawn(commit(api, priced, once)).await.map_err(|_| ApiError::internal())??;
    Ok(answer(ids))
}

/// The measurements that a body asks for, with their probes.
pub(crate) async fn prepare(
    api: &Arc<Api>,
    (access, account): (&Access, AccountId),
    only: Option<Kind>,
    body: &Value,
) -> Result<Vec<NewMeasurement>, ApiError> {
    let now = api.clock.now();
    let http_hosts = api.dispatch.http_hosts().await;
    let asked = definition::read(body, only, &api.config, &http_hosts, now).map_err(ApiError::body)?;
    sources::check_seen(api, access, &asked.sources).await?;
    admission::check_payer(api, account, body).await?;
    let groups = groups::joined(api, account, body).await?;
    let resolved = resolve_all(api, &asked).await?;
    let seed = sources::new_seed(now);
    let chosen = choose_all(api, account, &asked, seed).await?;
    let mut new = assemble(&*api.places, account, asked, &resolved, (&chosen, seed));
    for (one, group) in new.iter_mut().zip(groups) {
        one.group = group;
    }
    opt_out::check(api, &new).await?;
    Ok(new)
}

type Resolved = BTreeMap<(String, u8), Vec<IpAddr>>;

/// Looks up every host name that the probes do not look up themselves; a problem for each that cannot be measured.
async fn resolve_all(api: &Arc<Api>, asked: &Asked) -> Result<Resolved, ApiError> {
    let wanted: BTreeMap<(String, u8), Family> = asked
        .definitions
        .iter()
        .filter(|definition| !definition.resolve_on_probe)
        .filter_map(|definition| match &definition.target {
            Some((_, Target::Name(name))) => Some(((name.clone(), definition.af.number()), definition.af)),
            _ => None,
        })
        .collect();
    let mut lookups = JoinSet::new();
    for (key, family) in wanted {
        let api = Arc::clone(api);
        lookups.spawn(async move {
            let found = target::resolve(&*api.resolver, &key.0, family, &api.config.allow_targets).await;
            (key, found)
        });
    }
    let (mut resolved, mut refused) = (Resolved::new(), BTreeMap::new());
    while let Some(done) = lookups.join_next().await {
        let (key, found) = done.map_err(|_| ApiError::internal())?;
        match found {
            Ok(addresses) => drop(resolved.insert(key, addresses)),
            Err(why) => drop(refused.insert(key, why)),
        }
    }
    let problems: Vec<Problem> = asked
        .definitions
        .iter()
        .enumerate()
        .filter_map(|(index, definition)| match &definition.target {
            Some((_, Target::Name(name))) if !definition.resolve_on_probe => {
                let why = refused.get(&(name.clone(), definition.af.number()))?;
                Some(Problem::at(format!("/definitions/{index}/target"), why.clone()))
            }
            _ => None,
        })
        .collect();
    if problems.is_empty() { Ok(resolved) } else { Err(ApiError::body(problems)) }
}

/// Which probes measure what, by the number of the family and the kind.
type Chosen = BTreeMap<(u8, Kind), Vec<ProbeId>>;

/// Chooses the probes once per family and kind, by one seed: so the measurements of one request are seen from the same
/// places, but for those where a kind is not allowed.
async fn choose_all(api: &Api, account: AccountId, asked: &Asked, seed: u64) -> Result<Chosen, ApiError> {
    let mut chosen = Chosen::new();
    for definition in &asked.definitions {
        let (family, kind) = (definition.af, definition.spec.kind());
        if let Entry::Vacant(entry) = chosen.entry((family.number(), kind)) {
            let viewer = Viewer::Account(account);
            entry.insert(sources::choose(api, viewer, &asked.sources, (family, kind), seed).await?);
        }
    }
    Ok(chosen)
}

fn assemble(
    places: &dyn Places,
    account: AccountId,
    asked: Asked,
    resolved: &Resolved,
    (chosen, seed): (&Chosen, u64),
) -> Vec<NewMeasurement> {
    let probe_sources = sources::record(&asked.sources, seed);
    let probes_requested = asked.sources.iter().map(|source| source.requested).sum();
    let when = asked.when;
    let new = asked.definitions.into_iter().map(|definition| {
        let family = definition.af.number();
        let (target, addresses) = match definition.target {
            None => (None, Vec::new()),
            Some((text, Target::Literal(address))) => (Some(text), vec![address]),
            Some((text, Target::Name(name))) => {
                (Some(text), resolved.get(&(name, family)).cloned().unwrap_or_default())
            }
        };
        let origin = addresses.first().and_then(|&address| places.origin(address));
        let probes = chosen.get(&(family, definition.spec.kind())).cloned().unwrap_or_default();
        NewMeasurement {
            owner: account,
            spec: definition.spec,
            af: definition.af,
            target,
            resolved: addresses,
            resolve_on_probe: definition.resolve_on_probe,
            is_oneoff: when.is_oneoff,
            interval: definition.interval,
            spread: definition.spread,
            start: when.start,
            start_given: when.start_given,
            stop: when.stop,
            description: definition.description,
            is_public: definition.is_public,
            tags: definition.tags,
            probes_requested,
            probe_sources: probe_sources.clone(),
            probes,
            group: None,
            origin,
            top_up: definition.top_up,
            target_update_hours: definition.target_update_hours,
        }
    });
    new.collect()
}

async fn commit(api: Arc<Api>, priced: Priced, once: Option<Once>) -> Result<Vec<u64>, ApiError> {
    let now = api.clock.now();
    let check = |usage: &Usage| priced.against(&api, usage);
    let (new, prices) = (&priced.new, &priced.prices);
    let ids = match api.catalog.add_checked_measurements(new, prices, &check, once.as_ref(), now).await? {
        Checked::Done(ids) => ids,
        Checked::Refused(reasons) => return Err(admission::refusal(reasons)),
        Checked::OtherRequest => return Err(once::other_request()),
    };
    let probes: BTreeSet<ProbeId> = new.iter().flat_map(|measurement| measurement.probes.iter().copied()).collect();
    api.dispatch.orders_changed(&Vec::from_iter(probes)).await;
    tracing::info!(first = ?ids.first(), count = ids.len(), "measurements made");
    Ok(ids.iter().map(|id| id.0).collect())
}
