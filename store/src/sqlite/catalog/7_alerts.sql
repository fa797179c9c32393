-- Alert rules, and what is to be told of them.
CREATE TABLE alert_rule (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    account     INTEGER NOT NULL REFERENCES account,
    measurement INTEGER NOT NULL REFERENCES measurement,
    created_at  INTEGER NOT NULL,
    description TEXT NOT NULL,
    condition   TEXT NOT NULL,        -- JSON; what it means is the API's business
    url         TEXT NOT NULL,
    secret      BLOB NOT NULL,        -- signs what is sent there, so it cannot be a digest
    enabled     INTEGER NOT NULL,
    alerting    INTEGER NOT NULL DEFAULT 0,
    since       INTEGER,              -- of alerting or its end; absent before the first
    probes      TEXT NOT NULL DEFAULT ''  -- numbers, commas between
) STRICT;
CREATE INDEX alert_rule_by_account ON alert_rule (account, id);

CREATE TABLE alert_delivery (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    rule       INTEGER NOT NULL REFERENCES alert_rule ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    body       TEXT NOT NULL,
    attempts   INTEGER NOT NULL DEFAULT 0,
    next_at    INTEGER,               -- absent: over
    ended_at   INTEGER,               -- absent: not over, or given up
    last       TEXT                   -- what the last attempt gave
) STRICT;
CREATE INDEX alert_delivery_due ON alert_delivery (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX alert_delivery_by_rule ON alert_delivery (rule, id);
