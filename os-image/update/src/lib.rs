//! Which update a board may trust, and whether it takes it: the metadata of The Update Framework (TUF, version 1.0 of its
//! specification), an append-only log of releases, and the rules of roll-out and owner.
//!
//! Everything here is pure: bytes and times come in, decisions and bytes to be kept go out. The crate must not know sockets, files,
//! clocks or random numbers, nor how an image gets onto a card.
//!
//! Start reading at [`client::Update`], which walks through chapter 5 of the specification. [`metadata`] reads the four files, [`json`]
//! makes the bytes that are signed, [`key`] checks signatures, [`log`](mod@log) checks that a release was published for everybody to see.
//! [`release`] is what our targets say of themselves, [`policy`] decides about them, and [`sign`] is the operator's side; [`repository`] has
//! the names of the files.
//! `docs/updates.md` says who signs what, and what somebody with which key can do.

pub mod client;
pub mod hashes;
pub mod json;
pub mod key;
pub mod log;
pub mod metadata;
pub mod moment;
pub mod policy;
pub mod release;
pub mod repository;
pub mod sign;
