-- What a probe's connection runs over: QUIC, or TLS where UDP is blocked.
ALTER TABLE probe ADD COLUMN uplink TEXT;
