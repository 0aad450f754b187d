-- A JSON object: how and where the session was recorded, and what became of it.
ALTER TABLE session_records ADD COLUMN recording TEXT;
