-- One row a session, a projection of the BastionSession of the same uid. Times are microseconds since the epoch, UTC.
CREATE TABLE session_records (
    session_id       TEXT    NOT NULL PRIMARY KEY,
    namespace        TEXT    NOT NULL,
    name             TEXT    NOT NULL,
    user_name        TEXT    NOT NULL,
    user_subject     TEXT    NOT NULL,
    user_groups      TEXT    NOT NULL, -- a JSON array of strings
    target           TEXT    NOT NULL,
    login            TEXT    NOT NULL,
    protocol         TEXT    NOT NULL, -- SSH, Web
    client_address   TEXT    NOT NULL,
    client_port      INTEGER NOT NULL,
    client_software  TEXT,
    gateway_name     TEXT    NOT NULL,
    gateway_instance TEXT    NOT NULL,
    status           TEXT    NOT NULL, -- active, closed, timeout, terminated
    reason           TEXT,
    message          TEXT,
    start_time       INTEGER NOT NULL,
    last_seen_time   INTEGER,
    end_time         INTEGER,
    duration_micros  INTEGER,
    exit_code        INTEGER,
    exit_signal      TEXT,
    bytes_in         INTEGER,
    bytes_out        INTEGER,
    terminated_by    TEXT,
    is_final         INTEGER NOT NULL, -- 0, 1
    updated_at       INTEGER NOT NULL
) STRICT;

CREATE INDEX session_records_by_user ON session_records (user_name, start_time);
CREATE INDEX session_records_by_target ON session_records (target, start_time);
CREATE INDEX session_records_by_start ON session_records (start_time);
CREATE INDEX session_records_by_status ON session_records (status, start_time);
