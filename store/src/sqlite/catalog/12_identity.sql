-- Keys that wait to be let in, probes that are nobody's, and keys that are no probe's any more.

CREATE TABLE waiting_key (
    key         BLOB PRIMARY KEY,
    code        TEXT NOT NULL UNIQUE,
    owner       INTEGER REFERENCES account, -- who alone may claim it
    address     TEXT NOT NULL,
    network     TEXT NOT NULL,              -- its /24 or /56
    software    TEXT NOT NULL,
    since       INTEGER NOT NULL,
    last_seen   INTEGER NOT NULL,
    expires     INTEGER NOT NULL,
    turned_away INTEGER NOT NULL DEFAULT 0  -- it is not let in until this row ends
) STRICT, WITHOUT ROWID;
CREATE INDEX waiting_key_network ON waiting_key (network);
CREATE INDEX waiting_key_owner ON waiting_key (owner, since);
CREATE INDEX waiting_key_expires ON waiting_key (expires);

CREATE TABLE retired_key (
    key      BLOB PRIMARY KEY,
    probe    INTEGER NOT NULL REFERENCES probe,
    at       INTEGER NOT NULL,
    rotated  INTEGER NOT NULL -- by the probe itself, else by its owner
) STRICT, WITHOUT ROWID;

-- Nobody stands for a probe that came into an open network by itself.
ALTER TABLE probe ADD COLUMN vouched INTEGER NOT NULL DEFAULT 1;
-- The /24 or /56 that such a probe came from.
ALTER TABLE probe ADD COLUMN joined_from TEXT;
CREATE INDEX probe_unvouched ON probe (joined_from) WHERE vouched = 0;
-- What its owner has agreed to when claiming it; both or none.
ALTER TABLE probe ADD COLUMN consent TEXT;
ALTER TABLE probe ADD COLUMN consented_at INTEGER;
-- Another probe with the same key was last noticed.
ALTER TABLE probe ADD COLUMN duplicate_at INTEGER;
