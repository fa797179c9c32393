//! Between a request in good form and what is made of it: prices, quotas, targets that do not want to be measured.

use std::sync::Arc;

use serde_json::Value;
use sonde_protocol::ids::AccountId;
use sonde_store::catalog::{NewMeasurement, Price, ProbeFilter, Slice, Usage};

use crate::Api;
use crate::error::{ApiError, Problem};
use crate::policy::{self, Asked, Policy};

/// The most bytes of a mail address.
const MAX_MAIL: usize = 254;

/// Measurements with what they cost.
#[derive(Debug)]
pub(crate) struct Priced {
    /// The measurements.
    pub new: Vec<NewMeasurement>,
    /// Their prices.
    pub prices: Vec<Price>,
    /// How many of each one's probes cost something.
    pub paid: Vec<u64>,
    is_change: bool,
}

impl Priced {
    /// Prices new measurements.
    pub async fn of(api: &Api, new: Vec<NewMeasurement>) -> Result<Self, ApiError> {
        let credits = &api.config.policy.credits;
        let price = |new: &NewMeasurement| match credits.enabled {
            true => policy::price(credits, &new.spec, new.is_oneoff),
            // What is made while nothing is charged stays free.
            false => Price { credits: 0, ..policy::price(credits, &new.spec, new.is_oneoff) },
        };
        let prices = new.iter().map(price).collect();
        let mut paid = Vec::new();
        for one in &new {
            paid.push(paid_probes(api, one).await?);
        }
        Ok(Self { new, prices, paid, is_change: false })
    }

    /// As [`Priced::of`], for probes that join a measurement that is there already.
    pub async fn joining(api: &Api, measurement: NewMeasurement) -> Result<Self, ApiError> {
        Ok(Self { is_change: true, ..Self::of(api, vec![measurement]).await? })
    }

    /// As the policy looks at it.
    pub fn asked<'a>(&'a self, api: &'a Api) -> Asked<'a> {
        let Self { new, prices, paid, is_change } = self;
        Asked { new, prices, paid, allowed: &api.config.allow_targets, is_change: *is_change }
    }

    /// What speaks against it, given what the account has and does.
    pub fn against(&self, api: &Api, usage: &Usage) -> Vec<String> {
        policy::against(&api.config.policy, &self.asked(api), usage)
    }
}

/// How many of a measurement's probes cost something.
async fn paid_probes(api: &Api, new: &NewMeasurement) -> Result<u64, ApiError> {
    let all = new.probes.len() as u64;
    if !api.config.policy.credits.own_probes_free || all == 0 {
        return Ok(all);
    }
    let filter = ProbeFilter { ids: Some(new.probes.clone()), owner: Some(new.owner), ..ProbeFilter::default() };
    let slice = Slice { offset: 0, limit: 0, descending: false };
    Ok(all.saturating_sub(api.catalog.probes(&filter, slice).await?.total))
}

/// Atlas's way to refuse what is too much.
pub(crate) fn refusal(reasons: Vec<String>) -> ApiError {
    ApiError::body(reasons.into_iter().map(|reason| Problem::at("", reason)).collect())
}

/// Gives an account what new ones begin with, if it has not had it.
pub(crate) async fn open_ledger(api: &Api, account: AccountId) -> Result<(), ApiError> {
    let Policy { credits, .. } = &api.config.policy;
    if credits.enabled {
        api.catalog.grant_start(account, credits.starting_credits, api.clock.now()).await?;
    }
    Ok(())
}

/// Whoever asks pays: `bill_to` may name nobody else where there is something to pay.
pub(crate) async fn check_payer(api: &Arc<Api>, account: AccountId, body: &Value) -> Result<(), ApiError> {
    if !api.config.policy.credits.enabled {
        return Ok(());
    }
    let refused = || ApiError::body_at("/bill_to", "Only your own account can pay for your measurements here.");
    match body.get("bill_to") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(mail)) if mail.trim().is_empty() => Ok(()),
        Some(Value::String(mail)) if mail.len() <= MAX_MAIL => {
            let payer = api.catalog.account_by_email(mail.trim()).await?;
            if payer.is_some_and(|payer| payer.id == account) { Ok(()) } else { Err(refused()) }
        }
        Some(_) => Err(refused()),
    }
}
