//! `sonde KIND TARGET …`: one command for each kind of measurement, all alike but for the options of the kind.

use std::time::Duration;

use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand};
use sonde_probe::run::KINDS;
use sonde_protocol::spec::Kind;

use super::access::AccessArgs;
use super::options;

const EXAMPLES: &str = "\
Places: WW, a country (DE), AS64500, a prefix (192.0.2.0/24), area:West, region:europe, msm:1000001 (the probes of that
measurement), probes:1-5,9; several between commas, how many of each behind a star.

Ctrl-C stops the measurement. The exit code is 0 if a result came, 1 if none did, 2 for wrong use.";

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The kind.
    pub kind: Kind,
    /// The options of the kind, as words.
    pub options: Vec<String>,
    /// Everything else.
    pub common: Common,
}

/// The families to measure over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Families {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
    /// Both, each by a measurement of its own.
    Both,
}

/// What every kind has.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Host name or address; for dns the name to ask for
    pub target: String,
    /// Where to measure from; may be repeated. 5 probes anywhere by default
    #[arg(long, value_name = "WHERE")]
    pub from: Vec<String>,
    /// Only probes with this tag; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// Only probes without this tag; may be repeated
    #[arg(long = "not-tag", value_name = "TAG")]
    pub not_tags: Vec<String>,
    /// 4, 6 or both; by default the family of an address, and both of a name
    #[arg(long, value_name = "FAMILY", value_parser = families)]
    pub af: Option<Families>,
    /// Measures again and again, so many seconds apart, until Ctrl-C
    #[arg(long, value_name = "SECONDS")]
    pub interval: Option<u32>,
    /// With --interval: ends by itself after this time, such as 90s, 10m, 2h, 1d
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "interval")]
    pub stop_after: Option<Duration>,
    /// What the measurement is for
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// Hides the measurement and its results from everybody but you
    #[arg(long)]
    pub private: bool,
    /// Each probe looks the target's name up itself, before every run
    #[arg(long)]
    pub resolve_on_probe: bool,
    /// How long to wait for results, such as 30s; by default a minute longer than it should take
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub wait: Option<Duration>,
    /// Prints each result as a line of JSON, and nothing else on standard output
    #[arg(long)]
    pub json: bool,
    /// For dns: the server to ask. Without it each probe asks its own resolvers
    #[arg(long, value_name = "HOST", hide = true)]
    pub ask: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show it as help of the whole command")]
    pub access: AccessArgs,
}

fn families(text: &str) -> Result<Families, String> {
    match text.to_ascii_lowercase().as_str() {
        "4" => Ok(Families::V4),
        "6" => Ok(Families::V6),
        "both" => Ok(Families::Both),
        _ => Err("4, 6 or both".into()),
    }
}

/// Reads `90`, `90s`, `10m`, `2h`, `1d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (digits, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(end) => text.split_at(end),
        None => (text, "s"),
    };
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err("a time is such as 90s, 10m, 2h, 1d".into()),
    };
    let seconds = digits.parse::<u32>().ok().and_then(|number| u64::from(number).checked_mul(seconds));
    match seconds.filter(|seconds| (1..=u64::from(u32::MAX)).contains(seconds)) {
        Some(seconds) => Ok(Duration::from_secs(seconds)),
        None => Err("a time is such as 90s, 10m, 2h, 1d".into()),
    }
}

impl Subcommand for Ask {
    fn augment_subcommands(command: Command) -> Command {
        KINDS.into_iter().fold(command, |command, kind| {
            let own = Common::augment_args(Command::new(kind.name())).args(options::arguments(kind));
            let own = own.about(options::about(kind)).after_help(EXAMPLES);
            // The one option that both halves must know: whom dns asks.
            let own = if kind == Kind::Dns { own.mut_arg("ask", |arg| arg.hide(false)) } else { own };
            // Its targets are the network's references, which nobody can choose.
            let own = match kind {
                Kind::Ipv6 => own
                    .mut_arg("target", |arg| arg.required(false).default_value("").hide(true))
                    .mut_arg("af", |arg| arg.hide(true))
                    .mut_arg("resolve_on_probe", |arg| arg.hide(true)),
                _ => own,
            };
            command.subcommand(own)
        })
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        name.parse::<Kind>().is_ok_and(|kind| KINDS.contains(&kind))
    }
}

impl FromArgMatches for Ask {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let found = matches.subcommand().and_then(|(name, own)| Some((name.parse::<Kind>().ok()?, own)));
        let Some((kind, own)) = found else {
            return Err(clap::Error::raw(
                clap::error::ErrorKind::InvalidSubcommand,
                "this is no kind of measurement\n",
            ));
        };
        let common = Common::from_arg_matches(own)?;
        if kind != Kind::Dns && common.ask.is_some() {
            return Err(clap::Error::raw(clap::error::ErrorKind::UnknownArgument, "--ask is for dns alone\n"));
        }
        if kind == Kind::Ipv6 && !common.target.is_empty() {
            let text = "ipv6 has no target: it measures against the network's reference servers\n";
            return Err(clap::Error::raw(clap::error::ErrorKind::UnknownArgument, text));
        }
        Ok(Self { kind, options: options::given(kind, own), common })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    #[command(no_binary_name = true)]
    struct Line {
        #[command(subcommand)]
        ask: Ask,
    }

    fn parse(line: &str) -> Result<Ask, String> {
        use clap::Parser;
        Line::try_parse_from(line.split(' ')).map(|line| line.ask).map_err(|error| error.to_string())
    }

    #[test]
    fn options_stand_anywhere_in_both_spellings() {
        let ask =
            parse("traceroute --max_hops 5 a.example --from DE*3,NL --dont-fragment --af 6 --from WW --first-hop=2");
        let ask = ask.unwrap();
        assert_eq!(ask.kind, Kind::Traceroute);
        assert_eq!(ask.options, ["--first-hop=2", "--max-hops=5", "--dont-fragment"]);
        assert_eq!((ask.common.target.as_str(), ask.common.af), ("a.example", Some(Families::V6)));
        assert_eq!(ask.common.from, ["DE*3,NL", "WW"]);
    }

    #[test]
    fn whom_dns_asks() {
        assert_eq!(parse("dns a.example --ask 192.0.2.53").unwrap().common.ask.as_deref(), Some("192.0.2.53"));
        assert!(parse("ping a.example --ask 192.0.2.53").is_err());
        assert!(parse("ping a.example --max-hops 3").is_err());
        assert!(parse("ping a.example --stop-after 10m").unwrap_err().contains("--interval"));
        assert!(parse("ping").is_err());
    }

    #[test]
    fn ipv6_has_no_target() {
        let ask = parse("ipv6 --from DE*3 --scope full").unwrap();
        assert_eq!((ask.kind, ask.options, ask.common.target.as_str()), (Kind::Ipv6, vec!["--scope=full".into()], ""));
        assert!(parse("ipv6 a.example").unwrap_err().contains("reference servers"));
    }

    #[test]
    fn times() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86_400)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "0", "s", "-1s", "1w", "1.5h", "99999999999d", "4294967295d", "5 m"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
