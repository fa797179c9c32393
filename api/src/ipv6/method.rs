//! What the numbers mean, for programs and pages that explain them.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};
use sonde_protocol::result::ipv6::{DEFINITION, FamilyState, Reason, ReasonRole};
use sonde_store::reachability::{PLAIN, RANKED, Silence};

use super::answer::{Asked, Body};
use crate::Api;
use crate::auth::Access;
use crate::error::ApiError;

/// What a share counts, by its name in a sum.
const SHARES: &[(&str, &str, &str)] = &[
    ("works6", "votes", "IPv6 works: native, native in part, or through a tunnel."),
    ("clean6", "votes", "IPv6 is native, and nothing of it is missing."),
    ("broken6", "votes with a global IPv6 address", "The machine believes to have IPv6 and reaches nothing over it."),
    ("nat64", "votes", "There is no IPv4; a translator (NAT64) leads to it."),
    ("xlat", "votes", "IPv4 is translated at both ends (464XLAT)."),
    ("cgnat", "votes", "IPv4 is behind the provider's address translation."),
    ("networks6", "networks", "More than half of the network's votes say that IPv6 works."),
];

/// How it is counted, a sentence each.
const RULES: &[&str] = &[
    "A probe has one vote an hour: what it has settled on at the last run of the hour that could tell.",
    "Runs never count as probes.",
    "Hours in which a probe was offline, could not tell or had not settled are shown apart and are in no share.",
    "Over several hours every hour of a probe counts; the hours of one probe are alike, so intervals count probes, not hours.",
    "A vote counts where the probe was when it voted: in its country, and in the network of its IPv6 address, or else of its IPv4 one.",
    "It counts in the prefixes that its /48 of IPv6 and its /24 of IPv4 were in.",
    "One network alone, or a prefix of one, is never shown plainly: its probes are alike, however many there are.",
    "Probes for which nobody stands, and private measurements, count nowhere.",
    "Intervals are Wilson's at 95 %; those of medians are by ranks.",
    "The difference of times is that of two TCP connections to the same reference, begun together; connections with a repeated packet count as a loss, not as a time.",
    "A reference that more than a fifth of its probes lose from one hour to the next is out: in that hour its absence is nobody's loss.",
    "What comes late replaces what was said before, so the newest hours can still change.",
];

fn role(role: ReasonRole) -> &'static str {
    match role {
        ReasonRole::Cause => "cause",
        ReasonRole::Sub => "sub",
        ReasonRole::Flag => "flag",
        ReasonRole::Detail => "detail",
    }
}

fn body() -> Value {
    let states: Vec<Value> = FamilyState::ALL
        .iter()
        .map(|state| {
            json!({"number": state.number(), "word": state.word(), "votes": state.votes(), "works": state.works(),
                "badness": state.badness()})
        })
        .collect();
    let reasons: Vec<Value> = Reason::ALL
        .iter()
        .map(|reason| json!({"word": reason.word(), "role": role(reason.role()), "sentence": reason.sentence()}))
        .collect();
    let shares: Vec<Value> =
        SHARES.iter().map(|(name, of, what)| json!({"name": name, "of": of, "what": what})).collect();
    let silences = [Silence::Offline, Silence::Inconclusive, Silence::Unsettled].map(Silence::word);
    json!({
        "definition": DEFINITION,
        "rules": RULES,
        "shares": shares,
        "plain": {"probes": PLAIN.0, "networks": PLAIN.1},
        "ranked": {"probes": RANKED.0, "networks": RANKED.1},
        "states": states,
        "silences": silences,
        "reasons": reasons,
        "bias": "Volunteers' probes, mostly technical people's, wired: not a sample of users.",
    })
}

/// `GET ipv6/method/`: what the numbers mean: the version of the rules, how votes are counted, from how many on shares are shown
/// plainly and ranked, and every word of a verdict with its sentence.
#[utoipa::path(get, path = "/api/v2/ipv6/method/", tag = "ipv6", responses((status = 200, body = serde_json::Value)))]
pub(super) async fn method(State(api): State<Arc<Api>>, _: Access, asked: Asked) -> Result<Response, ApiError> {
    asked.answer(&api, async |_| Ok(Body::json(&body()))).await
}
