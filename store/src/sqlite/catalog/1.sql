-- The catalog, version 1. Times are nanoseconds since 1970; flags are 0 or 1; numbers are never used twice.

CREATE TABLE account (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    email       TEXT NOT NULL UNIQUE, -- lower case
    created_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE api_key (
    digest      BLOB PRIMARY KEY,
    account     INTEGER NOT NULL REFERENCES account,
    label       TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    enabled     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX api_key_account ON api_key (account);

CREATE TABLE join_token (
    digest      BLOB PRIMARY KEY,
    owner       INTEGER NOT NULL REFERENCES account,
    created_at  INTEGER NOT NULL,
    expires     INTEGER NOT NULL,
    bound_key   BLOB                  -- the probe's key that used it
) STRICT, WITHOUT ROWID;

CREATE TABLE probe (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    key               BLOB NOT NULL UNIQUE,
    owner             INTEGER NOT NULL REFERENCES account,
    created_at        INTEGER NOT NULL,
    description       TEXT,
    connected         INTEGER,        -- this and the next two are absent before the first session
    connection_since  INTEGER,
    session           INTEGER,        -- the newest
    first_connected   INTEGER,
    last_connected    INTEGER,
    address_v4        TEXT,
    address_v6        TEXT,
    address_is_public INTEGER NOT NULL DEFAULT 0,
    asn_v4            INTEGER,
    asn_v6            INTEGER,
    country           TEXT,           -- upper case
    latitude          REAL,
    longitude         REAL,
    software          TEXT,
    uptime            INTEGER NOT NULL DEFAULT 0, -- nanoseconds, without the present connection
    order_revision    INTEGER NOT NULL DEFAULT 1
) STRICT;
CREATE INDEX probe_owner ON probe (owner);
CREATE INDEX probe_connected ON probe (id) WHERE connected = 1;

CREATE TABLE probe_tag (
    probe  INTEGER NOT NULL REFERENCES probe,
    tag    TEXT NOT NULL,
    PRIMARY KEY (probe, tag)
) STRICT, WITHOUT ROWID;

CREATE TABLE session (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    probe           INTEGER NOT NULL REFERENCES probe,
    public_address  TEXT NOT NULL,
    started_at      INTEGER NOT NULL,
    ended_at        INTEGER
) STRICT;
CREATE INDEX session_probe ON session (probe);
CREATE INDEX session_open ON session (id) WHERE ended_at IS NULL;

CREATE TABLE measurement (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    group_id          INTEGER NOT NULL,  -- the first of those made together
    created_at        INTEGER NOT NULL,
    owner             INTEGER NOT NULL REFERENCES account,
    kind              INTEGER NOT NULL,
    spec              BLOB NOT NULL,     -- CBOR, as orders carry it
    af                INTEGER NOT NULL,
    target            TEXT,
    resolved          TEXT NOT NULL,     -- JSON list of addresses
    resolve_on_probe  INTEGER NOT NULL,
    is_oneoff         INTEGER NOT NULL,
    interval          INTEGER,
    spread            INTEGER,
    start             INTEGER NOT NULL,
    start_given       INTEGER NOT NULL,
    stop              INTEGER,
    description       TEXT,
    is_public         INTEGER NOT NULL,
    tags              TEXT NOT NULL,     -- JSON list
    probes_requested  INTEGER NOT NULL,
    probe_sources     TEXT NOT NULL,     -- JSON, as asked for
    stopped_at        INTEGER,
    participants      INTEGER NOT NULL,  -- counted from the table of this name
    settled           INTEGER NOT NULL DEFAULT 0,
    target_folded       TEXT,            -- for searching in any case: SQLite folds ASCII only
    description_folded  TEXT
) STRICT;
CREATE INDEX measurement_owner ON measurement (owner);
-- Users' measurements begin at 1,000,000.
INSERT INTO sqlite_sequence (name, seq) VALUES ('measurement', 999999);

CREATE TABLE participant (
    measurement  INTEGER NOT NULL REFERENCES measurement,
    probe        INTEGER NOT NULL REFERENCES probe,
    since        INTEGER NOT NULL,
    settled      INTEGER NOT NULL DEFAULT 0, -- of a one-off only
    PRIMARY KEY (measurement, probe)
) STRICT, WITHOUT ROWID;
-- What may still be an order.
CREATE INDEX participant_open ON participant (probe, measurement) WHERE settled = 0;
