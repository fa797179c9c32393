-- How boards stand, as they told last, and what their owners want of updates.
CREATE TABLE board (
    probe     INTEGER PRIMARY KEY REFERENCES probe,
    state     BLOB,     -- a `board-state` of docs/protocol.cddl; absent when it never told
    told_at   INTEGER,
    release   INTEGER,  -- of the state: what runs
    name      TEXT,     -- of the state
    stage     INTEGER,  -- of the state
    choice    BLOB      -- an `update-choice`; absent when the owner never said
) STRICT;

-- Who has fetched a release to its end, and what became of it there.
CREATE TABLE release_fetch (
    release     INTEGER NOT NULL,
    probe       INTEGER NOT NULL REFERENCES probe,
    fetched_at  INTEGER NOT NULL,
    came        INTEGER,  -- 0 well, 1 badly, 2 it was not installed; absent while nobody knows
    PRIMARY KEY (release, probe)
) STRICT, WITHOUT ROWID;

CREATE INDEX release_fetch_by_probe ON release_fetch (probe);

-- Releases that were stopped because boards did not come back.
CREATE TABLE release_stop (
    release     INTEGER PRIMARY KEY,
    stopped_at  INTEGER NOT NULL,
    why         TEXT NOT NULL,
    resumed_at  INTEGER   -- when the operator went on; fetches from then on count anew
) STRICT;
