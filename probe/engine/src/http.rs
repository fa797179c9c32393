//! `http`: still to come.
