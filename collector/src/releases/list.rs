//! Which image is which release: the newest list of targets, as it lies in the repository. Nothing in it is trusted: it only says what to
//! count as what.

use std::collections::HashMap;
use std::path::Path;

use sonde_update::metadata::{Body, RoleName, Signed, Snapshot, Targets, Timestamp};
use sonde_update::release::Release;
use sonde_update::repository::{METADATA, MetadataName};

use super::files;

/// Files of earlier lists that are remembered: somebody may be in the middle of one.
const REMEMBERED: usize = 1000;

/// Releases by the names of their files.
#[derive(Debug, Default)]
pub struct Listed {
    /// The timestamp that was read last.
    timestamp: Vec<u8>,
    releases: HashMap<String, u64>,
}

impl Listed {
    /// Reads the newest list, if it is another than before. What cannot be read changes nothing. On a thread that may block.
    pub fn refresh(&mut self, repository: &Path) {
        let read = |role, version| read(repository, role, version);
        let Some(timestamp) = read(RoleName::Timestamp, 1) else { return };
        if timestamp == self.timestamp {
            return;
        }
        let targets = parse::<Timestamp>(&timestamp)
            .and_then(|timestamp| parse::<Snapshot>(&read(RoleName::Snapshot, timestamp.snapshot.version)?))
            .and_then(|snapshot| snapshot.files.get(RoleName::Targets.file()).map(|meta| meta.version))
            .and_then(|version| parse::<Targets>(&read(RoleName::Targets, version)?));
        let Some(targets) = targets else { return };
        if self.releases.len() > REMEMBERED {
            self.releases.clear();
        }
        let (releases, _) = Release::all(&targets);
        self.releases.extend(releases.iter().map(|release| (release.file_name(true), release.version)));
        self.timestamp = timestamp;
    }

    /// The release that a file is.
    pub fn release(&self, file: &str) -> Option<u64> {
        self.releases.get(file).copied()
    }
}

fn read(repository: &Path, role: RoleName, version: u64) -> Option<Vec<u8>> {
    let name = MetadataName::new(role, version).to_string();
    files::whole(&repository.join(METADATA).join(name), role.most_bytes())
}

fn parse<B: Body>(bytes: &[u8]) -> Option<B> {
    Signed::<B>::parse(bytes).ok().map(|signed| signed.body)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sonde_update::hashes::Hashes;
    use sonde_update::metadata::{Head, MetaFile};
    use sonde_update::moment::Moment;
    use sonde_update::sign::Draft;

    use super::*;

    /// Publishes these releases in a list of this version. Nobody has signed it, and here nobody looks.
    fn publish(folder: &Path, version: u64, numbers: &[u64]) {
        let head = Head { version, expires: Moment(0) };
        let release = |number: &u64| Release {
            path: format!("sonde_{number}.efi"),
            length: 1,
            hashes: Hashes::sha256_of(&number.to_le_bytes()),
            version: *number,
            name: "0.4.1".into(),
            architecture: "aarch64".into(),
            percentage: 100,
            not_before: Moment(0),
        };
        let targets = numbers.iter().map(release).map(|release| (release.path.clone(), release.to_target()));
        let meta = MetaFile { version, length: None, hashes: None };
        let write = |name: &str, draft: Draft| fs::write(folder.join(METADATA).join(name), draft.file()).unwrap();
        write(&format!("{version}.targets.json"), Draft::targets(head, &targets.collect()).unwrap());
        write(&format!("{version}.snapshot.json"), Draft::snapshot(head, &meta).unwrap());
        write("timestamp.json", Draft::timestamp(head, &meta).unwrap());
    }

    fn file(number: u64) -> String {
        let (_, hash) = Hashes::sha256_of(&number.to_le_bytes()).named().next().unwrap();
        format!("{hash}.sonde_{number}.efi")
    }

    #[test]
    fn files_are_the_releases_of_the_newest_list_and_of_those_before() {
        let dir = tempfile::tempdir().unwrap();
        let mut listed = Listed::default();
        listed.refresh(dir.path());
        assert_eq!(listed.release(&file(12)), None);
        fs::create_dir(dir.path().join(METADATA)).unwrap();
        publish(dir.path(), 1, &[11, 12]);
        listed.refresh(dir.path());
        assert_eq!((listed.release(&file(11)), listed.release(&file(12))), (Some(11), Some(12)));
        publish(dir.path(), 2, &[13]);
        assert_eq!(listed.release(&file(13)), None);
        listed.refresh(dir.path());
        assert_eq!((listed.release(&file(12)), listed.release(&file(13))), (Some(12), Some(13)));
        // A list that is not whole yet is read the next time.
        publish(dir.path(), 3, &[14]);
        let whole = dir.path().join("metadata/3.targets.json");
        let bytes = fs::read(&whole).unwrap();
        fs::write(&whole, &bytes[..bytes.len() / 2]).unwrap();
        listed.refresh(dir.path());
        assert_eq!(listed.release(&file(14)), None);
        fs::write(&whole, bytes).unwrap();
        listed.refresh(dir.path());
        assert_eq!(listed.release(&file(14)), Some(14));
    }
}
