-- What a probe's host allows, as the probe told last: a `host-state` of docs/protocol.cddl; absent when it never did.
ALTER TABLE probe ADD COLUMN host_state BLOB;

-- When that was.
ALTER TABLE probe ADD COLUMN host_state_at INTEGER;
