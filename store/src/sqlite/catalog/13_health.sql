-- What is wrong with probes, as they told, and what was.
CREATE TABLE probe_condition (
    probe    INTEGER NOT NULL REFERENCES probe,
    word     INTEGER NOT NULL,  -- protocol::condition; may be of a newer version
    since    INTEGER NOT NULL,
    ended    INTEGER,           -- absent while it holds
    detail   TEXT NOT NULL,
    cut_off  INTEGER NOT NULL,  -- there was no connection meanwhile
    PRIMARY KEY (probe, word, since)
) STRICT, WITHOUT ROWID;

-- When it last told; absent when it never did.
ALTER TABLE probe ADD COLUMN health_at INTEGER;
