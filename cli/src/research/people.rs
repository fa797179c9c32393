//! Who the probes are: country and AS of each, asked of the server once.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use super::clean;
use super::client::{Client, ClientError};

/// How many probes are asked about at a time.
const AT_ONCE: usize = 500;

/// What is shown of a probe.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Person {
    /// Its country, two letters.
    pub country: Option<String>,
    /// Its AS over IPv4 and over IPv6.
    asn_v4: Option<u64>,
    asn_v6: Option<u64>,
}

impl Person {
    /// Reads a probe's object.
    pub fn read(probe: &Value) -> Self {
        let country = probe["country_code"].as_str().map(|code| clean::text(code, 8));
        Self { country, asn_v4: probe["asn_v4"].as_u64(), asn_v6: probe["asn_v6"].as_u64() }
    }

    /// The AS of a family, or the one that there is.
    pub fn asn(&self, af: Option<u8>) -> Option<u64> {
        match af {
            Some(6) => self.asn_v6,
            Some(_) => self.asn_v4,
            None => self.asn_v4.or(self.asn_v6),
        }
    }
}

/// Everybody who is known.
#[derive(Debug, Clone, Default)]
pub struct People(HashMap<u64, Person>);

impl People {
    /// Asks about those that are not known yet.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn meet(&mut self, client: &Client, probes: impl IntoIterator<Item = u64>) -> Result<(), ClientError> {
        let new: BTreeSet<u64> = probes.into_iter().filter(|probe| !self.0.contains_key(probe)).collect();
        let new: Vec<String> = new.iter().map(u64::to_string).collect();
        for some in new.chunks(AT_ONCE) {
            let fields = "country_code,asn_v4,asn_v6";
            let path = format!("/api/v2/probes/?id__in={}&page_size={AT_ONCE}&fields={fields}", some.join(","));
            for probe in client.get(&path)?["results"].as_array().into_iter().flatten() {
                if let Some(id) = probe["id"].as_u64() {
                    self.0.insert(id, Person::read(probe));
                }
            }
        }
        Ok(())
    }

    /// One of them.
    pub fn get(&self, probe: u64) -> Person {
        self.0.get(&probe).cloned().unwrap_or_default()
    }

    /// Those that a test names.
    #[cfg(test)]
    pub fn known(probes: &[(u64, Value)]) -> Self {
        Self(probes.iter().map(|(id, probe)| (*id, Person::read(probe))).collect())
    }
}
