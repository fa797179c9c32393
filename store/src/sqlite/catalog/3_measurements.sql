-- Measurements: what lists are filtered and sorted by, tags, requests for participation, who came and went.

ALTER TABLE measurement ADD COLUMN target_asn INTEGER;
ALTER TABLE measurement ADD COLUMN target_prefix TEXT;
-- The first of `resolved` as the family and hexadecimal digits, so that a prefix is a range of texts. Empty: none.
-- This and the next are absent in rows of the first version until the catalog is opened.
ALTER TABLE measurement ADD COLUMN address_key TEXT;
ALTER TABLE measurement ADD COLUMN protocol TEXT;
-- How many of `participants` have left.
ALTER TABLE measurement ADD COLUMN departed INTEGER NOT NULL DEFAULT 0;

ALTER TABLE measurement ADD COLUMN kind_name TEXT AS (CASE kind WHEN 1 THEN 'ping' WHEN 2 THEN 'traceroute' WHEN 3 THEN 'dns'
    WHEN 4 THEN 'sslcert' WHEN 5 THEN 'http' WHEN 6 THEN 'ntp' ELSE 'pathmtu' END) VIRTUAL;

CREATE INDEX measurement_visible ON measurement (is_public, owner);
CREATE INDEX measurement_group ON measurement (group_id);
CREATE INDEX measurement_start ON measurement (start);
CREATE INDEX measurement_interval ON measurement (interval);
CREATE INDEX measurement_kind ON measurement (kind_name);
CREATE INDEX measurement_address ON measurement (address_key);
CREATE INDEX measurement_target ON measurement (target_folded);
CREATE INDEX measurement_asn ON measurement (target_asn) WHERE target_asn IS NOT NULL;
-- Everything that a state depends on: lists by state look at this alone, not at the wide rows.
CREATE INDEX measurement_state ON measurement
    (participants, stopped_at, start, is_oneoff, settled, probes_requested, stop, is_public, owner, kind, af);

CREATE TABLE measurement_tag (
    tag          TEXT NOT NULL,
    measurement  INTEGER NOT NULL REFERENCES measurement,
    PRIMARY KEY (tag, measurement)
) STRICT, WITHOUT ROWID;
INSERT OR IGNORE INTO measurement_tag SELECT value, measurement.id FROM measurement, json_each(measurement.tags);
CREATE TRIGGER measurement_tags_new AFTER INSERT ON measurement BEGIN
    INSERT OR IGNORE INTO measurement_tag SELECT value, new.id FROM json_each(new.tags);
END;
CREATE TRIGGER measurement_tags_changed AFTER UPDATE OF tags ON measurement BEGIN
    DELETE FROM measurement_tag WHERE measurement = new.id AND tag IN (SELECT value FROM json_each(old.tags));
    INSERT OR IGNORE INTO measurement_tag SELECT value, new.id FROM json_each(new.tags);
END;

CREATE TABLE participation_request (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    measurement   INTEGER NOT NULL REFERENCES measurement,
    created_at    INTEGER NOT NULL,
    removes       INTEGER NOT NULL,
    requested     INTEGER NOT NULL,
    type          TEXT NOT NULL,
    value         TEXT NOT NULL,
    tags_include  TEXT NOT NULL,
    tags_exclude  TEXT NOT NULL
) STRICT;
CREATE INDEX participation_request_measurement ON participation_request (measurement);
INSERT INTO participation_request (measurement, created_at, removes, requested, type, value, tags_include, tags_exclude)
    SELECT measurement.id, created_at, 0, CAST(ifnull(value ->> 'requested', 0) AS INTEGER),
        CAST(ifnull(value ->> 'type', '') AS TEXT), CAST(ifnull(value ->> 'value', '') AS TEXT),
        CAST(ifnull(value ->> 'tags_include', '') AS TEXT), CAST(ifnull(value ->> 'tags_exclude', '') AS TEXT)
    FROM measurement, json_each(measurement.probe_sources) ORDER BY measurement.id, key;

ALTER TABLE participant ADD COLUMN left_at INTEGER;
DROP INDEX participant_open;
-- What may still be an order.
CREATE INDEX participant_open ON participant (probe, measurement) WHERE settled = 0 AND left_at IS NULL;

CREATE TABLE participant_log (
    id           INTEGER PRIMARY KEY,
    measurement  INTEGER NOT NULL REFERENCES measurement,
    probe        INTEGER NOT NULL,
    at           INTEGER NOT NULL,
    joined       INTEGER NOT NULL   -- 0: it left
) STRICT;
CREATE INDEX participant_log_measurement ON participant_log (measurement, probe);
