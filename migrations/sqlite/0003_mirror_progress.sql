-- How many batches of rows were ever written, in one row. Where it is lower than the controller remembers, the database
-- was restored from a back-up.
CREATE TABLE mirror_progress (
    id      INTEGER NOT NULL PRIMARY KEY,
    batches INTEGER NOT NULL
) STRICT;

ALTER TABLE session_records ADD COLUMN is_terminated INTEGER GENERATED ALWAYS AS (status = 'terminated') VIRTUAL;
