//! Sign-ups, invitations, passwords, web sessions.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};
use sonde_protocol::ids::AccountId;
use sonde_protocol::time::UnixNanos;

use super::{SqliteCatalog, accounts};
use crate::StoreError;
use crate::catalog::{Account, Confirmed, Digest, Invite, Invited, People, SignUp, SignedUp, WebSession};

fn account_id(id: i64) -> AccountId {
    AccountId(id.cast_unsigned())
}

fn sign_up(db: &Connection, asked: &SignUp, per_address: u32, in_all: u32) -> rusqlite::Result<SignedUp> {
    let (email, now) = (asked.email.to_lowercase(), asked.created_at.0);
    db.prepare_cached("DELETE FROM sign_up WHERE expires <= ?")?.execute([now])?;
    let mut vouched = false;
    if let Some(invite) = &asked.invite {
        let inviter: Option<Option<i64>> = db
            .prepare_cached(
                "SELECT inviter FROM invite WHERE digest = ? AND email = ? AND expires > ? AND used_by IS NULL",
            )?
            .query_row(params![invite, email, now], |row| row.get(0))
            .optional()?;
        match inviter {
            None => return Ok(SignedUp::BadInvite),
            Some(inviter) => vouched = inviter.is_none(),
        }
    }
    if accounts::by_email(db, &email)?.is_some() {
        return Ok(SignedUp::Taken);
    }
    let (all, same): (i64, i64) = db
        .prepare_cached("SELECT (SELECT count(*) FROM sign_up), (SELECT count(*) FROM sign_up WHERE email = ?)")?
        .query_row([&email], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if same >= i64::from(per_address) || all >= i64::from(in_all) {
        return Ok(SignedUp::Full);
    }
    db.prepare_cached(
        "INSERT INTO sign_up (digest, email, password, consent, invite, created_at, expires) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![asked.token, email, asked.password, asked.consent, asked.invite, now, asked.expires.0])?;
    Ok(SignedUp::Waiting { vouched })
}

const SIGN_UP: &str = "digest, email, password, consent, invite, created_at, expires";

fn read_sign_up(row: &Row<'_>) -> rusqlite::Result<SignUp> {
    Ok(SignUp {
        token: row.get("digest")?,
        email: row.get("email")?,
        password: row.get("password")?,
        consent: row.get("consent")?,
        invite: row.get("invite")?,
        created_at: UnixNanos(row.get("created_at")?),
        expires: UnixNanos(row.get("expires")?),
    })
}

fn confirm(db: &Connection, token: &Digest, now: UnixNanos) -> rusqlite::Result<Confirmed> {
    let asked = db
        .prepare_cached(&format!("DELETE FROM sign_up WHERE digest = ? RETURNING {SIGN_UP}"))?
        .query_row([token], read_sign_up)
        .optional()?;
    let Some(asked) = asked.filter(|asked| asked.expires > now) else { return Ok(Confirmed::Unknown) };
    if let Some(invite) = &asked.invite {
        let mut free = db.prepare_cached("SELECT 1 FROM invite WHERE digest = ? AND used_by IS NULL")?;
        if !free.exists([invite])? {
            return Ok(Confirmed::InviteUsed);
        }
    }
    let Some(account) = accounts::add(db, &asked.email, now)? else { return Ok(Confirmed::Unknown) };
    let id = account.id.0.cast_signed();
    db.prepare_cached("UPDATE invite SET used_by = ? WHERE digest = ?")?.execute(params![id, asked.invite])?;
    db.prepare_cached(
        "UPDATE account SET password = ?2, verified_at = ?3, consent = ?4, consented_at = ?5 WHERE id = ?1",
    )?
    .execute(params![id, asked.password, now.0, asked.consent, asked.created_at.0])?;
    db.prepare_cached("DELETE FROM sign_up WHERE email = ?")?.execute([&asked.email])?;
    Ok(accounts::by_id(db, account.id)?.map_or(Confirmed::Unknown, Confirmed::Made))
}

fn waiting(db: &Connection, email: Option<&str>, now: UnixNanos, limit: u32) -> rusqlite::Result<Vec<SignUp>> {
    db.prepare_cached(&format!(
        "SELECT {SIGN_UP} FROM sign_up WHERE expires > ?1 AND (?2 IS NULL OR email = ?2)
         ORDER BY created_at DESC, digest LIMIT ?3"
    ))?
    .query_map(params![now.0, email.map(str::to_lowercase), limit], read_sign_up)?
    .collect()
}

fn invite(db: &Connection, invite: &Invite, max: u32) -> rusqlite::Result<Invited> {
    let inviter = invite.inviter.map(|account| account.0.cast_signed());
    if inviter.is_some() {
        let made: i64 = db
            .prepare_cached("SELECT count(*) FROM invite WHERE inviter = ?")?
            .query_row([inviter], |row| row.get(0))?;
        if made >= i64::from(max) {
            return Ok(Invited::TooMany);
        }
    }
    db.prepare_cached("INSERT INTO invite (digest, inviter, email, created_at, expires) VALUES (?, ?, ?, ?, ?)")?
        .execute(params![invite.token, inviter, invite.email.to_lowercase(), invite.created_at.0, invite.expires.0])?;
    Ok(Invited::Made)
}

fn invites(db: &Connection, inviter: AccountId) -> rusqlite::Result<Vec<Invite>> {
    db.prepare_cached(
        "SELECT digest, inviter, email, created_at, expires, used_by FROM invite WHERE inviter = ?
         ORDER BY created_at, digest",
    )?
    .query_map([inviter.0.cast_signed()], |row| {
        Ok(Invite {
            token: row.get("digest")?,
            inviter: row.get::<_, Option<i64>>("inviter")?.map(account_id),
            email: row.get("email")?,
            created_at: UnixNanos(row.get("created_at")?),
            expires: UnixNanos(row.get("expires")?),
            used_by: row.get::<_, Option<i64>>("used_by")?.map(account_id),
        })
    })?
    .collect()
}

fn change_password(db: &Connection, account: AccountId, password: &str, keep: Option<&Digest>) -> rusqlite::Result<()> {
    let id = account.0.cast_signed();
    db.prepare_cached("UPDATE account SET password = ? WHERE id = ?")?.execute(params![password, id])?;
    db.prepare_cached("DELETE FROM password_reset WHERE account = ?")?.execute([id])?;
    end_sessions(db, account, keep)
}

fn end_sessions(db: &Connection, account: AccountId, keep: Option<&Digest>) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM web_session WHERE account = ?1 AND (?2 IS NULL OR digest <> ?2)")?
        .execute(params![account.0.cast_signed(), keep])?;
    Ok(())
}

fn add_reset(
    db: &Connection,
    token: &Digest,
    account: AccountId,
    now: UnixNanos,
    expires: UnixNanos,
) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM password_reset WHERE expires <= ?")?.execute([now.0])?;
    db.prepare_cached("INSERT INTO password_reset (digest, account, expires) VALUES (?, ?, ?)")?.execute(params![
        token,
        account.0.cast_signed(),
        expires.0
    ])?;
    Ok(())
}

fn reset_password(
    db: &Connection,
    token: &Digest,
    password: &str,
    now: UnixNanos,
) -> rusqlite::Result<Option<Account>> {
    let account = db
        .prepare_cached("SELECT account FROM password_reset WHERE digest = ? AND expires > ?")?
        .query_row(params![token, now.0], |row| row.get(0))
        .optional()?
        .map(account_id);
    let Some(account) = account else { return Ok(None) };
    // Disabling forgets resets, but one may have been made since.
    if accounts::by_id(db, account)?.is_none_or(|account| account.disabled_at.is_some()) {
        return Ok(None);
    }
    change_password(db, account, password, None)?;
    db.prepare_cached("UPDATE account SET verified_at = coalesce(verified_at, ?) WHERE id = ?")?
        .execute(params![now.0, account.0.cast_signed()])?;
    accounts::by_id(db, account)
}

fn begin_session(db: &Connection, session: &WebSession, max: u32) -> rusqlite::Result<bool> {
    if accounts::by_id(db, session.account)?.is_none_or(|account| account.disabled_at.is_some()) {
        return Ok(false);
    }
    let id = session.account.0.cast_signed();
    db.prepare_cached("DELETE FROM web_session WHERE expires <= ?")?.execute([session.created_at.0])?;
    db.prepare_cached(
        "INSERT INTO web_session (digest, account, created_at, last_used, expires, user_agent)
         VALUES (?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        session.token,
        id,
        session.created_at.0,
        session.last_used.0,
        session.expires.0,
        session.user_agent
    ])?;
    db.prepare_cached(
        "DELETE FROM web_session WHERE account = ?1 AND digest IN (SELECT digest FROM web_session WHERE account = ?1
         ORDER BY digest = ?2 DESC, created_at DESC, digest LIMIT -1 OFFSET ?3)",
    )?
    .execute(params![id, session.token, max])?;
    Ok(true)
}

const SESSION: &str = "digest, account, created_at, last_used, expires, user_agent";

fn read_session(row: &Row<'_>) -> rusqlite::Result<WebSession> {
    Ok(WebSession {
        token: row.get("digest")?,
        account: account_id(row.get("account")?),
        created_at: UnixNanos(row.get("created_at")?),
        last_used: UnixNanos(row.get("last_used")?),
        expires: UnixNanos(row.get("expires")?),
        user_agent: row.get("user_agent")?,
    })
}

fn web_session(db: &Connection, token: &Digest, now: UnixNanos) -> rusqlite::Result<Option<WebSession>> {
    db.prepare_cached(&format!("SELECT {SESSION} FROM web_session WHERE digest = ? AND expires > ?"))?
        .query_row(params![token, now.0], read_session)
        .optional()
}

fn web_sessions(db: &Connection, account: AccountId, now: UnixNanos) -> rusqlite::Result<Vec<WebSession>> {
    db.prepare_cached(&format!(
        "SELECT {SESSION} FROM web_session WHERE account = ? AND expires > ? ORDER BY created_at, digest"
    ))?
    .query_map(params![account.0.cast_signed(), now.0], read_session)?
    .collect()
}

#[async_trait]
impl People for SqliteCatalog {
    async fn sign_up(&self, asked: &SignUp, per_address: u32, in_all: u32) -> Result<SignedUp, StoreError> {
        self.write("sign somebody up", |t| sign_up(t, asked, per_address, in_all))
    }

    async fn confirm(&self, token: &Digest, now: UnixNanos) -> Result<Confirmed, StoreError> {
        self.write("confirm a sign-up", |t| confirm(t, token, now))
    }

    async fn waiting(&self, email: Option<&str>, now: UnixNanos, limit: u32) -> Result<Vec<SignUp>, StoreError> {
        self.read("list sign-ups", |t| waiting(t, email, now, limit))
    }

    async fn invite(&self, one: &Invite, max: u32) -> Result<Invited, StoreError> {
        self.write("add an invitation", |t| invite(t, one, max))
    }

    async fn invites(&self, inviter: AccountId) -> Result<Vec<Invite>, StoreError> {
        self.read("list invitations", |t| invites(t, inviter))
    }

    async fn password(&self, account: AccountId) -> Result<Option<String>, StoreError> {
        self.read("read a password", |t| {
            let found = t
                .prepare_cached("SELECT password FROM account WHERE id = ?")?
                .query_row([account.0.cast_signed()], |row| row.get(0))
                .optional()?;
            Ok(found.flatten())
        })
    }

    async fn change_password(
        &self,
        account: AccountId,
        password: &str,
        keep: Option<&Digest>,
    ) -> Result<(), StoreError> {
        self.write("change a password", |t| change_password(t, account, password, keep))
    }

    async fn add_reset(
        &self,
        token: &Digest,
        account: AccountId,
        now: UnixNanos,
        expires: UnixNanos,
    ) -> Result<(), StoreError> {
        self.write("add a password reset", |t| add_reset(t, token, account, now, expires))
    }

    async fn reset_password(
        &self,
        token: &Digest,
        password: &str,
        now: UnixNanos,
    ) -> Result<Option<Account>, StoreError> {
        self.write("reset a password", |t| reset_password(t, token, password, now))
    }

    async fn begin_session(&self, session: &WebSession, max: u32) -> Result<bool, StoreError> {
        self.write("begin a web session", |t| begin_session(t, session, max))
    }

    async fn web_session(&self, token: &Digest, now: UnixNanos) -> Result<Option<WebSession>, StoreError> {
        self.read("find a web session", |t| web_session(t, token, now))
    }

    async fn touch_session(&self, token: &Digest, now: UnixNanos) -> Result<(), StoreError> {
        self.write("note the use of a web session", |t| {
            t.prepare_cached("UPDATE web_session SET last_used = ? WHERE digest = ?")?
                .execute(params![now.0, token])?;
            Ok(())
        })
    }

    async fn web_sessions(&self, account: AccountId, now: UnixNanos) -> Result<Vec<WebSession>, StoreError> {
        self.read("list web sessions", |t| web_sessions(t, account, now))
    }

    async fn end_session(&self, account: AccountId, token: &Digest) -> Result<bool, StoreError> {
        self.write("end a web session", |t| {
            let ended = t
                .prepare_cached("DELETE FROM web_session WHERE account = ? AND digest = ?")?
                .execute(params![account.0.cast_signed(), token])?;
            Ok(ended > 0)
        })
    }

    async fn end_sessions(&self, account: AccountId, keep: Option<&Digest>) -> Result<(), StoreError> {
        self.write("end web sessions", |t| end_sessions(t, account, keep))
    }
}
