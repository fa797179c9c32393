//! Which messages a subscription is for: every condition must hold.
//!
//! Conditions on what stands in a result are looked up in the JSON that this very subscriber would get. So no filter finds
//! out what the subscriber may not see.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;
use sonde_protocol::ids::{MeasurementId, ProbeId};
use sonde_protocol::spec::Kind;

/// The conditions.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Filter {
    /// Of this measurement.
    pub measurement: Option<MeasurementId>,
    /// Of this probe.
    pub probe: Option<ProbeId>,
    /// Of this kind.
    pub kind: Option<Kind>,
    /// In each of these networks is an address that the result was measured from.
    pub source: Vec<IpNet>,
    /// In each of these networks is an address that was measured.
    pub destination: Vec<IpNet>,
    /// In each of these networks is an address on the path.
    pub pass_through: Vec<IpNet>,
    /// Fields and their values.
    pub equal: Vec<(String, Value)>,
    /// Fields, and what their numbers are greater than.
    pub greater: Vec<(String, f64)>,
    /// Fields, and what their numbers are less than.
    pub less: Vec<(String, f64)>,
}

impl Filter {
    /// Do these ids and this kind fit?
    pub fn fits(&self, measurement: MeasurementId, probe: ProbeId, kind: Option<Kind>) -> bool {
        self.measurement.is_none_or(|wanted| wanted == measurement)
            && self.probe.is_none_or(|wanted| wanted == probe)
            && (self.kind.is_none() || self.kind == kind)
    }

    /// Must the JSON be looked into?
    pub fn looks_inside(&self) -> bool {
        !(self.source.is_empty()
            && self.destination.is_empty()
            && self.pass_through.is_empty()
            && self.equal.is_empty()
            && self.greater.is_empty()
            && self.less.is_empty())
    }

    /// Does what stands in the JSON fit?
    pub fn fits_inside(&self, json: &Value) -> bool {
        let number = |field: &str| json.get(field).and_then(Value::as_f64);
        any_in_each(&self.source, || within(json, &["from", "src_addr"]))
            && any_in_each(&self.destination, || within(json, &["dst_addr"]))
            && any_in_each(&self.pass_through, || path(json))
            && self.equal.iter().all(|(field, value)| json.get(field).is_some_and(|found| same(found, value)))
            && self.greater.iter().all(|(field, limit)| number(field).is_some_and(|number| number > *limit))
            && self.less.iter().all(|(field, limit)| number(field).is_some_and(|number| number < *limit))
    }
}

/// Is in each of the networks one of the addresses? They are looked up only if there is a network.
fn any_in_each(networks: &[IpNet], addresses: impl FnOnce() -> Vec<IpAddr>) -> bool {
    if networks.is_empty() {
        return true;
    }
    let addresses = addresses();
    networks.iter().all(|network| addresses.iter().any(|address| network.contains(address)))
}

/// The addresses in these fields, at the top or in an element of `resultset` (dns with several resolvers).
fn within(json: &Value, fields: &[&str]) -> Vec<IpAddr> {
    let elements = json.get("resultset").and_then(Value::as_array).into_iter().flatten();
    let objects = std::iter::once(json).chain(elements);
    objects.flat_map(|object| fields.iter().filter_map(|field| address(object.get(field)?))).collect()
}

/// Who answered on the path of a traceroute.
fn path(json: &Value) -> Vec<IpAddr> {
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    if json.get("type").and_then(Value::as_str) != Some(Kind::Traceroute.name()) {
        return Vec::new();
    }
    let replies = list(json.get("result")).into_iter().flat_map(|hop| list(hop.get("result")));
    replies.filter_map(|reply| address(reply.get("from")?)).collect()
}

fn address(value: &Value) -> Option<IpAddr> {
    value.as_str()?.parse().ok()
}

/// Are they the same? Numbers as numbers, and a text is the same as a number that is written so.
fn same(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Number(found), Value::Number(wanted)) => found.as_f64() == wanted.as_f64(),
        (Value::Number(found), Value::String(wanted)) => found.to_string() == *wanted,
        _ => found == wanted,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn nets(text: &str) -> Vec<IpNet> {
        vec![text.parse().unwrap()]
    }

    fn trace() -> Value {
        json!({
            "type": "traceroute", "af": 4, "from": "20.0.0.0", "src_addr": "192.168.1.0", "dst_addr": "1.1.1.1",
            "result": [
                {"hop": 1, "result": [{"x": "*"}, {"from": "22.0.0.1", "rtt": 1.5}]},
                {"hop": 255, "error": "none"},
            ],
        })
    }

    #[test]
    fn addresses_by_where_they_stand() {
        let fits = |filter: Filter| filter.looks_inside() && filter.fits_inside(&trace());
        for (text, source, destination, path) in [
            ("20.0.0.0/24", true, false, false),
            ("192.168.1.0/32", true, false, false),
            ("1.1.1.1/32", false, true, false),
            ("22.0.0.0/8", false, false, true),
            ("0.0.0.0/0", true, true, true),
            ("::/0", false, false, false),
        ] {
            assert_eq!(fits(Filter { source: nets(text), ..Filter::default() }), source, "{text}");
            assert_eq!(fits(Filter { destination: nets(text), ..Filter::default() }), destination, "{text}");
            assert_eq!(fits(Filter { pass_through: nets(text), ..Filter::default() }), path, "{text}");
        }
        let both = [nets("20.0.0.0/24"), nets("99.0.0.0/8")].concat();
        assert!(!fits(Filter { source: both, ..Filter::default() }), "each must hold");
    }

    #[test]
    fn dns_with_several_resolvers_has_several_destinations() {
        let json = json!({"type": "dns", "resultset": [{"dst_addr": "9.9.9.9"}, {"dst_addr": "8.8.8.8"}]});
        assert!(Filter { destination: nets("8.8.8.8/32"), ..Filter::default() }.fits_inside(&json));
    }

    #[test]
    fn fields_by_value() {
        let json = json!({"rcvd": 3, "min": 2.5, "type": "ping", "error": null});
        let fits = |equal: &[(&str, Value)]| {
            let equal = equal.iter().map(|(field, value)| ((*field).to_owned(), value.clone())).collect();
            Filter { equal, ..Filter::default() }.fits_inside(&json)
        };
        assert!(fits(&[("rcvd", json!(3)), ("type", json!("ping"))]));
        assert!(fits(&[("rcvd", json!(3.0))]) && fits(&[("rcvd", json!("3"))]));
        assert!(!fits(&[("rcvd", json!(2))]) && !fits(&[("sent", json!(3))]));
        let between = |low, high| {
            let (greater, less) = (vec![("min".to_owned(), low)], vec![("min".to_owned(), high)]);
            Filter { greater, less, ..Filter::default() }.fits_inside(&json)
        };
        assert!(between(2.0, 3.0));
        assert!(!between(2.5, 3.0) && !between(2.0, 2.5));
        assert!(!Filter { greater: vec![("type".into(), 0.0)], ..Filter::default() }.fits_inside(&json));
    }
}
