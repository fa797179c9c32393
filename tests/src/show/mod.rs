//! The lab as a show: builds it with the long path and some faults, runs a real network in it, measures over both families
//! and says beside every result what the truth is.
//!
//! The measurements are a table (`task`); `words` says results in words. Everything is removed at the end, also when it
//! is interrupted; after a `kill -9` the next lab does that.

mod stop;
mod task;
mod words;

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use self::stop::Stop;
pub use self::task::{AHEAD, Servers, serve};
use crate::lab::{Family, Host, Lab, LabOptions, Link, Router};
use crate::scene::Scene;
use crate::world::{PATIENCE, program};

/// Where the probes are.
const HOSTS: [Host; 4] = [Host::Dual, Host::V4Only, Host::V6Only, Host::Nat];
/// How often the API is asked for news.
const LOOK: Duration = Duration::from_millis(200);

/// What is wrong in this lab.
const SILENT: Router = Router::D1;
const ELSEWHERE: Router = Router::Join;
const SLOW: Router = Router::Fork;
const NARROW: (Link, u32) = (Link::MplsD1, 1400);

const DRAWING: &str = "
  dual ──┐ LAN                          ┌── server (collector, API)
         home ══╗                       ║
  v4only ═══════╬══ r1 ═══════ r2 ══════╬══ dns
  v6only ═══════╣              ║        ╚══ r3 ══ target
  nat ─ natgw ══╝              ║
                               ║      ╔══ a1 ══ a2 ══╗
                               ╚═ fork╣ by flow      ╠══ join ══ mpls ══ d1 ══ d2 ══ far
                                      ╚══ b1 ══ b2 ══╝

  ═ a link with a delay      fork  answers once a second
  ─ one without              join  answers from an address on none of its links
                             mpls  quotes MPLS labels; behind it 1400 bytes is the most
                             d1    forwards, but never answers
";

/// How the show is to run.
#[derive(Debug, Clone, Copy, Default)]
pub struct ShowOptions {
    /// Ends after the measurements.
    pub once: bool,
    /// Results and truth as JSON lines on standard output; what is for people goes to standard error.
    pub json: bool,
}

/// Runs the show until it is done or the process is asked to end. The exit code is 0 only if every result came and was true,
/// or the show was stopped after that.
///
/// # Errors
/// When this machine cannot have a lab, or something in it does not start.
pub fn run(options: ShowOptions) -> Result<ExitCode> {
    if let Err(reason) = Lab::available() {
        bail!("no lab on this machine: {reason}");
    }
    for name in ["sonde", "sonde-probe"] {
        program(name)?;
    }
    let stop = Stop::at_signals()?;
    let show = Show { options, stop: &stop };
    show.say("building the lab: namespaces, links, routes, DNS");
    let begun = Instant::now();
    let lab = Lab::start(LabOptions { long_path: true, ..LabOptions::default() })?;
    lab.set_silent(SILENT, true)?;
    lab.set_other_address(ELSEWHERE, true)?;
    lab.set_rate_limit(SLOW, NonZeroU32::new(1))?;
    lab.set_mtu(NARROW.0, NARROW.1)?;
    let servers = serve(&lab)?;
    let namespaces = Lab::existing().get(lab.prefix()).map_or(0, Vec::len);
    show.say(&format!("{namespaces} namespaces named {}-… in {:.1} s", lab.prefix(), begun.elapsed().as_secs_f64()));
    show.say(DRAWING);
    let outcome = if stop.is_asked() { Ok(ExitCode::FAILURE) } else { show.network(&lab, &servers) };
    show.say("removing the lab");
    drop(servers);
    lab.stop()?;
    outcome
}

struct Show<'a> {
    options: ShowOptions,
    stop: &'a Stop,
}

impl Show<'_> {
    /// A line for people. Nobody reads it if this fails.
    fn say(&self, line: &str) {
        if self.options.json {
            let _ = writeln!(io::stderr(), "{line}");
        } else {
            let _ = writeln!(io::stdout(), "{line}");
        }
    }

    fn network(&self, lab: &Lab, servers: &Servers) -> Result<ExitCode> {
        self.say("starting a server and four probes in it");
        let scene = Scene::start(lab, &HOSTS)?;
        for address in Family::ALL.into_iter().filter_map(|family| Host::Target.address(family)) {
            scene.server.admin(&["network", "allow-http", &address.to_string()])?;
        }
        let (mut measured, mut wrong) = (0, 0);
        // One after the other, so that the slow router has something left for each.
        for task in task::all() {
            let hosts = scene.hosts(task.family);
            let body = json!({
                "definitions": [task.definition], "probes": scene.source(&hosts), "is_oneoff": true,
            });
            let answer = scene.owner.request("POST", "/api/v2/measurements/", Some(&body))?;
            let Some(id) = answer.json["measurements"][0].as_u64().filter(|_| answer.status == 201) else {
                // A kind or transport that this network has not: nothing wrong with the lab.
                let error = &answer.json["error"]["errors"][0];
                self.say(&format!("\n{}: refused: {} {}", task.name, error["source"]["pointer"], error["detail"]));
                continue;
            };
            let Some(results) = self.results(&scene, id, &hosts)? else { return Ok(ExitCode::FAILURE) };
            measured += 1;
            self.say(&format!("\n{} (measurement {id})", task.name));
            let log = lab.wire_log()?;
            for (host, result) in results {
                let said = words::of(lab, servers, &log, &task, host, &result);
                wrong += said.wrong;
                for line in &said.lines {
                    self.say(&format!("  {line}"));
                }
                if self.options.json {
                    let line = json!({
                        "name": task.name, "host": host.name(), "truth": said.truth, "wrong": said.wrong, "result": result,
                    });
                    let _ = writeln!(io::stdout(), "{line}");
                }
            }
        }
        ensure!(measured > 0, "the API accepted nothing");
        let steal = lab.steal()? * 100.0;
        let stats = lab.wire_stats()?;
        self.say(&format!(
            "\n{measured} measurements, {wrong} untrue; frames were {} µs late in the median, the hypervisor took {steal:.1} % of the CPU",
            stats.late_median.as_micros()
        ));
        if !self.options.once {
            self.invite(lab, &scene)?;
            self.stop.wait();
        }
        Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// One result of each host, once all are there; `None` when the show is stopped.
    fn results(&self, scene: &Scene<'_>, id: u64, hosts: &[Host]) -> Result<Option<BTreeMap<Host, Value>>> {
        let deadline = Instant::now() + PATIENCE;
        while !self.stop.is_asked() {
            let results = scene.owner.results(id)?;
            if results.len() >= hosts.len() {
                return scene.one_each(&scene.owner, id, hosts).map(Some);
            }
            ensure!(Instant::now() < deadline, "{} of {} results of measurement {id} came", results.len(), hosts.len());
            self.stop.wait_for(LOOK);
        }
        Ok(None)
    }

    fn invite(&self, lab: &Lab, scene: &Scene<'_>) -> Result<()> {
        let inside = |host: Host| format!("ip netns exec {}", lab.host(host).name());
        let (dual, server) = (inside(Host::Dual), inside(Host::Server));
        let probe = program("sonde-probe")?;
        let (probe, base) = (probe.display(), scene.owner.base());
        let key = scene.owner.key().context("the owner has a key")?;
        self.say(&format!(
            "
By hand:   {dual} {probe} measure traceroute far.lab.example --af 6 --protocol UDP
           {dual} {probe} measure ping {far}
           {dual} ping far.lab.example
The API:   {server} curl {base}/api/v2/measurements/
           {server} curl {base}/api/v2/measurements/ -H 'Authorization: Key {key}' -H 'Content-Type: application/json' \\
             -d '{{\"definitions\":[{{\"type\":\"ping\",\"af\":4,\"target\":\"far.lab.example\",\"description\":\"mine\"}}],\
             \"is_oneoff\":true,\"probes\":[{{\"type\":\"area\",\"value\":\"WW\",\"requested\":3}}]}}'
Machines:  ip netns list | grep {prefix}
Stop:      Ctrl-C",
            far = Host::Far.address(Family::V4).context("far has IPv4")?,
            prefix = lab.prefix(),
        ));
        Ok(())
    }
}
