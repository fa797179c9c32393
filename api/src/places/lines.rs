//! A table as text, a line a prefix: its first address, its length and a value, with white space between (CAIDA's
//! Routeviews prefix-to-AS files). Lines that are empty or begin with `#` count for nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Values by prefix. The longest prefix counts.
pub(super) struct Lines<T> {
    /// By length; each sorted by address.
    v4: Vec<Vec<(u32, T)>>,
    v6: Vec<Vec<(u128, T)>>,
}

impl<T: Copy> Lines<T> {
    /// Finds the value of the longest prefix that holds the address, and that prefix.
    pub fn find(&self, address: IpAddr) -> Option<(T, String)> {
        match address {
            IpAddr::V4(address) => {
                let (value, bits, length) = longest(&self.v4, |length| address.to_bits() & mask_v4(length))?;
                Some((value, format!("{}/{length}", Ipv4Addr::from_bits(bits))))
            }
            IpAddr::V6(address) => {
                let (value, bits, length) = longest(&self.v6, |length| address.to_bits() & mask_v6(length))?;
                Some((value, format!("{}/{length}", Ipv6Addr::from_bits(bits))))
            }
        }
    }
}

fn longest<B: Ord + Copy, T: Copy>(table: &[Vec<(B, T)>], cut: impl Fn(usize) -> B) -> Option<(T, B, usize)> {
    table.iter().enumerate().rev().find_map(|(length, prefixes)| {
        let at = prefixes.binary_search_by_key(&cut(length), |(bits, _)| *bits).ok()?;
        prefixes.get(at).map(|(bits, value)| (*value, *bits, length))
    })
}

fn mask_v4(length: usize) -> u32 {
    !u32::MAX.checked_shr(length as u32).unwrap_or(0)
}

fn mask_v6(length: usize) -> u128 {
    !u128::MAX.checked_shr(length as u32).unwrap_or(0)
}

impl<T> Lines<T> {
    /// Reads a text; `value` reads the third column. What is wrong is said with its line.
    pub fn read(text: &str, value: fn(&str) -> Option<T>) -> Result<Self, String> {
        let mut lines = Self { v4: Vec::new(), v6: Vec::new() };
        lines.v4.resize_with(33, Vec::new);
        lines.v6.resize_with(129, Vec::new);
        for (number, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            lines
                .add(line, value)
                .ok_or_else(|| format!("line {}: a prefix, its length and a value are expected", number + 1))?;
        }
        lines.v4.iter_mut().for_each(|prefixes| sort(prefixes));
        lines.v6.iter_mut().for_each(|prefixes| sort(prefixes));
        Ok(lines)
    }

    fn add(&mut self, line: &str, value: fn(&str) -> Option<T>) -> Option<()> {
        let mut words = line.split_whitespace();
        let (address, length) = (words.next()?.parse().ok()?, words.next()?.parse::<usize>().ok()?);
        let value = value(words.next()?)?;
        match address {
            IpAddr::V4(address) => self.v4.get_mut(length)?.push((address.to_bits() & mask_v4(length), value)),
            IpAddr::V6(address) => self.v6.get_mut(length)?.push((address.to_bits() & mask_v6(length), value)),
        }
        words.next().is_none().then_some(())
    }
}

/// By address; of several lines for one prefix the first counts.
fn sort<B: Ord + Copy, T>(prefixes: &mut Vec<(B, T)>) {
    prefixes.sort_by_key(|(bits, _)| *bits);
    prefixes.dedup_by_key(|(bits, _)| *bits);
    prefixes.shrink_to_fit();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_is_told_by_its_line() {
        let number = |text: &str| text.parse::<u32>().ok();
        for bad in [
            "x",
            "20.0.0.0",
            "20.0.0.0 8",
            "20.0.0.0 8 x",
            "20.0.0.0 33 1",
            "2a00:: 129 1",
            "20.0.0.0 8 1 1",
            "20.0.0.0 -1 1",
        ] {
            let error = Lines::read(&format!("20.0.0.0 8 1\n{bad}"), number).err().unwrap();
            assert!(error.starts_with("line 2:"), "{bad}: {error}");
        }
        let lines = Lines::read("0.0.0.0 0 1\n20.0.0.9 32 2\n20.0.0.9 32 3\n:: 0 4\n", number).unwrap();
        let find = |address: &str| lines.find(address.parse().unwrap()).unwrap();
        assert_eq!(find("20.0.0.8"), (1, "0.0.0.0/0".into()));
        assert_eq!(find("20.0.0.9"), (2, "20.0.0.9/32".into()));
        assert_eq!(find("2a00::1"), (4, "::/0".into()));
    }
}
