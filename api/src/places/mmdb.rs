//! A table in MaxMind's format, as MaxMind, DB-IP, IPinfo and others give it away. They name fields differently; the names
//! that are read here are those of MaxMind's ASN, Country and City tables and of IPinfo's.

use std::net::IpAddr;

use maxminddb::{LookupResult, PathElement, Reader};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sonde_protocol::ids::Asn;
use sonde_store::catalog::Origin;

/// A table, wholly in memory.
pub(super) struct Mmdb(Reader<Vec<u8>>);

impl Mmdb {
    /// Reads a table, and checks all of it: what is broken in the middle shows only when somebody looks there.
    pub fn read(bytes: Vec<u8>) -> Result<Self, String> {
        let reader = Reader::from_source(bytes).map_err(|error| error.to_string())?;
        reader.verify().map_err(|error| error.to_string())?;
        Ok(Self(reader))
    }

    fn look(&self, address: IpAddr) -> Option<LookupResult<'_, Vec<u8>>> {
        // Tables of IPv4 alone refuse IPv6.
        self.0.lookup(address).ok().filter(LookupResult::has_data)
    }

    /// Who announces the address. The prefix is the table's, which may be a part of what is announced.
    pub fn origin(&self, address: IpAddr) -> Option<Origin> {
        let found = self.look(address)?;
        let asn =
            field::<u32>(&found, "autonomous_system_number").or_else(|| match field::<Value>(&found, "asn")? {
                Value::String(text) => text.trim_start_matches(['A', 'S', 'a', 's']).parse().ok(),
                number => u32::try_from(number.as_u64()?).ok(),
            })?;
        let prefix = found.network().ok().map(|network| network.to_string());
        Some(Origin { asn: Asn(asn), prefix })
    }

    /// The code of the address's country, as the table writes it.
    pub fn country(&self, address: IpAddr) -> Option<String> {
        let found = self.look(address)?;
        let code = |value: Value| match value {
            Value::String(code) => Some(code),
            other => other.get("iso_code")?.as_str().map(str::to_owned),
        };
        ["country_code", "country"].into_iter().find_map(|name| field::<Value>(&found, name).and_then(code))
    }
}

/// A field of a record, if it is there and of this type.
fn field<T: DeserializeOwned>(found: &LookupResult<'_, Vec<u8>>, name: &str) -> Option<T> {
    found.decode_path(&[PathElement::Key(name)]).ok().flatten()
}

#[cfg(test)]
pub(super) mod tests {
    use ipnet::IpNet;

    use super::*;

    /// A table of countries as MaxMind's.
    pub fn countries(records: &[(&str, &str)]) -> Vec<u8> {
        let record = |code: &&str| map(&[("country", map(&[("iso_code", text(code))]))]);
        write(&records.iter().map(|(net, code)| (net.parse().unwrap(), record(code))).collect::<Vec<_>>())
    }

    /// A table of ASes as MaxMind's.
    pub fn asns(records: &[(&str, u32)]) -> Vec<u8> {
        let record = |asn: &u32| map(&[("autonomous_system_number", uint32(*asn))]);
        write(&records.iter().map(|(net, asn)| (net.parse().unwrap(), record(asn))).collect::<Vec<_>>())
    }

    // The format: https://maxmind.github.io/MaxMind-DB/. Values are a byte of type and size, then what they hold.

    fn value(kind: u8, bytes: &[u8]) -> Vec<u8> {
        let size = u8::try_from(bytes.len()).unwrap();
        let head = if size < 29 { vec![kind << 5 | size] } else { vec![kind << 5 | 29, size - 29] };
        [&head, bytes].concat()
    }

    pub fn text(text: &str) -> Vec<u8> {
        value(2, text.as_bytes())
    }

    fn uint32(number: u32) -> Vec<u8> {
        value(6, &number.to_be_bytes())
    }

    pub fn map(fields: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = vec![7 << 5 | u8::try_from(fields.len()).unwrap()];
        for (name, value) in fields {
            bytes.extend(text(name));
            bytes.extend(value);
        }
        bytes
    }

    /// A tree over IPv6 with records of 32 bits; IPv4 is below `::/96`. The prefixes may not overlap.
    pub fn write(records: &[(IpNet, Vec<u8>)]) -> Vec<u8> {
        #[derive(Clone, Copy)]
        enum Branch {
            Empty,
            Node(usize),
            Data(usize),
        }
        let (mut nodes, mut data) = (vec![[Branch::Empty; 2]], Vec::<u8>::new());
        for (net, record) in records {
            let (bits, length) = match net {
                IpNet::V4(net) => (u128::from(net.network().to_bits()), 96 + net.prefix_len()),
                IpNet::V6(net) => (net.network().to_bits(), net.prefix_len()),
            };
            let mut node = 0;
            for depth in 0..length {
                let side = usize::from(bits >> (127 - depth) & 1 == 1);
                if depth + 1 == length {
                    nodes[node][side] = Branch::Data(data.len());
                } else if let Branch::Node(next) = nodes[node][side] {
                    node = next;
                } else {
                    nodes.push([Branch::Empty; 2]);
                    let next = nodes.len() - 1;
                    nodes[node][side] = Branch::Node(next);
                    node = next;
                }
            }
            data.extend(record);
        }
        let count = u32::try_from(nodes.len()).unwrap();
        let mut bytes = Vec::new();
        for branch in nodes.concat() {
            let number = match branch {
                Branch::Empty => count,
                Branch::Node(node) => u32::try_from(node).unwrap(),
                Branch::Data(at) => count + 16 + u32::try_from(at).unwrap(),
            };
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend([0; 16]);
        bytes.extend(data);
        bytes.extend(b"\xab\xcd\xefMaxMind.com");
        let uint16 = |number: u16| value(5, &number.to_be_bytes());
        bytes.extend(map(&[
            ("binary_format_major_version", uint16(2)),
            ("binary_format_minor_version", uint16(0)),
            // An unsigned number of 64 bits: an extended type, 9 - 7.
            ("build_epoch", [&[8, 2][..], &1_760_000_000u64.to_be_bytes()].concat()),
            ("database_type", text("Sonde-Test")),
            ("description", map(&[("en", text("made by a test"))])),
            ("ip_version", uint16(6)),
            // Type 11, 11 - 7: no elements.
            ("languages", vec![0, 4]),
            ("node_count", uint32(count)),
            ("record_size", uint16(32)),
        ]));
        bytes
    }

    #[test]
    fn fields_by_other_names_and_types() {
        let net = |text: &str| text.parse().unwrap();
        let table = Mmdb::read(write(&[
            (
                net("20.0.0.0/8"),
                map(&[("asn", text("AS64500")), ("country", text("NL")), ("country_code", text("DE"))]),
            ),
            (net("21.0.0.0/8"), map(&[("asn", uint32(64_501)), ("country", map(&[("names", map(&[]))]))])),
            (net("22.0.0.0/8"), map(&[("asn", text("none")), ("country", uint32(5))])),
            (net("23.0.0.0/8"), text("not a map")),
        ]))
        .unwrap();
        let origin = |address: &str| table.origin(address.parse().unwrap()).map(|origin| origin.asn.0);
        let country = |address: &str| table.country(address.parse().unwrap());
        assert_eq!((origin("20.0.0.1"), country("20.0.0.1").as_deref()), (Some(64_500), Some("DE")));
        assert_eq!((origin("21.0.0.1"), country("21.0.0.1")), (Some(64_501), None));
        for address in ["22.0.0.1", "23.0.0.1", "24.0.0.1", "2a00::1"] {
            assert_eq!((origin(address), country(address)), (None, None), "{address}");
        }
        assert!(Mmdb::read(Vec::new()).is_err());
        assert!(Mmdb::read(b"\xab\xcd\xefMaxMind.com".to_vec()).is_err());
    }
}
