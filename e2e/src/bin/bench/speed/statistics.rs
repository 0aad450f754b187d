//! Medians and percentiles.

/// The value below which this part of the samples lies, in percent; `None` without samples.
pub fn percentile(samples: impl IntoIterator<Item = f64>, percent: usize) -> Option<f64> {
    let mut samples: Vec<f64> = samples.into_iter().collect();
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len().checked_sub(1)? * percent / 100).copied()
}

/// The median; `None` without samples.
pub fn median(samples: impl IntoIterator<Item = f64>) -> Option<f64> {
    percentile(samples, 50)
}
