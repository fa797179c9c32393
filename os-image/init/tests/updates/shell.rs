//! The loop of process 1 with real sockets: a probe at the other end that passes everything to a collector.

use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sonde_os::slots::Slots;
use sonde_os::slots::memory::Memory;
use sonde_os::trial::Standing;
use sonde_os::update::channel::Channel;
use sonde_os::update::keep::Keep;
use sonde_os::update::plan::Plan;
use sonde_os::update::{Places, Updates};
use sonde_protocol::board::{
    BoardState, FromSystem, MAX_MESSAGE, ToSystem, UpdateAnswer, UpdateChoice, UpdateOutcome, UpdateStage,
};
use sonde_protocol::message::{from_cbor, to_cbor};
use tokio::sync::watch;

use crate::common::NOW;
use crate::world::{OLD, World, image, system};

/// What the loop takes for the seconds since the start.
static UPTIME: AtomicU64 = AtomicU64::new(5);

fn uptime() -> Duration {
    Duration::from_secs(UPTIME.load(Ordering::Relaxed))
}

struct Probe(tokio::net::UnixDatagram);

impl Probe {
    fn new(updates: &Updates) -> Self {
        let (channel, probe) = Channel::pair().unwrap();
        updates.probe(channel);
        let probe = UnixDatagram::from(probe);
        probe.set_nonblocking(true).unwrap();
        Self(tokio::net::UnixDatagram::from_std(probe).unwrap())
    }

    async fn say(&self, message: ToSystem) {
        self.0.send(&to_cbor(&message)).await.unwrap();
    }

    async fn hear(&self) -> FromSystem {
        let mut bytes = vec![0; MAX_MESSAGE];
        let length = self.0.recv(&mut bytes).await.unwrap();
        from_cbor(&bytes[..length]).unwrap().unwrap()
    }

    /// Passes questions on, while time passes, until the board stands as is wanted.
    async fn until(&self, world: &World, wanted: impl Fn(&BoardState) -> bool) -> BoardState {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        loop {
            let heard = tokio::select! {
                heard = self.hear() => heard,
                _ = ticks.tick() => {
                    self.second_passes().await;
                    continue;
                }
            };
            match heard {
                FromSystem::State(state) if wanted(&state) => return state,
                FromSystem::State(_) => {}
                FromSystem::Ask(ask) => {
                    let said = world.truth(&ask);
                    self.say(ToSystem::Answer(UpdateAnswer { id: ask.id, said })).await;
                }
            }
        }
    }

    /// Something happens, so that the loop looks at its clock.
    async fn second_passes(&self) {
        UPTIME.fetch_add(1, Ordering::Relaxed);
        self.say(ToSystem::Choice(UpdateChoice::Follow)).await;
    }
}

#[tokio::test]
async fn a_probe_that_starts_anew_is_told_and_the_update_goes_on_through_it() {
    let mut world = World::new();
    let new = image(11, 6 << 20);
    world.release(11, new.clone());
    let (stands, standing) = watch::channel(Standing::Unknown);
    let places = Places {
        keep: Some(Keep::new(&world.state.join("os/updates"))),
        memory: Memory::at(&world.state.join("os")),
        key: world.state.join("probe.key"),
    };
    let plan = Plan::new(system(&world.repository, OLD), None, 1);
    let mut updates = Updates::start(plan, places, standing, uptime, |_| {});
    updates.time(Duration::from_secs(NOW.0.unsigned_abs()), uptime());

    let first = Probe::new(&updates);
    let state = first.until(&world, |_| true).await;
    assert_eq!((state.running, state.stage), (OLD, UpdateStage::Unknown));
    let (slots, seen) = Slots::look(&world.boot, OLD).unwrap();
    stands.send_replace(Standing::Kept(slots, seen));
    first.say(ToSystem::Connected(true)).await;
    let state = first.until(&world, |state| state.stage == UpdateStage::Fetching).await;
    assert_eq!(state.release, Some(11));

    // It ends in the middle of it.
    drop(first);
    let second = Probe::new(&updates);
    assert_eq!(second.until(&world, |_| true).await.stage, UpdateStage::Fetching, "how it stands is told at once");
    second.say(ToSystem::Connected(true)).await;
    let state = second.until(&world, |state| state.stage == UpdateStage::Installed).await;
    assert_eq!(state.attempts[0].outcome, UpdateOutcome::Installed);
    let why = loop {
        tokio::select! {
            why = updates.restart() => break why,
            () = tokio::time::sleep(Duration::from_millis(5)) => second.second_passes().await,
        }
    };
    assert_eq!(why, "to try release 11");
    assert!(world.files()["sonde_11+3.efi"] == new);
}

#[tokio::test]
async fn a_board_without_slots_or_state_says_so() {
    let world = World::new();
    let (slots, seen) = Slots::look(&world.boot, OLD).unwrap();
    let no_state = "the card's state cannot be written, so no update is taken: put the image on another card";
    for (standing, keep, words) in [
        (Standing::NoSlots("this system has no number".into()), true, "this system has no number"),
        (Standing::Kept(slots, seen), false, no_state),
    ] {
        let keep = keep.then(|| Keep::new(&world.state.join("os/updates")));
        let places = Places { keep, memory: Memory::at(&world.state), key: world.state.join("probe.key") };
        let (_stands, standing) = watch::channel(standing);
        let plan = Plan::new(system(&world.repository, OLD), None, 1);
        let updates = Updates::start(plan, places, standing, uptime, |_| {});
        let probe = Probe::new(&updates);
        let state = probe.until(&world, |state| state.stage != UpdateStage::Unknown).await;
        assert_eq!((state.stage, state.words.as_str()), (UpdateStage::Broken, words));
    }
}
