//! `sonde admin account`: what an operator does about people. A token that opens something is printed alone on stdout, for
//! whoever it is for.

use std::fmt::Write;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use serde::{Deserialize, Serialize};
use sonde_api::{INVITE_LIFE_SECS, RESET_LIFE_SECS, Secret, is_mail_address};
use sonde_store::catalog::{Account, Confirmed, Invite, Slice};

use crate::admin::{AdminContext, now};

/// How many accounts, and how many people who wait, a list shows at most.
const MAX_LISTED: u32 = 10_000;

/// Accounts.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
pub enum AccountCommand {
    /// Makes an account. It has no password yet: `password-reset` lets its person set one
    Add {
        /// The person's mail address
        email: String,
    },
    /// Lists accounts, and who has signed up and waits to be verified
    List,
    /// Lets in who has signed up, as if they had answered the mail. If several have with this address, the newest
    Verify {
        /// The person's mail address
        email: String,
    },
    /// Disables an account: its keys and logins stop working. Its measurements go on
    Disable {
        /// The person's mail address
        email: String,
        /// Enables it again instead
        #[arg(long)]
        #[serde(default)]
        undo: bool,
    },
    /// Invites somebody and prints the invitation. Whoever signs up with it needs no further verification
    Invite {
        /// The person's mail address
        email: String,
    },
    /// Prints a token by which a new password can be set within an hour
    PasswordReset {
        /// The account's mail address
        email: String,
    },
}

impl AdminContext {
    pub(crate) async fn people(&self, command: &AccountCommand) -> Result<String> {
        match command {
            AccountCommand::Add { email } => {
                plausible(email)?;
                match self.catalog.add_account(email, now()).await? {
                    Some(account) => Ok(format!("account {} made for {}\n", account.id, account.email)),
                    None => bail!("there is an account for {email} already"),
                }
            }
            AccountCommand::List => self.list_people().await,
            AccountCommand::Verify { email } => self.verify(email).await,
            AccountCommand::Disable { email, undo } => {
                let account = self.account(email).await?;
                self.catalog.set_disabled(account.id, (!undo).then(now)).await?;
                let done = if *undo { "enabled" } else { "disabled" };
                Ok(format!("account {} of {} is {done}\n", account.id, account.email))
            }
            AccountCommand::Invite { email } => self.invite(email).await,
            AccountCommand::PasswordReset { email } => {
                let account = self.account(email).await?;
                if account.disabled_at.is_some() {
                    bail!("the account is disabled; enable it first with `account disable --undo`");
                }
                let (secret, now) = (secret()?, now());
                let expires = now + Duration::from_secs(RESET_LIFE_SECS.unsigned_abs());
                self.catalog.add_reset(&secret.digest(), account.id, now, expires).await?;
                Ok(format!("{}\n", secret.text()))
            }
        }
    }

    async fn list_people(&self) -> Result<String> {
        let slice = Slice { offset: 0, limit: MAX_LISTED.into(), descending: false };
        let accounts = self.catalog.accounts(slice).await?;
        let mut text = String::new();
        for account in &accounts.items {
            writeln!(text, "{} {} {}", account.id, account.email, state(account))?;
        }
        if accounts.total > u64::from(MAX_LISTED) {
            writeln!(text, "… and {} more", accounts.total - u64::from(MAX_LISTED))?;
        }
        for waiting in self.catalog.waiting(None, now(), MAX_LISTED).await? {
            writeln!(text, "- {} waits to be verified", waiting.email)?;
        }
        Ok(text)
    }

    async fn verify(&self, email: &str) -> Result<String> {
        let waiting = self.catalog.waiting(Some(email), now(), 1).await?;
        let newest =
            waiting.first().with_context(|| format!("nobody with the address {email} waits to be verified"))?;
        match self.catalog.confirm(&newest.token, now()).await? {
            Confirmed::Made(account) => Ok(format!("account {} made for {}\n", account.id, account.email)),
            Confirmed::Unknown => bail!("there is an account for {email} already"),
            Confirmed::InviteUsed => bail!("the invitation of {email} has been used by somebody else"),
        }
    }

    async fn invite(&self, email: &str) -> Result<String> {
        plausible(email)?;
        if self.catalog.account_by_email(email).await?.is_some() {
            bail!("there is an account for {email} already");
        }
        let (secret, now) = (secret()?, now());
        let invite = Invite {
            token: secret.digest(),
            inviter: None,
            email: email.to_owned(),
            created_at: now,
            expires: now + Duration::from_secs(INVITE_LIFE_SECS.unsigned_abs()),
            used_by: None,
        };
        self.catalog.invite(&invite, 0).await?;
        Ok(format!("{}\n", secret.text()))
    }
}

fn state(account: &Account) -> &'static str {
    match account {
        Account { disabled_at: Some(_), .. } => "disabled",
        Account { verified_at: Some(_), .. } => "verified",
        Account { .. } => "made by the operator",
    }
}

fn secret() -> Result<Secret> {
    Secret::new().context("no random numbers")
}

fn plausible(email: &str) -> Result<()> {
    if is_mail_address(email) {
        return Ok(());
    }
    bail!("{email:?} is no mail address")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use sonde_collector::Network;
    use sonde_store::catalog::{Accounts, People, SignUp};
    use sonde_store::conformance::block_on;
    use sonde_store::sqlite::SqliteCatalog;

    use super::*;
    use crate::admin::{Net, parse};

    #[test]
    fn what_an_operator_does_about_people() {
        let dir = tempfile::tempdir().unwrap();
        let network = Network::open_or_create(dir.path(), "test", &["127.0.0.1:1".into()]).unwrap();
        let catalog = Arc::new(SqliteCatalog::open_in_memory().unwrap());
        let context = AdminContext {
            catalog: catalog.clone(),
            network: Net::Files(Box::new(Mutex::new(network))),
            anchors_changed: Arc::default(),
            consent_version: "1".into(),
        };
        let admin = |words: &[&str]| block_on(context.execute(&parse(&[&["account"], words].concat()).unwrap()));
        assert!(admin(&["add", "Ada@example.net"]).unwrap().contains("ada@example.net"));
        for bad in [
            &["add", "ada@example.net"][..],
            &["add", "ada"],
            &["verify", "bob@example.net"],
            &["disable", "bob@example.net"],
        ] {
            admin(bad).unwrap_err();
        }

        let asked = |n: u8, email: &str, invite: Option<&str>| {
            let digest = |text: &str| ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
            let invite = invite.map(|text| digest(text.trim()).as_ref().try_into().unwrap());
            let (created_at, password) = (now(), format!("hash {n}"));
            let expires = created_at + Duration::from_secs(60);
            let sign_up = SignUp {
                token: [n; 32],
                email: email.into(),
                password,
                consent: "1".into(),
                invite,
                created_at,
                expires,
            };
            block_on(catalog.sign_up(&sign_up, 9, 9)).unwrap()
        };
        asked(1, "bob@example.net", None);
        assert!(admin(&["list"]).unwrap().ends_with("- bob@example.net waits to be verified\n"));
        assert!(admin(&["verify", "bob@example.net"]).unwrap().contains("made for bob@example.net"));
        let bob = block_on(catalog.account_by_email("bob@example.net")).unwrap().unwrap();
        assert_eq!(block_on(catalog.password(bob.id)).unwrap().as_deref(), Some("hash 1"));

        let invite = admin(&["invite", "cyd@example.net"]).unwrap();
        assert_eq!(invite.trim().len(), 43, "the token alone");
        assert_eq!(
            asked(2, "cyd@example.net", Some(&invite)),
            sonde_store::catalog::SignedUp::Waiting { vouched: true }
        );
        admin(&["invite", "bob@example.net"]).unwrap_err();

        assert_eq!(admin(&["password-reset", "ada@example.net"]).unwrap().trim().len(), 43);
        assert!(admin(&["disable", "ada@example.net"]).unwrap().contains("disabled"));
        admin(&["password-reset", "ada@example.net"]).unwrap_err();
        let list = admin(&["list"]).unwrap();
        assert!(list.contains("ada@example.net disabled") && list.contains("bob@example.net verified"), "{list}");
        assert!(admin(&["disable", "--undo", "ada@example.net"]).unwrap().contains("enabled"));
        assert!(admin(&["list"]).unwrap().contains("ada@example.net made by the operator"));
    }
}
