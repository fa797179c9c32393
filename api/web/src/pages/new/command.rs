//! The same request as a line for `curl` and as a line for `sonde`.

use serde_json::Value;

/// For curl. The key is read from the environment, so that it is in no history.
pub(super) fn curl(server: &str, body: &Value) -> String {
    let json = serde_json::to_string_pretty(body).unwrap_or_default();
    format!(
        "curl -H \"Authorization: Key $SONDE_KEY\" -H 'Content-Type: application/json' {} \\\n  -d {}",
        quoted(&format!("{server}/api/v2/measurements/")),
        quoted(&json)
    )
}

/// For `sonde`, or why it cannot say that.
pub(super) fn sonde(server: &str, body: &Value) -> Result<String, &'static str> {
    let definitions = body["definitions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(fields) = definitions.first().and_then(Value::as_object) else {
        return Err("There is nothing to measure.");
    };
    let kind = fields.get("type").and_then(Value::as_str).unwrap_or_default();
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    if body.get("start_time").is_some() {
        return Err("The command begins at once: it has no start time.");
    }
    if body.get("stop_time").is_some() {
        return Err("The command ends after a time (--stop-after), not at one.");
    }
    if fields.contains_key("tags") || fields.contains_key("skip_dns_check") {
        return Err("The command has no tags and skips no check.");
    }
    let target = if kind == "dns" { text("query_argument") } else { text("target") };
    let mut words = vec!["sonde".to_owned(), quoted(kind)];
    match target {
        _ if kind == "ipv6" => {}
        Some(target) => words.push(quoted(target)),
        None => return Err("The target is missing."),
    }
    let (places, tags) = sources(&body["probes"])?;
    for place in places {
        words.extend(["--from".into(), quoted(&place)]);
    }
    words.extend(tags);
    let af = definitions.first().map(|definition| definition["af"].to_string());
    let af = if definitions.len() == 2 { "both".into() } else { af.unwrap_or_default() };
    if kind != "ipv6" {
        words.extend(["--af".into(), quoted(&af)]);
    }
    if kind == "dns"
        && let Some(server) = text("target")
    {
        words.extend(["--ask".into(), quoted(server)]);
    }
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("type" | "af" | "target" | "query_argument" | "use_probe_resolver", _) => {}
            ("is_public", _) => words.push("--private".into()),
            // Alone among the yes-or-no options it takes a value, because its default depends on who is asked.
            ("set_rd_bit", value) => words.extend(["--set-rd-bit".into(), value.to_string()]),
            ("query_class", Value::String(class)) if class == "IN" => {}
            (name, Value::Bool(true)) => words.push(option(name)),
            (_, Value::Bool(false)) => {}
            (name, Value::String(text)) => words.extend([option(name), quoted(text)]),
            (name, value) => words.extend([option(name), quoted(&value.to_string())]),
        }
    }
    words.extend(["--server".into(), quoted(server)]);
    Ok(words.join(" "))
}

fn option(name: &str) -> String {
    format!("--{}", name.replace('_', "-"))
}

/// The places as `--from` has them, and the tags that all of them share.
fn sources(sources: &Value) -> Result<(Vec<String>, Vec<String>), &'static str> {
    let sources = sources.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut places = Vec::new();
    let tags_of = |source: &Value| {
        let tags = |name: &str, option: &str| {
            let tags =
                source[name].as_str().unwrap_or_default().split(',').map(str::trim).filter(|tag| !tag.is_empty());
            tags.flat_map(|tag| [option.to_owned(), quoted(tag)]).collect::<Vec<_>>()
        };
        [tags("tags_include", "--tag"), tags("tags_exclude", "--not-tag")].concat()
    };
    let tags = sources.first().map(tags_of).unwrap_or_default();
    for source in sources {
        if source["diversity"] == true {
            return Err("The command does not spread probes over countries and networks.");
        }
        if tags_of(source) != tags {
            return Err("The command has the same tags for all its places.");
        }
        let value = source["value"].as_str().unwrap_or_default();
        let digits =
            value.get(..2).filter(|start| start.eq_ignore_ascii_case("AS")).and(value.get(2..)).unwrap_or(value);
        let place = match source["type"].as_str().unwrap_or_default() {
            "asn" => format!("AS{digits}"),
            // Named probes are all asked.
            "probes" => {
                places.push(format!("probes:{value}"));
                continue;
            }
            "prefix" => value.to_owned(),
            kind => format!("{kind}:{value}"),
        };
        // `area:WW` is `WW` in short.
        let place = if place.eq_ignore_ascii_case("area:WW") { "WW".to_owned() } else { place };
        places.push(match &source["requested"] {
            Value::Null => place,
            requested => format!("{place}*{}", requested.as_str().map_or_else(|| requested.to_string(), str::to_owned)),
        });
    }
    Ok((places, tags))
}

/// A word as a POSIX shell reads it: as it is where that is safe, else in single quotes.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:,@%+=".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(body: &Value) -> String {
        sonde("https://sonde.example", body).unwrap_or_else(str::to_owned)
    }

    fn body(definition: &Value, sources: &Value) -> Value {
        json!({"definitions": [definition], "probes": sources, "is_oneoff": true})
    }

    #[test]
    fn lines_that_do_the_same() {
        let ping = json!({"type": "ping", "af": 6, "target": "example.net", "packets": 5, "is_public": false});
        let anywhere = json!([{"type": "area", "value": "WW", "requested": 10, "tags_include": "home, fibre"}]);
        assert_eq!(
            line(&body(&ping, &anywhere)),
            "sonde ping example.net --from 'WW*10' --tag home --tag fibre --af 6 --packets 5 --private --server https://sonde.example"
        );
        let dns = json!({"type": "dns", "af": 4, "query_argument": "example.net", "query_type": "MX", "query_class": "IN",
            "target": "9.9.9.9", "tls": true, "set_rd_bit": true});
        let sources = json!([{"type": "asn", "value": "as64500", "requested": 2}, {"type": "probes", "value": "1,2"}]);
        assert_eq!(
            line(&body(&dns, &sources)),
            "sonde dns example.net --from 'AS64500*2' --from probes:1,2 --af 4 --ask 9.9.9.9 --query-type MX --tls --set-rd-bit true \
             --server https://sonde.example"
        );
        let ipv6 = json!({"type": "ipv6", "af": 6, "scope": "full"});
        assert_eq!(
            line(&body(&ipv6, &anywhere)),
            "sonde ipv6 --from 'WW*10' --tag home --tag fibre --scope full --server https://sonde.example"
        );
        let mut both = body(&ping, &anywhere);
        both["definitions"] = json!([ping, ping]);
        assert!(line(&both).contains("--af both"));
        both["stop_time"] = json!("2027-01-01T00:00:00Z");
        assert!(line(&both).contains("--stop-after"));
    }

    #[test]
    fn nothing_leaves_its_quotes() {
        let nasty = "x'; rm -rf $HOME `id`\n";
        let ping = json!({"type": "ping", "af": 6, "target": nasty});
        let line = line(&body(&ping, &json!([])));
        assert!(line.contains("'x'\\''; rm -rf $HOME `id`\n'"), "{line}");
        let curl = curl("https://sonde.example", &body(&ping, &json!([])));
        assert!(curl.contains("\"x'\\''; rm -rf $HOME `id`\\n\""), "{curl}");
        assert_eq!(quoted(""), "''");
    }
}
