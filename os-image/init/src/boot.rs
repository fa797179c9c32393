//! The order of things from power-on until the probe may be started: drivers, watchdog, card, settings, state, clock. After that
//! [`crate::run`] goes on for as long as the power is on.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::board::Board;
use crate::card::{self, Card};
use crate::clock;
use crate::console::{Console, uptime};
use crate::modules::Modules;
use crate::release::Release;
use crate::settings::{self, Settings};
use crate::state::{self, PROBE_USER, State};
use crate::step::{Step, StepName};
use crate::trial::Trial;
use crate::uevent::Uevents;
use crate::{hardening, launch, mounts, power, probe, run};

/// The modules that are always loaded, in order.
const LISTED: &str = "/etc/sonde/modules";

/// A card that appears later than this was not there.
const CARD_TIME: Duration = Duration::from_secs(10);

/// How often the drivers and the card are looked for while nothing is heard.
const LOOK: Duration = Duration::from_secs(1);

/// How often what a person must repair is looked at again.
const REPAIRED: Duration = Duration::from_secs(30);

/// How long the drivers may take to be loaded, or a card to be mounted or made anew, before the watchdog decides.
const PATIENCE: Duration = Duration::from_secs(600);

/// PID 1, from the first to the last.
pub fn init() -> ! {
    let unmounted = mounts::mount_all();
    let console = match Console::start() {
        Ok(console) => console,
        // Without a thread there is nothing. The kernel starts again by `panic=`.
        Err(_) => std::process::abort(),
    };
    let hook = console.clone();
    std::panic::set_hook(Box::new(move |panic| power::fail(&hook, &format!("a mistake in the program: {panic}"))));
    for (place, error) in unmounted {
        console.say("start", &format!("{place} is not mounted: {error}"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(live(&console)),
        Err(error) => Err(error),
    };
    match ended {
        Ok(off) => power::end(&console, off),
        Err(error) => power::fail(&console, &error.to_string()),
    }
}

/// Everything. Gives whether the board is to be switched off rather than started again.
async fn live(console: &Console) -> io::Result<bool> {
    let release = Release::of_this_image();
    let kernel = rustix::system::uname();
    console.say("start", &format!("sonde-os {release}, Linux {}", kernel.release().to_string_lossy()));
    prepare_kernel(console);
    if let Err(error) = launch::prepare_cgroup() {
        let text = format!("no control group for the probe ({error}): nothing bounds its memory and tasks");
        console.say("start", &text);
    }
    let board = Board::new(console.clone());
    tokio::spawn(board.clone().live());
    let trial = Trial::begin(board.clone(), release.clone());
    let ready = tokio::select! {
        ready = prepare(&board, &release, &trial) => ready?,
        () = trial.failed() => return Ok(false),
    };
    run::run(board, release, ready.settings, ready.state, ready.hotplug, trial).await
}

/// What there is when the probe may be started.
struct Ready {
    settings: Settings,
    state: Option<State>,
    hotplug: run::Hotplug,
}

/// Drivers, card, settings, state, clock.
async fn prepare(board: &Board, release: &Release, trial: &Trial) -> io::Result<Ready> {
    let uevents = Uevents::open()?;
    // Beside the loop, which feeds the watchdog meanwhile: a slow board takes longer for all drivers than a watchdog waits.
    let loading = tokio::task::spawn_blocking({
        let board = board.clone();
        move || load_listed(&board)
    });
    let mut modules = patiently(board, loading).await.map_err(io::Error::other)?;
    let (card, settings) = find_settings(board, &mut modules, &uevents).await;
    board.settle_for_no_watchdog();
    give_settings(&settings)?;
    let state = open_state(board, card.state.as_deref()).await;
    trial.found(&card.boot);
    set_clock(board, release);
    if state.is_some()
        && let Some(words) = power::last_end(Path::new(state::OS), count_boot())
    {
        board.console.say("start", &words);
    }
    Ok(Ready { settings, state, hotplug: run::Hotplug { modules, uevents } })
}

fn prepare_kernel(console: &Console) {
    for (name, error) in hardening::close_early() {
        console.say("start", &format!("/proc/sys/{name} cannot be set: {error}"));
    }
    // What the kernel itself wants loaded (a file system's character set, a checksum) comes to this program too.
    let _ = fs::write("/proc/sys/kernel/modprobe", "/init");
    let _ = rustix::system::reboot(rustix::system::RebootCommand::CadOff);
    let _ = rustix::system::sethostname(b"sonde");
}

/// What drives watchdogs, the listed modules, then those for the devices that are there.
fn load_listed(board: &Board) -> Modules {
    let mut modules = match Modules::of_this_kernel() {
        Ok(modules) => modules,
        Err(error) => {
            board
                .fails(StepName::Modules, format!("the image has none for this kernel ({error}); write the card anew"));
            return Modules::default();
        }
    };
    let mut failed = modules.load_watchdogs();
    board.find_devices();
    for name in fs::read_to_string(LISTED).unwrap_or_default().split_whitespace() {
        failed.extend(modules.load(name));
    }
    failed.extend(modules.load_for_devices());
    board.find_devices();
    for error in failed {
        board.console.say("modules", &format!("not loaded: {error}"));
    }
    let lockdown = hardening::lockdown().unwrap_or_else(|| "none".into());
    board.works(StepName::Modules, format!("{} loaded; kernel lockdown: {lockdown}", modules.loaded()));
    modules
}

/// Loads drivers for what has appeared.
pub fn look_for_devices(board: &Board, modules: &mut Modules) {
    for error in modules.load_for_devices() {
        board.console.say("modules", &format!("not loaded: {error}"));
    }
    board.find_devices();
}

/// Waits for the card and for settings that can be read, however long that takes.
async fn find_settings(board: &Board, modules: &mut Modules, uevents: &Uevents) -> (Card, Settings) {
    let began = uptime();
    loop {
        board.turned(true);
        look_for_devices(board, modules);
        let found = card::find(Path::new("/sys/class/block"), Path::new("/dev"));
        let Some(card) = found.first() else {
            let text =
                "no card, stick or disk with a boot partition called SONDE; put it in, or write it anew".to_owned();
            let waits = uptime().saturating_sub(began) < CARD_TIME;
            board.tell(StepName::Boot, if waits { Step::Waiting(String::new()) } else { Step::Failed(text) });
            let _ = timeout(LOOK, uevents.wait()).await;
            continue;
        };
        board.works(StepName::Boot, card::words(card, found.get(1..).unwrap_or_default()));
        match card::read_settings(card).and_then(|text| settings::read(&text)) {
            Ok(settings) => {
                for problem in &settings.problems {
                    board.console.say("settings", problem);
                }
                board.works(StepName::Settings, "sonde.toml read");
                return (card.clone(), settings);
            }
            Err(why) => {
                board.fails(StepName::Settings, why);
                // A stick may be pulled, edited elsewhere and put back.
                let _ = timeout(REPAIRED, uevents.wait()).await;
                sleep(LOOK).await;
            }
        }
    }
}

/// Lays the probe's part of the settings where the probe reads it.
fn give_settings(settings: &Settings) -> io::Result<()> {
    let folder = Path::new(probe::CONFIG).parent().unwrap_or(Path::new("/run"));
    fs::create_dir_all(folder)?;
    fs::write(probe::CONFIG, &settings.probe)?;
    chown(probe::CONFIG, Some(0), Some(PROBE_USER))?;
    fs::set_permissions(probe::CONFIG, fs::Permissions::from_mode(0o440))
}

/// Opens the state, in memory if the card cannot be written; waits where there is no way at all. `None` is in memory.
async fn open_state(board: &Board, device: Option<&Path>) -> Option<State> {
    loop {
        let place = device.map(Path::to_owned);
        let opening = tokio::task::spawn_blocking(move || State::open(place.as_deref()));
        let error = match patiently(board, opening).await {
            Ok(Ok(state)) => {
                board.works(StepName::State, state.words.clone());
                return Some(state);
            }
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        match state::in_memory(device) {
            Ok(()) => {
                board.fails(
                    StepName::State,
                    format!("{error}. Until then nothing outlives a restart but the probe's key"),
                );
                return None;
            }
            Err(_) => board.fails(StepName::State, error),
        }
        let _ = patiently(board, sleep(REPAIRED)).await;
    }
}

/// Waits, and keeps the watchdog fed for a while.
async fn patiently<T>(board: &Board, wait: impl Future<Output = T>) -> T {
    let began = uptime();
    let mut wait = std::pin::pin!(wait);
    loop {
        if let Ok(done) = timeout(LOOK, &mut wait).await {
            return done;
        }
        if uptime().saturating_sub(began) < PATIENCE {
            board.turned(true);
        }
    }
}

/// Counts this start, for whoever looks at a card. Gives how many there were before.
fn count_boot() -> u64 {
    let path = Path::new(state::OS).join(state::BOOTS);
    let boots: u64 = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    // A start that ends in its first seconds counts too.
    let _ = File::create(path).and_then(|mut file| {
        writeln!(file, "{}", boots.saturating_add(1))?;
        file.sync_all()
    });
    boots
}

fn set_clock(board: &Board, release: &Release) {
    let now = clock::now();
    let start = clock::at_start(now, release.built, clock::kept());
    if start > now
        && let Err(error) = clock::set(start)
    {
        board.fails(StepName::Clock, format!("the clock cannot be set: {error}"));
        return;
    }
    board.tell(StepName::Clock, Step::Waiting(format!("{} until the collector tells the time", clock::show(start))));
}
