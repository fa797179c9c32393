//! An invented network in a data directory: probes all over the world with their lives, measurements of every kind with a day of
//! results, accounts. For looking at pages and for testing them. The same seed, time and numbers give the same network.
//!
//! Everything goes through the store's traits, results as encoded reports through `Results::append`, so what the server finds
//! is what probes would have left behind. The server must not run while [`fill`] does.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sonde_protocol::ids::AccountId;
use sonde_protocol::seed::mix;
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{Accounts, ApiKey, Credits, Enrolment, Knock, NewSession, People as _, Probes as _};
use sonde_store::conformance::block_on;
use sonde_store::sqlite::{SqliteCatalog, SqliteReachability, SqliteResults};
use uuid::Uuid;

mod answers;
mod hops;
mod measurements;
mod options;
mod outcomes;
mod places;
mod probes;
mod reports;
mod targets;
mod texts;
mod verdicts;
mod weather;

pub use self::options::FLAGS;

/// The mail address of the account that owns most of it.
pub const EMAIL: &str = "look@example.net";

/// Its password.
pub const PASSWORD: &str = "look at sonde";

/// The same as a PHC string, with a salt that is always the same.
const PHC: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29uZGUgc2VlZCBzYWx0IQ$JJ6rW3woT+00fsZQD4fHytIvtfTbs8Qqx1QAhykImes";

/// What it has.
const CREDITS: u64 = 2_000_000;

/// The file of built-in measurements that the server wants: the probes have reported for what is in it.
pub const BUILTINS: &str = "[[measurement]]\nid = 9001\ntype = \"ipv6\"\naf = 6\ninterval = 900\n\
    description = \"What IPv6 and IPv4 are worth to a probe\"\n";

/// What is to be invented.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Everything that looks random follows from this.
    pub seed: u64,
    /// Where the day of results ends: now, for whoever looks.
    pub until: UnixNanos,
    /// How many probes.
    pub probes: u32,
    /// How many of them take part in the measurement called `ping`.
    pub ping_probes: usize,
}

/// Who owns it.
#[derive(Debug, Clone, Copy)]
struct People {
    owner: AccountId,
    other: AccountId,
}

/// What was made.
#[derive(Debug)]
pub struct Seeded {
    /// An API key of [`EMAIL`].
    pub key: String,
    /// The measurements' numbers by name.
    pub measurements: BTreeMap<&'static str, u64>,
    /// Probes that pages are looked at of, by name.
    pub probes: BTreeMap<&'static str, u64>,
    /// How many reports there are.
    pub reports: u64,
    /// How many votes on IPv6.
    pub votes: u64,
    online: Vec<NewSession>,
}

impl Seeded {
    /// For programs.
    pub fn to_json(&self) -> Value {
        json!({
            "email": EMAIL,
            "password": PASSWORD,
            "key": self.key,
            "measurements": self.measurements,
            "probes": self.probes,
            "reports": self.reports,
            "votes": self.votes,
        })
    }
}

/// Fills a data directory that has no catalog yet.
///
/// # Errors
/// When it has one, and when files cannot be written.
pub fn fill(data: &Path, options: &Options) -> Result<Seeded> {
    std::fs::create_dir_all(data).with_context(|| data.display().to_string())?;
    let file = data.join("catalog.db");
    anyhow::ensure!(!file.exists(), "{} is there already: a seed wants an empty data directory", file.display());
    let catalog = SqliteCatalog::open(&file)?;
    let results = SqliteResults::open(data.join("results"))?;
    let (people, key) = people(&catalog, options)?;
    let probes = probes::make(&catalog, options, &people)?;
    let mut planned = measurements::make(&catalog, options, &people, &probes)?;
    planned.push(measurements::ipv6(options, &probes));
    let votes = verdicts::vote(&SqliteReachability::open(data.join("reachability.db"))?, options, &probes)?;
    let reports = reports::append(&results, options, &probes, &planned)?;
    let named = |is: &dyn Fn(&probes::Invented) -> bool| probes.iter().find(|probe| is(probe)).map(|probe| probe.id.0);
    let until = options.until;
    let found = [
        ("first", named(&|_| true)),
        ("connected", named(&|probe| probe.is_connected(until) && probe.v6 == probes::V6::Native)),
        ("broken", named(&|probe| probe.is_connected(until) && probe.v6 == probes::V6::Broken)),
        ("gone", named(&|probe| !probe.is_connected(until) && !probe.spans.is_empty())),
        ("never", named(&|probe| probe.spans.is_empty())),
    ];
    Ok(Seeded {
        key,
        measurements: planned.iter().map(|one| (one.name, one.id.0)).collect(),
        probes: found.into_iter().filter_map(|(name, id)| Some((name, id?))).collect(),
        reports,
        votes,
        online: probes.iter().filter(|probe| probe.is_connected(until)).map(|probe| probe.session(until)).collect(),
    })
}

/// Has the probes that are there at the end of the invented time connect, at this time: a server that starts knows of no
/// connection. They stay until it starts again, and do nothing.
///
/// # Errors
/// When the catalog cannot be written.
pub fn connect(data: &Path, seeded: &Seeded, at: UnixNanos) -> Result<()> {
    let catalog = SqliteCatalog::open(data.join("catalog.db"))?;
    for session in &seeded.online {
        block_on(catalog.open_session(&NewSession { at, ..session.clone() }))?;
    }
    Ok(())
}

fn people(catalog: &SqliteCatalog, options: &Options) -> Result<(People, String)> {
    let long_ago = options.until - std::time::Duration::from_secs(600 * 86_400);
    let add = |email: &str| -> Result<AccountId> {
        let account = block_on(catalog.add_account(email, long_ago))?.context("the account is new")?;
        block_on(catalog.grant_start(account.id, CREDITS / 2, long_ago))?;
        Ok(account.id)
    };
    let people = People { owner: add(EMAIL)?, other: add("other@example.net")? };
    block_on(catalog.change_password(people.owner, PHC, None))?;
    block_on(catalog.grant(people.owner, CREDITS / 2, options.until))?;
    let bits = u128::from(mix(options.seed ^ 1)) << 64 | u128::from(mix(options.seed ^ 2));
    let secret = uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid();
    block_on(catalog.add_key(&key(people.owner, secret, options.until)))?;
    // Two boards wait to be claimed.
    for n in 1..=2_u8 {
        let knock = Knock {
            key: sonde_protocol::key::PublicKey([n; 32]),
            owner: (n == 1).then_some(people.owner),
            address: [25, 1, 1, n].into(),
            software: "sonde-probe 0.1.0".into(),
            code: sonde_protocol::identity::ClaimCode::from_random(mix(options.seed ^ u64::from(n))),
            at: options.until,
        };
        block_on(catalog.knock(&knock))?;
    }
    Ok((people, secret.to_string()))
}

fn key(account: AccountId, secret: Uuid, created_at: UnixNanos) -> ApiKey {
    ApiKey {
        digest: sonde_api::digest(secret),
        account,
        label: "for looking".into(),
        created_at,
        enabled: true,
        valid_from: None,
        valid_to: None,
        grants: None,
    }
}
