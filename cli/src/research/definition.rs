//! A command line as the body of `POST measurements/`.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};
use sonde_probe::measure::{Measure, UsageError};
use sonde_protocol::spec::{Kind, Spec};

use super::ask::{Ask, Families};
use super::from::Source;
use super::refusal::Refusal;

/// What is asked for, ready to be sent.
#[derive(Debug, Clone)]
pub struct Request {
    /// Options and target, checked.
    measure: Measure,
    /// The families, each a definition of its own.
    pub families: Vec<u8>,
    /// Was it our choice to measure over both? Then one of them may be left out.
    is_our_choice: bool,
}

impl Request {
    /// Checks the options.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub fn read(ask: &Ask) -> Result<Self, UsageError> {
        let mut options = ask.options.clone();
        if let Some(server) = &ask.common.ask {
            options.push(format!("--server={server}"));
        }
        let target = (ask.kind != Kind::Ipv6).then(|| ask.common.target.clone());
        let words: Vec<String> = target.into_iter().chain(options).collect();
        let measure = Measure::parse(ask.kind.name(), &words)?;
        let literal = measure.target.as_deref().and_then(|target| target.parse::<IpAddr>().ok());
        let families = match (ask.common.af, literal) {
            // One run is about both.
            _ if ask.kind == Kind::Ipv6 => vec![6],
            (Some(Families::V4), _) => vec![4],
            (Some(Families::V6), _) => vec![6],
            (Some(Families::Both), _) => vec![4, 6],
            (None, Some(address)) => vec![if address.is_ipv4() { 4 } else { 6 }],
            // A probe asks all of its own resolvers, of both families, in one run.
            (None, None) if measure.target.is_none() => vec![4],
            (None, None) => vec![4, 6],
        };
        let is_our_choice = ask.common.af.is_none();
        Ok(Self { measure, families, is_our_choice })
    }

    /// The body. `now` is in Unix seconds.
    pub fn body(&self, ask: &Ask, sources: &[Source], now: u64) -> Value {
        let common = &ask.common;
        let description = common
            .description
            .clone()
            .unwrap_or_else(|| format!("{} {}", ask.kind, common.target).trim_end().to_owned());
        let definitions = self.families.iter().map(|af| {
            let mut definition = json!({"type": ask.kind.name(), "af": af, "description": description});
            if let Some(fields) = definition.as_object_mut() {
                if let Some(target) = self.measure.target.as_deref() {
                    fields.insert("target".into(), target.into());
                }
                fields.extend(sonde_api::definition_fields(&self.measure.spec));
                if let Some(interval) = common.interval {
                    fields.insert("interval".into(), interval.into());
                }
                if common.private {
                    fields.insert("is_public".into(), false.into());
                }
                if common.resolve_on_probe {
                    fields.insert("resolve_on_probe".into(), true.into());
                }
            }
            definition
        });
        let probes = sources.iter().map(|source| source.to_json(&common.tags, &common.not_tags));
        let mut body = json!({
            "definitions": definitions.collect::<Value>(),
            "probes": probes.collect::<Value>(),
            "is_oneoff": common.interval.is_none(),
        });
        if let (Some(fields), Some(after)) = (body.as_object_mut(), common.stop_after) {
            fields.insert("stop_time".into(), now.saturating_add(after.as_secs()).into());
        }
        body
    }

    /// The request without the family that the target does not have, and what the server says of it: when measuring over
    /// both was our choice, and nothing else is wrong.
    pub fn without_missing_family(&self, refusal: &Refusal) -> Option<(Self, String)> {
        let [(place, detail)] = refusal.problems.as_slice() else { return None };
        let missing: usize = place.strip_prefix("/definitions/")?.strip_suffix("/target")?.parse().ok()?;
        if !self.is_our_choice || self.families.len() != 2 || missing >= self.families.len() {
            return None;
        }
        let mut rest = self.clone();
        let family = rest.families.remove(missing);
        Some((rest, format!("not over IPv{family}: {detail}")))
    }

    /// How long a run can take at the probe.
    pub fn longest_run(&self) -> Duration {
        let ms = |number: u32| Duration::from_millis(number.into());
        match &self.measure.spec {
            Spec::Ping(ping) => ms(ping.packet_interval).saturating_mul(ping.packets),
            Spec::Traceroute(trace) => ms(trace.response_timeout).saturating_mul(trace.packets.saturating_add(8)),
            Spec::Dns(dns) => ms(dns.timeout).saturating_mul(dns.retry.saturating_add(1)),
            Spec::Sslcert(_) => Duration::from_secs(10),
            Spec::Http(_) => Duration::from_secs(30),
            Spec::Ntp(ntp) => ms(ntp.timeout).saturating_mul(ntp.packets),
            Spec::PathMtu(_) => Duration::from_secs(300),
            Spec::Ipv6(_) => Duration::from_secs(60),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::research::from;

    #[derive(Debug, Parser)]
    #[command(no_binary_name = true)]
    struct Line {
        #[command(subcommand)]
        ask: Ask,
    }

    fn ask(line: &str) -> Ask {
        Line::try_parse_from(line.split(' ')).unwrap().ask
    }

    fn body(line: &str) -> Value {
        let ask = ask(line);
        Request::read(&ask).unwrap().body(&ask, &from::parse(&ask.common.from).unwrap(), 1_760_000_000)
    }

    #[test]
    fn the_families_of_a_target() {
        for (line, families) in [
            ("ping 192.0.2.1", vec![4]),
            ("ping 2001:db8::1", vec![6]),
            ("ping a.example", vec![4, 6]),
            ("ping a.example --af 6", vec![6]),
            ("dns a.example", vec![4]),
            ("ipv6 --af both", vec![6]),
            ("dns a.example --af both", vec![4, 6]),
            ("dns a.example --ask 2001:db8::53", vec![6]),
            ("dns a.example --ask ns.example", vec![4, 6]),
        ] {
            assert_eq!(Request::read(&ask(line)).unwrap().families, families, "{line}");
        }
    }

    #[test]
    fn what_is_sent_is_what_the_api_accepts() {
        // Whom http may ask only a server knows.
        for kind in sonde_probe::run::KINDS.into_iter().filter(|kind| *kind != Kind::Http) {
            let target = if kind == Kind::Ipv6 { "" } else { " a.example" };
            let body = body(&format!("{kind}{target} --af 4 --from DE*3,probes:1-2 --tag home"));
            assert_eq!(sonde_api::check_body(body.to_string().as_bytes()), Ok(1), "{body}");
        }
        let once = body("ping 192.0.2.1 --packets 1");
        assert_eq!(once["is_oneoff"], true);
        assert_eq!((&once["definitions"][0]["packets"], &once["definitions"][0]["size"]), (&json!(1), &json!(48)));
        assert_eq!(once["definitions"][0]["description"], "ping 192.0.2.1");
        let periodic = body("ntp 192.0.2.1 --interval 300 --stop-after 1h --private --description clock");
        assert_eq!((&periodic["is_oneoff"], &periodic["stop_time"]), (&json!(false), &json!(1_760_003_600)));
        let definition = &periodic["definitions"][0];
        assert_eq!((&definition["interval"], &definition["is_public"]), (&json!(300), &json!(false)));
        let own = body("dns a.example --query-type AAAA");
        assert_eq!(
            (&own["definitions"][0]["use_probe_resolver"], own["definitions"][0].get("target")),
            (&json!(true), None)
        );
    }

    #[test]
    fn a_family_that_is_missing_is_left_out_if_nobody_asked_for_it() {
        let refusal =
            |place: &str| Refusal { problems: vec![(place.into(), "no IPv6 address".into())], ..Refusal::default() };
        let both = Request::read(&ask("ping a.example")).unwrap();
        let (rest, note) = both.without_missing_family(&refusal("/definitions/1/target")).unwrap();
        assert_eq!((rest.families.as_slice(), note.as_str()), ([4].as_slice(), "not over IPv6: no IPv6 address"));
        assert!(rest.without_missing_family(&refusal("/definitions/0/target")).is_none(), "one must be left");
        assert!(both.without_missing_family(&refusal("/definitions/1/packets")).is_none());
        let asked = Request::read(&ask("ping a.example --af both")).unwrap();
        assert!(asked.without_missing_family(&refusal("/definitions/1/target")).is_none());
    }
}
