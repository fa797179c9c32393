//! `pathmtu`: still to come.
