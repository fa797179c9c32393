//! Which class a value belongs to. Classes are fixed, so that days and places compare; their colours are in `base.css`.

/// Where the seven classes of a share are split, in percent.
pub(crate) const SHARE_SPLITS: [f64; 6] = [1.0, 10.0, 25.0, 50.0, 75.0, 90.0];

/// Where the seven classes of a difference IPv6 − IPv4 are split, in milliseconds: purple where IPv6 is faster.
pub(crate) const RTT_SPLITS: [f64; 6] = [-20.0, -5.0, -1.0, 1.0, 5.0, 20.0];

/// How a value is painted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    /// Nothing was measured.
    None,
    /// Plain, in this class.
    Plain(usize),
    /// Hatched in this class: so few stand behind it that it may mean nothing.
    Hatched(usize),
}

impl Paint {
    /// Of a value, if there is one.
    pub fn of(value: Option<f64>, splits: &[f64; 6], is_plain: bool) -> Self {
        match value.filter(|value| value.is_finite()) {
            None => Self::None,
            Some(value) => {
                let class = splits.iter().filter(|split| value >= **split).count();
                if is_plain { Self::Plain(class) } else { Self::Hatched(class) }
            }
        }
    }

    /// The class attribute, in this family of colours (`share` or `rtt`).
    pub fn class(self, family: &str) -> String {
        match self {
            Self::None => format!("{family}-none"),
            Self::Plain(class) | Self::Hatched(class) => format!("{family}-{class}"),
        }
    }

    /// The fill attribute of what is hatched: the pattern in `patterns.svg`. It has no class then, which would win.
    pub fn hatch(self, family: &str) -> Option<String> {
        match self {
            Self::Hatched(class) => Some(format!("url(#hatch-{family}-{class})")),
            _ => None,
        }
    }
}

/// The words of each class in a legend, from low to high.
pub(crate) fn legend(splits: &[f64; 6], unit: &str) -> [String; 7] {
    let text = |value: f64| format!("{value}").replace('-', "−");
    let [a, b, c, d, e, f] = *splits;
    let between = |low: f64, high: f64| format!("{} to {} {unit}", text(low), text(high));
    [
        format!("below {} {unit}", text(a)),
        between(a, b),
        between(b, c),
        between(c, d),
        between(d, e),
        between(e, f),
        format!("{} {unit} and more", text(f)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_one_class() {
        let class = |value, plain| Paint::of(value, &SHARE_SPLITS, plain);
        assert_eq!(class(Some(0.0), true), Paint::Plain(0));
        assert_eq!(class(Some(1.0), true), Paint::Plain(1));
        assert_eq!(class(Some(89.9), true), Paint::Plain(5));
        assert_eq!(class(Some(100.0), false), Paint::Hatched(6));
        assert_eq!((class(None, true), class(Some(f64::NAN), true)), (Paint::None, Paint::None));
        assert_eq!(Paint::of(Some(-30.0), &RTT_SPLITS, true), Paint::Plain(0));
        assert_eq!(legend(&RTT_SPLITS, "ms")[0], "below −20 ms");
    }
}
