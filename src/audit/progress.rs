//! Whether the database is the one that was written to, or an older copy of it.

/// How many batches the database was known to have been written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress(i64);

/// Whether the database still has what was written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// As far as its number of batches tells.
    Whole,
    /// It was restored from a back-up, or a replica took over that had not received all.
    Older,
}

impl Progress {
    /// A batch was written, by which there are now this many. Another program's may be among them.
    pub fn wrote(&mut self, batches: i64) -> Finding {
        let known = std::mem::replace(&mut self.0, batches);
        if batches > known { Finding::Whole } else { Finding::Older }
    }

    /// It was looked at, and there are this many.
    pub fn saw(&mut self, batches: i64) -> Finding {
        let known = std::mem::replace(&mut self.0, batches);
        if batches >= known { Finding::Whole } else { Finding::Older }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_falls_or_stands_still_under_a_write_tells_of_an_older_copy() {
        let mut progress = Progress::default();
        for (batches, finding) in [
            (7, Finding::Whole),
            (8, Finding::Whole),
            (10, Finding::Whole),
            (10, Finding::Older),
            (11, Finding::Whole),
            (3, Finding::Older),
            (4, Finding::Whole),
        ] {
            assert_eq!(progress.wrote(batches), finding, "{batches}");
        }
        for (batches, finding) in [(4, Finding::Whole), (9, Finding::Whole), (0, Finding::Older), (0, Finding::Whole)] {
            assert_eq!(progress.saw(batches), finding, "{batches}");
        }
    }
}
