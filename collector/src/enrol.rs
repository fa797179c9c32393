//! Strangers at the door, and other keys for those who are known: what a connection does about them.
//!
//! A stranger's connection holds nothing but its key. Who waits and with which code is in the catalog; the connection stays,
//! as one of not too many, only so that the probe comes in at once when somebody claims it.

use sonde_protocol::bounded::Text;
use sonde_protocol::identity::{ClaimCode, KeyNotice, Rotation};
use sonde_protocol::ids::{AccountId, ProbeId};
use sonde_protocol::message::{Hello, RefusedReason};
use sonde_protocol::tls::Ring;
use sonde_store::StoreError;
use sonde_store::catalog::{Knock, Knocked, Probe};
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::connection::{End, Served, ToConnection};
use crate::ingest::now;
use crate::server::Enrol;

/// What is said to the second of two machines with one key.
pub(crate) const DUPLICATE: &str = "another probe with the same key is connected: a copied card or disk?";

/// What is said to a key that its probe does not use any more.
pub(crate) fn replaced(probe: ProbeId) -> String {
    format!("probe {probe} has another key now, given by its owner or made by itself; this one is of no use any more")
}

fn internal(error: StoreError) -> End {
    End::Internal(error.to_string())
}

fn new_code() -> Result<ClaimCode, End> {
    let random = getrandom::u64().map_err(|error| End::Internal(format!("no random numbers: {error}")))?;
    Ok(ClaimCode::from_random(random))
}

impl Served {
    /// A key that no probe has. In an open network it becomes one; else it waits, or is refused. `owner` is whose token it
    /// brought, when another key had used it.
    pub(crate) async fn stranger(
        &mut self,
        owner: Option<AccountId>,
        hello: &Hello,
        inbox: Option<&mpsc::Sender<ToConnection>>,
    ) -> Result<Option<Probe>, End> {
        let (key, address) = (self.key.short(), self.address());
        if !self.shared.may_knock(address) {
            info!(key, %address, "too many strangers from this network");
            self.session.refuse(RefusedReason::Busy, "too many new probes ask from this network just now");
            return Ok(None);
        }
        if owner.is_none() && self.shared.enrol == Enrol::Closed {
            info!(key, %address, "an unknown key without a token");
            let text = "this network does not know the probe's key, and it brought no join token";
            self.session.refuse(RefusedReason::UnknownKey, text);
            return Ok(None);
        }
        if owner.is_none() && self.shared.enrol == Enrol::Open {
            let joined = self.shared.catalog.join_open(&self.key, address, now()).await.map_err(internal)?;
            if let Some(probe) = joined {
                info!(probe_id = %probe.id, key, %address, "a probe has joined that is nobody's yet");
                return Ok(Some(probe));
            }
        }
        match self.knock(owner, hello.software.to_string()).await? {
            Knocked::Waits(waiting) => {
                info!(key, %address, code = %waiting.code, "a probe waits to be claimed");
                let text = match owner {
                    Some(_) => "another probe has used this join token: the token's owner has to approve this one",
                    None => "this network does not know this probe yet: it has to be claimed",
                };
                self.session.keep_waiting(waiting.code, &format!("{text} (key {key})"));
                let stays = inbox.is_some_and(|inbox| self.shared.wait(self.key, self.id, inbox.downgrade()));
                if !stays {
                    // It was told how it is claimed, and comes back in a minute.
                    self.session.dismiss();
                }
            }
            Knocked::Full => {
                info!(key, %address, "too many probes wait");
                self.session.refuse(RefusedReason::Busy, "too many probes wait to be claimed, here or in your network");
            }
            Knocked::TurnedAway => {
                info!(key, %address, "a probe that was turned away");
                let text = format!("this network does not want this probe (key {key}); it was asked and said no");
                self.session.refuse(RefusedReason::UnknownKey, &text);
            }
        }
        Ok(None)
    }

    async fn knock(&self, owner: Option<AccountId>, software: String) -> Result<Knocked, End> {
        let knock = Knock { key: self.key, owner, address: self.address(), software, code: new_code()?, at: now() };
        self.shared.catalog.knock(&knock).await.map_err(internal)
    }

    /// Tells a probe that is served and is nobody's how somebody makes it theirs, unless it knows.
    pub(crate) async fn tell_code(&mut self) -> Result<(), End> {
        let software = self.known.as_ref().map(|known| known.software.clone()).unwrap_or_default();
        if let Knocked::Waits(waiting) = self.knock(None, software).await?
            && self.code != Some(waiting.code)
        {
            self.code = Some(waiting.code);
            self.session.notify(KeyNotice::Unclaimed(waiting.code));
        }
        Ok(())
    }

    /// The probe wants to be known by another key.
    pub(crate) async fn rotate(&mut self, rotation: &Rotation) -> Result<(), End> {
        let Some((probe, _)) = self.probe else { return Ok(()) };
        if !rotation.is_signed(&self.key, &Ring) {
            return Err(End::Malformed("an exchange of keys that is not signed by both".into()));
        }
        let done = self.shared.catalog.rotate(probe, &self.key, &rotation.key, now()).await.map_err(internal)?;
        self.session.notify(if done {
            info!(probe_id = %probe, old = %self.key.short(), new = %rotation.key.short(), "a probe has another key");
            KeyNotice::Changed(rotation.key)
        } else {
            warn!(probe_id = %probe, new = %rotation.key.short(), "a probe asks for a key that it cannot have");
            KeyNotice::NotChanged(Text::cut("the new key is or was another probe's, or this one has changed already"))
        });
        Ok(())
    }
}
