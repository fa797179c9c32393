//! `probes/places/`: where probes are, for a map: one entry for each cell of the public grid that has any, small enough for
//! tens of thousands. It takes the filters of `probes/`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::Api;
use crate::auth::Access;
use crate::error::ApiError;
use crate::params::Params;
use crate::permission::Permission;
use crate::probe_filters;
use crate::query::ProbePlaces;
use crate::router::Routes;

/// Where probes are.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProbePlaces)]
pub(crate) struct Places {
    /// How many probes have a place.
    placed: u64,
    /// How many of them are connected.
    connected: u64,
    /// Of each cell of the grid, whose side is about 10 km: longitude, latitude, probes connected, probes in all.
    #[schema(value_type = Vec<Vec<f64>>)]
    places: Vec<(f64, f64, u64, u64)>,
}

/// Adds the path of this module.
pub(crate) fn routes(routes: &mut Routes) {
    routes.add(routes!(places));
}

/// `GET probes/places/`: where the probes of a list are, as everybody may know it, whoever asks: how many there are in each
/// cell of the public grid.
#[utoipa::path(get, path = "/api/v2/probes/places/", tag = "probes", params(ProbePlaces), responses((status = 200, body = Places)))]
async fn places(State(api): State<Arc<Api>>, access: Access, params: Params) -> Result<Json<Places>, ApiError> {
    let viewer = access.viewer(Permission::ListProbes, None);
    let found = api.catalog.probe_places(&probe_filters::read(&params, viewer)?).await?;
    let place = |one: &sonde_store::catalog::GridPlace| (one.place.1, one.place.0, one.connected, one.probes);
    Ok(Json(Places {
        placed: found.iter().map(|one| one.probes).sum(),
        connected: found.iter().map(|one| one.connected).sum(),
        places: found.iter().map(place).collect(),
    }))
}
