//! From the fields of the form to the body of `POST measurements/`, and from the places of the API's complaints back to the
//! fields. Nothing is checked here: what does not make sense goes to the API as it was written, and the API says so.

use serde_json::{Map, Value, json};

use super::fields::{Field, Input, Kind, kind};
use crate::choices::Choices;

/// How many sources of probes the form has room for.
pub(super) const SOURCE_ROWS: usize = 4;

/// How many probes are asked for when nobody says.
pub(super) const REQUESTED: &str = "10";

/// What the form asks for.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// The body.
    pub body: Value,
    /// The kind, if it is one.
    pub kind: Option<&'static Kind>,
    /// Which row of the form each source of the body is.
    rows: Vec<usize>,
}

/// The name of a control of one kind.
pub(super) fn name_of(kind: &Kind, field: &str) -> String {
    format!("{}.{field}", kind.name)
}

/// The name of a control of one source of probes.
pub(super) fn source_name(row: usize, field: &str) -> String {
    format!("source{row}.{field}")
}

impl Request {
    /// Of the form's fields.
    pub fn of(choices: &Choices) -> Self {
        let word = choices.text("type").unwrap_or("ping");
        let kind = kind(word);
        let is_oneoff = choices.text("when") != Some("repeat");
        let definition = |af: Value| {
            let mut fields = Map::new();
            fields.insert("type".into(), word.into());
            fields.insert("af".into(), af);
            if let Some(kind) = kind {
                for field in kind.fields {
                    put(&mut fields, field, choices, &name_of(kind, field.name));
                }
            }
            if let Some(target) = choices.text("target").filter(|_| word != "ipv6") {
                fields.insert("target".into(), target.into());
            }
            if let Some(description) = choices.text("description") {
                fields.insert("description".into(), description.into());
            }
            if !is_oneoff && let Some(interval) = choices.text("interval") {
                fields.insert("interval".into(), number(interval));
            }
            if choices.text("tags").is_some() {
                fields.insert("tags".into(), list(choices, "tags"));
            }
            for flag in ["resolve_on_probe", "skip_dns_check"] {
                if choices.text(flag).is_some() {
                    fields.insert(flag.into(), true.into());
                }
            }
            if choices.text("private").is_some() {
                fields.insert("is_public".into(), false.into());
            }
            Value::Object(fields)
        };
        let definitions: Vec<Value> = match choices.text("af").unwrap_or("6") {
            // One run looks at both families, and has no target.
            _ if word == "ipv6" => vec![definition(6.into())],
            "both" => vec![definition(6.into()), definition(4.into())],
            one => vec![definition(number(one))],
        };
        let sources = (0..SOURCE_ROWS).filter_map(|row| Some((row, source(choices, row)?)));
        let (rows, sources): (Vec<usize>, Vec<Value>) = sources.unzip();
        let mut body = json!({ "definitions": definitions, "probes": sources, "is_oneoff": is_oneoff });
        if let Some(fields) = body.as_object_mut() {
            if let Some(start) = choices.text("start") {
                fields.insert("start_time".into(), time(start));
            }
            if !is_oneoff && let Some(stop) = choices.text("stop") {
                fields.insert("stop_time".into(), time(stop));
            }
        }
        Self { body, kind, rows }
    }

    /// The same with the seed of an estimate, so that the same probes are chosen.
    pub fn with_seed(mut self, seed: Option<&str>) -> Self {
        if let (Some(seed), Some(sources)) = (seed, self.body["probes"].as_array_mut()) {
            for source in sources {
                source["seed"] = number(seed);
            }
        }
        self
    }

    /// The control that a JSON pointer of the API is about; none for what is about the whole.
    pub fn control(&self, pointer: &str) -> Option<String> {
        let mut parts = pointer.strip_prefix('/')?.split('/');
        match (parts.next()?, parts.next(), parts.next()) {
            ("definitions", Some(_), Some(field)) => Some(self.of_definition(field)),
            ("definitions", ..) => Some("type".into()),
            ("probes", Some(index), field) => {
                let row = index.parse::<usize>().ok().and_then(|index| self.rows.get(index)).copied().unwrap_or(0);
                Some(source_name(
                    row,
                    match field {
                        Some("tags_include" | "tags") => "include",
                        Some("tags_exclude") => "exclude",
                        Some(field @ ("type" | "requested")) => field,
                        _ => "value",
                    },
                ))
            }
            ("probes", None, _) => Some(source_name(0, "value")),
            ("start_time", ..) => Some("start".into()),
            ("stop_time", ..) => Some("stop".into()),
            ("is_oneoff", ..) => Some("when".into()),
            _ => None,
        }
    }

    fn of_definition(&self, field: &str) -> String {
        if let Some(kind) = self.kind {
            if kind.fields.iter().any(|known| known.name == field) {
                return name_of(kind, field);
            }
            // One control for what the API has four fields for.
            if kind.name == "dns" && matches!(field, "protocol" | "tls" | "https" | "quic") {
                return name_of(kind, "carrier");
            }
        }
        match field {
            "is_public" => "private",
            "af" | "target" | "description" | "interval" | "tags" | "resolve_on_probe" | "skip_dns_check" => field,
            "spread" => "interval",
            "start_time" => "start",
            "stop_time" => "stop",
            "is_oneoff" => "when",
            _ => "type",
        }
        .into()
    }
}

fn put(fields: &mut Map<String, Value>, field: &Field, choices: &Choices, name: &str) {
    let Some(value) = choices.text(name) else {
        // The API wants both of every dns, and the form's defaults are what is shown.
        match field.name {
            "query_type" => drop(fields.insert("query_type".into(), "AAAA".into())),
            "query_class" => drop(fields.insert("query_class".into(), "IN".into())),
            _ => {}
        }
        return;
    };
    if field.name == "carrier" {
        let (field, value) = match value {
            "UDP" => return,
            "tls" | "https" | "quic" => (value, Value::Bool(true)),
            other => ("protocol", other.into()),
        };
        fields.insert(field.into(), value);
        return;
    }
    let value = match field.input {
        Input::Number(default, ..) if value == default.to_string() => return,
        Input::Number(..) | Input::Optional(..) => number(value),
        Input::Flag => true.into(),
        Input::Choice(words) => match value {
            "true" => true.into(),
            "false" => false.into(),
            // The default, which the API knows; but those of a dns it wants to hear.
            first if words.first().is_some_and(|(word, _)| *word == first) && field.name != "query_class" => return,
            other => other.into(),
        },
        Input::Text(_) => value.into(),
    };
    fields.insert(field.name.into(), value);
}

/// A row of the form; none when it says nothing.
fn source(choices: &Choices, row: usize) -> Option<Value> {
    let text = |field: &str| choices.text(&source_name(row, field));
    let kind = text("type").unwrap_or("area");
    // The first row has a meaning without a value: anywhere.
    let value = match text("value") {
        Some(value) => value,
        None if row == 0 && kind == "area" => "WW",
        None if row == 0 => "",
        None => return None,
    };
    let mut source = json!({ "type": kind, "value": value });
    let requested = match text("requested") {
        Some(requested) => Some(requested),
        // Whoever names probes means all of them.
        None if kind == "probes" => None,
        None => Some(REQUESTED),
    };
    if let Some(requested) = requested {
        source["requested"] = number(requested);
    }
    for (name, field) in [("include", "tags_include"), ("exclude", "tags_exclude")] {
        if let Some(tags) = text(name) {
            source[field] = tags.into();
        }
    }
    if text("diversity").is_some() {
        source["diversity"] = true.into();
    }
    Some(source)
}

/// A number, or what was written instead of one.
fn number(text: &str) -> Value {
    text.parse::<i64>().map_or_else(|_| text.into(), Value::from)
}

/// What a control for date and time gives is without seconds, which the API wants.
fn time(text: &str) -> Value {
    let has_minutes_alone = text.len() == 16 && text.as_bytes().get(10) == Some(&b'T');
    if has_minutes_alone { format!("{text}:00Z").into() } else { text.into() }
}

fn list(choices: &Choices, name: &str) -> Value {
    let words = choices.text(name).unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty());
    words.map(Value::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(query: &str) -> Request {
        Request::of(&Choices::of(query.as_bytes()).unwrap())
    }

    #[test]
    fn an_empty_form_is_a_ping_from_anywhere() {
        let request = request("");
        let expected = json!({"definitions": [{"type": "ping", "af": 6}],
            "probes": [{"type": "area", "value": "WW", "requested": 10}], "is_oneoff": true});
        assert_eq!(request.body, expected);
    }

    #[test]
    fn what_is_chosen_is_what_is_sent() {
        let request = request(
            "type=dns&af=both&target=9.9.9.9&when=repeat&interval=600&stop=2027-01-02T03:04&private=on&tags=a,+b\
             &dns.query_argument=example.net&dns.carrier=tls&dns.port=853&dns.set_rd_bit=true&dns.retry=0\
             &ping.packets=7&source0.type=country&source0.value=NL&source0.requested=3&source0.include=home\
             &source2.type=probes&source2.value=1,2&source2.diversity=on",
        );
        let fields = |af: u8| {
            json!({"type": "dns", "af": af, "query_argument": "example.net", "query_type": "AAAA", "query_class": "IN",
                "tls": true, "port": 853, "set_rd_bit": true, "target": "9.9.9.9", "interval": 600, "tags": ["a", "b"],
                "is_public": false})
        };
        let sources = json!([
            {"type": "country", "value": "NL", "requested": 3, "tags_include": "home"},
            {"type": "probes", "value": "1,2", "diversity": true},
        ]);
        assert_eq!(
            request.body,
            json!({"definitions": [fields(6), fields(4)], "probes": sources, "is_oneoff": false, "stop_time": "2027-01-02T03:04:00Z"})
        );
        let seeded = request.with_seed(Some("77"));
        assert_eq!((&seeded.body["probes"][0]["seed"], &seeded.body["probes"][1]["seed"]), (&json!(77), &json!(77)));
    }

    #[test]
    fn nonsense_goes_to_the_api_as_it_is() {
        let request = request("type=tea&af=five&ping.packets=x&source0.type=asn&start=soon");
        let definition = &request.body["definitions"][0];
        assert_eq!((&definition["type"], &definition["af"]), (&json!("tea"), &json!("five")));
        assert_eq!(request.body["start_time"], "soon");
        assert_eq!(request.body["probes"], json!([{"type": "asn", "value": "", "requested": 10}]));
        let ping = super::Request::of(&Choices::of(b"ping.packets=many&ping.size=48").unwrap());
        assert_eq!(ping.body["definitions"][0], json!({"type": "ping", "af": 6, "packets": "many"}));
    }

    #[test]
    fn every_complaint_finds_its_control() {
        let dns = request("type=dns&source1.value=DE&source1.type=country&source3.value=FR&source3.type=country");
        for (pointer, control) in [
            ("/definitions/0/query_argument", Some("dns.query_argument")),
            ("/definitions/1/quic", Some("dns.carrier")),
            ("/definitions/0/target", Some("target")),
            ("/definitions/0/spread", Some("interval")),
            ("/definitions/0/is_public", Some("private")),
            ("/definitions/0/packets", Some("type")),
            ("/definitions", Some("type")),
            ("/probes/0/value", Some("source0.value")),
            ("/probes/2/requested", Some("source3.requested")),
            ("/probes/2/tags_include", Some("source3.include")),
            ("/probes/9", Some("source0.value")),
            ("/probes", Some("source0.value")),
            ("/stop_time", Some("stop")),
            ("/bill_to", None),
            ("", None),
        ] {
            assert_eq!(dns.control(pointer).as_deref(), control, "{pointer}");
        }
    }
}
