//! `sonde-probe enroll`: one command from an operator's `network.toml` to a probe that measures. Checks the file, puts it where the
//! service looks for it, says who the probe is, and starts the service where there is one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sonde_protocol::directory::NetworkFile;

use crate::config::read_network;
use crate::identity::{Identity, forget_directory, kept_directory};
use crate::status::{self, State};

/// Where the service looks for the network.
pub const NETWORK: &str = "/etc/sonde/network.toml";

/// Where the service keeps its state.
pub const STATE: &str = "/var/lib/sonde-probe";

/// The service of systemd.
const SERVICE: &str = "sonde-probe.service";

/// How long the started probe may take until it knows whether it is welcome.
const PATIENCE: Duration = Duration::from_secs(15);

/// How often it is asked meanwhile.
const LOOK: Duration = Duration::from_millis(200);

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Enroll {
    /// The operator's file.
    pub file: PathBuf,
    /// Where to install it.
    pub to: PathBuf,
    /// The probe's state directory.
    pub state: PathBuf,
    /// Start the service.
    pub start: bool,
}

/// Does it, and says on `out` what was done.
///
/// # Errors
/// When the file makes no sense (nothing has changed then), or something cannot be written or started.
pub fn enroll(asked: &Enroll, out: &mut impl Write) -> Result<()> {
    let network = read_network(&asked.file)?;
    let service = asked.start && Path::new("/run/systemd/system").exists();
    if service {
        // What it would write now belongs to the network it leaves. It may not run, or not be known yet.
        let _ = Command::new("systemctl").args(["stop", SERVICE]).status();
    }
    // The key first: its directory says to which group the file must be readable.
    let identity = Identity::open(&asked.state, network.clone()).context("the state directory cannot be used")?;
    change_network(&asked.state, &network, out)?;
    install(&asked.file, &asked.to, &asked.state)?;
    writeln!(out, "network {}, root key {}", network.name, roots(&network))?;
    writeln!(out, "probe key {}", identity.key().public())?;
    writeln!(out, "installed {}", asked.to.display())?;
    if !service {
        let (to, state) = (asked.to.display(), asked.state.display());
        writeln!(out, "now start it: sonde-probe run --network {to} --state {state}")?;
        return Ok(());
    }
    for words in [&["enable", "--quiet", SERVICE][..], &["restart", SERVICE]] {
        let done = Command::new("systemctl").args(words).status().context("systemctl cannot be run")?;
        if !done.success() {
            bail!("`systemctl {}` failed: see `journalctl -u {SERVICE}`", words.join(" "));
        }
    }
    writeln!(out, "{}", first_word(&asked.state))?;
    Ok(())
}

/// A directory that none of the file's root keys stands in is of another network, or older than the file: the host's word
/// counts, and the probe trusts the file.
fn change_network(state: &Path, network: &NetworkFile, out: &mut impl Write) -> Result<()> {
    let Some(kept) = kept_directory(state).context("the kept directory cannot be read")? else { return Ok(()) };
    if kept.roots.iter().any(|root| network.roots.contains(root)) {
        return Ok(());
    }
    forget_directory(state).context("the kept directory cannot be removed")?;
    writeln!(out, "no longer in network {}", kept.network.as_str())?;
    Ok(())
}

fn roots(network: &NetworkFile) -> String {
    network.roots.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Copies the file whole or not at all, readable to the owner and to the group of the state directory, which is the service's:
/// it may hold a join token.
fn install(from: &Path, to: &Path, state: &Path) -> Result<()> {
    let write = || -> io::Result<()> {
        let text = fs::read(from)?;
        let folder = to.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let fresh = to.with_extension("toml.new");
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(&fresh)?;
        let group = fs::metadata(state)?.gid();
        if file.metadata()?.gid() != group {
            fchown(&file, None, Some(group))?;
        }
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&fresh, to)?;
        File::open(folder)?.sync_all()
    };
    write().with_context(|| format!("cannot write {}", to.display()))
}

/// Waits until the started probe knows where it stands, and says it in its own words.
fn first_word(state: &Path) -> String {
    let begun = Instant::now();
    loop {
        let status = status::ask(state);
        let settled = status
            .as_ref()
            .is_ok_and(|status| matches!(status.state, State::Connected | State::Refused | State::Waiting));
        if settled || begun.elapsed() > PATIENCE {
            return status.map_or_else(
                |error| format!("the service is started, but does not answer yet ({error}): see `sonde-probe status`"),
                |status| status.line(),
            );
        }
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const ROOT: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn network(name: &str) -> String {
        format!(
            "name = \"{name}\"\nroots = [\"{ROOT}\"]\n[[collectors]]\nkey = \"{ROOT}\"\naddresses = [\"192.0.2.7:8333\"]\n"
        )
    }

    fn asked(dir: &Path, text: &str) -> Enroll {
        let file = dir.join("given.toml");
        fs::write(&file, text).unwrap();
        Enroll { file, to: dir.join("etc/sonde/network.toml"), state: dir.join("state"), start: false }
    }

    #[test]
    fn the_file_is_installed_for_the_service_alone_and_the_key_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let asked = asked(dir.path(), &network("one"));
        let mut said = Vec::new();
        enroll(&asked, &mut said).unwrap();
        assert_eq!(fs::read_to_string(&asked.to).unwrap(), network("one"));
        assert_eq!(fs::metadata(&asked.to).unwrap().permissions().mode() & 0o777, 0o640);
        let key = Identity::open(&asked.state, read_network(&asked.to).unwrap()).unwrap().key().public().to_string();
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains(&key) && said.contains("network one") && said.contains(ROOT), "{said}");
    }

    #[test]
    fn a_file_that_makes_no_sense_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        enroll(&asked(dir.path(), &network("one")), &mut Vec::new()).unwrap();
        for bad in ["", "name = \"two\"\nroots = []\ncollectors = []", "\u{0}", "name = 3"] {
            let asked = asked(dir.path(), bad);
            assert!(enroll(&asked, &mut Vec::new()).is_err(), "{bad:?}");
            assert_eq!(fs::read_to_string(&asked.to).unwrap(), network("one"), "{bad:?}");
        }
    }
}
