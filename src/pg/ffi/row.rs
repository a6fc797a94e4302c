//! Rows that SPI returned, read in place: nothing is copied into the transaction's memory.

use std::marker::PhantomData;

use pgrx::pg_sys;
use pgrx::prelude::*;
use pgrx::spi::SpiTupleTable;

use super::interrupts;
use crate::pg::report::Fault;

/// The rows of one result, while its SPI session lives.
pub struct Rows<'t> {
    table: *mut pg_sys::SPITupleTable,
    next: u64,
    count: u64,
    session: PhantomData<&'t ()>,
}

/// One row of a result; columns count from 1.
pub struct Row<'t> {
    tuple: pg_sys::HeapTuple,
    descriptor: pg_sys::TupleDesc,
    session: PhantomData<&'t ()>,
}

impl<'t> Rows<'t> {
    /// The rows of `table`, which must be the result of the latest SPI call.
    pub fn of(table: &'t SpiTupleTable<'_>) -> Self {
        let count = table.len() as u64;
        // SAFETY: SPI sets the global to the result that `table` wraps and nothing ran since; a statement
        // without result rows leaves it null.
        let pointer = unsafe { pg_sys::SPI_tuptable };
        let count = if pointer.is_null() { 0 } else { count };
        Self { table: pointer, next: 0, count, session: PhantomData }
    }
}

impl<'t> Iterator for Rows<'t> {
    type Item = Row<'t>;

    fn next(&mut self) -> Option<Row<'t>> {
        // Between rows, whatever is made of them: a result may have millions.
        interrupts::check();
        if self.next == self.count {
            return None;
        }
        // SAFETY: `next` is below the number of tuples, and the table lives as long as 't.
        let row = unsafe {
            let table = &*self.table;
            Row {
                tuple: *table.vals.add(self.next as usize),
                descriptor: table.tupdesc,
                session: PhantomData,
            }
        };
        self.next += 1;
        Some(row)
    }
}

impl<'t> Row<'t> {
    /// The bytes of a `bytea`, or None for NULL: where the row has them, unless they have to be unpacked.
    pub fn slice(&self, column: i32) -> Result<Option<&'t [u8]>, Fault> {
        self.read(column)
    }
}

impl Row<'_> {
    fn read<T: FromDatum + IntoDatum>(&self, column: i32) -> Result<Option<T>, Fault> {
        let mut is_null = false;
        // SAFETY: tuple and descriptor belong together and are alive; SPI_getbinval answers a column
        // number out of range with NULL.
        let (datum, oid) = unsafe {
            let datum = pg_sys::SPI_getbinval(self.tuple, self.descriptor, column, &mut is_null);
            (datum, pg_sys::SPI_gettypeid(self.descriptor, column))
        };
        if is_null {
            return Ok(None);
        }
        if !T::is_compatible_with(oid) {
            return Err(Fault::Internal { what: format!("column {column} of a query has type {oid}") });
        }
        // SAFETY: the type was compared above; what is detoasted lands in memory that SPI frees.
        Ok(unsafe { T::from_polymorphic_datum(datum, false, oid) })
    }
}

/// Types that queries of ours return.
macro_rules! readers {
    ($($name:ident -> $type:ty),* $(,)?) => {
        impl Row<'_> {
            $(
                #[doc = concat!("A `", stringify!($type), "`, or None for NULL.")]
                pub fn $name(&self, column: i32) -> Result<Option<$type>, Fault> { self.read(column) }
            )*
        }
    };
}
readers! {
    text -> String, bytes -> Vec<u8>, date -> Date, int -> i32, long -> i64, float -> f64, bool -> bool,
    uuid -> pgrx::Uuid,
}
