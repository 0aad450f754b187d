-- How many batches of rows were ever written, in one row. Where it is lower than the controller remembers, the database
-- was restored from a back-up.
CREATE TABLE IF NOT EXISTS mirror_progress (
    id      INT    NOT NULL PRIMARY KEY,
    batches BIGINT NOT NULL
) ENGINE = InnoDB;
