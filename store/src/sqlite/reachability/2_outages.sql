-- Hours in which it was looked for references that were out, and which these were.
CREATE TABLE outage (
    hour  INTEGER PRIMARY KEY,
    out   BLOB NOT NULL         -- CBOR
) STRICT;
