//! The arguments of `embed_price_panel_step` and its sibling, read in place: there is a call for every price row.

use pgrx::prelude::*;

use super::aggregate::State;
use super::bytea::bytes_of;

/// A call of `embed_price_panel_step(state, instrument_id, trade_date, price, volume [, close])`.
#[derive(Debug, Clone, Copy)]
pub struct PriceRow<'a>(&'a [pg_sys::NullableDatum]);

/// Arguments of the longer form, as `src/pg/api/panel.rs` declares it.
const ARGUMENTS: usize = 6;

impl PriceRow<'_> {
    /// The arguments of the running function, which must be one of the above.
    pub fn of(fcinfo: &pg_sys::FunctionCallInfo) -> PriceRow<'_> {
        // SAFETY: Postgres' call information of the running function, which outlives the call. Nothing is read of
        // it but the arguments, whose types the SQL declaration promises.
        unsafe {
            let given = usize::try_from((**fcinfo).nargs).unwrap_or_default().min(ARGUMENTS);
            PriceRow((**fcinfo).args.as_slice(given))
        }
    }
}

impl<'a> PriceRow<'a> {
    fn datum(self, index: usize) -> Option<pg_sys::Datum> {
        self.0.get(index).filter(|argument| !argument.isnull).map(|argument| argument.value)
    }

    /// The aggregate's state, once there is one.
    pub fn state<T>(self) -> Option<State<T>> {
        // SAFETY: only the functions of one aggregate pass this argument, always of one type.
        self.datum(0).and_then(|datum| unsafe { State::from_datum(datum) })
    }

    /// The instrument.
    pub fn instrument(self) -> Option<&'a [u8]> {
        // SAFETY: the argument is a text that lives as long as the call.
        self.datum(1).map(|datum| unsafe { bytes_of(datum) })
    }

    /// The day.
    pub fn trade_date(self) -> Option<Date> {
        self.datum(2).map(|datum| Date::saturating_from_raw(datum.value() as i32))
    }

    /// Price, volume or close: argument 3, 4 or 5.
    fn number(self, index: usize) -> Option<f64> {
        self.datum(index).map(|datum| f64::from_bits(datum.value() as u64))
    }

    /// The price.
    pub fn price(self) -> Option<f64> {
        self.number(3)
    }

    /// The volume.
    pub fn volume(self) -> Option<f64> {
        self.number(4)
    }

    /// The close that the volume belongs to.
    pub fn close(self) -> Option<f64> {
        self.number(5)
    }
}
