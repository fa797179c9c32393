//! Queries of addresses.

/// The parameters that have a value, as the part of an address behind the question mark.
pub fn query(parameters: &[(&str, Option<String>)]) -> String {
    let pairs = parameters.iter().filter_map(|(name, value)| Some(format!("{name}={}", encoded(value.as_deref()?))));
    pairs.collect::<Vec<_>>().join("&")
}

/// Percent-encoded, but for what stands for itself (RFC 3986, 2.3) and commas.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~,".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_leave_their_place() {
        let query = query(&[("a", Some("x&b=1#ä /+".into())), ("none", None), ("c", Some("1,2".into()))]);
        assert_eq!(query, "a=x%26b%3D1%23%C3%A4%20%2F%2B&c=1,2");
    }
}
