-- Lists count and sort narrow rows; only those of the page that is shown are read whole.
DROP INDEX measurement_visible;
DROP INDEX measurement_state;
-- In the order of the numbers, all that lists are narrowed by but texts.
CREATE INDEX measurement_listed ON measurement (is_public, id, kind, af, is_oneoff, participants, stopped_at, forced, start,
    settled, probes_requested, stop, owner);
-- The texts that are searched in.
CREATE INDEX measurement_texts ON measurement (is_public, id, target_folded, description_folded, owner);
CREATE INDEX measurement_by_kind ON measurement (kind, is_public, af, owner);
-- What may not be over: at a given time few of all there ever were.
CREATE INDEX measurement_open ON measurement (max(start, ifnull(stop, 9223372036854775807)), stopped_at, is_public, owner,
    participants, forced, start, is_oneoff, settled, probes_requested, stop, kind, af) WHERE stopped_at IS NULL;

-- What an account began lately, with all that its use is summed up from.
DROP INDEX measurement_begun;
CREATE INDEX measurement_begun ON measurement (owner, start, stopped_at, participants, is_oneoff) WHERE is_oneoff = 1;
