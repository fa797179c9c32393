//! The far side: four reference servers, one of them with an address behind a narrow link, and their zone, all as the
//! operator's guide says.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use sonde_tests::lab::Family;
use sonde_tests::lab::homes::{Homes, ZoneFile};
use sonde_tests::world::program;

/// The references' zone.
pub const ZONE: &str = "ref.lab.example";

/// What the references print about themselves.
pub struct Far {
    /// A file with their cards.
    pub cards: PathBuf,
}

impl Far {
    pub fn start(homes: &mut Homes) -> Result<Self> {
        let sonde = program("sonde")?;
        let dir = homes.dir();
        let mut cards = String::new();
        for number in 0..Homes::REFERENCES {
            let data = dir.join(format!("reference-{number}"));
            let address = |family| Homes::reference_address(number, family).to_string();
            let command = |homes: &Homes| {
                let mut command = homes.reference(number).command(&sonde);
                command.args(["reference", "--data"]).arg(&data);
                command.args(["--listen", &address(Family::V4), "--listen", &address(Family::V6)]);
                command.env("SONDE_LOG", "warn");
                command
            };
            let mut card = command(homes);
            card.args(["--card", "--zone", ZONE, "--name", &format!("r{}", number + 1)]);
            if number == 0 {
                card.args(["--narrow", &Homes::NARROW_ADDRESS.to_string()]);
            }
            cards += &output(&mut card)?;
            let mut server = command(homes);
            homes.spawn(&mut server)?;
            if number == 0 {
                let mut narrow = homes.narrow().command(&sonde);
                narrow.args(["reference", "--data"]).arg(&data).env("SONDE_LOG", "warn");
                narrow.args(["--listen", &Homes::NARROW_ADDRESS.to_string()]);
                homes.spawn(&mut narrow)?;
            }
        }
        let zones = dir.join("zones");
        fs::create_dir(&zones)?;
        let mut command = Command::new(&sonde);
        let server = Family::ALL.map(|family| Homes::authority_address(family).to_string()).join(",");
        command
            .args(["reference", "zone", "--origin", ZONE, "--name-server", &format!("ns1={server}"), "--out"])
            .arg(&zones);
        for number in 0..Homes::REFERENCES {
            for family in Family::ALL {
                command.args(["--reference", &Homes::reference_address(number, family).to_string()]);
            }
        }
        output(&mut command)?;
        let file = |origin: String, signed| {
            let path = zones.join(format!("{origin}.zone"));
            ZoneFile { origin, path, signed }
        };
        let files =
            [file(ZONE.into(), true), file(format!("v6ns.{ZONE}"), false), file(format!("bogus.{ZONE}"), false)];
        homes.serve_names(&files)?;
        let file = dir.join("cards");
        fs::write(&file, cards)?;
        Ok(Self { cards: file })
    }
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
