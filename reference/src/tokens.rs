//! Tokens of the echo: they show that an address has lately received something. Pure but for the key: time is an argument.

use std::net::IpAddr;

use ring::hmac;
use sonde_protocol::reference::echo::{TOKEN, Token};

/// How long a token is good at least, in seconds; at most twice as long. A run takes a minute.
const PERIOD: u64 = 3600;

/// Makes and knows tokens. They mean nothing to another process.
pub(crate) struct Tokens(hmac::Key);

impl Tokens {
    /// With a secret of random bytes.
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// For this address, at `now` seconds since the beginning.
    pub(crate) fn issue(&self, address: IpAddr, now: u64) -> Token {
        self.of(address, now / PERIOD)
    }

    /// Is this a token for this address?
    pub(crate) fn knows(&self, token: &Token, address: IpAddr, now: u64) -> bool {
        let period = now / PERIOD;
        [Some(period), period.checked_sub(1)]
            .into_iter()
            .flatten()
            .any(|period| same(&self.of(address, period).0, &token.0))
    }

    fn of(&self, address: IpAddr, period: u64) -> Token {
        let mut context = hmac::Context::with_key(&self.0);
        match address.to_canonical() {
            IpAddr::V4(v4) => context.update(&v4.octets()),
            IpAddr::V6(v6) => context.update(&v6.octets()),
        }
        context.update(&period.to_be_bytes());
        // A tag of SHA-256 has 32 bytes.
        Token(context.sign().as_ref().first_chunk().copied().unwrap_or([0; TOKEN]))
    }
}

/// Compares without telling by its time how much is the same.
fn same(a: &[u8; TOKEN], b: &[u8; TOKEN]) -> bool {
    a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_one_address_and_a_while() {
        let tokens = Tokens::new(&[1; 32]);
        let (a, b): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        let token = tokens.issue(a, 10);
        for (address, now, known) in [(a, 10, true), (a, 10 + PERIOD, true), (a, 2 * PERIOD, false), (b, 10, false)] {
            assert_eq!(tokens.knows(&token, address, now), known, "{address} at {now}");
        }
        assert!(!Tokens::new(&[2; 32]).knows(&token, a, 10));
        assert!(!tokens.knows(&Token([0; TOKEN]), a, 10));
    }
}
