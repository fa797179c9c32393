//! A real Prometheus reads a server with the configuration that users are given, and every expression of the dashboard and of the
//! alert rules finds something in it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use sonde_tests::look::Look;
use sonde_tests::scene::say;
use sonde_tests::seed::Options;
use sonde_tests::world::{Client, Place, wait_for};

/// Where the files for users are.
const GIVEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/grafana");

/// What stands in them for the reader's own server.
const HOST: &str = "sonde.example.net";

fn given(name: &str) -> Result<String> {
    let path = Path::new(GIVEN).join(name);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// Is Debian's Prometheus here? CI installs it.
fn is_installed() -> bool {
    let is_there =
        |name: &str| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    let both = is_there("prometheus") && is_there("promtool");
    if !both {
        assert!(std::env::var_os("SONDE_LAB_REQUIRED").is_none_or(|value| value != "1"), "Prometheus is not installed");
        say("SKIPPED: Prometheus is not installed");
    }
    both
}

/// `promtool check …`; `metrics` reads its input.
fn check(what: &str, file: &Path) -> Result<()> {
    let mut command = Command::new("promtool");
    match what {
        "metrics" => command.args(["check", what]).stdin(std::fs::File::open(file)?),
        _ => command.args(["check", what]).arg(file),
    };
    let output = command.output().context("promtool")?;
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    ensure!(output.status.success(), "promtool check {what} {}: {said}", file.display());
    Ok(())
}

/// Every expression below a dashboard's panels, as Grafana would send it.
fn expressions(dashboard: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().into_iter().flatten() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap_or_default();
            found.push(expression.replace("$measurement", ".+").replace("$__rate_interval", "1m"));
        }
    }
    found
}

/// A running Prometheus; it ends with its owner.
struct Prometheus {
    child: Child,
    log: PathBuf,
    client: Client<'static>,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    fn start(dir: &Path, config: &Path) -> Result<Self> {
        let address: SocketAddr = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let log = dir.join("prometheus.log");
        let file = std::fs::File::create(&log)?;
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("tsdb").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("prometheus")?;
        let mut this = Self { child, log, client: Client::new(Place::Here, address, None) };
        wait_for("Prometheus", || {
            ensure!(this.child.try_wait()?.is_none(), "it has ended");
            Ok(this.client.request("GET", "/-/ready", None).ok().filter(|answer| answer.status == 200))
        })
        .with_context(|| this.said())?;
        Ok(this)
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The series that an expression finds now, as a vector.
    fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let answer = self.client.get(&format!("/api/v1/query?query={encoded}"))?;
        let found = answer["data"]["result"].as_array();
        Ok(found.with_context(|| format!("{expression}: {answer}"))?.clone())
    }

    /// Waits until an expression finds something.
    fn wait_query(&self, expression: &str) -> Result<Vec<Value>> {
        wait_for(expression, || Ok(Some(self.query(expression)?).filter(|found| !found.is_empty())))
            .with_context(|| self.said())
    }
}

#[test]
fn the_files_that_users_are_given_find_what_they_look_for() -> Result<()> {
    if !is_installed() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let options = Options { probes: 60, ping_probes: 20, ..Options::small() };
    let network = folder.path().join("sonde");
    std::fs::create_dir(&network)?;
    let look = Look::start(&network, &options, 1, None)?;
    let api = look.client()?;
    // Something that goes on while Prometheus looks: invented probes have reported and do no more.
    let ping = json!([{"type": "ping", "af": 4, "target": "127.0.0.1", "packets": 2, "interval": 1, "description": "\"live\" \\ <b>"}]);
    let probes = json!([{"type": "probes", "value": look.numbers()[0].to_string(), "requested": 1}]);
    let live = api.measure(&ping, &probes, false)?[0];
    api.wait_results(live, 1)?;

    let dir = folder.path().join("prometheus");
    std::fs::create_dir(&dir)?;
    std::fs::write(dir.join("alerts.yml"), given("alerts.yml")?)?;
    let named = |name: &str| look.seeded.measurements.get(name).copied().with_context(|| format!("no {name}"));
    let mut config = given("prometheus.yml")?;
    let targets = ["1000000", "1000005", "1000008"].into_iter().zip([named("ping")?, named("dns")?, named("http")?]);
    for (old, new) in targets {
        ensure!(config.contains(&format!("- \"{old}\"\n")), "the sample names {old}");
        config = config.replace(&format!("- \"{old}\"\n"), &format!("- \"{new}\"\n"));
    }
    let first = named("ping")?;
    config = config.replace(&format!("- \"{first}\"\n"), &format!("- \"{first}\"\n          - \"{live}\"\n"));
    let host = look.base().trim_start_matches("http://").to_owned();
    for (old, new) in [
        (HOST, host.as_str()),
        ("scheme: https", "scheme: http"),
        ("scrape_interval: 60s", "scrape_interval: 1s\n  evaluation_interval: 1s"),
    ] {
        ensure!(config.contains(old), "the sample says {old}");
        config = config.replace(old, new);
    }
    let file = dir.join("prometheus.yml");
    std::fs::write(&file, config)?;
    check("config", &file)?;
    check("rules", &dir.join("alerts.yml"))?;
    let measurements = [live, named("ping")?, named("dns")?, named("http")?, named("quotes")?, named("rtl")?];
    let paths = measurements.map(|id| format!("/api/v2/measurements/{id}/metrics/?by=probe"));
    for path in paths.into_iter().chain(["/api/v2/ipv6/metrics/", "/api/v2/boards/metrics/"].map(str::to_owned)) {
        let answer = api.request("GET", &path, None)?;
        ensure!(answer.status == 200, "{answer:?}");
        let page = dir.join("page.txt");
        std::fs::write(&page, answer.text)?;
        check("metrics", &page).context(path)?;
    }

    let prometheus = Prometheus::start(&dir, &file)?;
    let up = wait_for("all targets to be read", || Ok(Some(prometheus.query("up == 1")?).filter(|up| up.len() == 6)))
        .with_context(|| prometheus.said())?;
    assert!(up.iter().any(|target| target["metric"]["instance"] == format!("{live}").as_str()), "{up:?}");
    // The counters grow, and what people write arrives as they wrote it.
    let growing = format!("increase(sonde_measurement_replies_total{{measurement=\"{live}\"}}[1m]) > 0");
    prometheus.wait_query(&growing)?;
    let median = format!(
        "histogram_quantile(0.5, sum by (le) (rate(sonde_measurement_rtt_seconds_bucket{{measurement=\"{live}\"}}[1m]))) < 5"
    );
    prometheus.wait_query(&median)?;
    let info = prometheus.wait_query(&format!("sonde_measurement_info{{measurement=\"{live}\"}}"))?;
    assert_eq!(info[0]["metric"]["description"], "\"live\" \\ <b>");
    let dashboard: Value = serde_json::from_str(&given("sonde.json")?)?;
    let expressions = expressions(&dashboard);
    assert!(expressions.len() > 10, "{expressions:?}");
    for expression in expressions {
        prometheus.wait_query(&expression)?;
    }
    let judged = wait_for("the alert rules to be judged", || {
        let rules = prometheus.client.get("/api/v1/rules")?;
        let all: Vec<Value> = rules["data"]["groups"][0]["rules"].as_array().context("no rules")?.clone();
        Ok(Some(all).filter(|all| all.iter().all(|rule| rule["health"] != "unknown")))
    })?;
    assert!(judged.iter().all(|rule| rule["health"] == "ok"), "{judged:?}");
    Ok(())
}
