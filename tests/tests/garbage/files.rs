//! Files that are damaged, or something else: whoever starts with them says which file it is and ends.

use std::fs;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sonde_tests::world::{EMAIL, program, wait_for};

use crate::ground::Ground;
use crate::peer::{random_bytes, seed};

/// Runs a program that ends by itself and gives what it said.
fn run(name: &str, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(program(name).unwrap());
    // Into a file: an error that shows a long line is longer than a pipe.
    let mut log = tempfile::tempfile().unwrap();
    command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log.try_clone().unwrap());
    let mut child = command.spawn().unwrap();
    let ended = wait_for("a program that should end by itself", || Ok(child.try_wait()?));
    if ended.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let mut said = Vec::new();
    log.rewind().unwrap();
    log.read_to_end(&mut said).unwrap();
    let mut said = String::from_utf8_lossy(&said).into_owned();
    said.truncate(said.floor_char_boundary(10_000));
    let ended = ended.unwrap_or_else(|error| panic!("{name} {arguments:?}: {error}: {said}"));
    (ended.success(), said)
}

/// The program fails, and its error names the file.
#[track_caller]
fn fails(name: &str, arguments: &[&str], file: &str, case: &str) {
    let (success, said) = run(name, arguments);
    assert!(!success && said.contains("error: "), "{name}, {file}, {case}: {said}");
    assert!(said.contains(file), "{name}, {case}: the error does not name {file}: {said}");
    assert!(!said.contains("panicked"), "{name}, {file}, {case}: {said}");
}

fn garbage() -> Vec<(&'static str, Vec<u8>)> {
    let seed = seed();
    eprintln!("seed {seed}");
    vec![
        ("empty", Vec::new()),
        ("random", random_bytes(seed, 4096)),
        ("zeros", vec![0; 100_000]),
        ("text", b"hello world\n".repeat(20)),
        ("a nest", b"a = [".iter().chain(b"[".repeat(100_000).iter()).copied().collect()),
        ("a long line", vec![b'x'; 3 << 20]),
        ("CBOR that is something else", vec![0xa1, 0x00, 0x01]),
    ]
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn configuration_files() {
    let ground = Ground::start();
    let dir = ground.path().join("files");
    fs::create_dir(&dir).unwrap();
    let (config, data, state) = (dir.join("garbage.toml"), dir.join("data"), dir.join("state"));
    let network = dir.join("network.toml");
    ground.server.network_file(EMAIL, &network).unwrap();
    let toml = [
        ("a wrong type", b"[api]\nlisten = 5\n[policy]\nallow = 5\n".to_vec()),
        ("an unknown key", b"[api]\nlisten_on = []\n[policy]\nnothing = 1\n".to_vec()),
        ("numbers too large", b"[api]\nmin_interval = 99999999999999999999\n[limits]\nconcurrent = -1\n".to_vec()),
        ("an address that is none", b"[collector]\nlisten = [\"nowhere\"]\n".to_vec()),
    ];
    for (case, bytes) in garbage().into_iter().chain(toml).filter(|(case, _)| *case != "empty") {
        fs::write(&config, bytes).unwrap();
        let config = text(&config);
        fails("sonde", &["serve", "--data", text(&data), "--config", config], config, case);
        fails("sonde", &["config", "--config", config], config, case);
        let run = ["run", "--network", text(&network), "--state", text(&state), "--config", config];
        fails("sonde-probe", &run, config, case);
        fails("sonde-probe", &["run", "--network", config, "--state", text(&state)], config, case);
    }
    fs::write(&config, b"").unwrap();
    fails("sonde-probe", &["run", "--network", text(&config), "--state", text(&state)], text(&config), "empty");
    // What is a directory, or is not there.
    for missing in [dir.join("missing.toml"), dir.clone()] {
        fails("sonde", &["serve", "--data", text(&data), "--config", text(&missing)], text(&missing), "no file");
        fails("sonde-probe", &["run", "--network", text(&missing), "--state", text(&state)], text(&missing), "no file");
    }
    assert!(!data.exists(), "nothing is made before the configuration is read");
}

#[test]
fn the_servers_data() {
    let mut ground = Ground::start();
    ground.undisturbed("nothing");
    ground.server.stop().unwrap();
    let data = ground.server.data().to_owned();
    let config = ground.path().join("server/server.toml");
    let results = fs::read_dir(data.join("results")).unwrap().map(|entry| entry.unwrap().path());
    let day = results.into_iter().find(|path| path.extension().is_some_and(|end| end == "db")).unwrap();
    let network = |name: &str| data.join("network").join(name);
    let files: [(PathBuf, bool); 5] = [
        (network("directory.cbor"), true),
        (network("collector.key"), true),
        (network("quic.key"), true),
        (data.join("catalog.db"), true),
        (day, false),
    ];
    let serve = ["serve", "--data", text(&data), "--config", text(&config)];
    for (path, administration_reads_it) in files {
        let whole = fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let cut = ("cut", whole[..whole.len() / 2].to_vec());
        let mut turned = whole.clone();
        turned.iter_mut().take(200).for_each(|byte| *byte ^= 0x55);
        // An empty file of SQLite's is a fresh database, by its own rules.
        let is_database = name.ends_with(".db");
        let all = garbage().into_iter().chain([cut, ("changed", turned)]);
        // Any other 32 bytes are a secret, too.
        let is_secret = name == "quic.key";
        let all = all.filter(|(case, _)| !(is_database && *case == "empty" || is_secret && *case == "changed"));
        for (case, bytes) in all {
            fs::write(&path, bytes).unwrap();
            fails("sonde", &serve, name, case);
            if administration_reads_it {
                fails("sonde", &["admin", "--data", text(&data), "account", "add", "x@example.net"], name, case);
            }
        }
        fs::write(&path, whole).unwrap();
    }
    let file = ground.path().join("no directory");
    fs::write(&file, b"").unwrap();
    fails("sonde", &["serve", "--data", text(&file), "--config", text(&config)], text(&file), "no directory");
    fails("sonde", &["admin", "--data", text(&file), "network", "show"], "no directory", "no directory");
    // With everything as it was, the server is as it was, and the honest probe comes back to it.
    ground.server.restart().unwrap();
    let there = ground.owner.results(ground.measurement).unwrap().len();
    ground.owner.wait_results(ground.measurement, there + 1).unwrap();
}

#[test]
fn the_probes_state() {
    let ground = Ground::start();
    let dir = ground.path().join("probe");
    fs::create_dir(&dir).unwrap();
    let (network, state) = (dir.join("network.toml"), dir.join("state"));
    ground.server.network_file(EMAIL, &network).unwrap();
    let run = ["run", "--network", text(&network), "--state", text(&state)];
    fs::create_dir(&state).unwrap();
    let key = state.join("probe.key");
    for (case, bytes) in garbage() {
        fs::write(&key, &bytes).unwrap();
        fails("sonde-probe", &run, text(&key), case);
        assert_eq!(fs::read(&key).unwrap(), bytes, "{case}: a key is never replaced");
    }
    fs::remove_file(&key).unwrap();
    fs::create_dir(&key).unwrap();
    fails("sonde-probe", &run, text(&key), "a directory");
    fs::remove_dir(&key).unwrap();
    fs::write(dir.join("file"), b"").unwrap();
    let file = dir.join("file");
    fails("sonde-probe", &["run", "--network", text(&network), "--state", text(&file)], text(&file), "a file");
    fails("sonde-probe", &["status", "--state", text(&file)], text(&file), "a file");

    // A directory of the network that cannot be read is as good as none: network.toml says enough to fetch it again.
    for (_, bytes) in garbage() {
        let _ = fs::remove_file(state.join("directory.cbor"));
        fs::write(state.join("directory.cbor"), bytes).unwrap();
        let mut probe = sonde_tests::world::Probe::start(sonde_tests::world::Place::Here, &dir, "").unwrap();
        probe.wait_connected().unwrap();
        assert!(!probe.process().unwrap().log().contains("panicked"));
        probe.kill().unwrap();
    }
}
