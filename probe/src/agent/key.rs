//! The probe's key: what collectors say about it, and the exchange for another.

use sonde_protocol::identity::{ClaimCode, KeyNotice};
use sonde_protocol::message::RefusedReason;
use tracing::{error, info, warn};

use super::Agent;
use super::link::refusal;
use crate::run::with_causes;

impl Agent {
    /// Somebody may have laid down a key that the probe is to have.
    pub(super) fn look_for_next_key(&mut self) {
        if let Err(error) = self.identity.look_for_next() {
            warn!(error = %with_causes(&error), "the next key cannot be used");
        }
    }

    /// Asks the collector to take the next key, once a connection.
    pub(super) fn ask_for_next_key(&mut self) {
        if self.session.is_open()
            && !self.asked_for_key
            && let Some(rotation) = self.identity.rotation()
        {
            info!(new = %rotation.key, "asking the network to take this probe's new key");
            self.asked_for_key = true;
            self.session.rotate(rotation);
        }
    }

    /// The collector knows the probe by the key that this connection came with.
    pub(super) fn key_is_welcome(&mut self) {
        let key = self.identity.key().public();
        self.confirm_key(&key);
        self.asked_for_key = false;
        self.ask_for_next_key();
    }

    fn confirm_key(&mut self, key: &sonde_protocol::key::PublicKey) {
        match self.identity.confirm(key) {
            Ok(true) => info!(%key, "the probe has its new key; the old one is of no use any more"),
            Ok(false) => {}
            // Both files are still there, and the next start tries both.
            Err(error) => error!(error = %with_causes(&error), "the new key cannot be put in the old one's place"),
        }
    }

    pub(super) fn key_notice(&mut self, notice: KeyNotice) {
        match notice {
            KeyNotice::Admitted => {
                info!("the probe has an owner now");
                self.status.claimable(None);
            }
            KeyNotice::Changed(key) => self.confirm_key(&key),
            KeyNotice::NotChanged(why) => {
                warn!(%why, "the network does not take the new key; the probe keeps the old one");
                if let Err(error) = self.identity.forget_next() {
                    warn!(error = %with_causes(&error), "the new key cannot be removed");
                }
            }
            KeyNotice::Duplicate => {
                warn!("another probe has the same key: a copied card or disk?");
                self.status.duplicate();
            }
            KeyNotice::Unclaimed(code) => {
                info!(claim_code = %code, key = %self.identity.key().public().short(), "the probe is nobody's yet");
                self.status.claimable(Some(code));
            }
        }
    }

    pub(super) fn refused(&mut self, reason: RefusedReason, text: &str, code: Option<ClaimCode>) {
        let why = refusal(reason, text, code.as_ref());
        match code {
            Some(code) => {
                let key = self.identity.key().public().short();
                info!(claim_code = %code, key, text, "the probe waits to be claimed");
                self.status.waiting(&why, code);
            }
            None => {
                warn!(?reason, text, "the collector refuses this probe");
                self.status.refused(&why);
            }
        }
        // The network has taken the next key, and the word of it was lost: or it has lost its newest state, and knows the old.
        let is_of_key =
            matches!(reason, RefusedReason::KeyReplaced | RefusedReason::UnknownKey | RefusedReason::Pending);
        self.come_back_now = is_of_key && self.identity.try_other_key();
    }
}
