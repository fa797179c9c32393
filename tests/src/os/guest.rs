//! A network with its server in the lab, and boards that join it: what the cases of `sonde-os-boots` begin with.

use std::cell::RefCell;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::card::{Card, Copy, copy_is_whole};
use super::line::HomeLine;
use super::machine::{Disk, Firmware, Machine};
use super::release::Forge;
use crate::lab::{Family, Host, Lab};
use crate::scene::collector_addresses;
use crate::world::{Client, EMAIL, Place, Server};

/// Where the API listens on [`Host::Server`].
const API_PORT: u16 = 8080;

/// What the test has to boot.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The card image, as it is built.
    pub image: PathBuf,
    /// The firmware.
    pub firmware: Firmware,
    /// Makes further systems, signed by the test.
    pub forge: Forge,
}

/// A server in the lab, and a researcher who owns what joins.
pub struct Network<'a> {
    /// The lab.
    pub lab: &'a Lab,
    /// The server, which a case may stop and start.
    pub server: RefCell<Server<'a>>,
    /// The owner of all boards.
    pub owner: Client<'a>,
    dir: PathBuf,
}

impl<'a> Network<'a> {
    /// Starts it; its files are in `dir`.
    ///
    /// # Errors
    /// When the server does not start.
    pub fn start(lab: &'a Lab, dir: &Path) -> Result<Self> {
        let collectors = collector_addresses();
        let api = SocketAddr::new(collectors.first().context("the server has no address")?.ip(), API_PORT);
        let server = Server::start(Place::In(lab.host(Host::Server)), &dir.join("server"), api, &collectors, "")?;
        let owner = server.researcher(EMAIL)?;
        Ok(Self { lab, server: RefCell::new(server), owner, dir: dir.to_owned() })
    }

    /// The server's collectors.
    pub fn collectors(&self) -> Vec<SocketAddr> {
        collector_addresses()
    }

    /// A `sonde.toml` for a new board, with a token of its own.
    ///
    /// # Errors
    /// When the server gives none.
    pub fn settings(&self) -> Result<String> {
        let file = self.dir.join("network.toml");
        self.server.borrow().network_file(EMAIL, &file)?;
        let network: toml::Table = toml::from_str(&fs::read_to_string(file)?)?;
        let mut settings = toml::Table::new();
        settings.insert("network".to_owned(), toml::Value::Table(network));
        Ok(toml::to_string(&settings)?)
    }

    /// Every welcome so far: which probe, from where.
    pub fn welcomes(&self) -> Vec<(u64, IpAddr)> {
        self.server.borrow().log().lines().filter_map(welcome).collect()
    }
}

fn welcome(line: &str) -> Option<(u64, IpAddr)> {
    let field = |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name));
    let is = line.split_whitespace().any(|word| word == "connected");
    is.then_some((field("probe_id=")?.parse().ok()?, field("address=")?.parse().ok()?))
}

/// A board with its card, on a line.
pub struct Board<'n, 'a> {
    /// Where it is plugged in.
    pub line: &'n HomeLine<'a>,
    /// Its card.
    pub card: Card,
    /// Where all that its machine writes to the card is recorded from the next start on, if it is.
    pub record: Option<PathBuf>,
    network: &'n Network<'a>,
    firmware: Firmware,
    dir: PathBuf,
    machine: Option<Machine>,
    switched_on: Instant,
    welcomes_before: usize,
}

impl<'n, 'a> Board<'n, 'a> {
    /// A new board: a fresh card with settings for this network. Its files are in `dir`.
    ///
    /// # Errors
    /// When the card cannot be made.
    pub fn new(network: &'n Network<'a>, line: &'n HomeLine<'a>, parts: &Parts, dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let card = Card::copy(&parts.image, &dir.join("card.img"))?;
        card.put("sonde.toml", network.settings()?.as_bytes())?;
        let (firmware, dir) = (parts.firmware.clone(), dir.to_owned());
        Ok(Self {
            line,
            card,
            record: None,
            network,
            firmware,
            dir,
            machine: None,
            switched_on: Instant::now(),
            welcomes_before: 0,
        })
    }

    /// Switches it on.
    ///
    /// # Errors
    /// When the machine does not start.
    pub fn switch_on(&mut self) -> Result<()> {
        ensure!(self.machine.is_none(), "it is on");
        self.welcomes_before = self.network.welcomes().len();
        self.switched_on = Instant::now();
        let disk = Disk { image: self.card.path(), record: self.record.as_deref() };
        self.machine = Some(Machine::start(self.line.cable(), &disk, &self.firmware, &self.dir)?);
        Ok(())
    }

    /// The machine.
    ///
    /// # Errors
    /// When it is off.
    pub fn machine(&mut self) -> Result<&mut Machine> {
        self.machine.as_mut().context("it is off")
    }

    /// How long it has been on.
    pub fn on_for(&self) -> Duration {
        self.switched_on.elapsed()
    }

    /// Pulls the plug.
    ///
    /// # Errors
    /// When it is off.
    pub fn cut_power(&mut self) -> Result<()> {
        self.machine.take().context("it is off")?.cut_power()
    }

    /// Waits until the collector has welcomed somebody since it was switched on: the number, and the address from which it came.
    ///
    /// # Errors
    /// When nobody comes; with the console.
    pub fn await_welcome(&mut self) -> Result<(u64, IpAddr)> {
        let (network, before) = (self.network, self.welcomes_before);
        self.machine()?.await_that("the collector's welcome", |_| Ok(network.welcomes().get(before).copied()))
    }

    /// Waits until the card is so: the machine's disk is the image's file, so what it has written can be read.
    ///
    /// # Errors
    /// When it does not become so; with the console.
    pub fn await_card(&mut self, what: &str, is: impl Fn(&Card) -> Result<bool>) -> Result<()> {
        let card = &self.card;
        self.machine.as_mut().context("it is off")?.await_that(what, |_| Ok(is(card)?.then_some(())))
    }

    /// Waits until both copies of the key are on the card, and the same.
    ///
    /// # Errors
    /// When they are not; with the console.
    pub fn await_key(&mut self) -> Result<()> {
        self.await_card("both copies of the key", |card| {
            let (one, other) = (card.key_copy(Copy::A)?, card.key_copy(Copy::B)?);
            Ok(copy_is_whole(&one) && one == other)
        })
    }

    /// Orders one-offs of it and waits for the result of each.
    ///
    /// # Errors
    /// When the API refuses, or a result does not come.
    pub fn measure(&mut self, probe: u64, definitions: &[Value]) -> Result<Vec<Value>> {
        let network = self.network;
        let source = json!([{"type": "probes", "value": probe.to_string(), "requested": 1}]);
        let ids = network.owner.measure(&json!(definitions), &source, true)?;
        let one = |id: u64| {
            let found = |results: Vec<Value>| results.into_iter().next();
            self.machine()?.await_that(&format!("the result of {id}"), |_| Ok(found(network.owner.results(id)?)))
        };
        ids.into_iter().map(one).collect()
    }
}

/// A definition of a one-off.
pub fn definition(kind: &str, family: Family, fields: &Value) -> Value {
    let af = if family == Family::V4 { 4 } else { 6 };
    let mut definition = json!({"type": kind, "af": af, "description": "by a board"});
    if let (Some(into), Some(from)) = (definition.as_object_mut(), fields.as_object()) {
        into.extend(from.clone());
    }
    definition
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_welcome_is_read_from_the_servers_log() {
        let line =
            "2026-01-01T00:00:00Z  INFO sonde_collector::connection: connected probe_id=7 address=20.11.1.100 orders=0";
        assert_eq!(welcome(line), Some((7, "20.11.1.100".parse().unwrap())));
        assert_eq!(welcome(&line.replace(" connected", " disconnected")), None);
    }
}
