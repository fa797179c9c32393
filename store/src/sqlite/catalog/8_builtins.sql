-- Built-in measurements: what every probe measures, or every one with certain tags. Who takes part follows from that; a row
-- for each pair of a probe and a measurement would be a million rows.
CREATE TABLE builtin (
    measurement  INTEGER PRIMARY KEY REFERENCES measurement,
    since        INTEGER NOT NULL   -- it is ordered as it stands now
) STRICT;

CREATE TABLE builtin_tag (
    measurement  INTEGER NOT NULL REFERENCES builtin,
    tag          TEXT NOT NULL,
    wanted       INTEGER NOT NULL,  -- 0: whoever has it does not take part
    PRIMARY KEY (measurement, tag)
) STRICT, WITHOUT ROWID;
CREATE INDEX builtin_tag_tag ON builtin_tag (tag);

-- A tag that a built-in measurement looks at changes the orders of whoever gets or loses it.
CREATE TRIGGER builtin_tag_came AFTER INSERT ON probe_tag
WHEN EXISTS (SELECT 1 FROM builtin_tag WHERE tag = new.tag) BEGIN
    UPDATE probe SET order_revision = order_revision + 1 WHERE id = new.probe;
END;
CREATE TRIGGER builtin_tag_went AFTER DELETE ON probe_tag
WHEN EXISTS (SELECT 1 FROM builtin_tag WHERE tag = old.tag) BEGIN
    UPDATE probe SET order_revision = order_revision + 1 WHERE id = old.probe;
END;

-- The operator stopped it.
ALTER TABLE measurement ADD COLUMN forced INTEGER NOT NULL DEFAULT 0;
DROP INDEX measurement_state;
CREATE INDEX measurement_state ON measurement
    (participants, stopped_at, forced, start, is_oneoff, settled, probes_requested, stop, is_public, owner, kind, af);

-- Probes that stay away are replaced: after so many days, by such as share this much with them.
ALTER TABLE measurement ADD COLUMN top_up_days INTEGER;
ALTER TABLE measurement ADD COLUMN top_up_similarity REAL;
CREATE INDEX measurement_top_up ON measurement (id) WHERE top_up_days IS NOT NULL;
