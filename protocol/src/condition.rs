//! What can be wrong with a probe, in words that never change: the one vocabulary of `sonde-probe status`, of
//! `sonde-probe doctor`, and of the probe's record in the API.
//!
//! A [`Word`] has a number on the wire, a name for programs, a meaning and an advice for people, and a [`Level`]. A
//! [`Condition`] is a word that holds or held, since when and with what detail. Who finds out which words hold is
//! elsewhere (the probe's `condition`, the server's catalog); this module must not know how.

pub mod board;

use core::fmt;

use minicbor::{Decode, Encode};

use crate::bounded::{List, Text};
use crate::message::RefusedReason;

/// The longest detail in bytes: a name, an address and what the system says of them fit.
pub const MAX_DETAIL: usize = 200;

/// The most conditions in one message. Of each word there is one at most that holds; the others are over.
pub const MAX_CONDITIONS: usize = 64;

/// How bad a condition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As somebody wants it, or as the line is. Nothing is broken.
    Note,
    /// Something does not work, the rest does.
    Warning,
    /// The probe cannot do what it is there for.
    Problem,
}

impl Level {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Problem => "problem",
        }
    }
}

/// What a word says.
struct Entry {
    word: Word,
    number: u16,
    name: &'static str,
    level: Level,
    meaning: &'static str,
    advice: &'static str,
}

macro_rules! words {
    ($($(#[$doc:meta])* $word:ident = $number:literal $name:literal $level:ident: $meaning:literal, $advice:literal;)*) => {
        /// What can be wrong. Of several that hold, the one that comes first here is to be repaired first: what comes
        /// later may be its consequence.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Word {
            $(#[doc = $meaning] $(#[$doc])* $word,)*
        }

        const TABLE: &[Entry] = &[$(Entry {
            word: Word::$word,
            number: $number,
            name: $name,
            level: Level::$level,
            meaning: $meaning,
            advice: $advice,
        },)*];

        impl Word {
            /// Every word, in the order in which one would repair them.
            pub const ALL: &[Word] = &[$(Word::$word,)*];
        }
    };
}

// A number is for ever; the next free one is 34.
words! {
    LinkDown = 1 "link-down" Problem:
        "No network interface has a link.",
        "Plug in the cable or join the wireless network, and see whether the router or switch is on.";
    NoAddress = 2 "no-address" Problem:
        "The machine has no address to reach the internet from.",
        "See whether the router gives addresses away (DHCP, router advertisements), or set one by hand.";
    NoRoute = 3 "no-route" Problem:
        "The machine knows no way to the internet: there is no default route.",
        "See whether the router announces itself (DHCP, router advertisements), or set the default route by hand.";
    GatewaySilent = 4 "gateway-silent" Problem:
        "The router does not answer, and nothing beyond it does.",
        "Restart the router; if the default route was set by hand, check it.";
    NoInternet = 5 "no-internet" Problem:
        "The router answers, but nothing beyond it does.",
        "See whether the router is connected to the internet; restart it and the modem, then ask the provider.";
    UdpBlocked = 6 "udp-blocked" Problem:
        "UDP does not pass, although other packets do.",
        "Allow outgoing UDP in the firewall, at least to the collector's address and port and to the resolvers' port 53.";
    MtuHole = 7 "mtu-hole" Problem:
        "Packets above a size vanish on the way, and nobody says that they are too big.",
        "Lower the MTU of the router's line (1492 for PPPoE, 1280 works nearly everywhere), and let ICMP \"too big\" pass.";
    NoResolver = 8 "no-resolver" Problem:
        "No DNS resolver is configured, so no name can be looked up.",
        "Put `nameserver ADDRESS` into /etc/resolv.conf, or name resolvers in sonde.toml, section [policy].";
    DnsSilent = 9 "dns-silent" Problem:
        "No DNS resolver answers.",
        "See whether /etc/resolv.conf or sonde.toml names the right resolvers, and whether port 53 may pass.";
    DnsFails = 10 "dns-fails" Problem:
        "The DNS resolvers answer with errors.",
        "They may not serve this machine: name others in /etc/resolv.conf, or in sonde.toml, section [policy].";
    DnsWrong = 11 "dns-wrong" Problem:
        "The DNS resolvers give wrong answers for the collector's name.",
        "Something between here and the internet changes the answers: name other resolvers in sonde.toml, section [policy]. \
         If they say the same, ask the network's operator about the name.";
    Ipv4Broken = 12 "ipv4-broken" Warning:
        "There is an IPv4 address and a route, but nothing answers over IPv4.",
        "Restart the router and see what it says of IPv4, then ask the provider. What is measured over IPv4 says nothing else.";
    Ipv6Broken = 13 "ipv6-broken" Warning:
        "There is an IPv6 address and a route, but nothing answers over IPv6.",
        "Restart the router and see what it says of IPv6, then ask the provider. What is measured over IPv6 says nothing else.";
    NoPing = 14 "no-ping" Problem:
        "The program may not send pings.",
        "Allow it: sysctl -w net.ipv4.ping_group_range=\"0 2147483647\"; `sonde-probe doctor` tells more.";
    ClockWrong = 15 "clock-wrong" Warning:
        "The machine's clock is wrong.",
        "Switch on an NTP client (systemd-timesyncd or chrony). Until then the probe goes by its collector's clock.";
    KeyRefused = 16 "key-refused" Problem:
        "The network does not know this probe's key, or does not want it any more.",
        "Ask the network's operator for a network.toml with a join token.";
    TokenRefused = 17 "token-refused" Problem:
        "The join token is unknown, expired, or used by another key.",
        "Ask the network's operator for a new join token.";
    PendingClaim = 18 "pending-claim" Problem:
        "The probe waits to be claimed.",
        "Claim it on the network's page with the code that `sonde-probe status` shows.";
    DuplicateKey = 19 "duplicate-key" Problem:
        "Another machine uses this probe's key.",
        "Stop one of the two. The copy becomes a probe of its own when its state directory is removed.";
    TooOld = 20 "too-old" Problem:
        "The collector does not speak this program's version any more.",
        "Update the probe.";
    NotUnderstood = 21 "not-understood" Problem:
        "The collector does not understand this probe.",
        "Update the probe, and report this if it stays.";
    WrongKey = 22 "wrong-key" Problem:
        "Whoever answers at the collector's address has not the collector's key.",
        "Somebody between here and the collector answers in its place; try another line. If it stays, ask the operator.";
    NoCollector = 23 "no-collector" Problem:
        "The network names no collector that could be reached from here.",
        "Ask the network's operator for a newer network.toml.";
    CollectorBusy = 24 "collector-busy" Problem:
        "The collector cannot serve the probe just now.",
        "Nothing is to be done here: the probe tries again by itself.";
    CollectorSilent = 25 "collector-silent" Problem:
        "The collector does not answer, although the line works.",
        "Nothing is to be done here if it passes soon: the probe tries again by itself. If not, ask the network's operator.";
    DiskFull = 26 "disk-full" Warning:
        "The disk of the state directory is full.",
        "Make room: what cannot be sent meanwhile is kept in memory alone.";
    DiskReadOnly = 27 "disk-read-only" Warning:
        "The state directory cannot be written.",
        "See whether the disk is damaged or mounted read-only: what cannot be sent meanwhile is kept in memory alone.";
    NoSandbox = 28 "no-sandbox" Warning:
        "A wall of the program's sandbox is missing.",
        "A newer kernel has what is missing: Landlock (Linux 5.13) and filters of system calls.";
    LimitReached = 29 "limit-reached" Note:
        "The host's limits are used up, so measurements are skipped.",
        "Nothing is broken. Raise the limits in sonde.toml, section [limits], if you want more.";
    Paused = 30 "paused" Note:
        "The host has paused the probe.",
        "Nothing is broken. To go on: sonde-probe resume --state DIR.";
    QuietLine = 31 "quiet-line" Note:
        "The line is busy, so measurements that can wait do.",
        "Nothing is broken: the probe goes on when the line is free.";
    NeverConnected = 32 "never-connected" Problem:
        "The probe has never been connected.",
        "Start it, and look on its machine: sonde-probe doctor --state DIR.";
    NotConnected = 33 "not-connected" Problem:
        "The probe is not connected; why, it tells when it is back.",
        "See whether its machine has power and a network, and look there: sonde-probe doctor --state DIR.";
}

impl Word {
    fn entry(self) -> &'static Entry {
        // The table and the enum are made from the same lines, in the same order.
        TABLE.get(self as usize).unwrap_or(&TABLE[0])
    }

    /// Its number on the wire.
    pub fn number(self) -> u16 {
        self.entry().number
    }

    /// The word of a number; `None` for one of a newer version.
    pub fn from_number(number: u16) -> Option<Self> {
        TABLE.iter().find(|entry| entry.number == number).map(|entry| entry.word)
    }

    /// For programs: lower case, with hyphens.
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// How bad it is.
    pub fn level(self) -> Level {
        self.entry().level
    }

    /// What it means, one sentence.
    pub fn meaning(self) -> &'static str {
        self.entry().meaning
    }

    /// What to do.
    pub fn advice(self) -> &'static str {
        self.entry().advice
    }

    /// What to do on a board, or on another machine.
    pub fn advice_on(self, board: bool) -> &'static str {
        board::advice(self).filter(|_| board).unwrap_or(self.advice())
    }

    /// The word for a collector's refusal.
    pub const fn of_refusal(reason: RefusedReason) -> Self {
        match reason {
            RefusedReason::UnknownKey | RefusedReason::KeyReplaced => Word::KeyRefused,
            RefusedReason::Token => Word::TokenRefused,
            RefusedReason::Version => Word::TooOld,
            RefusedReason::Busy => Word::CollectorBusy,
            RefusedReason::Malformed => Word::NotUnderstood,
            RefusedReason::Pending => Word::PendingClaim,
            RefusedReason::DuplicateKey => Word::DuplicateKey,
        }
    }

    /// Does a connection to a collector prove that it does not hold any more?
    pub const fn ends_with_connection(self) -> bool {
        matches!(
            self,
            Word::LinkDown
                | Word::NoAddress
                | Word::NoRoute
                | Word::GatewaySilent
                | Word::NoInternet
                | Word::UdpBlocked
                | Word::MtuHole
                | Word::WrongKey
                | Word::NoCollector
                | Word::CollectorSilent
        )
    }

    /// Does a collector's welcome prove that it does not hold any more?
    pub const fn ends_with_welcome(self) -> bool {
        self.ends_with_connection()
            || matches!(
                self,
                Word::KeyRefused
                    | Word::TokenRefused
                    | Word::PendingClaim
                    | Word::DuplicateKey
                    | Word::TooOld
                    | Word::NotUnderstood
                    | Word::CollectorBusy
            )
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that holds or held, as a probe tells it. Times are ages, because the probe's clock may be what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Condition {
    /// The word's number. One of a newer version is kept as it is.
    #[n(0)]
    pub word: u16,
    /// Seconds since it began.
    #[n(1)]
    pub began: u32,
    /// Seconds since it ended; absent while it holds.
    #[n(2)]
    pub ended: Option<u32>,
    /// For people: which address, how far off.
    #[n(3)]
    pub detail: Option<Text<MAX_DETAIL>>,
    /// The probe had no connection while it held.
    #[n(4)]
    pub cut_off: bool,
}

/// The conditions that one message tells.
pub type Conditions = List<Condition, MAX_CONDITIONS>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_itself_by_number_and_by_table() {
        for (position, &word) in Word::ALL.iter().enumerate() {
            assert_eq!((word as usize, word.entry().word), (position, word));
            assert_eq!(Word::from_number(word.number()), Some(word));
            assert!(word.meaning().ends_with('.') && word.advice().ends_with('.'), "{word}");
            assert!(word.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'));
        }
        assert_eq!(Word::from_number(0), None);
    }

    #[test]
    fn the_numbers_that_probes_in_the_field_use_stay() {
        let numbers: alloc::vec::Vec<_> = TABLE.iter().map(|entry| (entry.number, entry.name)).collect();
        assert_eq!(numbers.iter().map(|(number, _)| *number).max(), Some(33), "the comment names the next free one");
        for (number, name) in [(1, "link-down"), (6, "udp-blocked"), (9, "dns-silent"), (16, "key-refused")] {
            assert!(numbers.contains(&(number, name)));
        }
        let mut unique: alloc::vec::Vec<_> = numbers.iter().map(|(number, _)| number).collect();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), numbers.len());
    }

    #[test]
    fn what_is_over_when_a_collector_answers_is_over_when_it_welcomes() {
        for word in Word::ALL {
            assert!(!word.ends_with_connection() || word.ends_with_welcome(), "{word}");
        }
        assert!(!Word::Ipv6Broken.ends_with_welcome(), "the other family may be the one that connects");
        assert!(!Word::DnsSilent.ends_with_connection(), "a literal needs no resolver");
    }
}
