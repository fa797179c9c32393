//! One emulated machine: 64-bit Arm with UEFI firmware that verifies what it starts, a watchdog, a card, a cable. Started, watched
//! on its console, and told through QEMU's monitor what a hand would do: pull the cable, cut the power.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::console::{Console, Line};
use crate::lab::Namespace;
use crate::world::wait_up_to;

/// How long a machine may take for anything: it is emulated, on a computer that does other things.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// The firmware.
#[derive(Debug, Clone)]
pub enum Firmware {
    /// UEFI, which verifies.
    Uefi {
        /// Its code.
        code: PathBuf,
        /// Its variables, with the keys that it trusts and Secure Boot on. Each machine has a copy.
        variables: PathBuf,
    },
    /// U-Boot, which does not.
    UBoot {
        /// Its program.
        program: PathBuf,
    },
}

impl Firmware {
    /// QEMU's words for it. What it remembers is in `dir`.
    fn words(&self, dir: &Path) -> Result<Vec<String>> {
        match self {
            Self::Uefi { code, variables } => {
                let own = dir.join("variables.fd");
                if !own.exists() {
                    fs::copy(variables, &own).context("copy the firmware's variables")?;
                }
                let flash = |unit: u8, file: &Path, more: &str| {
                    ["-drive".to_owned(), format!("if=pflash,format=raw,unit={unit}{more},file={}", file.display())]
                };
                Ok([flash(0, code, ",readonly=on"), flash(1, &own, "")].concat())
            }
            Self::UBoot { program } => Ok(vec!["-bios".to_owned(), program.display().to_string()]),
        }
    }
}

/// Where the cable goes.
#[derive(Debug, Clone, Copy)]
pub struct Cable<'a> {
    /// The namespace in which the machine's other end is.
    pub namespace: &'a Namespace,
    /// The tap device there.
    pub tap: &'a str,
    /// The machine's own link-layer address.
    pub mac: &'a str,
}

/// The card as the machine has it.
#[derive(Debug, Clone, Copy)]
pub struct Disk<'a> {
    /// The card's image.
    pub image: &'a Path,
    /// Where every write and flush is recorded (`super::writes` reads it), if it is.
    pub record: Option<&'a Path>,
}

impl Disk<'_> {
    fn words(&self) -> [String; 2] {
        let image = self.image.display();
        match self.record {
            None => ["-drive".to_owned(), format!("if=none,id=card,format=raw,file={image}")],
            Some(record) => [
                "-blockdev".to_owned(),
                format!(
                    "driver=blklogwrites,node-name=card,log-sector-size=512,file.driver=file,file.filename={image},\
                     log.driver=file,log.filename={}",
                    record.display()
                ),
            ],
        }
    }
}

/// A running machine; dropping it is cutting the power.
pub struct Machine {
    child: Child,
    console: Console,
    monitor: Monitor,
    log: PathBuf,
}

impl Machine {
    /// Puts a card in and switches on. Its files are in `dir`, which is kept from one start to the next: the firmware's variables
    /// live there, the console begins anew.
    ///
    /// # Errors
    /// When QEMU does not start.
    pub fn start(cable: Cable<'_>, card: &Disk<'_>, firmware: &Firmware, dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let (socket, console) = (dir.join("monitor"), dir.join("console"));
        for old in [&socket, &console] {
            if old.exists() {
                fs::remove_file(old)?;
            }
        }
        // What it may not write is an error of its card, and not the end of it (see `limit_writes`).
        let mut command = cable.namespace.command("env");
        command.args(["--ignore-signal=XFSZ", "qemu-system-aarch64"]);
        command.args(["-M", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", "512", "-nodefaults", "-display", "none"]);
        command.arg("-serial").arg(format!("file:{}", console.display()));
        command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", socket.display()));
        command.args(firmware.words(dir)?);
        command.args(card.words());
        command.args(["-device", "virtio-blk-pci,drive=card,bootindex=0", "-device", "virtio-rng-pci"]);
        command.args(["-device", "i6300esb", "-watchdog-action", "reset"]);
        command.arg("-netdev").arg(format!("tap,id=net,ifname={},script=no,downscript=no", cable.tap));
        // No option ROM: nothing is started from the network.
        command.arg("-device").arg(format!("virtio-net-pci,id=port,netdev=net,mac={},romfile=", cable.mac));
        // A clock that nobody has set since it was made, as boards have that have none. And no wait for a key.
        command.args(["-rtc", "base=2001-01-01", "-boot", "menu=on,splash-time=0"]);
        let log = dir.join("qemu.log");
        let file = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let mut child = command.spawn().context("start qemu-system-aarch64")?;
        let monitor = match Monitor::open(&socket, &mut child) {
            Ok(monitor) => monitor,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error.context(fs::read_to_string(&log).unwrap_or_default()));
            }
        };
        Ok(Self { child, console: Console::of(&console), monitor, log })
    }

    /// Its console.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Pulls the cable, or puts it back.
    ///
    /// # Errors
    /// When the monitor does not answer.
    pub fn set_cable(&mut self, plugged: bool) -> Result<()> {
        self.monitor.ask("set_link", &json!({"name": "port", "up": plugged}))
    }

    /// From now on every write behind this place of a file fails: a card that can only be read any more.
    ///
    /// # Errors
    /// When the system does not do that.
    pub fn limit_writes(&self, behind: u64) -> Result<()> {
        let mut command = Command::new("prlimit");
        let status = command.arg("--pid").arg(self.id().to_string()).arg(format!("--fsize={behind}")).status()?;
        ensure!(status.success(), "prlimit does not bound what QEMU writes");
        Ok(())
    }

    /// Writes what is in its memory to a file.
    ///
    /// # Errors
    /// When the monitor does not.
    pub fn save_memory(&mut self, start: u64, length: u64, file: &Path) -> Result<()> {
        self.monitor.ask("pmemsave", &json!({"val": start, "size": length, "filename": file}))
    }

    /// Lets a debugger come by this socket.
    ///
    /// # Errors
    /// When the monitor does not answer.
    pub fn listen_for_debugger(&mut self, socket: &Path) -> Result<()> {
        let line = format!("gdbserver unix:{},server=on,wait=off", socket.display());
        self.monitor.ask("human-monitor-command", &json!({"command-line": line}))
    }

    /// Cuts the power: what the machine has not written is lost.
    ///
    /// # Errors
    /// When the process cannot be ended.
    pub fn cut_power(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits until `look` gives something.
    ///
    /// # Errors
    /// When it has not after [`PATIENCE`], or the machine has gone; with the end of the console.
    pub fn await_that<T>(&mut self, what: &str, mut look: impl FnMut(&Console) -> Result<Option<T>>) -> Result<T> {
        let found = wait_up_to(PATIENCE, what, || {
            if let Some(found) = look(&self.console)? {
                return Ok(Some(found));
            }
            if let Some(status) = self.child.try_wait()? {
                let said = fs::read_to_string(&self.log).unwrap_or_default();
                bail!("the machine ended ({status}) before {what}: {said}");
            }
            Ok(None)
        });
        found.with_context(|| self.console.tail())
    }

    /// Waits until the console has such a text, whoever wrote it.
    ///
    /// # Errors
    /// See [`Self::await_that`].
    pub fn await_text(&mut self, what: &str, is: impl Fn(&str) -> bool) -> Result<()> {
        self.await_that(what, |console| Ok(is(&console.text()).then_some(())))
    }

    /// Waits for a line of the operating system.
    ///
    /// # Errors
    /// See [`Self::await_that`].
    pub fn await_line(&mut self, what: &str, is: impl Fn(&Line) -> bool) -> Result<Line> {
        self.await_that(what, |console| Ok(console.lines().into_iter().find(&is)))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// QEMU's machine protocol.
struct Monitor {
    reader: BufReader<UnixStream>,
}

impl Monitor {
    fn open(socket: &Path, child: &mut Child) -> Result<Self> {
        let stream = wait_up_to(PATIENCE, "QEMU's monitor", || {
            ensure!(child.try_wait()?.is_none(), "QEMU has ended at once");
            Ok(UnixStream::connect(socket).ok())
        })?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut monitor = Self { reader: BufReader::new(stream) };
        // Its greeting.
        monitor.read()?;
        monitor.ask("qmp_capabilities", &json!({}))?;
        Ok(monitor)
    }

    fn ask(&mut self, command: &str, arguments: &Value) -> Result<()> {
        let mut line = serde_json::to_vec(&json!({"execute": command, "arguments": arguments}))?;
        line.push(b'\n');
        self.reader.get_mut().write_all(&line)?;
        // Events come in between.
        loop {
            let answer = self.read()?;
            if answer.get("return").is_some() {
                return Ok(());
            }
            if let Some(error) = answer.get("error") {
                bail!("{command}: {error}");
            }
        }
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        ensure!(self.reader.read_line(&mut line)? > 0, "QEMU's monitor has closed");
        Ok(serde_json::from_str(&line)?)
    }
}
