//! What a lab occupies on the machine: a prefix for its names, a directory, and the removal of all of it, also for labs
//! whose owner was killed.
//!
//! The owner is written down as process id and start time, so that a reused process id is not taken for it.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::namespace::{FILES, NAMES};

/// Where the labs' directories are.
const DIRECTORIES: &str = "/run/sonde-lab";
/// Begins the name of everything that belongs to a lab.
const MARK: &str = "sl";
/// The file in a lab's directory that says who owns it.
const OWNER: &str = "owner";

static LABS: AtomicU32 = AtomicU32::new(0);

/// A lab's place. Dropping it removes everything.
#[derive(Debug)]
pub(super) struct Ground {
    prefix: String,
    is_removed: bool,
}

impl Ground {
    /// Takes a prefix that no other lab has, after removing labs whose owner is gone.
    pub(super) fn claim() -> anyhow::Result<Self> {
        fs::create_dir_all(DIRECTORIES).with_context(|| format!("create {DIRECTORIES}"))?;
        remove_leftovers()?;
        let pid = std::process::id();
        loop {
            let prefix = format!("{MARK}{pid}-{}", LABS.fetch_add(1, Ordering::Relaxed));
            let ground = Self { prefix, is_removed: false };
            match fs::create_dir(ground.dir()) {
                Ok(()) => {
                    let owner = format!("{pid} {}", start_time(pid).unwrap_or(0));
                    fs::write(ground.dir().join(OWNER), owner).context("write down the owner")?;
                    return Ok(ground);
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    // Somebody else's; not ours to remove.
                    let mut ground = ground;
                    ground.is_removed = true;
                }
                Err(error) => return Err(error).context("create the lab's directory"),
            }
        }
    }

    /// Begins the name of every namespace of the lab, followed by `-`.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// For the lab's files.
    pub(super) fn dir(&self) -> PathBuf {
        Path::new(DIRECTORIES).join(&self.prefix)
    }

    /// Removes everything now, and says what went wrong.
    pub(super) fn remove(mut self) -> anyhow::Result<()> {
        self.is_removed = true;
        remove(&self.prefix)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // The next lab's start tries again.
        if !self.is_removed {
            let _ = remove(&self.prefix);
        }
    }
}

/// The labs' prefixes that exist, with or without a living owner.
pub(super) fn prefixes() -> Vec<String> {
    names_in(Path::new(DIRECTORIES)).into_iter().filter(|name| name.starts_with(MARK)).collect()
}

/// The namespaces of one lab.
pub(super) fn namespaces(prefix: &str) -> Vec<String> {
    let prefix = format!("{prefix}-");
    names_in(Path::new(NAMES)).into_iter().filter(|name| name.starts_with(&prefix)).collect()
}

fn names_in(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

fn remove_leftovers() -> anyhow::Result<()> {
    for prefix in prefixes().into_iter().filter(|prefix| !has_owner(prefix)) {
        remove(&prefix).with_context(|| format!("remove what is left of lab {prefix}"))?;
    }
    Ok(())
}

fn has_owner(prefix: &str) -> bool {
    let written = fs::read_to_string(Path::new(DIRECTORIES).join(prefix).join(OWNER)).unwrap_or_default();
    let numbers: Option<Vec<u64>> = written.split(' ').map(|number| number.trim().parse().ok()).collect();
    match numbers.as_deref() {
        Some([pid, started]) => u32::try_from(*pid).is_ok_and(|pid| start_time(pid) == Some(*started)),
        // Just being made, or its maker was killed right then.
        _ => {
            let pid = prefix.strip_prefix(MARK).and_then(|rest| rest.split('-').next()?.parse().ok());
            pid.is_some_and(|pid| start_time(pid).is_some())
        }
    }
}

/// When a living process began, in the kernel's ticks since boot (proc_pid_stat(5), field 22); a zombie is not alive.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name, in parentheses, may contain anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn remove(prefix: &str) -> anyhow::Result<()> {
    let names = namespaces(prefix);
    // What runs inside was started by the lab: nobody else knows the way in.
    end_processes(&names)?;
    for name in &names {
        let path = Path::new(NAMES).join(name);
        // Not mounted if its maker was killed half-way; gone if somebody removes the same leftovers.
        let _ = umount2(&path, MntFlags::MNT_DETACH);
        gone(fs::remove_file(&path)).with_context(|| format!("remove {}", path.display()))?;
    }
    for name in names_in(Path::new(FILES)).into_iter().filter(|name| name.starts_with(&format!("{prefix}-"))) {
        gone(fs::remove_dir_all(Path::new(FILES).join(name))).context("remove the files of a namespace")?;
    }
    gone(fs::remove_dir_all(Path::new(DIRECTORIES).join(prefix))).context("remove the lab's directory")
}

fn gone(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Kills every process in these namespaces and waits until none is left.
fn end_processes(names: &[String]) -> anyhow::Result<()> {
    let inodes: HashSet<u64> =
        names.iter().filter_map(|name| Some(fs::metadata(Path::new(NAMES).join(name)).ok()?.ino())).collect();
    let deadline = Instant::now() + Duration::from_secs(10);
    // An ending process loses its namespaces before it is quite gone.
    let mut killed: Vec<(u32, u64)> = Vec::new();
    loop {
        killed.retain(|(pid, started)| start_time(*pid) == Some(*started));
        for pid in names_in(Path::new("/proc")).iter().filter_map(|name| name.parse::<u32>().ok()) {
            let namespace = fs::metadata(format!("/proc/{pid}/ns/net")).map(|metadata| metadata.ino());
            let is_inside = pid != std::process::id() && namespace.is_ok_and(|inode| inodes.contains(&inode));
            if let Some(started) = start_time(pid).filter(|_| is_inside) {
                // It may have ended meanwhile.
                let _ = kill(Pid::from_raw(i32::try_from(pid).context("a process id")?), Signal::SIGKILL);
                if !killed.contains(&(pid, started)) {
                    killed.push((pid, started));
                }
            }
        }
        if killed.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("processes {killed:?} do not end");
        }
        thread::sleep(Duration::from_millis(1));
    }
}
