//! What a client asks for when it subscribes: the parameters of `atlas_subscribe`, or of the query.
//!
//! Numbers and yes or no may be text, and names that are not known are ignored, as in Atlas. Of a value that cannot be used
//! the client is told.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value};
use sonde_protocol::ids::{MeasurementId, ProbeId};
use sonde_protocol::spec::Kind;

use super::filter::Filter;
use crate::reader::integer;

/// How many fields one parameter may name at most.
const MAX_FIELDS: usize = 64;

/// Which stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamType {
    /// Results.
    Result,
    /// Probes that come and go.
    ProbeStatus,
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wanted {
    /// Which stream.
    pub stream: StreamType,
    /// What of it.
    pub filter: Filter,
    /// Only these fields.
    pub fields: Option<Vec<String>>,
    /// What was stored together may come together, as a list.
    pub buffering: bool,
    /// What was there before comes first.
    pub backlog: bool,
}

/// A parameter that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unusable {
    /// Its name.
    pub parameter: &'static str,
    /// Why, in a sentence.
    pub detail: String,
}

impl Wanted {
    /// Reads the parameters.
    pub fn read(parameters: &Map<String, Value>) -> Result<Self, Unusable> {
        let read = Parameters(parameters);
        let stream = read.stream()?;
        for name in ["startTime", "endTime", "speed"] {
            if read.get(name).is_some() {
                return unusable(name, "Replaying the past is not offered; the results endpoint has it.");
            }
        }
        let filter = Filter {
            measurement: read.id("msm")?.map(MeasurementId),
            probe: read.id("prb")?.map(ProbeId),
            kind: if stream == StreamType::Result { read.kind()? } else { None },
            source: read.networks("sourceAddress", "sourcePrefix")?,
            destination: read.networks("destinationAddress", "destinationPrefix")?,
            pass_through: read.networks("passThroughHost", "passThroughPrefix")?,
            equal: read.fields("equalsTo", |value| Some(value.clone()))?,
            greater: read.fields("greaterThan", number)?,
            less: read.fields("lessThan", number)?,
        };
        Ok(Self {
            stream,
            filter,
            fields: read.names("acceptedFields")?,
            buffering: read.flag("buffering")?,
            backlog: read.flag("sendBacklog")?,
        })
    }

    /// Is it the same subscription? How it begins does not matter.
    pub fn is_same(&self, other: &Wanted) -> bool {
        Wanted { backlog: false, ..self.clone() } == Wanted { backlog: false, ..other.clone() }
    }
}

fn unusable<T>(parameter: &'static str, detail: impl Into<String>) -> Result<T, Unusable> {
    Err(Unusable { parameter, detail: detail.into() })
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|number: &f64| number.is_finite())
}

struct Parameters<'a>(&'a Map<String, Value>);

impl Parameters<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null() && value.as_str() != Some(""))
    }

    fn stream(&self) -> Result<StreamType, Unusable> {
        // The documentation has one spelling, most clients have the other.
        let Some(value) = self.get("streamType").or_else(|| self.get("stream_type")) else {
            return unusable("streamType", "This parameter is required: result or probestatus.");
        };
        match value.as_str() {
            Some("result") => Ok(StreamType::Result),
            Some("probestatus") => Ok(StreamType::ProbeStatus),
            Some("metadata") => unusable("streamType", "The stream of metadata is not offered."),
            _ => unusable("streamType", "Streams are result and probestatus."),
        }
    }

    fn id(&self, name: &'static str) -> Result<Option<u64>, Unusable> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match integer(value).and_then(|id| u64::try_from(id).ok()) {
            Some(id) => Ok(Some(id)),
            None => unusable(name, "Enter one number; several need a subscription each."),
        }
    }

    fn flag(&self, name: &'static str) -> Result<bool, Unusable> {
        let Some(value) = self.get(name) else { return Ok(false) };
        let text = value.to_string().trim_matches('"').to_ascii_lowercase();
        match text.as_str() {
            "true" | "1" | "yes" => Ok(true),
            "false" | "0" | "no" => Ok(false),
            _ => unusable(name, "Enter true or false."),
        }
    }

    fn kind(&self) -> Result<Option<Kind>, Unusable> {
        let Some(value) = self.get("type") else { return Ok(None) };
        let kind = value.as_str().and_then(|text| text.to_ascii_lowercase().parse().ok());
        kind.map_or_else(|| unusable("type", "This is no type of measurement."), |kind| Ok(Some(kind)))
    }

    fn networks(&self, address: &'static str, prefix: &'static str) -> Result<Vec<IpNet>, Unusable> {
        let mut networks = Vec::new();
        if let Some(value) = self.get(address) {
            match value.as_str().and_then(|text| text.trim().parse::<IpAddr>().ok()) {
                Some(one) => networks.push(IpNet::from(one)),
                None => return unusable(address, "Enter an address."),
            }
        }
        if let Some(value) = self.get(prefix) {
            match value.as_str().and_then(|text| text.trim().parse::<IpNet>().ok()) {
                Some(network) => networks.push(network),
                None => return unusable(prefix, "Enter a prefix, such as 192.0.2.0/24."),
            }
        }
        Ok(networks)
    }

    /// An object of fields and what is wanted of each; from a query it comes as text.
    fn fields<T>(&self, name: &'static str, read: impl Fn(&Value) -> Option<T>) -> Result<Vec<(String, T)>, Unusable> {
        let Some(value) = self.get(name) else { return Ok(Vec::new()) };
        let from_text = value.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
        let object = from_text.as_ref().unwrap_or(value).as_object().filter(|object| object.len() <= MAX_FIELDS);
        let pairs = object.and_then(|object| {
            let pairs = object.iter().map(|(field, value)| Some((field.clone(), read(value)?)));
            pairs.collect::<Option<Vec<_>>>()
        });
        pairs.map_or_else(|| unusable(name, "Enter an object of fields and values, such as {\"af\":6}."), Ok)
    }

    /// A list of names, or one text with commas between.
    fn names(&self, name: &'static str) -> Result<Option<Vec<String>>, Unusable> {
        let names: Option<Vec<String>> = match self.get(name) {
            None => return Ok(None),
            Some(Value::String(csv)) => Some(csv.split(',').map(|field| field.trim().to_owned()).collect()),
            Some(Value::Array(items)) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
            Some(_) => None,
        };
        match names.filter(|names| names.len() <= MAX_FIELDS) {
            Some(names) => Ok(Some(names)),
            None => unusable(name, format!("Enter a list of at most {MAX_FIELDS} names of fields.")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<Wanted, Unusable> {
        Wanted::read(value.as_object().unwrap())
    }

    #[test]
    fn both_spellings_and_numbers_as_text() {
        let plain = read(json!({"streamType": "result", "msm": 5, "prb": 7})).unwrap();
        let odd = json!({"stream_type": "result", "msm": "5", "prb": 7.0, "what": [], "type": null, "enrichProbes": 1});
        let odd = read(odd).unwrap();
        assert_eq!(plain, odd);
        assert_eq!((plain.filter.measurement, plain.filter.probe), (Some(MeasurementId(5)), Some(ProbeId(7))));
        assert!(!plain.backlog && !plain.buffering);
        let more = read(json!({"streamType": "result", "msm": 5, "prb": 7, "sendBacklog": "true"})).unwrap();
        assert!(more.backlog && more.is_same(&plain) && more != plain);
    }

    #[test]
    fn filters() {
        let wanted = json!({
            "streamType": "result", "type": "Ping", "sourceAddress": "20.0.0.1", "sourcePrefix": "20.0.0.0/8",
            "passThroughHost": "2a00::1", "equalsTo": {"af": 4}, "greaterThan": "{\"min\":\"2.5\"}", "lessThan": {"max": 9},
            "acceptedFields": "prb_id, min", "buffering": 1,
        });
        let wanted = read(wanted).unwrap();
        assert_eq!(wanted.filter.kind, Some(Kind::Ping));
        assert_eq!(wanted.filter.source, ["20.0.0.1/32".parse().unwrap(), "20.0.0.0/8".parse::<IpNet>().unwrap()]);
        assert_eq!(wanted.filter.pass_through, ["2a00::1/128".parse::<IpNet>().unwrap()]);
        assert_eq!(wanted.filter.greater, [("min".to_owned(), 2.5)]);
        assert_eq!(wanted.fields, Some(vec!["prb_id".to_owned(), "min".to_owned()]));
        assert!(wanted.buffering);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (name, value) in [
            ("streamType", json!("everything")),
            ("streamType", json!("metadata")),
            ("streamType", json!(null)),
            ("msm", json!("five")),
            ("msm", json!([1, 2])),
            ("prb", json!(-1)),
            ("type", json!("smoke")),
            ("sourceAddress", json!("20.0.0.0/8")),
            ("destinationPrefix", json!("everywhere")),
            ("equalsTo", json!(5)),
            ("greaterThan", json!({"min": "much"})),
            ("lessThan", json!("{")),
            ("acceptedFields", json!([1])),
            ("sendBacklog", json!("perhaps")),
            ("startTime", json!(1)),
            ("speed", json!(2)),
        ] {
            let mut parameters = json!({"streamType": "result"});
            parameters[name] = value.clone();
            assert_eq!(read(parameters).unwrap_err().parameter, name, "{name}={value}");
        }
    }
}
