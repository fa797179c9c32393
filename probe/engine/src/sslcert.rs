//! `sslcert`: still to come.
