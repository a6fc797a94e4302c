//! The result set of a set-returning function, written row by row: in memory up to `work_mem`, then on disk.

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::bytea::Bytea;
use crate::engine;
use crate::pg::report::Fault;

/// The cells of a row being made; columns count from 0 and begin as NULL.
pub struct Cells<'a> {
    values: &'a mut [pg_sys::Datum],
    nulls: &'a mut [bool],
    types: &'a [pg_sys::Oid],
    fits: bool,
}

impl<'a> Cells<'a> {
    /// A row of columns of these types.
    pub(super) fn of(
        values: &'a mut [pg_sys::Datum],
        nulls: &'a mut [bool],
        types: &'a [pg_sys::Oid],
    ) -> Self {
        Self { values, nulls, types, fits: true }
    }

    /// Errors: [`Fault::NoStagedRows`] (55000) where a cell was not of its column's type.
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.fits { Ok(()) } else { Err(Fault::NoStagedRows) }
    }
}

impl Cells<'_> {
    /// A trigger may read staged rows too, under a column list of its own making: a cell that does not fit
    /// its column's type would be read as what it is not.
    fn set<T: IntoDatum>(&mut self, column: usize, value: T) {
        self.fits &= self.types.get(column) == Some(&T::type_oid());
        if let (true, Some(slot), Some(null), Some(datum)) =
            (self.fits, self.values.get_mut(column), self.nulls.get_mut(column), value.into_datum())
        {
            (*slot, *null) = (datum, false);
        }
    }

    /// A `text` cell.
    pub fn text(&mut self, column: usize, value: &str) {
        self.set(column, value);
    }

    /// An `int` cell.
    pub fn int(&mut self, column: usize, value: i32) {
        self.set(column, value);
    }

    /// A `date` cell.
    pub fn date(&mut self, column: usize, day: engine::Day) {
        self.set(column, Date::saturating_from_raw(day.0));
    }

    /// A `uuid` cell.
    pub fn uuid(&mut self, column: usize, value: [u8; 16]) {
        self.set(column, pgrx::Uuid::from_bytes(value));
    }

    /// A `bytea` cell of `len` bytes, filled by `write`.
    pub fn bytes(
        &mut self,
        column: usize,
        len: usize,
        write: impl FnOnce(&mut [u8]) -> engine::Result<()>,
    ) -> Result<(), Fault> {
        let bytes = Bytea::build(len, write)?;
        self.set(column, bytes);
        Ok(())
    }
}

/// The rows that the running set-returning function returns (materialize mode).
pub struct RowStore {
    store: *mut pg_sys::Tuplestorestate,
    descriptor: pg_sys::TupleDesc,
    row_memory: pg_sys::MemoryContext,
    types: Vec<pg_sys::Oid>,
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
}

impl RowStore {
    /// Makes an empty store the result of the function that runs with `fcinfo`.
    ///
    /// Errors: [`Fault::NoResultSet`] (0A000) where the caller takes no set.
    pub fn of(fcinfo: pg_sys::FunctionCallInfo) -> Result<Self, Fault> {
        // SAFETY: Postgres passed fcinfo to the running function; the result is built as its documentation
        // asks: store and descriptor in the per-query memory. The store notes the current resource owner,
        // so that a file it begins in a subtransaction outlives that one.
        unsafe {
            let info = (*fcinfo).resultinfo.cast::<pg_sys::ReturnSetInfo>();
            if info.is_null()
                || (*info).type_ != pg_sys::NodeTag::T_ReturnSetInfo
                || (*info).allowedModes as u32 & pg_sys::SetFunctionReturnMode::SFRM_Materialize == 0
                || (*info).expectedDesc.is_null()
            {
                return Err(Fault::NoResultSet);
            }
            let query_memory = (*(*info).econtext).ecxt_per_query_memory;
            let caller_memory = pg_sys::MemoryContextSwitchTo(query_memory);
            let descriptor = pg_sys::CreateTupleDescCopy((*info).expectedDesc);
            let store = pg_sys::tuplestore_begin_heap(false, false, pg_sys::work_mem);
            (*info).returnMode = pg_sys::SetFunctionReturnMode::SFRM_Materialize;
            (*info).setResult = store;
            (*info).setDesc = descriptor;
            let row_memory = pg_sys::AllocSetContextCreateInternal(
                query_memory,
                c"prometheus_embed result row".as_ptr(),
                pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            );
            pg_sys::MemoryContextSwitchTo(caller_memory);
            let columns = usize::try_from((*descriptor).natts).unwrap_or(0);
            let types = (1..=(*descriptor).natts).map(|at| pg_sys::SPI_gettypeid(descriptor, at)).collect();
            let (values, nulls) = (vec![pg_sys::Datum::null(); columns], vec![true; columns]);
            Ok(Self { store, descriptor, row_memory, types, values, nulls })
        }
    }

    /// Adds the row that `fill` makes, unless it returns false; whether there was one.
    ///
    /// Errors: those of `fill`, and [`Fault::NoStagedRows`] (55000) for cells that are not of the columns'
    /// types.
    pub fn put(&mut self, fill: impl FnOnce(&mut Cells<'_>) -> Result<bool, Fault>) -> Result<bool, Fault> {
        self.nulls.fill(true);
        // SAFETY: cells live in a context of their own, reset after the row was copied into the store; the
        // arrays have a place for every column of the descriptor; store and contexts live until the query
        // ends. An error leaves the memory context to whoever catches it, as everywhere.
        unsafe {
            let caller_memory = pg_sys::MemoryContextSwitchTo(self.row_memory);
            let mut cells = Cells::of(&mut self.values, &mut self.nulls, &self.types);
            let more = fill(&mut cells);
            let fits = cells.check();
            pg_sys::MemoryContextSwitchTo(caller_memory);
            if !more? {
                return Ok(false);
            }
            fits?;
            let (values, nulls) = (self.values.as_mut_ptr(), self.nulls.as_mut_ptr());
            pg_sys::tuplestore_putvalues(self.store, self.descriptor, values, nulls);
            pg_sys::MemoryContextReset(self.row_memory);
        }
        Ok(true)
    }

    /// Drops all rows.
    pub fn clear(&mut self) {
        // SAFETY: the store lives until the query ends.
        unsafe { pg_sys::tuplestore_clear(self.store) }
    }
}
