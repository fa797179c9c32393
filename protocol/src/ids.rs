//! One newtype per kind of identifier, so that two kinds cannot be swapped without the compiler noticing.

use core::fmt;
use core::num::ParseIntError;
use core::str::FromStr;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode,
        )]
        #[serde(transparent)]
        #[cbor(transparent)]
        pub struct $name(#[n(0)] pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIntError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map($name)
            }
        }
    };
}

id! {
    /// A measurement (Atlas: `msm_id`). Users' measurements start at [`MeasurementId::FIRST_USER`]; 0 is "no network".
    MeasurementId(u64)
}

impl MeasurementId {
    /// The first identifier a user's measurement can have; smaller ones are built-in (Atlas's rule).
    pub const FIRST_USER: MeasurementId = MeasurementId(1_000_000);

    /// Is it one of the network's own, not a user's?
    pub const fn is_builtin(self) -> bool {
        self.0 < Self::FIRST_USER.0
    }
}

id! {
    /// A probe as the network knows it (Atlas: `prb_id`), given at enrolment.
    ProbeId(u64)
}
id! {
    /// An account: a person who owns probes, keys and measurements.
    AccountId(u64)
}
id! {
    /// 64 random bits chosen at each start of the probe's process. Together with [`Seq`] it names a report for ever.
    BootId(u64)
}
id! {
    /// The number of a report within its boot: from 1, without holes.
    Seq(u64)
}
id! {
    /// The revision of a probe's order set: grows by one with each change.
    Revision(u64)
}
id! {
    /// One connection of one probe, as the collector numbered it. Addresses are stored per session, not per result.
    SessionId(u64)
}
id! {
    /// An autonomous system number (RFC 6793).
    Asn(u32)
}
