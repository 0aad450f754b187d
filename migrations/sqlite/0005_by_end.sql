-- How many ended of late, and why.
CREATE INDEX session_records_by_end ON session_records (end_time, namespace, reason);
