-- Votes on IPv6 reachability, version 1. Hours are counted from 1970-01-01 UTC, and a day is its first hour.

CREATE TABLE vote (
    hour    INTEGER NOT NULL,
    probe   INTEGER NOT NULL,
    record  BLOB NOT NULL,         -- reachability::packed
    PRIMARY KEY (hour, probe)
) STRICT, WITHOUT ROWID;

-- Days whose sums are those of their votes.
CREATE TABLE summed_up (
    day  INTEGER PRIMARY KEY
) STRICT;

CREATE TABLE day_sum (
    cell     TEXT NOT NULL,        -- empty: the world; two letters: a country; digits: an AS
    day      INTEGER NOT NULL REFERENCES summed_up ON DELETE CASCADE,
    figures  BLOB NOT NULL,        -- CBOR
    PRIMARY KEY (cell, day)
) STRICT, WITHOUT ROWID;
CREATE INDEX day_sum_day ON day_sum (day);

CREATE TABLE state (
    one       INTEGER PRIMARY KEY CHECK (one = 1),
    epoch     INTEGER NOT NULL,
    revision  INTEGER NOT NULL,
    kept_from INTEGER NOT NULL DEFAULT 0, -- the first hour whose votes are kept
    newest    INTEGER,             -- nanoseconds since 1970; absent while nobody has said anything
    progress  TEXT                 -- JSON list of numbers; where results are read on
) STRICT;
