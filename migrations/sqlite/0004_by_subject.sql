-- What somebody asks who may see their own sessions only.
CREATE INDEX session_records_by_subject ON session_records (user_subject, start_time);
