-- One day of arrivals, version 1. Times are nanoseconds since 1970.

-- Reports of one commit, or of a part of a large one.
CREATE TABLE log (
    id          INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice
    arrived_at  INTEGER NOT NULL,                  -- of the commit
    count       INTEGER NOT NULL,
    size        INTEGER NOT NULL,                  -- bytes before compression
    entries     BLOB NOT NULL                      -- see log.rs
) STRICT;

-- Where in the log a measurement is, and between which times its runs there began. See index.rs.
CREATE TABLE log_index (
    measurement  INTEGER NOT NULL,
    max_at       INTEGER NOT NULL,
    log          INTEGER NOT NULL,
    min_at       INTEGER NOT NULL,
    count        INTEGER NOT NULL,
    PRIMARY KEY (measurement, max_at, log)
) STRICT, WITHOUT ROWID;

-- The same for log rows that are not in the tree yet.
CREATE TABLE index_tail (
    log    INTEGER PRIMARY KEY,
    count  INTEGER NOT NULL, -- of parts
    parts  BLOB NOT NULL     -- CBOR
) STRICT;

-- Between which times the runs in this file began; no row while there are none.
CREATE TABLE span (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    min_at  INTEGER NOT NULL,
    max_at  INTEGER NOT NULL
) STRICT;

-- Numbers that became durable with this file. The set of a boot is the union over all files.
CREATE TABLE ranges (
    probe    INTEGER NOT NULL,
    boot     INTEGER NOT NULL,
    numbers  BLOB NOT NULL, -- CBOR: first, last, first, last, ...
    PRIMARY KEY (probe, boot)
) STRICT, WITHOUT ROWID;

-- Records of boots. The one with the greatest "updated" in any file counts.
CREATE TABLE boots (
    probe       INTEGER NOT NULL,
    boot        INTEGER NOT NULL,
    updated     INTEGER NOT NULL,
    started_at  INTEGER NOT NULL,
    settled     INTEGER NOT NULL,
    closed      INTEGER NOT NULL,
    PRIMARY KEY (probe, boot)
) STRICT, WITHOUT ROWID;

CREATE TABLE gaps (
    id       INTEGER PRIMARY KEY,
    probe    INTEGER NOT NULL,
    from_at  INTEGER NOT NULL,
    to_at    INTEGER NOT NULL,
    gap      BLOB NOT NULL -- CBOR, as probes send it
) STRICT;
CREATE INDEX gaps_probe ON gaps (probe, from_at);
