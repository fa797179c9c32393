//! Passwords: argon2id with the parameters that OWASP's password storage cheat sheet names (19 MiB, two passes, one lane),
//! kept as PHC strings.
//!
//! A hash takes tens of milliseconds of a core and 19 MiB, so two at a time are made in the whole process, and no more than
//! a few wait for their turn: a flood of logins is refused and leaves the machine to everybody else.

use std::sync::OnceLock;
use std::time::Duration;

use argon2::password_hash::PasswordHasher;
use argon2::{Algorithm, Argon2, Params, PasswordVerifier, Version};
use tokio::sync::Semaphore;

use crate::error::ApiError;

/// The least characters of a password.
pub(crate) const MIN_LENGTH: usize = 10;

/// The most characters of a password.
pub(crate) const MAX_LENGTH: usize = 1024;

/// Memory in KiB.
const MEMORY: u32 = 19 * 1024;

/// Passes over it.
const PASSES: u32 = 2;

/// Lanes.
const LANES: u32 = 1;

/// How many hashes are made at a time.
static WORKING: Semaphore = Semaphore::const_new(2);

/// How many are made or wait.
static ADMITTED: Semaphore = Semaphore::const_new(64);

/// When whoever found no place may come back.
const LATER: Duration = Duration::from_secs(5);

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY, PASSES, LANES, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// The PHC string of a password.
pub(crate) async fn hash(password: &str) -> Result<String, ApiError> {
    let password = password.to_owned();
    slowly(move || hash_now(&password)).await?
}

/// Is it this password? Without a hash, the answer is no and takes as long.
pub(crate) async fn is_right(password: &str, hash: Option<String>) -> Result<bool, ApiError> {
    let password = password.to_owned();
    slowly(move || {
        let is_known = hash.is_some();
        let hash = hash.map_or_else(dummy, Ok)?;
        // A hash that cannot be read is no password's.
        Ok(argon2().verify_password(password.as_bytes(), hash.as_str()).is_ok() && is_known)
    })
    .await?
}

fn hash_now(password: &str) -> Result<String, ApiError> {
    let hash = argon2().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|error| {
        tracing::error!(%error, "a password could not be hashed");
        ApiError::internal()
    })
}

/// The hash that an unknown account's password is compared with.
fn dummy() -> Result<String, ApiError> {
    static DUMMY: OnceLock<String> = OnceLock::new();
    match DUMMY.get() {
        Some(hash) => Ok(hash.clone()),
        None => hash_now("nobody has this one").map(|hash| DUMMY.get_or_init(|| hash).clone()),
    }
}

async fn slowly<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    let Ok(_admitted) = ADMITTED.try_acquire() else {
        return Err(ApiError::too_many("Too many people log in at this moment.", LATER));
    };
    // Neither semaphore is ever closed.
    let _turn = WORKING.acquire().await.map_err(|_| ApiError::internal())?;
    tokio::task::spawn_blocking(work).await.map_err(|_| ApiError::internal())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_says_how_it_was_made_and_fits_its_password_only() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let one = hash("correct horse").await.unwrap();
            assert!(one.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{one}");
            assert_ne!(one, hash("correct horse").await.unwrap(), "salted");
            assert!(is_right("correct horse", Some(one.clone())).await.unwrap());
            assert!(!is_right("correct horsf", Some(one)).await.unwrap());
            assert!(!is_right("correct horse", Some("nonsense".into())).await.unwrap());
            assert!(!is_right("nobody has this one", None).await.unwrap());
        });
    }
}
