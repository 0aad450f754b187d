-- How many ended of late, and why. MySQL knows no CREATE INDEX IF NOT EXISTS, and a migration may have been cut off after
-- this.
SET @by_end = (
    SELECT IF(COUNT(*) = 0, 'CREATE INDEX session_records_by_end ON session_records (end_time, namespace, reason)', 'DO 0')
    FROM information_schema.statistics
    WHERE table_schema = DATABASE() AND table_name = 'session_records' AND index_name = 'session_records_by_end'
);
PREPARE by_end FROM @by_end;
EXECUTE by_end;
DEALLOCATE PREPARE by_end;
