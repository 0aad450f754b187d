//! Detects that the database was replaced by an older copy of itself.

/// The last known number of batches that were ever written to the database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnownBatches(i64);

/// Whether the database still has all rows that were written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuity {
    /// The number of batches has not fallen.
    Intact,
    /// The database was restored from a backup, or a replica that missed writes took over.
    OlderCopy,
}

impl KnownBatches {
    /// Compares the number after a write. It must have grown; other programs may have written too.
    pub fn after_write(&mut self, batches: i64) -> Continuity {
        let known = std::mem::replace(&mut self.0, batches);
        if batches > known { Continuity::Intact } else { Continuity::OlderCopy }
    }

    /// Compares the number after a read. It must not have fallen.
    pub fn after_read(&mut self, batches: i64) -> Continuity {
        let known = std::mem::replace(&mut self.0, batches);
        if batches >= known { Continuity::Intact } else { Continuity::OlderCopy }
    }
}

#[cfg(test)]
mod tests {
    use super::Continuity::{Intact, OlderCopy};
    use super::*;

    #[test]
    fn a_number_that_does_not_grow_with_a_write_shows_an_older_copy() {
        let mut known = KnownBatches::default();
        for (batches, continuity) in
            [(7, Intact), (8, Intact), (10, Intact), (10, OlderCopy), (11, Intact), (3, OlderCopy), (4, Intact)]
        {
            assert_eq!(known.after_write(batches), continuity, "{batches}");
        }
        for (batches, continuity) in [(4, Intact), (9, Intact), (0, OlderCopy), (0, Intact)] {
            assert_eq!(known.after_read(batches), continuity, "{batches}");
        }
    }
}
