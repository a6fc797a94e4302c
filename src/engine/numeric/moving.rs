//! The rows of a frame that moves over a series: rows join at its end and leave at its beginning.

use std::collections::VecDeque;

use super::super::day::Day;
use super::super::error::{Error, Result};
use super::series::{MAX_ROWS, PriceSeries, Row};

/// Rows of a frame, in the order in which they joined.
///
/// Days that ascend, as they do when the frame is ordered by date, cost no more than the rows of interest:
/// older ones are forgotten but for their number.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MovingSeries {
    rows: VecDeque<Row>,
    /// Rows at the beginning of the frame that no longer have a place in `rows`.
    forgotten: usize,
    /// Neighbours in `rows` whose days do not ascend.
    descents: usize,
}

impl MovingSeries {
    /// A frame without rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the frame has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.forgotten == 0
    }

    /// A row joins; `keep` is that of the later calls of [`MovingSeries::latest`].
    ///
    /// Errors: [`Error::TooManyRows`], [`Error::OutOfMemory`].
    pub fn join(&mut self, day: Day, price: f64, volume: f64, keep: usize) -> Result<()> {
        if self.rows.len() == MAX_ROWS {
            return Err(Error::TooManyRows { max: MAX_ROWS });
        }
        self.rows.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
        self.descents += usize::from(self.rows.back().is_some_and(|last| last.day >= day));
        self.rows.push_back(Row { day, price, volume });
        let candidates = keep.saturating_add(1);
        if self.descents == 0 && self.rows.len() / 2 >= candidates {
            let older = self.rows.len() - candidates;
            self.rows.drain(..older);
            self.forgotten += older;
        }
        Ok(())
    }

    /// The row that joined first leaves. False when this is not that row: then nothing has changed.
    pub fn leave(&mut self, day: Day, price: f64, volume: f64) -> bool {
        if self.forgotten > 0 {
            self.forgotten -= 1;
            return true;
        }
        let Some(&first) = self.rows.front() else { return false };
        if first.day != day
            || first.price.to_bits() != price.to_bits()
            || first.volume.to_bits() != volume.to_bits()
        {
            return false;
        }
        self.descents -= usize::from(self.rows.get(1).is_some_and(|next| first.day >= next.day));
        self.rows.pop_front();
        true
    }

    /// The latest `keep` rows in date order.
    ///
    /// Errors: as [`PriceSeries::latest`].
    pub fn latest(&self, keep: usize) -> Result<PriceSeries> {
        let mut latest = PriceSeries::new();
        let skipped = if self.descents == 0 { self.rows.len().saturating_sub(keep) } else { 0 };
        for row in self.rows.iter().skip(skipped) {
            latest.push(row.day, row.price, row.volume)?;
        }
        if self.descents == 0 { Ok(latest) } else { latest.latest(keep) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn days(order: &[i32], keep: usize, frame: usize) {
        let mut moving = MovingSeries::new();
        for (at, &day) in order.iter().enumerate() {
            if at >= frame {
                let gone = order[at - frame];
                assert!(moving.leave(Day(gone), f64::from(gone), 1.0));
            }
            moving.join(Day(day), f64::from(day), 1.0, keep).unwrap();
            let mut anew = PriceSeries::new();
            for &day in &order[at.saturating_sub(frame - 1)..=at] {
                anew.push(Day(day), f64::from(day), 1.0).unwrap();
            }
            assert_eq!(moving.latest(keep), anew.latest(keep), "at {at} of {order:?}");
        }
    }

    proptest! {
        #[test]
        fn a_moving_frame_equals_one_made_anew(mut order in prop::collection::vec(0..60i32, 1..150),
            keep in 1usize..12, frame in 1usize..80, sorted in any::<bool>())
        {
            if sorted { order.sort_unstable(); order.dedup(); }
            days(&order, keep, frame);
        }

        #[test]
        fn order_may_break_after_rows_were_forgotten(keep in 1usize..6, frame in 20usize..50,
            tail in prop::collection::vec(0..200i32, 1..60))
        {
            let mut order: Vec<i32> = (0..100).collect();
            order.extend(tail);
            days(&order, keep, frame);
        }
    }

    #[test]
    fn only_the_first_row_may_leave() {
        let mut moving = MovingSeries::new();
        assert!(!moving.leave(Day(1), 1.0, 1.0));
        moving.join(Day(1), f64::NAN, 1.0, 5).unwrap();
        moving.join(Day(2), 2.0, 1.0, 5).unwrap();
        assert!(!moving.leave(Day(2), 2.0, 1.0) && !moving.leave(Day(1), 1.0, 1.0));
        assert!(moving.leave(Day(1), f64::NAN, 1.0) && moving.leave(Day(2), 2.0, 1.0));
        assert!(moving.is_empty());
    }

    #[test]
    fn a_long_ordered_frame_is_not_kept() {
        let mut moving = MovingSeries::new();
        (0..100_000).for_each(|day| moving.join(Day(day), 1.0, 1.0, 126).unwrap());
        assert!(moving.rows.len() < 2 * 127 && moving.forgotten > 99_000);
    }
}
