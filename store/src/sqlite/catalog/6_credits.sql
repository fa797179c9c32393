-- Credits: a double-entry ledger; what measurements cost; requests that have a key of their own.

CREATE TABLE credit_transaction (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    key          TEXT NOT NULL UNIQUE, -- what happens once; of one day's costs and earnings, what they are added to
    kind         INTEGER NOT NULL,
    at           INTEGER NOT NULL,
    changed_at   INTEGER NOT NULL,
    measurement  INTEGER,              -- of an expense
    count        INTEGER NOT NULL      -- results of an expense, minutes of an income
) STRICT;
CREATE INDEX credit_transaction_measurement ON credit_transaction (measurement) WHERE measurement IS NOT NULL;

-- The amounts of one transaction add up to 0.
CREATE TABLE credit_line (
    ledger          INTEGER NOT NULL,  -- an account; below 0: -1 earned, -2 spent, -3 granted
    transaction_id  INTEGER NOT NULL REFERENCES credit_transaction,
    amount          INTEGER NOT NULL,
    PRIMARY KEY (ledger, transaction_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX credit_line_transaction ON credit_line (transaction_id);

-- The sum of a ledger's lines, kept so that it need not be counted.
CREATE TABLE credit_balance (
    ledger   INTEGER PRIMARY KEY,
    balance  INTEGER NOT NULL
) STRICT;

-- Measurements without one cost nobody anything.
CREATE TABLE measurement_price (
    measurement  INTEGER PRIMARY KEY REFERENCES measurement,
    credits      INTEGER NOT NULL,     -- a result
    packets      INTEGER NOT NULL      -- a run of one probe, to the target
) STRICT;

CREATE TABLE probe_income (
    probe    INTEGER PRIMARY KEY REFERENCES probe,
    minutes  INTEGER NOT NULL          -- connected, booked already
) STRICT;

-- One row while there is charging.
CREATE TABLE charging (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    since   INTEGER NOT NULL,
    cursor  TEXT                       -- JSON list of numbers; where the results are counted on
) STRICT;

CREATE TABLE once (
    account  INTEGER NOT NULL REFERENCES account,
    key      BLOB NOT NULL,            -- digests, of the key and of the request
    request  BLOB NOT NULL,
    made     TEXT NOT NULL,            -- JSON list of numbers
    at       INTEGER NOT NULL,
    PRIMARY KEY (account, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX once_at ON once (at);

-- What an account has running, what it began lately, and what is measured where.
CREATE INDEX measurement_running ON measurement (owner, ifnull(stop, 9223372036854775807)) WHERE stopped_at IS NULL;
CREATE INDEX measurement_begun ON measurement (owner, start);
-- The /24 or /48 of `address_key`, as its first digits.
ALTER TABLE measurement ADD COLUMN network_key TEXT AS (substr(address_key, 1, iif(address_key < '5', 7, 13))) VIRTUAL;
CREATE INDEX measurement_load ON measurement (network_key, ifnull(stop, 9223372036854775807), address_key)
    WHERE stopped_at IS NULL;
