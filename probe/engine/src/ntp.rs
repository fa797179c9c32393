//! `ntp`: still to come.
