-- Votes by the prefix of their probe: its /48 and its /24, where records have them (reachability::packed). Nobody's prefix is zero,
-- and records of the form before have none.
CREATE INDEX vote_prefix6 ON vote (hour, substr(record, 31, 6)) WHERE substr(record, 31, 6) > x'000000000000';
CREATE INDEX vote_prefix4 ON vote (hour, substr(record, 37, 3)) WHERE substr(record, 37, 3) > x'000000';
