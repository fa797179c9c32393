//! Signing up, and showing that the mail address is one's own.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use lettre::Address;
use serde_json::{Value, json};
use sonde_store::StoreError;
use sonde_store::catalog::{Confirmed, Digest, SignUp, SignedUp};
use utoipa_axum::routes;

use super::{BAD_TOKEN, Texts, accepted, answer, how_to_use, new_secret, object, post};
use crate::Api;
use crate::body::JsonBody;
use crate::config::Signup;
use crate::error::ApiError;
use crate::limits::Allowance;
use crate::password;
use crate::router::Routes;
use crate::secret::{Secret, digest_of};
use crate::web_session::SameOrigin;

/// How long a sign-up waits for its mail to be read.
const VERIFY_LIFE: Duration = Duration::from_hours(48);

/// How long it waits where the operator is the one to confirm it.
const OPERATOR_LIFE: Duration = Duration::from_hours(30 * 24);

/// How many sign-ups may wait for one address.
const MAX_PER_ADDRESS: u32 = 20;

/// How many may wait in all: some 30 MB.
const MAX_WAITING: u32 = 100_000;

pub(super) fn routes(routes: &mut Routes) {
    routes.add(routes!(rules, sign_up));
    routes.add(routes!(verify));
}

/// `GET accounts/signup/`: who may sign up (`signup`: `open`, `invite` or `closed`), which version of the terms they agree
/// to (`consent`), and who confirms that a mail address is theirs (`verification`: `mail` or `operator`).
#[utoipa::path(get, path = "/api/v2/accounts/signup/", tag = "accounts", responses((status = 200, body = serde_json::Value)))]
async fn rules(State(api): State<Arc<Api>>) -> Json<Value> {
    let config = &api.config.accounts;
    let verification = if api.mailer.is_some() { "mail" } else { "operator" };
    Json(json!({
        "signup": config.signup.name(),
        "consent": config.consent_version,
        "verification": verification,
        "type": "signup",
    }))
}

/// `POST accounts/signup/`: asks for an account. `consent` is the version of the terms that the person agrees to. The
/// answer, 202, is the same whether the address has an account already or not; a mail says which. With an invitation of
/// the operator's the account is made at once: 201.
#[utoipa::path(
    post, path = "/api/v2/accounts/signup/", tag = "accounts",
    request_body(content = serde_json::Value, example = json!({"email": "ada@example.net", "password": "at least ten characters", "consent": "1", "invite": null})),
    responses((status = 201, body = serde_json::Value), (status = 202, body = serde_json::Value))
)]
async fn sign_up(
    State(api): State<Arc<Api>>,
    _: SameOrigin,
    allowance: Allowance,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let rules = &api.config.accounts;
    if rules.signup == Signup::Closed {
        return Err(ApiError::forbidden("Nobody can sign up here by themselves; ask whoever runs this network."));
    }
    let mut texts = Texts::of(&body);
    let (email, password) = (texts.email(), texts.new_password("password"));
    let version = &rules.consent_version;
    if texts.required("consent").is_some_and(|consent| consent != version) {
        texts.refuse("consent", format!("Agree to version {version:?} of the terms by naming it here."));
    }
    let invite = texts.optional("invite");
    if rules.signup == Signup::Invite && invite.is_none() {
        texts.refuse("invite", "This network takes people by invitation; enter one.");
    }
    let (Some(email), Some(password), true) = (email, password, texts.are_good()) else { return Err(texts.refusal()) };
    allowance.attempt_on(email.as_ref())?;
    allowance.mail_to(email.as_ref())?;

    let token = new_secret()?;
    let life = if api.mailer.is_some() { VERIFY_LIFE } else { OPERATOR_LIFE };
    let now = api.clock.now();
    let asked = SignUp {
        token: token.digest(),
        email: email.to_string(),
        password: password::hash(password).await?,
        consent: version.clone(),
        invite: invite.map(digest_of),
        created_at: now,
        expires: now + life,
    };
    let answered = match api.mailer {
        Some(_) => accepted("A mail to this address says how to go on."),
        None => accepted("Whoever runs this network is going to look at this."),
    };
    if asked.invite.is_none() {
        // After the answer, so that how long it takes tells nothing.
        tokio::spawn(async move {
            if let Err(error) = store(&api, &asked, &email, &token).await {
                tracing::error!(%error, "a sign-up could not be stored");
            }
        });
        return Ok(answered);
    }
    // Whoever has an invitation for this address may know more.
    match store(&api, &asked, &email, &token).await? {
        SignedUp::Waiting { vouched: true } => confirm(&api, &asked.token).await,
        SignedUp::BadInvite => {
            Err(ApiError::body_at("/invite", "This invitation is unknown, used, expired, or for another address."))
        }
        SignedUp::Waiting { vouched: false } | SignedUp::Taken | SignedUp::Full => Ok(answered),
    }
}

/// Lets the sign-up wait, and writes to the address.
async fn store(api: &Api, asked: &SignUp, email: &Address, token: &Secret) -> Result<SignedUp, StoreError> {
    let done = api.catalog.sign_up(asked, MAX_PER_ADDRESS, MAX_WAITING).await?;
    match done {
        SignedUp::Waiting { vouched: false } => {
            let text = format!(
                "Somebody, probably you, asked for an account of this address at a Sonde network.\n\nTo get it, open this \
                 within 48 hours:\n\n{}\nIf it was not you, do nothing.\n",
                how_to_use(api, "verify", token)
            );
            post(api, email, "Your account", &text);
        }
        SignedUp::Taken => {
            let text = "Somebody, probably you, asked for an account of this address at a Sonde network. It has one \
                        already: log in, or ask for a new password.\n\nIf it was not you, do nothing.\n";
            post(api, email, "Your account", text);
        }
        SignedUp::Full => tracing::warn!("a sign-up was dropped: too many wait"),
        SignedUp::Waiting { vouched: true } | SignedUp::BadInvite => {}
    }
    Ok(done)
}

/// `POST accounts/verify/`: shows by the token from the mail that the address is one's own, and so makes the account.
#[utoipa::path(
    post, path = "/api/v2/accounts/verify/", tag = "accounts",
    request_body(content = serde_json::Value, example = json!({"token": "from the mail"})),
    responses((status = 201, body = serde_json::Value))
)]
async fn verify(
    State(api): State<Arc<Api>>,
    _: SameOrigin,
    allowance: Allowance,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let mut texts = Texts::of(&body);
    let Some(token) = texts.token() else { return Err(texts.refusal()) };
    allowance.attempt()?;
    confirm(&api, &digest_of(token)).await
}

async fn confirm(api: &Api, token: &Digest) -> Result<Response, ApiError> {
    match api.catalog.confirm(token, api.clock.now()).await? {
        Confirmed::Made(account) => {
            tracing::info!(account_id = account.id.0, "somebody has got an account");
            Ok(answer(StatusCode::CREATED, object(&account)))
        }
        Confirmed::Unknown => Err(ApiError::body_at("/token", BAD_TOKEN)),
        Confirmed::InviteUsed => Err(ApiError::body_at("/token", "Its invitation has been used by somebody else.")),
    }
}
