//! How the owner of a rule is told: `POST` of a JSON body, signed as Standard Webhooks 1.0 says
//! (<https://www.standardwebhooks.com>), so that receivers can use the libraries there are.
//!
//! `webhook-id` stays the same with every attempt, `webhook-timestamp` is the attempt's time in Unix seconds, and
//! `webhook-signature` is `v1,` and the base64 HMAC-SHA256 of `id.timestamp.body`. The secret is shown as `whsec_` and base64.
//! Pure: when to try again, and what an answer means.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use data_encoding::BASE64;
use ring::hmac;
use sonde_protocol::time::UnixNanos;
use sonde_store::catalog::{Attempt, Delivery};

use crate::egress::EgressError;

/// How many random bytes a secret has.
pub(crate) const SECRET: usize = 32;

/// How long after an attempt that failed the next one is made: eleven in about a day and a half.
const AGAIN: [u64; 10] = [5, 30, 120, 600, 1800, 3600, 7200, 14_400, 36_000, 57_600];

/// A secret as its owner is shown it.
pub(crate) fn shown(secret: &[u8]) -> String {
    format!("whsec_{}", BASE64.encode(secret))
}

/// The name of a delivery.
pub(crate) fn name(delivery: u64) -> String {
    format!("alert-delivery-{delivery}")
}

/// The headers of an attempt.
pub(crate) fn headers(secret: &[u8], delivery: &Delivery, now: UnixNanos) -> Vec<(HeaderName, HeaderValue)> {
    let (id, timestamp) = (name(delivery.id), now.as_secs().to_string());
    let signed = format!("{id}.{timestamp}.{}", delivery.body);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    let values = [
        ("content-type", "application/json".to_owned()),
        ("user-agent", concat!("sonde/", env!("CARGO_PKG_VERSION")).to_owned()),
        ("webhook-id", id),
        ("webhook-timestamp", timestamp),
        ("webhook-signature", format!("v1,{}", BASE64.encode(tag.as_ref()))),
    ];
    let headers = values.into_iter().filter_map(|(name, value)| {
        // Letters, digits and base64: there is nothing that a header cannot have.
        Some((HeaderName::from_static(name), HeaderValue::from_str(&value).ok()?))
    });
    headers.collect()
}

/// What an attempt means, and in words. `attempts` were made before it.
pub(crate) fn outcome(answer: Result<u16, EgressError>, attempts: u32, now: UnixNanos) -> (Attempt, String) {
    let again = || match AGAIN.get(attempts as usize) {
        Some(seconds) => Attempt::Again(now + Duration::from_secs(*seconds)),
        None => Attempt::GivenUp,
    };
    match answer {
        Ok(status @ 200..=299) => (Attempt::Arrived(now), format!("status {status}")),
        Ok(410) => (Attempt::Unwanted, "status 410: the rule was switched off".into()),
        Ok(status) => (again(), format!("status {status}")),
        Err(EgressError::Refused(why)) => (Attempt::GivenUp, why),
        Err(EgressError::Failed(why)) => (again(), why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(id: u64, body: &str) -> Delivery {
        Delivery {
            id,
            rule: 1,
            created_at: UnixNanos(0),
            body: body.into(),
            attempts: 0,
            next_at: None,
            ended_at: None,
            last: None,
        }
    }

    #[test]
    fn the_signature_is_of_name_time_and_body() {
        // Made with Python: hmac.digest(bytes(range(32)), b'alert-delivery-7.1760000000.{"a":1}', 'sha256'), in base64.
        let secret: Vec<u8> = (0..32).collect();
        let headers = headers(&secret, &delivery(7, r#"{"a":1}"#), UnixNanos::from_secs(1_760_000_000));
        let header = |name: &str| headers.iter().find(|(known, _)| known == name).unwrap().1.to_str().unwrap();
        assert_eq!(header("webhook-id"), "alert-delivery-7");
        assert_eq!(header("webhook-timestamp"), "1760000000");
        assert_eq!(header("webhook-signature"), "v1,b1Ui2WPXoZ3H59M4teI8+G7+Mf1WiRVk4AhpAUXx2hw=");
    }

    #[test]
    fn what_is_not_taken_is_tried_again_for_a_day_and_then_no_more() {
        let mut now = UnixNanos::from_secs(1_760_000_000);
        let begin = now;
        let mut attempts = 0;
        while let (Attempt::Again(next), _) = outcome(Ok(500), attempts, now) {
            assert!(next > now);
            (now, attempts) = (next, attempts + 1);
        }
        let hours = (now.as_secs() - begin.as_secs()) / 3600;
        assert!((24..48).contains(&hours), "{hours} h, {attempts} attempts");
        assert_eq!(outcome(Ok(204), 3, now).0, Attempt::Arrived(now));
        assert_eq!(outcome(Ok(301), attempts, now).0, Attempt::GivenUp, "a redirect is not followed");
        assert_eq!(outcome(Ok(410), 0, now).0, Attempt::Unwanted);
        assert_eq!(outcome(Err(EgressError::Refused("no".into())), 0, now).0, Attempt::GivenUp);
        assert!(matches!(outcome(Err(EgressError::Failed("late".into())), 0, now).0, Attempt::Again(_)));
    }
}
