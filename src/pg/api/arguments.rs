//! Arguments that SQL may leave NULL and we may not.

use pgrx::datum::Date;

use crate::engine::Day;
use crate::pg::report::Fault;

/// The value of an argument. Errors: [`Fault::NullArgument`] (22004).
pub fn required<T>(value: Option<T>, argument: &'static str) -> Result<T, Fault> {
    value.ok_or(Fault::NullArgument { argument })
}

/// A date argument as a day.
///
/// Errors: [`Fault::NullArgument`] (22004), [`Fault::InfiniteDate`] (22008).
pub fn day(value: Option<Date>, argument: &'static str) -> Result<Day, Fault> {
    let date = required(value, argument)?;
    if date.is_finite() { Ok(Day(date.to_pg_epoch_days())) } else { Err(Fault::InfiniteDate { argument }) }
}
