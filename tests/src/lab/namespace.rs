//! Being inside a namespace of the lab: programs and closures that see its network and its `/etc/resolv.conf`.
//!
//! As `ip netns exec` does: the network namespace, and a private mount namespace in which `/sys` is that network's and
//! each file of `/etc/netns/NAME/` lies over its namesake in `/etc`.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::{panic, thread};

use anyhow::{Context as _, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use super::sys;

/// Where the namespaces' names live, shared with `ip netns`.
pub(super) const NAMES: &str = "/run/netns";
/// Where the files per namespace live, shared with `ip netns`.
pub(super) const FILES: &str = "/etc/netns";

/// One machine of the lab.
#[derive(Debug, Clone)]
pub struct Namespace {
    name: String,
    handle: Arc<File>,
    /// (file, what it lies over); prepared here, since nothing may be allocated between fork and exec.
    overlays: Arc<Vec<(CString, CString)>>,
}

impl Namespace {
    /// Opens an existing namespace. Fails if it is not there.
    pub(super) fn open(name: &str) -> anyhow::Result<Self> {
        let path = Path::new(NAMES).join(name);
        let handle = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        let mut overlays = Vec::new();
        if let Ok(files) = fs::read_dir(Path::new(FILES).join(name)) {
            for file in files {
                let file = file?;
                let over = Path::new("/etc").join(file.file_name());
                overlays.push((c_path(&file.path())?, c_path(&over)?));
            }
        }
        Ok(Self { name: name.to_owned(), handle: Arc::new(handle), overlays: Arc::new(overlays) })
    }

    /// Its name, as `ip netns exec NAME` takes it while the lab is up.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run inside. Children of it are inside too.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let (handle, overlays) = (Arc::clone(&self.handle), Arc::clone(&self.overlays));
        sys::before_exec(&mut command, move || enter(handle.as_fd(), &overlays).map_err(io::Error::from));
        command
    }

    /// Runs `body` on a thread inside and returns its value. Threads and sockets that it makes are inside too, and sockets
    /// stay inside when they leave the closure. A panic of the closure is passed on.
    ///
    /// # Panics
    /// If the namespace cannot be entered, which needs root.
    pub fn run<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let result = thread::scope(|scope| {
            let inside = scope.spawn(|| {
                if let Err(error) = enter(self.handle.as_fd(), &self.overlays) {
                    panic!("cannot enter namespace {}: {error}", self.name);
                }
                body()
            });
            inside.join()
        });
        result.unwrap_or_else(|payload| panic::resume_unwind(payload))
    }

    /// Feeds `script` to a program inside on its standard input and waits. Fails with what it wrote to standard error.
    pub fn feed(&self, program: &str, arguments: &[&str], script: &str) -> anyhow::Result<()> {
        feed(self.command(program).args(arguments), script).with_context(|| format!("in namespace {}", self.name))
    }

    /// Adds nftables rules inside, in the syntax of `nft -f`.
    pub fn nft(&self, rules: &str) -> anyhow::Result<()> {
        self.feed("nft", &["-f", "-"], rules)
    }

    /// Sets a sysctl inside, such as `net.ipv4.ip_forward`. Only those under `net.` belong to a namespace.
    pub fn sysctl(&self, key: &str, value: &str) -> anyhow::Result<()> {
        let path = PathBuf::from("/proc/sys").join(key.replace('.', "/"));
        self.run(|| fs::write(&path, value)).with_context(|| format!("set {key} in {}", self.name))
    }
}

/// Runs a command to its end with `script` on its standard input.
pub(super) fn feed(command: &mut Command, script: &str) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {program}"))?;
    if let Some(mut input) = child.stdin.take() {
        // A program that ends early breaks the pipe; its exit status and words tell why.
        let _ = input.write_all(script.as_bytes());
    }
    let output = child.wait_with_output().with_context(|| format!("wait for {program}"))?;
    if !output.status.success() {
        bail!("{program}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Moves the calling thread inside. System calls only: it also runs between fork and exec.
fn enter(namespace: BorrowedFd<'_>, overlays: &[(CString, CString)]) -> nix::Result<()> {
    const NONE: Option<&std::ffi::CStr> = None;
    setns(namespace, CloneFlags::CLONE_NEWNET)?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(NONE, c"/", NONE, MsFlags::MS_SLAVE | MsFlags::MS_REC, NONE)?;
    // Without its own /sys a program sees the interfaces outside; few look, so a machine that refuses is no obstacle.
    if umount2(c"/sys", MntFlags::MNT_DETACH).is_ok() {
        let _ = mount(Some(c"sysfs"), c"/sys", Some(c"sysfs"), MsFlags::empty(), NONE);
    }
    for (file, over) in overlays {
        mount(Some(file.as_c_str()), over.as_c_str(), NONE, MsFlags::MS_BIND, NONE)?;
    }
    Ok(())
}

fn c_path(path: &Path) -> anyhow::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).with_context(|| format!("a NUL in {}", path.display()))
}

/// A running program of the lab, killed when dropped.
#[derive(Debug)]
pub struct LabChild(Child);

impl LabChild {
    /// Starts the command.
    pub(super) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        Ok(Self(command.spawn().with_context(|| format!("start {program}"))?))
    }
}

impl Deref for LabChild {
    type Target = Child;
    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for LabChild {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for LabChild {
    fn drop(&mut self) {
        // Either fails only if the program has ended and been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
