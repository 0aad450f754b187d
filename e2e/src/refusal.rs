//! What the API server says when it refuses.

use std::fmt::Debug;

/// Checks that the API server refused, with these words in its answer.
pub fn assert_refused<T: Debug>(what: &str, answer: Result<T, String>, words: &str) {
    match answer {
        Ok(object) => panic!("{what}: it was let through: {object:?}"),
        Err(said) => assert!(said.contains(words), "{what}: refused, but not with {words:?}: {said}"),
    }
}

/// Checks that the API server let it through.
pub fn assert_let_through<T>(what: &str, answer: Result<T, String>) -> T {
    answer.unwrap_or_else(|said| panic!("{what}: it was refused: {said}"))
}
