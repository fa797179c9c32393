//! What an owner says of a probe: a body read into the catalog's words.

use serde_json::Value;
use sonde_store::catalog::ProbeEdit;

use crate::board_object;
use crate::error::Problem;
use crate::reader::{MAX_TAGS, Reader};

/// The longest description, in bytes.
const MAX_DESCRIPTION: usize = 255;

/// What of a body counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    /// Fields are named to be changed; one that cannot be is a problem.
    Named,
    /// A whole object, in which others stand as they were read.
    Object,
}

/// The fields that can be changed.
const FIELDS: [&str; 8] =
    ["description", "is_public", "country_code", "geometry", "latitude", "longitude", "tags", "updates"];

/// Reads a body. What is wrong with it is told all at once.
pub(crate) fn read(body: &Value, reads: Reads) -> Result<ProbeEdit, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut edit = ProbeEdit::default();
    if let Some(mut fields) = Reader::new(body, String::new(), &mut problems) {
        let has = |field: &str| body.get(field).is_some();
        if has("description") {
            let description = fields.text::<MAX_DESCRIPTION>("description");
            edit.description = Some(description.map(|text| text.as_str().to_owned()));
        }
        edit.address_is_public = fields.flag("is_public");
        if has("country_code") {
            edit.country = Some(country(&mut fields));
        }
        if has("geometry") || has("latitude") || has("longitude") {
            edit.place = Some(place(&mut fields));
        }
        if has("tags") {
            edit.tags = Some(tags(&mut fields, reads));
        }
        if has("updates") {
            edit.updates = board_object::read_choice(&mut fields, "updates");
        }
        let names = body.as_object().into_iter().flat_map(|object| object.keys());
        for name in names.filter(|name| reads == Reads::Named && !FIELDS.contains(&name.as_str())) {
            fields.problem(name, "This field cannot be changed.");
        }
    }
    if problems.is_empty() { Ok(edit) } else { Err(problems) }
}

fn country(fields: &mut Reader<'_>) -> Option<String> {
    let code = fields.text::<16>("country_code")?;
    if code.len() != 2 || !code.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        fields.problem("country_code", "Enter a country by its two letters (ISO 3166).");
        return None;
    }
    Some(code.to_ascii_uppercase())
}

/// A point as `geometry`, or `latitude` and `longitude` together.
fn place(fields: &mut Reader<'_>) -> Option<(f64, f64)> {
    let within = |value: &Value, most: f64| value.as_f64().filter(|degrees| degrees.abs() <= most);
    if let Some(geometry) = fields.value("geometry") {
        let point = geometry.get("coordinates").and_then(Value::as_array).map(Vec::as_slice);
        let place = match point {
            Some([longitude, latitude]) if geometry.get("type").is_some_and(|kind| kind == "Point") => {
                within(latitude, 90.0).zip(within(longitude, 180.0))
            }
            _ => None,
        };
        if place.is_none() {
            fields.problem("geometry", "Enter a Point with its longitude and latitude in degrees.");
        }
        return place;
    }
    let (latitude, longitude) = (fields.value("latitude"), fields.value("longitude"));
    if let (None, None) = (latitude, longitude) {
        return None;
    }
    let mut degrees = |field: &str, value: Option<&Value>, most: f64| {
        let degrees = value.and_then(|value| within(value, most));
        if degrees.is_none() {
            fields.problem(field, format!("Enter degrees between -{most} and {most}; both go together."));
        }
        degrees
    };
    let latitude = degrees("latitude", latitude, 90.0);
    let longitude = degrees("longitude", longitude, 180.0);
    latitude.zip(longitude)
}

/// Slugs, or objects that have one. System tags of an object that was read are passed over.
fn tags(fields: &mut Reader<'_>, reads: Reads) -> Vec<String> {
    let slug = |item: &Value| item.get("slug").cloned().unwrap_or_else(|| item.clone());
    let is_system = |slug: &Value| slug.as_str().is_some_and(|slug| slug.to_ascii_lowercase().starts_with("system-"));
    let slugs = match fields.value("tags") {
        Some(Value::Array(items)) => {
            let slugs = items.iter().take(4 * MAX_TAGS).map(slug);
            Value::Array(slugs.filter(|slug| reads == Reads::Named || !is_system(slug)).collect())
        }
        Some(other) => other.clone(),
        None => return Vec::new(),
    };
    let body = serde_json::json!({ "tags": slugs });
    let mut problems = Vec::new();
    let tags = Reader::new(&body, String::new(), &mut problems).map(|mut inner| inner.slugs("tags"));
    for problem in problems {
        fields.problem("tags", problem.detail);
    }
    let tags = tags.unwrap_or_default();
    if tags.iter().any(|tag| tag.starts_with("system-")) {
        fields.problem("tags", "System tags are given by the system.");
    }
    tags
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sonde_protocol::board::UpdateChoice;

    use super::*;

    #[test]
    fn what_can_be_said_of_a_probe() {
        let place =
            |latitude, longitude| ProbeEdit { place: Some(Some((latitude, longitude))), ..ProbeEdit::default() };
        let said = |tags: &[&str]| ProbeEdit {
            tags: Some(tags.iter().map(|tag| (*tag).to_owned()).collect()),
            ..ProbeEdit::default()
        };
        for (body, expected) in [
            (json!({}), ProbeEdit::default()),
            (
                json!({"description": " attic "}),
                ProbeEdit { description: Some(Some("attic".into())), ..ProbeEdit::default() },
            ),
            (json!({"description": null}), ProbeEdit { description: Some(None), ..ProbeEdit::default() }),
            (json!({"is_public": true}), ProbeEdit { address_is_public: Some(true), ..ProbeEdit::default() }),
            (json!({"country_code": "nl"}), ProbeEdit { country: Some(Some("NL".into())), ..ProbeEdit::default() }),
            (json!({"country_code": null}), ProbeEdit { country: Some(None), ..ProbeEdit::default() }),
            (json!({"geometry": {"type": "Point", "coordinates": [4.9, 52]}}), place(52.0, 4.9)),
            (json!({"latitude": 52, "longitude": 4.9}), place(52.0, 4.9)),
            (json!({"geometry": null}), ProbeEdit { place: Some(None), ..ProbeEdit::default() }),
            (json!({"tags": ["Home", {"name": "x", "slug": "fibre"}]}), said(&["fibre", "home"])),
            (json!({"tags": "b,a"}), said(&["a", "b"])),
            (json!({"tags": []}), said(&[])),
            (
                json!({"updates": {"choice": "delay", "days": 2}}),
                ProbeEdit { updates: Some(UpdateChoice::Delay(172_800)), ..ProbeEdit::default() },
            ),
        ] {
            for reads in [Reads::Named, Reads::Object] {
                assert_eq!(read(&body, reads).as_ref(), Ok(&expected), "{body}");
            }
        }
        let whole =
            json!({"id": 5, "type": "Probe", "status": {}, "tags": [{"slug": "system-ipv4-works"}, {"slug": "home"}]});
        assert_eq!(read(&whole, Reads::Object), Ok(said(&["home"])));
    }

    #[test]
    fn problems_have_their_places() {
        for (body, places) in [
            (json!([]), &[""][..]),
            (json!({"id": 5, "status": 1}), &["/id", "/status"]),
            (json!({"description": 5, "is_public": "perhaps"}), &["/description", "/is_public"]),
            (json!({"description": "x".repeat(256)}), &["/description"]),
            (json!({"country_code": "NLD"}), &["/country_code"]),
            (json!({"country_code": "\u{e4}"}), &["/country_code"]),
            (json!({"latitude": 52}), &["/longitude"]),
            (json!({"latitude": 91, "longitude": -181}), &["/latitude", "/longitude"]),
            (json!({"geometry": {"type": "Point", "coordinates": [52]}}), &["/geometry"]),
            (json!({"geometry": {"type": "LineString", "coordinates": [1, 2]}}), &["/geometry"]),
            (json!({"geometry": {"type": "Point", "coordinates": [4, 91]}}), &["/geometry"]),
            (json!({"geometry": 5}), &["/geometry"]),
            (json!({"tags": ["a b"]}), &["/tags"]),
            (json!({"tags": ["System-Anchor"]}), &["/tags"]),
            (json!({"tags": 5}), &["/tags"]),
            (json!({"updates": null}), &["/updates"]),
            (json!({"updates": {"choice": "never"}}), &["/updates/choice"]),
        ] {
            let problems = read(&body, Reads::Named).unwrap_err();
            let found: Vec<_> = problems.into_iter().map(|problem| problem.source).collect();
            let expected: Vec<_> =
                places.iter().map(|place| crate::error::Source::Pointer((*place).to_owned())).collect();
            assert_eq!(found, expected, "{body}");
        }
    }
}
