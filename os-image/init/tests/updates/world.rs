//! A board in virtual time: the real plan, the real files of a card in a folder, and a collector that serves a repository of
//! `sonde_update::sign`, or lies.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use ring::signature::Ed25519KeyPair;
use sonde_os::slots::Slots;
use sonde_os::slots::memory::Memory;
use sonde_os::update::attempts::Other;
use sonde_os::update::keep::Keep;
use sonde_os::update::plan::{Do, Found, Image, Plan, Standing};
use sonde_os::update::work::{Card, Done, Work};
use sonde_protocol::board::{
    BoardState, FromSystem, UpdateAnswer, UpdateAsk, UpdateChoice, UpdateFile, UpdatePiece, UpdateSaid,
};
use sonde_protocol::bounded::Bytes;
use sonde_update::hashes::Hashes;
use sonde_update::moment::Moment;
use sonde_update::release::Release;

use crate::common::{NOW, Repository};

/// The system that runs, unless a test says otherwise.
pub const OLD: u64 = 10;

pub const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A system's file with this number inside, in the form of the stub's, and so many bytes.
pub fn image(number: u64, length: usize) -> Vec<u8> {
    let os_release = format!("ID=sonde\nIMAGE_ID=sonde\nIMAGE_VERSION={number}\n");
    let mut file = vec![0; 0x40];
    file[..2].copy_from_slice(b"MZ");
    file[0x3c] = 0x40;
    file.extend(b"PE\0\0\x64\xaa\x01\0");
    file.extend([0; 12]);
    file.extend([8, 0, 0, 0]);
    file.extend([0; 8]);
    let (size, at) = (os_release.len() as u32, (0x40 + 24 + 8 + 40) as u32);
    file.extend(b".osrel\0\0");
    for word in [size, 0, size, at, 0, 0, 0, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(os_release.as_bytes());
    let header = file.len();
    let mut random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    while file.len() < length {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        file.extend(random.to_le_bytes());
    }
    // What is longer than its header ends where it is to.
    file.truncate(length.max(header));
    file
}

/// What a collector says instead of the truth; `None` is silence.
pub type Liar = fn(&UpdateAsk, UpdateSaid) -> Option<UpdateSaid>;

/// When the power goes: before the work with this number from 0, in the middle of it, or when it is done and nobody knows yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    Before(usize),
    Within(usize),
    After(usize),
}

/// How a run of the board ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It starts again by itself.
    Restart(String),
    /// The power went.
    Cut,
    /// The time that was given is over.
    Time,
}

pub struct World {
    pub repository: Repository,
    pub images: BTreeMap<String, Vec<u8>>,
    pub liar: Liar,
    /// The boot partition.
    pub boot: PathBuf,
    /// The state partition.
    pub state: PathBuf,
    /// When the collector says it is, at the start.
    pub time: Option<Moment>,
    pub own_choice: Option<UpdateChoice>,
    pub running: u64,
    pub now: Duration,
    pub plan: Plan,
    pub card: Card,
    /// All that the probe heard.
    pub states: Vec<BoardState>,
    pub asked: Vec<UpdateAsk>,
    /// The greatest piece that was written.
    pub largest: usize,
    works: usize,
    _folder: tempfile::TempDir,
}

impl World {
    /// A board that runs [`OLD`], with an empty state, and a network without any release.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (boot, state) = (folder.path().join("boot"), folder.path().join("state"));
        Self::at(folder, boot, state)
    }

    /// The same with these places.
    pub fn at(folder: tempfile::TempDir, boot: PathBuf, state: PathBuf) -> Self {
        fs::create_dir_all(boot.join("EFI/Linux")).unwrap();
        fs::create_dir_all(state.join("os")).unwrap();
        fs::write(boot.join(format!("EFI/Linux/sonde_{OLD}.efi")), image(OLD, 10_000)).unwrap();
        let key = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).unwrap();
        fs::write(state.join("probe.key"), key.as_ref()).unwrap();
        let mut repository = Repository::with_log();
        repository.files.clear();
        repository.advance();
        let card = card(&boot, &state, OLD);
        let plan = Plan::new(system(&repository, OLD), None, 7);
        let mut world = Self {
            repository,
            images: BTreeMap::new(),
            liar: |_, said| Some(said),
            boot,
            state,
            time: Some(NOW),
            own_choice: None,
            running: OLD,
            now: s(0),
            plan,
            card,
            states: Vec::new(),
            asked: Vec::new(),
            largest: 0,
            works: 0,
            _folder: folder,
        };
        world.start(OLD);
        world
    }

    /// Publishes a release for all boards.
    pub fn release(&mut self, number: u64, bytes: Vec<u8>) {
        self.release_for(number, bytes, 100);
    }

    pub fn release_for(&mut self, number: u64, bytes: Vec<u8>, percentage: u8) {
        let release = Release {
            path: format!("sonde-{number}.efi"),
            length: bytes.len() as u64,
            hashes: Hashes::sha256_of(&bytes),
            version: number,
            name: format!("0.{number}"),
            architecture: "aarch64".into(),
            percentage,
            not_before: NOW,
        };
        self.images.insert(release.file_name(true), bytes);
        self.repository.files.insert(release.path.clone(), release.to_target());
        self.repository.advance();
    }

    /// The board starts with this system, of which a file is on the card.
    pub fn start(&mut self, number: u64) {
        self.running = number;
        self.now = s(5);
        self.works = 0;
        self.card = card(&self.boot, &self.state, number);
        self.plan = Plan::new(system(&self.repository, number), self.own_choice, 7);
        let (_, seen) = Slots::look(&self.boot, number).unwrap();
        let others: Vec<Other> = seen.others.iter().map(other).collect();
        let memory = Memory::at(&self.state.join("os"));
        let said = |other: &Other| Some((other.release, memory.last_words(other.release)?));
        let keep = keep(&self.state);
        let found = Found {
            standing: if seen.trial { Standing::Trial } else { Standing::Ready },
            attempts: keep.attempts(),
            choice: keep.choice(),
            last_words: others.iter().filter_map(said).collect(),
            others,
        };
        self.plan.begin(found, self.now);
        if let Some(time) = self.time {
            self.plan.time(time, self.now);
        }
        self.plan.connected(true, self.now);
    }

    /// Lets the board run for some time.
    pub fn run(&mut self, time: Duration, cut: Option<Cut>) -> End {
        let end = self.now + time;
        loop {
            while let Some(next) = self.plan.poll(self.now) {
                match next {
                    Do::Say(FromSystem::State(state)) => self.states.push(state),
                    Do::Say(FromSystem::Ask(ask)) => self.ask(ask),
                    Do::Work(ticket, work) => match self.work(work, cut) {
                        Some(done) => self.plan.done(ticket, done, self.now),
                        None => return End::Cut,
                    },
                    Do::Restart(why) => return End::Restart(why),
                }
            }
            match self.plan.wake() {
                Some(at) if at < end => self.now = at.max(self.now + Duration::from_millis(1)),
                _ => {
                    self.now = end;
                    return End::Time;
                }
            }
        }
    }

    fn work(&mut self, work: Work, cut: Option<Cut>) -> Option<Done> {
        let number = self.works;
        self.works += 1;
        if let Work::Write { bytes, .. } = &work {
            self.largest = self.largest.max(bytes.len());
        }
        match cut {
            Some(Cut::Before(at)) if at == number => None,
            Some(Cut::Within(at)) if at == number => {
                // Whatever replaces a file is whole or not there; an image grows.
                if let Work::Write { release, offset, bytes } = work {
                    let bytes = bytes[..bytes.len() / 2].to_vec();
                    self.card.carry_out(Work::Write { release, offset, bytes });
                }
                None
            }
            Some(Cut::After(at)) if at == number => {
                self.card.carry_out(work);
                None
            }
            _ => Some(self.card.carry_out(work)),
        }
    }

    fn ask(&mut self, ask: UpdateAsk) {
        self.asked.push(ask.clone());
        let truth = self.truth(&ask);
        if let Some(said) = (self.liar)(&ask, truth) {
            self.plan.answered(UpdateAnswer { id: ask.id, said }, self.now);
        }
    }

    pub fn truth(&self, ask: &UpdateAsk) -> UpdateSaid {
        let file = match &ask.file {
            UpdateFile::Metadata(name) => self.repository.fetch(name.as_str()),
            UpdateFile::Target(name) => self.images.get(name.as_str()).cloned(),
            UpdateFile::Proof(wanted) => self.repository.proof(wanted.targets, wanted.since),
        };
        let Some(file) = file else { return UpdateSaid::Missing };
        let from = (ask.offset as usize).min(file.len());
        let to = (from + ask.at_most as usize).min(file.len());
        UpdateSaid::Piece(UpdatePiece { length: file.len() as u64, bytes: Bytes::new(&file[from..to]).unwrap() })
    }

    pub fn last(&self) -> &BoardState {
        self.states.last().unwrap()
    }

    /// Files of the boot partition.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(self.boot.join("EFI/Linux")).unwrap().map(Result::unwrap);
        entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
    }

    /// The names of what was asked for, without images' hashes, and from where on.
    pub fn names(&self) -> Vec<String> {
        let name = |ask: &UpdateAsk| match &ask.file {
            UpdateFile::Metadata(name) => name.as_str().to_owned(),
            UpdateFile::Target(name) => format!("{} from {}", name.as_str().split_once('.').unwrap().1, ask.offset),
            UpdateFile::Proof(wanted) => format!("proof {} since {}", wanted.targets, wanted.since),
        };
        self.asked.iter().map(name).collect()
    }
}

fn keep(state: &std::path::Path) -> Keep {
    Keep::new(&state.join("os/updates"))
}

fn card(boot: &std::path::Path, state: &std::path::Path, number: u64) -> Card {
    let (slots, _) = Slots::look(boot, number).unwrap();
    Card::new(keep(state), slots, &state.join("probe.key"))
}

fn other(other: &sonde_os::slots::Other) -> Other {
    Other { release: other.number, tries: other.tries.map(|tries| tries.done) }
}

pub fn system(repository: &Repository, number: u64) -> Image {
    Image {
        number,
        name: format!("0.{number}"),
        architecture: "aarch64",
        root: Some(repository.roots[0].clone()),
        built: Moment(NOW.0 - 86_400),
    }
}
