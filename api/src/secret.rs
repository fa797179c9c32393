//! Secrets that this server gives out: one-time tokens and the tokens of cookies. 256 random bits, URL-safe; only their
//! digests are kept.

use data_encoding::BASE64URL_NOPAD;
use ring::digest::{SHA256, digest};
use sonde_store::catalog::Digest;

/// How long the text of a secret is: 32 bytes in base64.
pub(crate) const LENGTH: usize = 43;

/// A secret, in clear. It has no `Debug`, so that it comes into no log.
pub struct Secret(String);

impl Secret {
    /// A new one; `None` when the system has no random numbers.
    pub fn new() -> Option<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).ok()?;
        Some(Self(BASE64URL_NOPAD.encode(&bytes)))
    }

    /// What its holder is given.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// What the catalog knows it by.
    pub fn digest(&self) -> Digest {
        digest_of(&self.0)
    }
}

/// What the catalog knows a secret by. It is random in 256 bits, so a plain hash is as good as a slow one.
pub(crate) fn digest_of(text: &str) -> Digest {
    let mut out = Digest::default();
    out.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_differ_and_fit_into_a_link() {
        let (one, other) = (Secret::new().unwrap(), Secret::new().unwrap());
        assert_ne!(one.text(), other.text());
        assert_eq!(one.text().len(), LENGTH);
        assert!(one.text().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        assert_eq!(one.digest(), digest_of(one.text()));
    }
}
