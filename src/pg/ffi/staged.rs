//! Rows made in Rust, streamed into one SQL statement: `INSERT ... SELECT ... FROM embed_staged_rows(...)`.
//!
//! Everything that Postgres does with an ordinary insert (privileges, row security, triggers,
//! constraints, partitions, generated columns) is done, and nothing is sent through arrays.

use std::cell::RefCell;

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::bytea::Bytea;
use super::interrupts;
use crate::engine;
use crate::pg::report::Fault;

/// What makes the rows: called until it returns false.
pub trait RowSource {
    /// Fills the next row, or returns false when there is none.
    fn next_row(&mut self, cells: &mut Cells<'_>) -> Result<bool, Fault>;
}

/// The cells of a row being made; columns count from 0 and begin as NULL.
pub struct Cells<'a> {
    values: &'a mut [pg_sys::Datum],
    nulls: &'a mut [bool],
    types: &'a [pg_sys::Oid],
    fits: bool,
}

impl Cells<'_> {
    /// A trigger may read the rows too, under a column list of its own making: a cell that does not fit
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

thread_local! {
    /// Sources of the statements that run now, innermost last: a trigger may start a backfill of its own.
    static SOURCES: RefCell<Vec<Option<*mut (dyn RowSource + 'static)>>> = const { RefCell::new(Vec::new()) };
}

/// Takes the source off again, also when an error unwinds.
struct Registered;

impl Drop for Registered {
    fn drop(&mut self) {
        SOURCES.with(|sources| sources.try_borrow_mut().map(|mut sources| sources.pop()).ok());
    }
}

/// Runs `statement`, whose `embed_staged_rows()` yields the rows of `source`.
pub fn with_rows<R>(
    source: &mut dyn RowSource,
    statement: impl FnOnce() -> Result<R, Fault>,
) -> Result<R, Fault> {
    // SAFETY: only the lifetime is erased; `Registered` removes the pointer before this call returns or
    // unwinds, so nothing can follow it after `source` is gone.
    let pointer: *mut (dyn RowSource + 'static) =
        unsafe { std::mem::transmute(source as *mut dyn RowSource) };
    SOURCES.with(|sources| match sources.try_borrow_mut() {
        Ok(mut sources) => {
            sources.push(Some(pointer));
            Ok(())
        }
        Err(_) => Err(Fault::NoStagedRows),
    })?;
    let _registered = Registered;
    statement()
}

/// Fills the result set of `embed_staged_rows` (materialize mode) from the innermost source.
pub fn fill(fcinfo: pg_sys::FunctionCallInfo) -> Result<(), Fault> {
    // A source serves one scan: taken out, its place stays empty, so that nothing reaches it twice.
    let source = SOURCES.with(|sources| sources.try_borrow_mut().ok()?.last_mut()?.take());
    fill_from(fcinfo, source.ok_or(Fault::NoStagedRows)?)
}

fn fill_from(fcinfo: pg_sys::FunctionCallInfo, source: *mut dyn RowSource) -> Result<(), Fault> {
    // SAFETY: Postgres passed fcinfo to the running function; the set result is built as its
    // documentation asks (store and descriptor in the per-query memory); each row's cells live in a
    // context of their own, reset after the row was copied; `source` was registered by a `with_rows`
    // that is still running.
    unsafe {
        let info = (*fcinfo).resultinfo.cast::<pg_sys::ReturnSetInfo>();
        if info.is_null()
            || (*info).type_ != pg_sys::NodeTag::T_ReturnSetInfo
            || (*info).allowedModes as u32 & pg_sys::SetFunctionReturnMode::SFRM_Materialize == 0
            || (*info).expectedDesc.is_null()
        {
            return Err(Fault::NoStagedRows);
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
            c"embed_staged_rows".as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        );
        let columns = usize::try_from((*descriptor).natts).unwrap_or(0);
        let types: Vec<_> =
            (1..=(*descriptor).natts).map(|at| pg_sys::SPI_gettypeid(descriptor, at)).collect();
        let (mut values, mut nulls) = (vec![pg_sys::Datum::null(); columns], vec![true; columns]);
        loop {
            interrupts::check();
            nulls.fill(true);
            pg_sys::MemoryContextSwitchTo(row_memory);
            let mut cells = Cells { values: &mut values, nulls: &mut nulls, types: &types, fits: true };
            let more = (*source).next_row(&mut cells)?;
            let fits = cells.fits;
            pg_sys::MemoryContextSwitchTo(query_memory);
            if !more {
                break;
            } else if !fits {
                return Err(Fault::NoStagedRows);
            }
            pg_sys::tuplestore_putvalues(store, descriptor, values.as_mut_ptr(), nulls.as_mut_ptr());
            pg_sys::MemoryContextReset(row_memory);
        }
        pg_sys::MemoryContextSwitchTo(caller_memory);
        pg_sys::MemoryContextDelete(row_memory);
    }
    Ok(())
}
