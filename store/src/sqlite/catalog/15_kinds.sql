-- The kinds of measurement that a probe's host allows, as the probe last told: bit n is the kind of number n. Absent when it did
-- not tell: then everything is tried with it.
ALTER TABLE probe ADD COLUMN kinds INTEGER;
