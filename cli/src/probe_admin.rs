//! `sonde admin probe`: how probes come in, whose they are, and which key they have.

use anyhow::{Result, bail};
use clap::{Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};
use sonde_protocol::board::UpdateChoice;
use sonde_protocol::identity::ClaimCode;
use sonde_protocol::ids::ProbeId;
use sonde_store::catalog::{Claimed, Rebound, Slice, Waiting};

use crate::admin::{AdminContext, now};

/// How many waiting probes are printed.
const LISTED: u64 = 1000;

/// A delay if none is named, in days.
const DELAY_DAYS: u64 = 7;

/// What is said of a code that nobody waits with.
const UNKNOWN: &str = "no probe waits with this code that may be taken for this: `probe pending` lists those that wait; a code \
    ends after a day and is good once, and one that came with a join token is for the token's owner";

/// Probes.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
pub enum ProbeCommand {
    /// Makes a one-time join token and prints a network.toml with it
    Add {
        /// The mail address of the account that will own the probe
        email: String,
        /// Writes the file here instead of printing it
        #[arg(long)]
        #[serde(skip)]
        out: Option<std::path::PathBuf>,
    },
    /// Lists the probes that wait to be claimed, and those that are served and nobody's: code, key, for whom, from where
    Pending {
        /// Only those that came with a used join token of this account
        email: Option<String>,
    },
    /// Makes the probe that waits with this code an account's; it is served at once
    Claim {
        /// The code, as the probe shows it
        code: String,
        /// The mail address of the account
        email: String,
    },
    /// Turns away the probe that waits with this code, for 30 days
    Reject {
        /// The code
        code: String,
    },
    /// Gives a probe the key that waits with this code, as of a new board; the old key is refused from then on
    Rebind {
        /// The probe's number
        probe: u64,
        /// The code, as the new board shows it
        code: String,
    },
    /// Says what becomes of a board's updates, as its owner may on the site
    Updates {
        /// The probe's number
        probe: u64,
        /// What
        #[arg(value_enum)]
        choice: ChoiceWord,
        /// Of `delay`: so many days after a release [default: 7]
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..=365))]
        days: Option<u64>,
        /// Of `pin`: the release's number
        #[arg(long)]
        release: Option<u64>,
    },
    /// Has a probe that is nobody's count as others do
    Vouch {
        /// The probe's number
        probe: u64,
    },
}

/// What becomes of a board's updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum ChoiceWord {
    /// It takes them as they come
    Follow,
    /// It takes them some days after their release
    Delay,
    /// It goes to one release and stays there
    Pin,
    /// It takes none
    Refuse,
}

impl AdminContext {
    /// Carries out a command about probes.
    pub(crate) async fn probes(&self, command: &ProbeCommand) -> Result<String> {
        match command {
            ProbeCommand::Add { email, .. } => {
                let account = self.account(email).await?;
                let token = self.add_join_token(account.id).await?;
                Ok(toml::to_string(&self.network.read(|network| network.network_file(Some(token))))?)
            }
            ProbeCommand::Pending { email } => self.pending(email.as_deref()).await,
            ProbeCommand::Claim { code, email } => self.claim(&code.parse()?, email).await,
            ProbeCommand::Reject { code } => match self.catalog.turn_away(&code.parse()?, None, now()).await? {
                Some(key) => Ok(format!("the probe with the key {key} is turned away\n")),
                None => bail!(UNKNOWN),
            },
            ProbeCommand::Rebind { probe, code } => self.rebind(ProbeId(*probe), &code.parse()?).await,
            ProbeCommand::Updates { probe, choice, days, release } => {
                let choice = match (choice, days, release) {
                    (ChoiceWord::Follow, None, None) => UpdateChoice::Follow,
                    (ChoiceWord::Delay, days, None) => UpdateChoice::Delay(days.unwrap_or(DELAY_DAYS) * 86_400),
                    (ChoiceWord::Pin, None, Some(release)) => UpdateChoice::Pin(*release),
                    (ChoiceWord::Pin, None, None) => bail!("`pin` needs --release with a release's number"),
                    (ChoiceWord::Refuse, None, None) => UpdateChoice::Refuse,
                    _ => bail!("--days belongs to `delay`, --release to `pin`"),
                };
                if !self.catalog.choose_updates(ProbeId(*probe), choice).await? {
                    bail!("there is no probe {probe}");
                }
                self.network.updates_chosen(ProbeId(*probe), choice);
                Ok(format!("probe {probe} is told so when it is connected, if it is a board\n"))
            }
            ProbeCommand::Vouch { probe } => match self.catalog.vouch(ProbeId(*probe)).await? {
                true => Ok(format!("probe {probe} counts now\n")),
                false => bail!("there is no probe {probe}"),
            },
        }
    }

    async fn pending(&self, email: Option<&str>) -> Result<String> {
        let owner = match email {
            Some(email) => Some(self.account(email).await?.id),
            None => None,
        };
        let slice = Slice { offset: 0, limit: LISTED, descending: false };
        let found = self.catalog.waiting_keys(owner, slice, now()).await?;
        let mut text = String::new();
        for waiting in &found.items {
            text += &self.line(waiting).await?;
        }
        let left = found.total.saturating_sub(LISTED);
        if left > 0 {
            text += &format!("and {left} more\n");
        }
        Ok(if text.is_empty() { "nobody waits\n".into() } else { text })
    }

    async fn line(&self, waiting: &Waiting) -> Result<String> {
        let whom = match waiting.owner {
            None => "for anybody".to_owned(),
            Some(owner) => match self.catalog.account(owner).await? {
                Some(account) => format!("for {}", account.email),
                None => format!("for account {owner}"),
            },
        };
        let minutes = now().since(waiting.since).as_secs() / 60;
        Ok(format!(
            "{} key {} {whom}, from {}, {}, for {minutes} min\n",
            waiting.code,
            waiting.key.short(),
            waiting.address,
            // A probe says what it likes.
            waiting.software.replace(char::is_control, " ")
        ))
    }

    async fn claim(&self, code: &ClaimCode, email: &str) -> Result<String> {
        let account = self.account(email).await?;
        match self.catalog.claim(code, None, account.id, &self.consent_version, now()).await? {
            Claimed::Yours(probe) => {
                self.network.key_admitted(&probe.key, probe.id);
                Ok(format!("probe {} with the key {} is {}'s now\n", probe.id, probe.key, account.email))
            }
            Claimed::Unknown | Claimed::OtherKey => bail!(UNKNOWN),
        }
    }

    async fn rebind(&self, probe: ProbeId, code: &ClaimCode) -> Result<String> {
        if self.catalog.probe(probe).await?.is_none() {
            bail!("there is no probe {probe}");
        }
        match self.catalog.rebind(probe, code, None, now()).await? {
            Rebound::Done { key, emptied } => {
                for changed in emptied.into_iter().chain([probe]) {
                    self.network.key_replaced(changed);
                }
                self.network.key_admitted(&key, probe);
                let was =
                    emptied.map(|other| format!("; it was probe {other}'s, which has none now")).unwrap_or_default();
                Ok(format!("probe {probe} has the key {key} now{was}\n"))
            }
            Rebound::Unknown | Rebound::OtherKey => bail!(UNKNOWN),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use sonde_collector::Network;
    use sonde_protocol::key::PublicKey;
    use sonde_store::catalog::{Admission, Enrolment, Knock, Knocked, Probes};
    use sonde_store::conformance::block_on;
    use sonde_store::sqlite::SqliteCatalog;

    use super::*;
    use crate::admin::{Net, parse};

    #[test]
    fn what_an_operator_does_about_probes() {
        let dir = tempfile::tempdir().unwrap();
        let network = Network::open_or_create(dir.path(), "test", &["127.0.0.1:1".into()]).unwrap();
        let catalog = Arc::new(SqliteCatalog::open_in_memory().unwrap());
        let network = Net::Files(Box::new(Mutex::new(network)));
        let context = AdminContext {
            catalog: catalog.clone(),
            network,
            anchors_changed: Arc::default(),
            consent_version: "3".into(),
        };
        let run = |words: &[&str]| block_on(context.execute(&parse(words).unwrap()));
        let admin = |words: &[&str]| run(&[&["probe"], words].concat());
        run(&["account", "add", "ada@example.net"]).unwrap();
        let knock = |n: u8| {
            let code = ClaimCode::from_random(u64::from(n));
            let (key, address, software) = (PublicKey([n; 32]), "192.0.2.1".parse().unwrap(), "a\u{1b}[2Jb".into());
            let knock = Knock { key, owner: None, address, software, code, at: now() };
            match block_on(catalog.knock(&knock)).unwrap() {
                Knocked::Waits(waiting) => waiting.code.to_string(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(admin(&["pending"]).unwrap(), "nobody waits\n");
        let (first, second, third) = (knock(1), knock(2), knock(3));
        let listed = admin(&["pending"]).unwrap();
        assert!(listed.contains(&first) && listed.contains("for anybody, from 192.0.2.1"), "{listed}");
        assert!(!listed.contains('\u{1b}'), "what a probe says is no command for a terminal");
        assert_eq!(admin(&["pending", "ada@example.net"]).unwrap(), "nobody waits\n");
        for bad in [
            &["claim", "ABC", "ada@example.net"][..],
            &["claim", "2222-2222", "ada@example.net"],
            &["claim", &first, "bob@example.net"],
            &["rebind", "9", &first],
            &["reject", "2222-2222"],
            &["vouch", "9"],
        ] {
            let error = admin(bad).unwrap_err().to_string();
            assert!(error.contains(' '), "{error}");
        }
        let said = admin(&["claim", &first.to_lowercase(), "ada@example.net"]).unwrap();
        assert!(said.starts_with("probe 1 with the key AQEB"), "{said}");
        assert_eq!(block_on(catalog.probe(ProbeId(1))).unwrap().unwrap().consent.unwrap().version, "3");
        assert!(admin(&["rebind", "1", &second]).unwrap().starts_with("probe 1 has the key AgIC"));
        assert!(admin(&["reject", &third]).unwrap().contains("turned away"));
        let old = block_on(catalog.admit(&PublicKey([1; 32]), None, now())).unwrap();
        assert!(matches!(old, Admission::Replaced { probe: ProbeId(1), .. }), "{old:?}");
        assert_eq!(admin(&["vouch", "1"]).unwrap(), "probe 1 counts now\n");
        assert_eq!(admin(&["pending"]).unwrap(), "nobody waits\n");
    }
}
