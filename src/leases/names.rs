//! Names of instances and sessions.

use rand::distr::{Distribution, Uniform};

/// Returns the name of a new instance in `pod`: the Pod's name and ten random characters. The admission policy relies
/// on this length.
pub fn new_instance_name(pod: &str) -> String {
    format!("{pod}-{}", random_name(10))
}

/// Returns the name of an instance's Pod.
pub fn pod_of(instance: &str) -> &str {
    instance.rsplit_once('-').map_or(instance, |(pod, _)| pod)
}

/// Returns `length` random lower-case letters and digits.
pub fn random_name(length: usize) -> String {
    const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut rng = rand::rng();
    Uniform::new(0, LETTERS.len())
        .map(|letters| letters.sample_iter(&mut rng).take(length).map(|at| char::from(LETTERS[at])).collect())
        .unwrap_or_default()
}
