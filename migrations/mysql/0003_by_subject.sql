-- What somebody asks who may see their own sessions only. MySQL knows no CREATE INDEX IF NOT EXISTS, and a migration may
-- have been cut off after this.
SET @by_subject = (
    SELECT IF(COUNT(*) = 0, 'CREATE INDEX session_records_by_subject ON session_records (user_subject, start_time)', 'DO 0')
    FROM information_schema.statistics
    WHERE table_schema = DATABASE() AND table_name = 'session_records' AND index_name = 'session_records_by_subject'
);
PREPARE by_subject FROM @by_subject;
EXECUTE by_subject;
DEALLOCATE PREPARE by_subject;
