//! How probes come in without a token of their own, and how a probe gets another key.
//!
//! A key that nobody knows *waits*, with a claim code, until an account claims it: then it is a probe. Or its owner gives it
//! to a probe that is there already and whose key is lost.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use async_trait::async_trait;
use sonde_protocol::identity::ClaimCode;
use sonde_protocol::ids::{AccountId, ProbeId};
use sonde_protocol::key::PublicKey;
use sonde_protocol::time::UnixNanos;

use super::{Page, Probe, Slice};
use crate::StoreError;

/// How long a claim code is good for. Who still waits then gets another one.
pub const CLAIM_CODE_LIFE: Duration = Duration::from_secs(86_400);

/// How long a key that was turned away stays so: as long as a join token lives.
pub const TURNED_AWAY_FOR: Duration = Duration::from_secs(30 * 86_400);

/// The most keys that wait at a time: a row of some hundred bytes each.
pub const MAX_WAITING: u64 = 10_000;

/// How many of them from one /24 or /56: a class room sets up as many boards at once.
pub const MAX_WAITING_OF_NETWORK: u64 = 32;

/// How many probes an open network takes from one /24 or /56 before somebody vouches for one of them.
pub const MAX_UNVOUCHED_OF_NETWORK: u64 = 2;

/// How long a probe that nobody vouched for counts against its network after it was last seen.
pub const UNVOUCHED_COUNTS_FOR: Duration = Duration::from_secs(30 * 86_400);

/// The network that an address counts for: its /24, or its /56, which is what a household gets.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & !0xff).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !(u128::MAX >> 56)).into(),
    }
}

/// A key that asks to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Knock {
    /// The key.
    pub key: PublicKey,
    /// Whose token it brought, if it brought one that another key had used before.
    pub owner: Option<AccountId>,
    /// The address it is seen at.
    pub address: IpAddr,
    /// Name and version of its software.
    pub software: String,
    /// The code that it gets if it has none.
    pub code: ClaimCode,
    /// When.
    pub at: UnixNanos,
}

/// A key that waits to be let in, or a probe that is nobody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The key.
    pub key: PublicKey,
    /// How it is claimed.
    pub code: ClaimCode,
    /// Who alone may claim it; anybody who knows the code when absent.
    pub owner: Option<AccountId>,
    /// The address it was last seen at.
    pub address: IpAddr,
    /// Name and version of its software.
    pub software: String,
    /// When it got this code.
    pub since: UnixNanos,
    /// When it was last seen.
    pub last_seen: UnixNanos,
    /// When the code ends.
    pub expires: UnixNanos,
}

/// What became of a knock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Knocked {
    /// The key waits.
    Waits(Waiting),
    /// Too many wait already, here or from its network.
    Full,
    /// Somebody who might have let it in did not want it.
    TurnedAway,
}

/// What became of a claim.
#[derive(Debug, Clone, PartialEq)]
pub enum Claimed {
    /// The probe is the account's.
    Yours(Box<Probe>),
    /// No key that this account may claim waits with this code.
    Unknown,
    /// One waits, and it is not the one that was meant.
    OtherKey,
}

/// What became of another key for a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rebound {
    /// The probe has it.
    Done {
        /// The new key.
        key: PublicKey,
        /// The probe that the key was before, in an open network: it has none now.
        emptied: Option<ProbeId>,
    },
    /// No key that the probe's owner may take waits with this code.
    Unknown,
    /// One waits, and it is not the one that was meant.
    OtherKey,
}

/// How probes come in without a token of their own, and how a probe gets another key.
#[async_trait]
pub trait Enrolment: Send + Sync {
    /// Has a key wait, or renews what is known of one that waits. A code that has ended is replaced. A key that is a probe's
    /// gets a code too, and is not counted.
    async fn knock(&self, knock: &Knock) -> Result<Knocked, StoreError>;

    /// Makes a key a probe that is nobody's and that nobody has vouched for, as open networks do. `None`: its network has
    /// [`MAX_UNVOUCHED_OF_NETWORK`] of them.
    async fn join_open(&self, key: &PublicKey, address: IpAddr, at: UnixNanos) -> Result<Option<Probe>, StoreError>;

    /// Who waits for this account, or, without one, all who wait. The oldest first.
    async fn waiting_keys(
        &self,
        owner: Option<AccountId>,
        slice: Slice,
        now: UnixNanos,
    ) -> Result<Page<Waiting>, StoreError>;

    /// Makes whoever waits with this code, and has this key if one is meant, a probe of the account, which agrees to these
    /// terms.
    async fn claim(
        &self,
        code: &ClaimCode,
        meant: Option<&PublicKey>,
        account: AccountId,
        consent: &str,
        now: UnixNanos,
    ) -> Result<Claimed, StoreError>;

    /// Turns away whoever waits with this code for this account or, without one, for anybody: it is not listed and not let
    /// in for [`TURNED_AWAY_FOR`].
    async fn turn_away(
        &self,
        code: &ClaimCode,
        owner: Option<AccountId>,
        now: UnixNanos,
    ) -> Result<Option<PublicKey>, StoreError>;

    /// Gives a probe the key that waits with this code, if it is the one that is meant. The old one is no probe's any more.
    async fn rebind(
        &self,
        probe: ProbeId,
        code: &ClaimCode,
        meant: Option<&PublicKey>,
        now: UnixNanos,
    ) -> Result<Rebound, StoreError>;

    /// Gives a probe another key of its own making. False, and nothing happens, when its key is not `old` or the new one is
    /// or was anybody's. Doing it twice is doing it once.
    async fn rotate(
        &self,
        probe: ProbeId,
        old: &PublicKey,
        new: &PublicKey,
        now: UnixNanos,
    ) -> Result<bool, StoreError>;

    /// Has a probe count although it is nobody's. False when there is none.
    async fn vouch(&self, probe: ProbeId) -> Result<bool, StoreError>;

    /// Records that another probe has the same key.
    async fn note_duplicate(&self, probe: ProbeId, at: UnixNanos) -> Result<(), StoreError>;
}
