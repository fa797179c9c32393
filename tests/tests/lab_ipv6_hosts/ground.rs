//! What other people's tools find at a host: the ground that the measurement's verdicts stand on.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use sonde_tests::lab::Family;
use sonde_tests::lab::homes::{Home, Homes, LIE, NAT64_PREFIX, said};

use crate::far::ZONE;
use crate::table::{HOSTS, Row};

/// How long a connection may take. Silence is expected at some hosts, so it is not long; a SYN is repeated once in it.
const CONNECT: Duration = Duration::from_secs(3);

/// Whom a host reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Every reference.
    All,
    /// None.
    None,
}

/// Looks at every host, several at once, and says what is not as the table has it.
pub fn check_all(homes: &Homes) -> Vec<String> {
    let waiting = Mutex::new(HOSTS.iter());
    let wrong = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let Some(row) = waiting.lock().unwrap().next() else { return };
                    if let Err(what) = check(row, &homes.home(row.plan.name)) {
                        wrong.lock().unwrap().push(format!("{}: {what}", row.what));
                    }
                }
            });
        }
    });
    wrong.into_inner().unwrap()
}

fn check(row: &Row, home: &Home<'_>) -> Result<(), String> {
    for (family, reach) in [Family::V6, Family::V4].into_iter().zip(row.reach) {
        for number in 0..Homes::REFERENCES {
            let address = Homes::reference_address(number, family);
            let is_reached = connects(home, address);
            if is_reached != (reach == Reach::All) {
                return Err(format!("{address} is reached: {is_reached}"));
            }
            // One of them tells enough where nothing answers, and each costs its time.
            if reach == Reach::None {
                break;
            }
        }
    }
    let resolvers = home.plan.resolvers;
    if resolvers.is_empty() != row.names.is_none() {
        return Err("the table does not know whether it has resolvers".into());
    }
    for (resolver, family) in resolvers {
        let server = resolver.address(*family);
        for (kind, tells) in ["AAAA", "A"].into_iter().zip(row.names.into_iter().flatten()) {
            let answer = dig(home, server, &format!("ground.ds.{ZONE}"), kind, 3)?;
            let truth = Homes::reference_address(0, if kind == "A" { Family::V4 } else { Family::V6 }).to_string();
            if answer.lines().any(|line| line == truth) != tells {
                return Err(format!("{server} says of {kind}: {answer:?}"));
            }
        }
    }
    (row.ground)(home)
}

fn connects(home: &Home<'_>, address: IpAddr) -> bool {
    home.host.run(|| TcpStream::connect_timeout(&SocketAddr::new(address, 443), CONNECT).is_ok())
}

fn dig(home: &Home<'_>, server: IpAddr, name: &str, kind: &str, tries: u8) -> Result<String, String> {
    let arguments = [&format!("@{server}"), name, kind, "+short", "+time=1", &format!("+retry={}", tries - 1)];
    said(home.host, "kdig", &arguments).map_err(|error| error.to_string())
}

fn at_host(home: &Home<'_>, words: &[&str]) -> Result<String, String> {
    let [program, arguments @ ..] = words else { return Err("no program".into()) };
    said(home.host, program, arguments).map_err(|error| error.to_string())
}

/// A command says this.
pub fn has(home: &Home<'_>, words: &[&str], part: &str) -> Result<(), String> {
    let text = at_host(home, words)?;
    if text.contains(part) { Ok(()) } else { Err(format!("no {part:?} in what {words:?} says: {text}")) }
}

/// A command does not.
pub fn lacks(home: &Home<'_>, words: &[&str], part: &str) -> Result<(), String> {
    let text = at_host(home, words)?;
    if text.contains(part) { Err(format!("{part:?} is in what {words:?} says: {text}")) } else { Ok(()) }
}

/// An echo of so many bytes as a whole packet that must not be cut. What ping says.
fn echo(home: &Home<'_>, to: IpAddr, bytes: u32, from: Option<&str>) -> Result<String, String> {
    let headers = if to.is_ipv4() { 28 } else { 48 };
    let (to, payload) = (to.to_string(), (bytes - headers).to_string());
    let mut words = vec!["ping", "-n", "-M", "do", "-c", "2", "-i", "0.3", "-W", "1", "-s", &payload];
    if let Some(from) = from {
        words.extend(["-I", from]);
    }
    words.push(&to);
    at_host(home, &words)
}

fn is_answered(text: &str) -> bool {
    text.contains("bytes from")
}

/// 1500 bytes pass over both families, and a router says of the narrow address that they are too many.
pub fn whole_path(home: &Home<'_>) -> Result<(), String> {
    for family in Family::ALL {
        let text = echo(home, Homes::reference_address(1, family), 1500, None)?;
        if !is_answered(&text) {
            return Err(format!("1500 bytes do not pass: {text}"));
        }
    }
    let text = echo(home, Homes::NARROW_ADDRESS.into(), 1400, None)?;
    if text.contains("mtu=1280") || text.contains("mtu: 1280") {
        Ok(())
    } else {
        Err(format!("no word of 1280: {text}"))
    }
}

/// A router says that so many bytes are too many, and how many would do.
pub fn too_big(home: &Home<'_>, family: Family, bytes: u32, mtu: u32) -> Result<(), String> {
    let text = echo(home, Homes::reference_address(1, family), bytes, None)?;
    let says = ["mtu=", "mtu = ", "mtu: "].iter().any(|word| text.contains(&format!("{word}{mtu}")));
    if says { Ok(()) } else { Err(format!("no word of {mtu}: {text}")) }
}

/// So many bytes pass, more do not, and nobody says so.
pub fn hole(home: &Home<'_>, most: u32) -> Result<(), String> {
    let to = Homes::reference_address(1, Family::V6);
    let text = echo(home, to, most, None)?;
    if !is_answered(&text) {
        return Err(format!("{most} bytes do not pass: {text}"));
    }
    let text = echo(home, to, most + 8, None)?;
    if is_answered(&text) || text.contains("mtu") {
        return Err(format!("{} bytes do not vanish: {text}", most + 8));
    }
    Ok(())
}

/// 1500 bytes pass, and nobody says that the narrow address takes less.
pub fn no_too_big(home: &Home<'_>) -> Result<(), String> {
    let text = echo(home, Homes::reference_address(1, Family::V6), 1500, None)?;
    if !is_answered(&text) {
        return Err(format!("1500 bytes do not pass: {text}"));
    }
    let text = echo(home, Homes::NARROW_ADDRESS.into(), 1400, None)?;
    if text.contains("mtu") { Err(format!("the message comes: {text}")) } else { Ok(()) }
}

/// A reference's IPv4 address is reached through the translator, or is not.
pub fn nat64(home: &Home<'_>, works: bool) -> Result<(), String> {
    let IpAddr::V4(v4) = Homes::reference_address(0, Family::V4) else { return Err("no IPv4 address".into()) };
    let through = IpAddr::from((NAT64_PREFIX.to_bits() | u128::from(v4.to_bits())).to_be_bytes());
    let is_reached = connects(home, through);
    if is_reached == works { Ok(()) } else { Err(format!("{through} is reached: {is_reached}")) }
}

/// The resolvers make an IPv6 address for a name that has none, or do not.
pub fn synthesis(home: &Home<'_>, makes: bool) -> Result<(), String> {
    for (resolver, family) in home.plan.resolvers {
        let answer = dig(home, resolver.address(*family), &format!("ground.v4.{ZONE}"), "AAAA", 3)?;
        if answer.contains("64:ff9b::") != makes {
            return Err(format!("an IPv6 address for a name that has none: {answer:?}"));
        }
    }
    Ok(())
}

/// The resolvers have an address for a name that does not exist.
pub fn lie(home: &Home<'_>) -> Result<(), String> {
    for (resolver, family) in home.plan.resolvers {
        let answer = dig(home, resolver.address(*family), &format!("ground.nx.{ZONE}"), "A", 3)?;
        if answer.trim() != LIE.to_string() {
            return Err(format!("no lie: {answer:?}"));
        }
    }
    Ok(())
}

/// Questions are answered where nobody listens.
pub fn intercepted(home: &Home<'_>) -> Result<(), String> {
    let answer = dig(home, Homes::reference_address(0, Family::V4), "ipv4only.arpa", "A", 3)?;
    if answer.contains("192.0.0.170") { Ok(()) } else { Err(format!("no answer: {answer:?}")) }
}

/// The router at hop `number` over IPv4.
pub fn hop(home: &Home<'_>, number: u8, address: &str) -> Result<(), String> {
    let number = number.to_string();
    let to = Homes::reference_address(0, Family::V4).to_string();
    has(home, &["traceroute", "-n", "-f", &number, "-m", &number, &to], address)
}

/// The router does not answer address resolution.
pub fn silent_gateway(home: &Home<'_>) -> Result<(), String> {
    let text = at_host(home, &["ip", "-6", "neigh", "show", "dev", "eth0"])?;
    let line = text.lines().find(|line| line.starts_with("fe80::1 ")).unwrap_or_default();
    let is_gone = line.contains("FAILED") || line.contains("INCOMPLETE");
    if is_gone { Ok(()) } else { Err(format!("the router's neighbour entry: {text:?}")) }
}

/// Of two prefixes, the host's own choice leads out, and the other is refused.
pub fn stale_prefix(home: &Home<'_>) -> Result<(), String> {
    let text = at_host(home, &["ip", "-o", "-6", "addr", "show", "dev", "eth0", "scope", "global"])?;
    let addresses: Vec<&str> =
        text.split_whitespace().filter_map(|word| word.split_once("/64").map(|(address, _)| address)).collect();
    let (old, new): (Vec<&str>, Vec<&str>) = addresses.into_iter().partition(|one| one.starts_with("2a0e:5a01:20"));
    let ([old], [_]) = (old.as_slice(), new.as_slice()) else { return Err(format!("not two prefixes: {text}")) };
    let text = echo(home, Homes::reference_address(1, Family::V6), 1280, Some(old))?;
    // Of code 5 ping of Debian 12 says "Unknown code".
    if is_answered(&text) || !text.to_lowercase().contains("code") && !text.contains("policy") {
        return Err(format!("the old prefix is not refused: {text}"));
    }
    Ok(())
}
