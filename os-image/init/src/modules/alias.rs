//! Does a device's name for itself match a pattern of modules.alias? Patterns are those of fnmatch(3) without flags: `*`, `?` and
//! `[a-f]`.

/// A pattern, or a name, with `_` wherever it has `-`: in both they are the same, except in sets (`[0-9]`).
pub fn normal(pattern: &str) -> String {
    let mut in_set = false;
    let letter = |letter: char| {
        in_set = letter == '[' || in_set && letter != ']';
        if letter == '-' && !in_set { '_' } else { letter }
    };
    pattern.chars().map(letter).collect()
}

/// True if `text` as a whole matches `pattern`.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut done) = (0, 0);
    // Where to go on when the last `*` has to take one letter more.
    let mut star: Option<(usize, usize)> = None;
    while done < text.len() {
        let next = match pattern.get(at) {
            Some(b'*') => {
                star = Some((at + 1, done));
                at += 1;
                continue;
            }
            Some(_) => one(&pattern[at..], text[done]),
            None => None,
        };
        match (next, &mut star) {
            (Some(length), _) => (at, done) = (at + length, done + 1),
            (None, Some((after, taken))) => {
                *taken += 1;
                (at, done) = (*after, *taken);
            }
            (None, None) => return false,
        }
    }
    pattern[at..].iter().all(|&letter| letter == b'*')
}

/// Does the first element of a pattern that is not empty match a letter? If so, how long the element is.
fn one(pattern: &[u8], letter: u8) -> Option<usize> {
    if pattern[0] == b'['
        && let Some(length) = pattern.iter().skip(2).position(|&byte| byte == b']')
    {
        let set = &pattern[1..length + 2];
        return in_set(set, letter).then_some(length + 3);
    }
    (pattern[0] == b'?' || pattern[0] == letter).then_some(1)
}

fn in_set(set: &[u8], letter: u8) -> bool {
    let (not, set) = match set {
        [b'!' | b'^', set @ ..] => (true, set),
        set => (false, set),
    };
    let mut rest = set;
    let mut found = false;
    while let [first, after @ ..] = rest {
        (found, rest) = match after {
            [b'-', last, after @ ..] => (found || (*first..=*last).contains(&letter), after),
            _ => (found || *first == letter, after),
        };
    }
    found != not
}

#[cfg(test)]
mod tests {
    use super::{matches, normal};

    #[test]
    fn dashes_count_as_underscores_but_not_in_sets() {
        assert_eq!(normal("of:N*Cbrcm,a-b_c[0-9A-F]-*"), "of:N*Cbrcm,a_b_c[0-9A-F]_*");
    }

    #[test]
    fn patterns_of_modules_alias() {
        for (pattern, text, expected) in [
            ("pci:v00001AF4d00001041sv*sd*bc*sc*i*", "pci:v00001AF4d00001041sv00001AF4sd00001100bc02sc00i00", true),
            ("pci:v00001AF4d00001041sv*sd*bc*sc*i*", "pci:v00001AF4d00001042sv00001AF4sd00001100bc02sc00i00", false),
            ("of:N*T*Cbrcm,bcm2835-pm-wdt", "of:NwatchdogT(null)Cbrcm,bcm2835-pm-wdt", true),
            ("of:N*T*Cbrcm,bcm2835-pm-wdt", "of:NwatchdogT(null)Cbrcm,bcm2835-pm-wdtC", false),
            ("of:N*T*Cbrcm,bcm2835-pm-wdtC*", "of:NwatchdogT(null)Cbrcm,bcm2835-pm-wdtCx", true),
            ("usb:v0B95p172[0-9A]d*", "usb:v0B95p172Ad0001", true),
            ("usb:v0B95p172[0-9A]d*", "usb:v0B95p172Bd0001", false),
            ("usb:v0B95p17[!2]0", "usb:v0B95p1730", true),
            ("usb:v0B95p17[!2]0", "usb:v0B95p1720", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("a[b", "a[b", true),
            ("a[b", "ab", false),
            ("[]x]", "]", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        assert!(!matches(&"a*".repeat(40), &"a".repeat(2000).replace("aaaa", "aaab").replace('a', "b")));
        assert!(!matches(&("*a".repeat(30) + "c"), &"a".repeat(2000)));
    }
}
