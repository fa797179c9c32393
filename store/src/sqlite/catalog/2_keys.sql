-- Keys with permissions and times. A key made before this may do everything, for ever.
ALTER TABLE api_key ADD COLUMN valid_from INTEGER;
ALTER TABLE api_key ADD COLUMN valid_to INTEGER;
ALTER TABLE api_key ADD COLUMN everything INTEGER NOT NULL DEFAULT 1;

CREATE TABLE key_grant (
    digest      BLOB NOT NULL REFERENCES api_key,
    position    INTEGER NOT NULL,
    permission  TEXT NOT NULL,
    measurement INTEGER,              -- absent: all of the account's
    PRIMARY KEY (digest, position)
) STRICT, WITHOUT ROWID;
