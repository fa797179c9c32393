-- A built-in measurement towards an anchor: the anchor's own probe takes no part.
ALTER TABLE builtin ADD COLUMN not_by INTEGER;
