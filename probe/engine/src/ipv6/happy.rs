//! Who would win a race of both families, computed and not run (RFC 8305): a race hides what is broken, and times that were
//! measured apart do not disturb each other.

use sonde_protocol::net::Family;
use sonde_protocol::result::ipv6::HappyEyeballs;

/// How long AAAA is waited for when A came first (RFC 8305, section 8), nanoseconds.
const RESOLUTION_DELAY: u64 = 50_000_000;

/// How long the second family waits for the first.
const ATTEMPT_DELAY: u64 = 250_000_000;

/// Fills in winner and margin from the times.
pub fn race(times: HappyEyeballs) -> HappyEyeballs {
    let (start6, start4) = starts(&times);
    let arrives = |start: Option<u64>, connect: Option<u64>| Some(start?.saturating_add(connect?));
    let (v6, v4) = (arrives(start6, times.connect6), arrives(start4, times.connect4));
    let winner = match (v6, v4) {
        (Some(v6), Some(v4)) => Some(if v6 <= v4 { Family::V6 } else { Family::V4 }),
        (Some(_), None) => Some(Family::V6),
        (None, Some(_)) => Some(Family::V4),
        (None, None) => None,
    };
    let nanos = |time: u64| i64::try_from(time).unwrap_or(i64::MAX);
    let margin = v6.zip(v4).map(|(v6, v4)| nanos(v4).saturating_sub(nanos(v6)));
    HappyEyeballs { winner, margin, ..times }
}

/// When each family begins to connect.
fn starts(times: &HappyEyeballs) -> (Option<u64>, Option<u64>) {
    // The second begins a delay after the first, or as soon as that is known to fail.
    let second = |first: u64, failed: Option<u64>| {
        let delay = failed.map_or(ATTEMPT_DELAY, |failed| failed.min(ATTEMPT_DELAY));
        first.saturating_add(delay)
    };
    match (times.dns6, times.dns4) {
        (Some(dns6), Some(dns4)) if dns6 <= dns4.saturating_add(RESOLUTION_DELAY) => {
            (Some(dns6), Some(dns4.max(second(dns6, times.failed6))))
        }
        (Some(dns6), Some(dns4)) => {
            let start4 = dns4.saturating_add(RESOLUTION_DELAY);
            (Some(dns6.max(second(start4, times.failed4))), Some(start4))
        }
        (dns6, dns4) => (dns6, dns4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn races_by_the_book() {
        let ms = |time: u64| Some(time * 1_000_000);
        // dns6, dns4, connect6, connect4, failed6, failed4: who wins, by how many milliseconds.
        for (dns6, dns4, connect6, connect4, failed6, failed4, winner, margin) in [
            // IPv6 has a start of 250 ms.
            (ms(4), ms(4), ms(20), ms(10), None, None, Some(Family::V6), Some(240)),
            (ms(4), ms(4), ms(300), ms(10), None, None, Some(Family::V4), Some(-40)),
            // A late AAAA is waited for 50 ms, and no longer.
            (ms(50), ms(4), ms(20), ms(10), None, None, Some(Family::V6), Some(240)),
            (ms(90), ms(4), ms(20), ms(10), None, None, Some(Family::V4), Some(-260)),
            // A refusal lets the other begin at once.
            (ms(4), ms(4), None, ms(10), ms(30), None, Some(Family::V4), None),
            (None, ms(4), None, ms(10), None, None, Some(Family::V4), None),
            (ms(4), None, ms(10), None, None, None, Some(Family::V6), None),
            (None, None, None, None, None, None, None, None),
        ] {
            let times = HappyEyeballs { dns6, dns4, connect6, connect4, failed6, failed4, ..HappyEyeballs::default() };
            let done = race(times);
            assert_eq!((done.winner, done.margin.map(|nanos| nanos / 1_000_000)), (winner, margin), "{times:?}");
        }
        let most = Some(u64::MAX);
        let times =
            HappyEyeballs { dns6: most, dns4: most, connect6: most, connect4: most, ..HappyEyeballs::default() };
        assert_eq!(race(times).margin, Some(0), "nothing overflows");
    }
}
