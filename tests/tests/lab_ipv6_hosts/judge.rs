//! What the measurement says at a host, in the words of the table.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use sonde_tests::lab::homes::{Home, Homes};
use sonde_tests::world::program;

use crate::far::Far;

/// Measures in all these homes at the same time, and gives the results in their order.
pub fn measure_all(homes: &Homes, far: &Far, names: &[&str], scope: &str) -> Vec<Result<Value>> {
    let results = Mutex::new(Vec::new());
    thread::scope(|scope_of_threads| {
        for (place, name) in names.iter().enumerate() {
            let (home, results) = (homes.home(name), &results);
            scope_of_threads.spawn(move || {
                let result = measure(&home, far, scope);
                results.lock().unwrap().push((place, result));
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}

/// One run, as its JSON.
pub fn measure(home: &Home<'_>, far: &Far, scope: &str) -> Result<Value> {
    let mut command = home.host.command(program("sonde-probe")?);
    command.args(["measure", "ipv6", "--json", "--scope", scope, "--reference"]).arg(&far.cards);
    let output = command.stdin(Stdio::null()).output().context("run sonde-probe")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let result: Value = serde_json::from_slice(&output.stdout).context("a result")?;
    if let Some(folder) = std::env::var_os("SONDE_IPV6_OUT") {
        fs::write(PathBuf::from(folder).join(format!("{}-{scope}.json", home.plan.name)), &output.stdout)?;
    }
    Ok(result)
}

/// What a result says of a family: `state: causes (kind) +flags`.
pub fn words(result: &Value, af: u8) -> String {
    let verdicts = result["verdict"].as_array().into_iter().flatten();
    let Some(verdict) = verdicts.into_iter().find(|verdict| verdict["af"] == af) else {
        return format!("no verdict in {result}");
    };
    let list =
        |key: &str| -> Vec<&str> { verdict[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect() };
    let mut text = verdict["raw"].as_str().unwrap_or("?").to_owned();
    let causes = verdict["cause"].as_str().map_or_else(|| list("part").join(", "), str::to_owned);
    if !causes.is_empty() {
        text += &format!(": {causes}");
    }
    if let Some(sub) = verdict["sub"].as_str() {
        text += &format!(" ({sub})");
    }
    for flag in list("flags") {
        text += &format!(" +{flag}");
    }
    text
}
