//! Mail addresses as people type them: the plain form of RFC 5321 (a dot-atom and a host name), in ASCII. Quoted names,
//! literal addresses and addresses beyond ASCII are refused: hardly anybody has one, and a server that may not send to
//! them must not promise a mail.

use lettre::Address;

/// The longest address in bytes (RFC 5321, 4.5.3.1.3, without the brackets).
const MAX_LENGTH: usize = 254;

/// The address in lower case, if it is one.
pub(crate) fn parse(text: &str) -> Option<Address> {
    let text = text.trim();
    let (name, host) = text.rsplit_once('@')?;
    let is_name = name.len() <= 64 && name.split('.').all(is_atom);
    if text.len() > MAX_LENGTH || !is_name || !is_host(host) {
        return None;
    }
    text.to_ascii_lowercase().parse().ok()
}

fn is_atom(atom: &str) -> bool {
    !atom.is_empty() && atom.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte))
}

/// At least two labels: a mail to a bare name would go to a machine of the operator's.
fn is_host(host: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.contains('.') && host.split('.').all(is_label)
}

/// Is this a mail address that an account can have?
pub fn is_mail_address(text: &str) -> bool {
    parse(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("ada@example.net", "ada@example.net"),
            (" Ada.Lovelace+Sonde@Mail.Example.NET ", "ada.lovelace+sonde@mail.example.net"),
            ("o'neill@xn--bcher-kva.example", "o'neill@xn--bcher-kva.example"),
        ] {
            assert_eq!(parse(text).map(|address| address.to_string()).as_deref(), Some(expected));
        }
        let long = format!("ada@{}.net", "a.".repeat(130));
        for bad in [
            "",
            "@",
            "ada",
            "ada@",
            "@example.net",
            "ada@localhost",
            "a b@example.net",
            "ada@exam ple.net",
            "a@b@example.net",
            ".ada@example.net",
            "ada.@example.net",
            "a..b@example.net",
            "ada@example..net",
            "ada@-a.net",
            "ada@[192.0.2.1]",
            "\"ada\"@example.net",
            "ada@example.net\r\nBcc: x@example.net",
            "ada@example.net>",
            "ädä@example.net",
            &long,
        ] {
            assert!(parse(bad).is_none(), "{bad:?}");
        }
    }
}
