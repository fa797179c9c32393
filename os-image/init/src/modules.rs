//! Kernel modules: which one drives a device, what it needs before it, and loading them. It reads what depmod(8) wrote; without a libc
//! and without modprobe on the board, the kernel's own wishes (`kernel.modprobe`) come here too.

mod alias;

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// One module's file and what has to be loaded before it, nearest first.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Module {
    file: PathBuf,
    needs: Vec<String>,
}

/// The modules of the running kernel.
#[derive(Debug, Default)]
pub struct Modules {
    modules: HashMap<String, Module>,
    /// Pattern and module.
    aliases: Vec<(String, String)>,
    builtin: HashSet<String>,
    /// Loaded, or tried in vain.
    done: HashSet<String>,
    seen: HashSet<String>,
    loaded: usize,
}

/// A module that could not be loaded.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {source}")]
pub struct LoadError {
    name: String,
    #[source]
    source: io::Error,
}

impl Modules {
    /// Those in `/lib/modules/RELEASE` of the running kernel.
    ///
    /// # Errors
    /// When there is no list of them, because the image was made for another kernel.
    pub fn of_this_kernel() -> io::Result<Self> {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        Self::read(&Path::new("/lib/modules").join(release))
    }

    fn read(folder: &Path) -> io::Result<Self> {
        let text = |name: &str| fs::read_to_string(folder.join(name));
        let mut read = Self::default();
        for line in text("modules.dep")?.lines() {
            let Some((file, needs)) = line.split_once(':') else { continue };
            let needs = needs.split_whitespace().map(name_of).collect();
            read.modules.insert(name_of(file), Module { file: folder.join(file), needs });
        }
        for line in text("modules.alias").unwrap_or_default().lines() {
            if let ["alias", pattern, module] = line.split_whitespace().collect::<Vec<_>>()[..] {
                read.aliases.push((alias::normal(pattern), normal(module)));
            }
        }
        read.builtin = text("modules.builtin").unwrap_or_default().lines().map(name_of).collect();
        Ok(read)
    }

    /// How many this process has loaded.
    pub fn loaded(&self) -> usize {
        self.loaded
    }

    /// Loads one by its name or by an alias, with what it needs. Nothing is wrong with one that is built in, or that the image does not have
    /// because nobody has a use for it.
    pub fn load(&mut self, name: &str) -> Vec<LoadError> {
        let module = normal(name);
        if self.modules.contains_key(&module) || self.builtin.contains(&module) {
            return self.load_modules(&[module]);
        }
        let driving = self.driving(name);
        self.load_modules(&driving)
    }

    /// Loads what drives the watchdogs among the devices that are there.
    pub fn load_watchdogs(&mut self) -> Vec<LoadError> {
        let all: Vec<String> =
            device_aliases(Path::new("/sys/bus")).iter().flat_map(|alias| self.driving(alias)).collect();
        let watchdogs: Vec<String> = all.into_iter().filter(|name| self.is_for_watchdogs(name)).collect();
        self.load_modules(&watchdogs)
    }

    fn is_for_watchdogs(&self, name: &str) -> bool {
        self.modules.get(name).is_some_and(|module| module.file.iter().any(|part| part == "watchdog"))
    }

    /// Loads what drives the devices below `/sys/bus` that have appeared since it was asked last.
    pub fn load_for_devices(&mut self) -> Vec<LoadError> {
        let mut failed = Vec::new();
        for alias in device_aliases(Path::new("/sys/bus")) {
            if self.seen.insert(alias.clone()) {
                let driving = self.driving(&alias);
                failed.extend(self.load_modules(&driving));
            }
        }
        failed
    }

    fn driving(&self, alias: &str) -> Vec<String> {
        let alias = alias::normal(alias);
        let matching = self.aliases.iter().filter(|(pattern, _)| alias::matches(pattern, &alias));
        matching.map(|(_, module)| module.clone()).collect()
    }

    fn load_modules(&mut self, names: &[String]) -> Vec<LoadError> {
        let mut failed = Vec::new();
        let order: Vec<String> = names.iter().flat_map(|name| self.order(name)).collect();
        for name in order {
            let Some(module) = self.modules.get(&name).filter(|_| !self.done.contains(&name)) else { continue };
            match insert(&module.file) {
                Ok(()) => self.loaded += 1,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => failed.push(LoadError { name: name.clone(), source }),
            }
            self.done.insert(name);
        }
        failed
    }

    /// A module and all that it needs, in the order of loading.
    fn order(&self, name: &str) -> Vec<String> {
        let Some(module) = self.modules.get(name) else { return Vec::new() };
        // depmod lists them all, the deepest last.
        module.needs.iter().rev().chain([&name.to_owned()]).cloned().collect()
    }
}

fn insert(file: &Path) -> io::Result<()> {
    Ok(rustix::system::finit_module(File::open(file)?, c"", 0)?)
}

/// `kernel/drivers/net/virtio-net.ko` is called `virtio_net`.
fn name_of(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    normal(name.split('.').next().unwrap_or(name))
}

/// In names of modules `-` and `_` are the same.
fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// What the devices below a folder such as `/sys/bus` say of themselves.
fn device_aliases(buses: &Path) -> Vec<String> {
    let entries = |path: PathBuf| fs::read_dir(path).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let devices = entries(buses.to_owned()).flat_map(|bus| entries(bus.join("devices")));
    devices
        .filter_map(|device| Some(fs::read_to_string(device.join("modalias")).ok()?.trim().to_owned()))
        .filter(|alias| !alias.is_empty())
        .collect()
}

/// What the kernel asks for when it starts `kernel.modprobe`: `-q -- NAME`.
pub fn modprobe(arguments: &[String]) -> i32 {
    let Some(name) = arguments.iter().find(|argument| !argument.starts_with('-')) else { return 1 };
    let loaded = Modules::of_this_kernel().map(|mut modules| modules.load(name));
    i32::from(!loaded.is_ok_and(|failed| failed.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules() -> (tempfile::TempDir, Modules) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join("modules.dep"),
            "kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko kernel/fs/mbcache.ko kernel/lib/crc16.ko\n\
             kernel/fs/jbd2/jbd2.ko: kernel/lib/crc16.ko\nkernel/lib/crc16.ko:\nkernel/fs/mbcache.ko:\n\
             kernel/drivers/watchdog/i6300esb.ko:\nkernel/drivers/net/usb/r8152.ko: kernel/drivers/net/mii.ko\nkernel/drivers/net/mii.ko:\nhalf a line\n",
        )
        .unwrap();
        fs::write(
            folder.path().join("modules.alias"),
            "# Aliases\nalias usb:v0BDAp8152d*dc*dsc*dp*icFFisc*ip*in* r8152\nalias fs-ext4 ext4\nalias crypto-crc32c ext4\n",
        )
        .unwrap();
        fs::write(folder.path().join("modules.builtin"), "kernel/drivers/net/virtio-net.ko\n").unwrap();
        let modules = Modules::read(folder.path()).unwrap();
        (folder, modules)
    }

    #[test]
    fn what_a_module_needs_comes_before_it() {
        let (_folder, modules) = modules();
        assert_eq!(modules.order("ext4"), ["crc16", "mbcache", "jbd2", "ext4"]);
        assert_eq!(modules.order("crc16"), ["crc16"]);
        assert!(modules.order("nosuch").is_empty());
    }

    #[test]
    fn the_drivers_of_watchdogs_are_known_by_their_place() {
        let (_folder, modules) = modules();
        assert!(modules.is_for_watchdogs("i6300esb"));
        assert!(!modules.is_for_watchdogs("r8152") && !modules.is_for_watchdogs("nosuch"));
    }

    #[test]
    fn devices_and_the_kernels_wishes_find_their_modules() {
        let (_folder, modules) = modules();
        assert_eq!(modules.driving("usb:v0BDAp8152d3000dc00dsc00dp00icFFiscFFip00in00"), ["r8152"]);
        assert!(modules.driving("usb:v0BDAp8153d3000dc00dsc00dp00icFFiscFFip00in00").is_empty());
        assert_eq!(modules.driving("fs-ext4"), ["ext4"]);
        assert_eq!(modules.driving("crypto_crc32c"), ["ext4"], "an alias may be written with either");
    }

    #[test]
    fn a_module_that_cannot_be_loaded_is_named_and_one_that_is_built_in_is_none() {
        let (_folder, mut modules) = modules();
        assert!(modules.load("virtio_net").is_empty());
        assert!(modules.load("nosuch").is_empty());
        // Their files are not there.
        let failed: Vec<String> = modules.load("r8152").iter().map(ToString::to_string).collect();
        assert!(failed.len() == 2 && failed[0].starts_with("mii: "), "{failed:?}");
        assert!(modules.load("r8152").is_empty(), "it is tried and said once");
        assert_eq!(modules.loaded(), 0);
    }

    #[test]
    fn devices_say_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        for (device, alias) in
            [("usb/devices/1-1", "usb:v0BDA\n"), ("pci/devices/0000:00:01.0", "pci:v1AF4\n"), ("pci/devices/x", "")]
        {
            fs::create_dir_all(folder.path().join(device)).unwrap();
            fs::write(folder.path().join(device).join("modalias"), alias).unwrap();
        }
        let mut aliases = device_aliases(folder.path());
        aliases.sort();
        assert_eq!(aliases, ["pci:v1AF4", "usb:v0BDA"]);
    }
}
