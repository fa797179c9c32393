//! Reference servers from a file, for measurements by hand: each line is what `sonde reference --card` prints, the command by
//! which an operator lists the server. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use sonde_protocol::bounded::Text;
use sonde_protocol::directory::{MAX_REFERENCES, Reference};
use sonde_protocol::net::Ip;

/// Reads the cards of a file. Empty lines and those that begin with `#` do not count.
///
/// # Errors
/// The number of the first line that is no card, and why.
pub fn read(text: &str) -> Result<Vec<Reference>, String> {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty() && !line.trim().starts_with('#'));
    let mut all: Vec<Reference> = Vec::new();
    for (number, line) in lines {
        let reference = card(line).map_err(|why| format!("line {number}: {why}"))?;
        if all.iter().any(|other| other.name == reference.name) {
            return Err(format!("line {number}: {} is there already", reference.name));
        }
        if all.len() == MAX_REFERENCES {
            return Err(format!("line {number}: there are more than {MAX_REFERENCES}"));
        }
        all.push(reference);
    }
    Ok(all)
}

fn card(line: &str) -> Result<Reference, String> {
    let mut words = line.split_whitespace().skip_while(|word| *word != "reference").skip(1);
    if words.next() != Some("add") {
        return Err("this is not what `sonde reference --card` prints".into());
    }
    let name = words.next().and_then(Text::new).filter(|name| !name.starts_with('-')).ok_or("there is no name")?;
    let mut values: Vec<(&str, &str)> = Vec::new();
    while let Some(word) = words.next() {
        let option = word.strip_prefix("--").ok_or_else(|| format!("{word} is no option"))?;
        let value = match option.split_once('=') {
            Some(both) => both,
            None => (option, words.next().ok_or_else(|| format!("--{option} has no value"))?),
        };
        values.push(value);
    }
    let known = ["key", "v4", "v6", "port", "echo-port", "closed-port", "narrow", "zone"];
    if let Some((unknown, _)) = values.iter().find(|(option, _)| !known.contains(option)) {
        return Err(format!("--{unknown} is not known"));
    }
    let port = value(&values, "port")?;
    let v4: Option<Ipv4Addr> = value(&values, "v4")?;
    let v6: Option<Ipv6Addr> = value(&values, "v6")?;
    let narrow: Option<Ipv6Addr> = value(&values, "narrow")?;
    Ok(Reference {
        name,
        key: value(&values, "key")?.ok_or("there is no --key")?,
        v4: v4.map(|v4| Ip(IpAddr::V4(v4))),
        v6: v6.map(|v6| Ip(IpAddr::V6(v6))),
        tls: port,
        quic: port,
        echo: value(&values, "echo-port")?,
        closed: value(&values, "closed-port")?,
        narrow: narrow.map(|narrow| Ip(IpAddr::V6(narrow))),
        zone: match values.iter().find(|(option, _)| *option == "zone") {
            Some((_, zone)) => Some(Text::new(zone.trim_end_matches('.')).ok_or("the zone's name is too long")?),
            None => None,
        },
    })
}

fn value<T: FromStr>(values: &[(&str, &str)], option: &str) -> Result<Option<T>, String> {
    match values.iter().find(|(name, _)| *name == option) {
        Some((_, value)) => value.parse().map(Some).map_err(|_| format!("--{option}: {value:?} is not understood")),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use sonde_protocol::key::PublicKey;
    use sonde_protocol::net::Family;

    use super::*;

    fn line(rest: &str) -> String {
        let key = PublicKey([7; 32]);
        format!("sonde admin --data DIR network reference add r1 --key={key} {rest}")
    }

    #[test]
    fn a_card_is_read_as_it_is_printed() {
        let rest = "--v4 192.0.2.1 --v6 2001:db8::1 --port 443 --echo-port 8334 --closed-port 8335 --zone v6.example.";
        let all = read(&format!("# ours\n\n{}\n", line(rest))).unwrap();
        let [one] = &all[..] else { panic!("{all:?}") };
        assert_eq!((&*one.name, one.tls, one.echo, one.narrow), ("r1", Some(443), Some(8334), None));
        assert_eq!(one.address(Family::V6), Some("2001:db8::1".parse().unwrap()));
        assert_eq!(one.zone.as_deref(), Some("v6.example"));
    }

    #[test]
    fn what_is_no_card_is_named_with_its_line() {
        for (text, why) in [
            ("hello".to_owned(), "line 1: this is not"),
            (line("--v4 1.2.3"), "line 1: --v4"),
            (line("--v5 1.2.3.4"), "--v5 is not known"),
            (line("--port 70000"), "--port"),
            (line("--port"), "no value"),
            (format!("{0}\n{0}", line("--port 443")), "line 2: r1 is there already"),
            ("sonde admin network reference add r1 --v4 192.0.2.1".into(), "no --key"),
        ] {
            let said = read(&text).unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
    }
}
