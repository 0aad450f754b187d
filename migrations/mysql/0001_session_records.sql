-- One row a session, a projection of the BastionSession of the same uid. Times are microseconds since the epoch, UTC.
--
-- The rows lie in the order of their start, so that new ones are written side by side, pages are read by key, and the
-- table can be partitioned by month as it is (docs/operations.md). A session's start never changes, so that the key has
-- one row for each uid. Every other index ends in this key.
CREATE TABLE IF NOT EXISTS session_records (
    session_id       VARCHAR(64)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    namespace        VARCHAR(63)  NOT NULL,
    name             VARCHAR(253) NOT NULL,
    user_name        VARCHAR(253) NOT NULL,
    user_subject     VARCHAR(253) NOT NULL,
    user_groups      TEXT         NOT NULL, -- a JSON array of strings
    target           VARCHAR(253) NOT NULL,
    login            VARCHAR(64)  NOT NULL,
    protocol         VARCHAR(16)  NOT NULL, -- SSH, Web
    client_address   VARCHAR(45)  NOT NULL,
    client_port      INT          NOT NULL,
    client_software  VARCHAR(255),
    gateway_name     VARCHAR(253) NOT NULL,
    gateway_instance VARCHAR(253) NOT NULL,
    status           VARCHAR(16)  NOT NULL, -- active, closed, timeout, terminated
    reason           VARCHAR(64),
    message          TEXT,
    start_time       BIGINT       NOT NULL,
    last_seen_time   BIGINT,
    end_time         BIGINT,
    duration_micros  BIGINT,
    exit_code        BIGINT,
    exit_signal      VARCHAR(32),
    bytes_in         BIGINT,
    bytes_out        BIGINT,
    terminated_by    VARCHAR(253),
    recording        MEDIUMTEXT, -- a JSON object: how and where it was recorded, and what became of it
    is_final         BOOLEAN      NOT NULL,
    is_terminated    BOOLEAN      AS (status = 'terminated') VIRTUAL,
    updated_at       BIGINT       NOT NULL,
    PRIMARY KEY (start_time, session_id),
    KEY session_records_by_id (session_id),
    KEY session_records_by_user (user_name, start_time),
    KEY session_records_by_target (target, start_time),
    KEY session_records_by_status (status, start_time)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
