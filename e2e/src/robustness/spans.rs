//! Sets of moments, as spans of time.

use jiff::{SignedDuration, Timestamp};

/// The moments from `from` on and before `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    pub from: Timestamp,
    pub to: Timestamp,
}

impl Span {
    /// All moments from this one on.
    pub const fn since(from: Timestamp) -> Self {
        Self { from, to: Timestamp::MAX }
    }

    pub fn length(self) -> SignedDuration {
        self.to.duration_since(self.from)
    }

    /// Whether both have a moment in common, or touch.
    pub fn meets(self, other: Self) -> bool {
        self.from <= other.to && self.to >= other.from
    }
}

/// A set of moments: spans in ascending order, with gaps between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans(Vec<Span>);

impl FromIterator<Span> for Spans {
    fn from_iter<T: IntoIterator<Item = Span>>(spans: T) -> Self {
        let mut spans: Vec<Span> = spans.into_iter().filter(|it| it.from < it.to).collect();
        spans.sort_unstable();
        let mut joined: Vec<Span> = Vec::new();
        for span in spans {
            match joined.last_mut() {
                Some(last) if span.from <= last.to => last.to = last.to.max(span.to),
                _ => joined.push(span),
            }
        }
        Self(joined)
    }
}

impl Spans {
    /// The moments from this one on.
    pub fn since(from: Timestamp) -> Self {
        Self::from_iter([Span::since(from)])
    }

    pub fn iter(&self) -> impl Iterator<Item = Span> {
        self.0.iter().copied()
    }

    /// The moments that are in either set.
    pub fn or(&self, other: &Self) -> Self {
        self.iter().chain(other.iter()).collect()
    }

    /// The moments that are in both sets.
    pub fn and(&self, other: &Self) -> Self {
        let cut =
            |span: Span| other.iter().map(move |it| Span { from: span.from.max(it.from), to: span.to.min(it.to) });
        self.iter().flat_map(cut).collect()
    }

    /// The moments that are not in the set.
    pub fn complement(&self) -> Self {
        let ends = self.iter().map(|it| it.to);
        let begins = self.iter().map(|it| it.from).chain([Timestamp::MAX]);
        [Timestamp::MIN].into_iter().chain(ends).zip(begins).map(|(from, to)| Span { from, to }).collect()
    }

    /// The moments of this set that are not in the other.
    pub fn without(&self, other: &Self) -> Self {
        self.and(&other.complement())
    }

    /// The same set without gaps shorter than `gap`.
    pub fn bridged(&self, gap: SignedDuration) -> Self {
        let gaps = self.0.windows(2).map(|pair| Span { from: pair[0].to, to: pair[1].from });
        self.iter().chain(gaps.filter(|it| it.length() < gap)).collect()
    }

    /// The spans that last at least this long.
    pub fn lasting(&self, length: SignedDuration) -> impl Iterator<Item = Span> {
        self.iter().filter(move |it| it.length() >= length)
    }

    /// The first moment not before `from` from which on the set has this much time without a gap.
    pub fn first_lasting(&self, from: Timestamp, length: SignedDuration) -> Option<Timestamp> {
        self.and(&Self::since(from)).lasting(length).next().map(|it| it.from)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn spans(spans: &[(i64, i64)]) -> Spans {
        spans.iter().map(|(from, to)| Span { from: at(*from), to: at(*to) }).collect()
    }

    fn contains(spans: &Spans, second: i64) -> bool {
        spans.iter().any(|it| it.from <= at(second) && at(second) < it.to)
    }

    const SECOND: SignedDuration = SignedDuration::from_secs(1);

    #[test]
    fn spans_that_overlap_or_touch_are_one() {
        assert_eq!(spans(&[(5, 9), (1, 3), (3, 4), (6, 7), (8, 8)]), spans(&[(1, 4), (5, 9)]));
    }

    #[test]
    fn short_gaps_are_bridged() {
        let set = spans(&[(0, 10), (14, 20), (26, 30)]);
        assert_eq!(set.bridged(SECOND * 5), spans(&[(0, 20), (26, 30)]));
        assert_eq!(set.bridged(SECOND * 4), set);
    }

    #[test]
    fn the_first_lasting_span_begins_at_the_moment_asked_for_or_later() {
        let set = spans(&[(0, 10), (14, 20), (26, 60)]);
        let first = |from, length| set.first_lasting(at(from), SECOND * length).map(Timestamp::as_second);
        assert_eq!(first(0, 10), Some(0));
        assert_eq!(first(1, 10), Some(26));
        assert_eq!(first(1, 6), Some(1));
        assert_eq!(first(30, 30), Some(30));
        assert_eq!(first(31, 30), None);
    }

    fn some_spans() -> impl Strategy<Value = Spans> {
        proptest::collection::vec((0_i64..60, 0_i64..60), 0..8).prop_map(|pairs| spans(&pairs))
    }

    proptest! {
        #[test]
        fn the_operations_are_those_of_sets(one in some_spans(), other in some_spans(), second in 0_i64..60) {
            let (in_one, in_other) = (contains(&one, second), contains(&other, second));
            prop_assert_eq!(contains(&one.or(&other), second), in_one || in_other);
            prop_assert_eq!(contains(&one.and(&other), second), in_one && in_other);
            prop_assert_eq!(contains(&one.complement(), second), !in_one);
            prop_assert_eq!(contains(&one.without(&other), second), in_one && !in_other);
            prop_assert_eq!(one.complement().complement(), one);
        }
    }
}
