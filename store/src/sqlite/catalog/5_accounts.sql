-- People come in by themselves. An account made before this was the operator's doing and has no password yet.
ALTER TABLE account ADD COLUMN password TEXT;         -- PHC string; absent: none yet
ALTER TABLE account ADD COLUMN verified_at INTEGER;   -- absent: nobody has shown that they read its mail
ALTER TABLE account ADD COLUMN consent TEXT;          -- this and the next are there together
ALTER TABLE account ADD COLUMN consented_at INTEGER;
ALTER TABLE account ADD COLUMN disabled_at INTEGER;

-- Who has asked for an account and not shown yet that the mail address is theirs.
CREATE TABLE sign_up (
    digest      BLOB PRIMARY KEY,
    email       TEXT NOT NULL,        -- lower case
    password    TEXT NOT NULL,
    consent     TEXT NOT NULL,
    invite      BLOB,
    created_at  INTEGER NOT NULL,
    expires     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sign_up_email ON sign_up (email, created_at);

CREATE TABLE invite (
    digest      BLOB PRIMARY KEY,
    inviter     INTEGER REFERENCES account, -- absent: the operator
    email       TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    expires     INTEGER NOT NULL,
    used_by     INTEGER REFERENCES account
) STRICT, WITHOUT ROWID;
CREATE INDEX invite_inviter ON invite (inviter, created_at);

CREATE TABLE password_reset (
    digest      BLOB PRIMARY KEY,
    account     INTEGER NOT NULL REFERENCES account,
    expires     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX password_reset_account ON password_reset (account);

CREATE TABLE web_session (
    digest      BLOB PRIMARY KEY,
    account     INTEGER NOT NULL REFERENCES account,
    created_at  INTEGER NOT NULL,
    last_used   INTEGER NOT NULL,
    expires     INTEGER NOT NULL,
    user_agent  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX web_session_account ON web_session (account, created_at);
