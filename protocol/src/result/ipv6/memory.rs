//! What a probe keeps from one run to the next, in a file of its own. It is here because it is made of the words of results,
//! and because the engines have no codec. It never travels.

use minicbor::{Decode, Encode};

use super::{FamilyState, MAX_REASONS, Reason, Settled};
use crate::bounded::List;

/// What is known of both families.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Memory {
    /// IPv6.
    #[n(0)]
    pub v6: FamilyMemory,
    /// IPv4.
    #[n(1)]
    pub v4: FamilyMemory,
    /// What full runs found out about paths, for the light ones between them.
    #[n(2)]
    pub path: PathFacts,
}

/// What is known of one family.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct FamilyMemory {
    /// What enough runs agreed on.
    #[n(0)]
    pub settled: Option<Settled>,
    /// What the latest runs say instead.
    #[n(1)]
    pub candidate: Option<Candidate>,
    /// What the last run said.
    #[n(2)]
    pub last: Option<FamilyState>,
    /// How many runs in a row have said that.
    #[n(3)]
    pub streak: u32,
}

/// Another verdict than the settled one, on trial.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Candidate {
    /// The state.
    #[n(0)]
    pub state: FamilyState,
    /// The reasons that all its runs had.
    #[n(1)]
    pub reasons: List<Reason, MAX_REASONS>,
    /// How many runs in a row have said so.
    #[n(2)]
    pub runs: u32,
    /// Only a full run can say so.
    #[n(3)]
    pub full: bool,
    /// The machine's addresses or routes changed before one of these runs.
    #[n(4)]
    pub network_changed: bool,
}

/// What is known of paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct PathFacts {
    /// IPv6.
    #[n(0)]
    pub v6: FamilyPath,
    /// IPv4.
    #[n(1)]
    pub v4: FamilyPath,
}

/// What is known of one family's paths. Sizes are those of whole IP packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct FamilyPath {
    /// What passes both ways; absent: not known.
    #[n(0)]
    pub mtu: Option<u32>,
    /// Longer packets than this vanish on the way from the probe; absent: none do.
    #[n(1)]
    pub hole_up: Option<u32>,
    /// Longer packets than this vanish on the way to the probe; absent: none do.
    #[n(2)]
    pub hole_down: Option<u32>,
    /// A link does not take 1280 bytes.
    #[n(3)]
    pub below_1280: bool,
    /// "Too big" does not come back; absent: not tested.
    #[n(4)]
    pub too_big_filtered: Option<bool>,
    /// Packets in pieces do not arrive; absent: not tested.
    #[n(5)]
    pub fragments_lost: Option<bool>,
}

impl FamilyPath {
    /// Do long packets vanish?
    pub const fn has_hole(&self) -> bool {
        self.hole_up.is_some() || self.hole_down.is_some()
    }
}
