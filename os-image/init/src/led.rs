//! The board's LED: as many blinks as the number of the step that does not work yet, and steady light once the collector is reached.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A tick of the pattern: it is on or off for this long.
pub const TICK: Duration = Duration::from_millis(250);

/// Ticks of darkness that end a series.
const PAUSE: u64 = 6;

/// What it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// This step does not work yet.
    Blinks(u8),
    /// The collector is reached.
    Steady,
}

/// Is it lit in the `tick`th tick of a signal?
pub fn is_lit(signal: Signal, tick: u64) -> bool {
    let Signal::Blinks(number) = signal else { return true };
    let series = u64::from(number) * 2;
    let place = tick % (series + PAUSE);
    place < series && place.is_multiple_of(2)
}

/// One LED of the board.
#[derive(Debug)]
pub struct Led {
    brightness: PathBuf,
    most: String,
    shown: Option<bool>,
}

impl Led {
    /// The one that boards use for activity, else the first green one, else the first that is no key's.
    pub fn find(leds: &Path) -> Option<Self> {
        let names = fs::read_dir(leds).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.collect();
        names.sort();
        let name = choose(&names)?;
        let place = leds.join(name);
        let most = fs::read_to_string(place.join("max_brightness")).map(|text| text.trim().to_owned());
        // What the kernel shows with it otherwise (the card's traffic) would mix with ours.
        let _ = fs::write(place.join("trigger"), "none");
        Some(Self { brightness: place.join("brightness"), most: most.unwrap_or_else(|_| "1".into()), shown: None })
    }

    /// Lights it or not.
    pub fn show(&mut self, lit: bool) {
        if self.shown != Some(lit) {
            self.shown = Some(lit);
            let _ = fs::write(&self.brightness, if lit { self.most.as_str() } else { "0" });
        }
    }
}

fn choose(names: &[String]) -> Option<&String> {
    // Those of keyboards and network sockets are not the board's.
    let ours = || names.iter().filter(|name| !name.contains("lock") && !name.contains("lan") && !name.contains("eth"));
    let named = |part: &str| ours().find(|name| name.to_ascii_lowercase().contains(part));
    named("act").or_else(|| named("green")).or_else(|| ours().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_blinks_the_number_and_pauses() {
        let shown = |signal| (0..22).map(|tick| if is_lit(signal, tick) { '#' } else { '.' }).collect::<String>();
        assert_eq!(shown(Signal::Blinks(1)), "#.......#.......#.....");
        assert_eq!(shown(Signal::Blinks(3)), "#.#.#.......#.#.#.....");
        assert_eq!(shown(Signal::Steady), "######################");
    }

    #[test]
    fn the_activity_led_is_preferred_and_keyboards_are_left_alone() {
        for (names, chosen) in [
            (&["PWR", "ACT", "mmc0::"][..], Some("ACT")),
            (&["input3::capslock", "board:green:status", "board:red:power"], Some("board:green:status")),
            (&["input3::capslock", "led0"], Some("led0")),
            (&["input3::capslock", "r8169-0-100::lan"], None),
        ] {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            assert_eq!(choose(&names).map(String::as_str), chosen, "{names:?}");
        }
    }

    #[test]
    fn a_led_is_taken_from_the_kernel_and_written_when_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let led = folder.path().join("ACT");
        fs::create_dir(&led).unwrap();
        fs::write(led.join("max_brightness"), "255\n").unwrap();
        let mut found = Led::find(folder.path()).unwrap();
        assert_eq!(fs::read_to_string(led.join("trigger")).unwrap(), "none");
        found.show(true);
        assert_eq!(fs::read_to_string(led.join("brightness")).unwrap(), "255");
        found.show(false);
        assert_eq!(fs::read_to_string(led.join("brightness")).unwrap(), "0");
        assert!(Led::find(&folder.path().join("none")).is_none());
    }
}
