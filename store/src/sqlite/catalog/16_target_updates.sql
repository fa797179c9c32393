-- Host names of periodic measurements that the server looks up again and again.
ALTER TABLE measurement ADD COLUMN target_update_hours INTEGER;
-- When it is next; absent: never.
ALTER TABLE measurement ADD COLUMN target_update_at INTEGER;
-- Why it stays at its addresses, though the name was looked up, or could not be.
ALTER TABLE measurement ADD COLUMN target_update_error TEXT;
CREATE INDEX measurement_target_update ON measurement (target_update_at)
    WHERE target_update_at IS NOT NULL AND stopped_at IS NULL;
