-- Probes: where they are, what lists are filtered and sorted by, what system tags are made of; anchors.

-- As `measurement.address_key`, of `address_v4` and `address_v6`. This and the next two are absent in rows of an earlier
-- version until the catalog is opened.
ALTER TABLE probe ADD COLUMN address_v4_key TEXT;
ALTER TABLE probe ADD COLUMN address_v6_key TEXT;
-- The place as everybody may know it.
ALTER TABLE probe ADD COLUMN latitude_snapped REAL;
ALTER TABLE probe ADD COLUMN longitude_snapped REAL;
-- The owner has said the country; a file of the operator's does not change it.
ALTER TABLE probe ADD COLUMN country_given INTEGER NOT NULL DEFAULT 0;

CREATE INDEX probe_country ON probe (country);
CREATE INDEX probe_asn_v4 ON probe (asn_v4) WHERE asn_v4 IS NOT NULL;
CREATE INDEX probe_asn_v6 ON probe (asn_v6) WHERE asn_v6 IS NOT NULL;
CREATE INDEX probe_address_v4 ON probe (address_v4_key);
CREATE INDEX probe_address_v6 ON probe (address_v6_key);
CREATE INDEX probe_tag_tag ON probe_tag (tag, probe);
-- Everything that states and times depend on: lists by those look at this alone, not at the wide rows.
CREATE INDEX probe_state ON probe (connected, first_connected, last_connected, connection_since);

-- Families that worked, in bits: 1 for IPv4, 2 for IPv6. Absent in sessions of an earlier version.
ALTER TABLE session ADD COLUMN families INTEGER;

-- The newest thing known of how a probe's own resolvers answer for addresses of a family.
CREATE TABLE resolver_evidence (
    probe   INTEGER NOT NULL REFERENCES probe,
    family  INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    works   INTEGER NOT NULL,
    PRIMARY KEY (probe, family)
) STRICT, WITHOUT ROWID;

CREATE INDEX resolver_evidence_at ON resolver_evidence (at);
-- Measurements whose results show how the probes' own resolvers answer.
CREATE INDEX measurement_resolving ON measurement (id, stop, stopped_at) WHERE target IS NULL OR resolve_on_probe = 1;

CREATE TABLE anchor (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    probe       INTEGER NOT NULL REFERENCES probe,
    hostname    TEXT NOT NULL,          -- lower case
    city        TEXT,
    country     TEXT,                   -- upper case
    company     TEXT,
    created_at  INTEGER NOT NULL,
    removed_at  INTEGER
) STRICT;
CREATE UNIQUE INDEX anchor_probe ON anchor (probe) WHERE removed_at IS NULL;
CREATE UNIQUE INDEX anchor_hostname ON anchor (hostname) WHERE removed_at IS NULL;
