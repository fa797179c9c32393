//! What files of the boot partition's `EFI/Linux` are called: `sonde_NUMBER.efi` is a system that was kept, `sonde_NUMBER+LEFT-DONE.efi`
//! one on trial, with so many tries left and done (the Boot Loader Specification's "Boot counting"; the loader counts by renaming), and
//! `sonde_NUMBER.tmp` one that is being fetched.
//!
//! Pure. A name that is written in any other way is nobody's affair here: such a file is neither counted nor deleted.

/// How many tries a new system gets.
pub const TRIES: u32 = 3;

/// A name on the card is not longer.
const LONGEST: usize = 64;

/// Tries of a system on trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tries {
    /// Left. With none the loader starts it only if there is nothing else.
    pub left: u32,
    /// Done.
    pub done: u32,
}

impl Tries {
    /// With how many it began: the loader takes one from what is left and adds it to what is done.
    pub const fn began_with(self) -> u32 {
        self.left.saturating_add(self.done)
    }
}

/// What a file is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// A system; without tries it was kept.
    System {
        /// Its release's number.
        number: u64,
        /// Its tries, if it is on trial.
        tries: Option<Tries>,
    },
    /// What has been fetched of a system.
    Part(u64),
}

impl Name {
    /// Reads a name. `None` is a file that is not ours. FAT does not tell upper from lower case.
    pub fn read(file: &str) -> Option<Self> {
        if file.len() > LONGEST || !file.is_ascii() {
            return None;
        }
        let lower = file.to_ascii_lowercase();
        let stem = lower.strip_prefix("sonde_")?;
        if let Some(number) = stem.strip_suffix(".tmp") {
            return Some(Self::Part(release_number(number)?));
        }
        let stem = stem.strip_suffix(".efi")?;
        let Some((number, counter)) = stem.split_once('+') else {
            return Some(Self::System { number: release_number(stem)?, tries: None });
        };
        let (left, done) = counter.split_once('-').unwrap_or((counter, "0"));
        let tries = Tries { left: count(left)?, done: count(done)? };
        Some(Self::System { number: release_number(number)?, tries: Some(tries) })
    }

    /// What a system is called that was kept.
    pub fn kept(number: u64) -> String {
        format!("sonde_{number}.efi")
    }

    /// What a system is called that has these tries.
    pub fn on_trial(number: u64, tries: Tries) -> String {
        if tries.done == 0 {
            format!("sonde_{number}+{}.efi", tries.left)
        } else {
            format!("sonde_{number}+{}-{}.efi", tries.left, tries.done)
        }
    }

    /// What has been fetched of a system.
    pub fn part(number: u64) -> String {
        format!("sonde_{number}.tmp")
    }
}

/// A release's number as it is written, which is in one way only, and never 0.
fn release_number(digits: &str) -> Option<u64> {
    let number = digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok()).flatten()?;
    (number > 0 && !digits.starts_with('0')).then_some(number)
}

/// The loader may write leading zeros.
fn count(digits: &str) -> Option<u32> {
    let plain = (1..=9).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_strictly_and_written_as_they_are_read() {
        let system = |number, tries: Option<(u32, u32)>| {
            Some(Name::System { number, tries: tries.map(|(left, done)| Tries { left, done }) })
        };
        for (file, expected) in [
            ("sonde_202611290220.efi", system(202_611_290_220, None)),
            ("SONDE_2.EFI", system(2, None)),
            ("sonde_2+3.efi", system(2, Some((3, 0)))),
            ("sonde_2+2-1.efi", system(2, Some((2, 1)))),
            ("sonde_2+0-3.efi", system(2, Some((0, 3)))),
            ("sonde_2+02-01.efi", system(2, Some((2, 1)))),
            ("sonde_18446744073709551615.efi", system(u64::MAX, None)),
            ("sonde_18446744073709551616.efi", None),
            ("sonde_2.tmp", Some(Name::Part(2))),
            ("sonde_2+3.tmp", None),
            ("sonde_0.efi", None),
            ("sonde_007.efi", None),
            ("sonde_0.1.0.efi", None),
            ("sonde_.efi", None),
            ("sonde_2+.efi", None),
            ("sonde_2+3-.efi", None),
            ("sonde_2+3-1-1.efi", None),
            ("sonde_2+3+1.efi", None),
            ("sonde_2++3.efi", None),
            ("sonde_2+9999999999.efi", None),
            ("sonde_-2.efi", None),
            ("sonde_+2.efi", None),
            ("sonde_2.efi.off", None),
            ("other_2.efi", None),
            ("sonde_２.efi", None),
        ] {
            assert_eq!(Name::read(file), expected, "{file}");
        }
        for file in ["sonde_2.efi", "sonde_2+3.efi", "sonde_2+2-1.efi", "sonde_2+0-3.efi", "sonde_2.tmp"] {
            let written = match Name::read(file).unwrap() {
                Name::System { number, tries: None } => Name::kept(number),
                Name::System { number, tries: Some(tries) } => Name::on_trial(number, tries),
                Name::Part(number) => Name::part(number),
            };
            assert_eq!(written, file);
        }
    }
}
