//! The part of the table that a lab has with `LabOptions::long_path`: eleven hops from a probe at home to `Far`, over a
//! fork whose two branches are taken by flow, and a router that quotes MPLS labels.
//!
//! ```text
//!              ╔══ a1 ══ a2 ══╗
//! r2 ══ fork ══╣              ╠══ join ══ mpls ══ d1 ══ d2 ══ far
//!              ╚══ b1 ══ b2 ══╝
//! ```
//!
//! Whatever comes back from `join` or behind it takes branch A.

use serde::{Deserialize, Serialize};

use super::{Host, Link, Router, Segment, host, router, segment, v4, v6};

/// One of the two ways between `fork` and `join`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Branch {
    /// Over `a1` and `a2`; all ways back are this one.
    A,
    /// Over `b1` and `b2`, a little slower.
    B,
}

impl Branch {
    /// Both.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// Its routers, in the order in which packets towards `Far` meet them.
    pub const fn routers(self) -> [Router; 2] {
        match self {
            Self::A => [Router::A1, Router::A2],
            Self::B => [Router::B1, Router::B2],
        }
    }

    /// Its first link: who crosses it forward has taken this branch.
    pub const fn first_link(self) -> Link {
        match self {
            Self::A => Link::ForkA1,
            Self::B => Link::ForkB1,
        }
    }

    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// One entry of a label stack (RFC 3032). Its bottom bit follows from its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MplsLabel {
    /// The label, 20 bits.
    pub label: u32,
    /// The traffic class, once called experimental, 3 bits.
    pub exp: u8,
    /// Its time to live.
    pub ttl: u8,
}

/// The label stack that the router `mpls` quotes in every ICMP error, the top first.
pub const MPLS_LABELS: [MplsLabel; 2] =
    [MplsLabel { label: 24_005, exp: 0, ttl: 1 }, MplsLabel { label: 1_048_575, exp: 5, ttl: 254 }];

/// See the module. Branch A stands before branch B, so that of two equally short ways it is the one found.
pub(super) static SEGMENTS: &[Segment] = &[
    segment(
        Some(Link::R2Fork),
        v4(20, 2, 1, 24),
        v6(2, 1),
        &[router(Router::R2, "fork", &[1]), router(Router::Fork, "r2", &[2])],
    ),
    segment(
        Some(Link::ForkA1),
        v4(20, 2, 10, 24),
        v6(2, 0xa0),
        &[router(Router::Fork, "a1", &[1]), router(Router::A1, "fork", &[2])],
    ),
    segment(
        Some(Link::A1A2),
        v4(20, 2, 11, 24),
        v6(2, 0xa1),
        &[router(Router::A1, "a2", &[1]), router(Router::A2, "a1", &[2])],
    ),
    segment(
        Some(Link::A2Join),
        v4(20, 2, 12, 24),
        v6(2, 0xa2),
        &[router(Router::A2, "join", &[1]), router(Router::Join, "a2", &[2])],
    ),
    segment(
        Some(Link::ForkB1),
        v4(20, 2, 20, 24),
        v6(2, 0xb0),
        &[router(Router::Fork, "b1", &[1]), router(Router::B1, "fork", &[2])],
    ),
    segment(
        Some(Link::B1B2),
        v4(20, 2, 21, 24),
        v6(2, 0xb1),
        &[router(Router::B1, "b2", &[1]), router(Router::B2, "b1", &[2])],
    ),
    segment(
        Some(Link::B2Join),
        v4(20, 2, 22, 24),
        v6(2, 0xb2),
        &[router(Router::B2, "join", &[1]), router(Router::Join, "b2", &[2])],
    ),
    segment(
        Some(Link::JoinMpls),
        v4(20, 2, 2, 24),
        v6(2, 2),
        &[router(Router::Join, "mpls", &[1]), router(Router::Mpls, "join", &[2])],
    ),
    segment(
        Some(Link::MplsD1),
        v4(20, 2, 3, 24),
        v6(2, 3),
        &[router(Router::Mpls, "d1", &[1]), router(Router::D1, "mpls", &[2])],
    ),
    segment(
        Some(Link::D1D2),
        v4(20, 2, 4, 24),
        v6(2, 4),
        &[router(Router::D1, "d2", &[1]), router(Router::D2, "d1", &[2])],
    ),
    segment(
        Some(Link::D2Far),
        v4(20, 40, 1, 24),
        v6(0x400, 1),
        &[router(Router::D2, "far", &[1]), host(Host::Far, &[10, 11])],
    ),
];
