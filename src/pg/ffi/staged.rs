//! Rows made in Rust, streamed into one SQL statement: `INSERT ... SELECT ... FROM embed_staged_rows(...)`.
//!
//! Everything that Postgres does with an ordinary insert (privileges, row security, triggers,
//! constraints, partitions, generated columns) is done, and nothing is sent through arrays.

use std::cell::RefCell;

use pgrx::pg_sys;

use super::interrupts;
pub use super::rowstore::Cells;
use super::rowstore::RowStore;
use super::wal::WrittenOut;
use crate::pg::report::Fault;

/// What makes the rows: called until it returns false.
pub trait RowSource {
    /// Fills the next row, or returns false when there is none.
    fn next_row(&mut self, cells: &mut Cells<'_>) -> Result<bool, Fault>;
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
    let mut log = WrittenOut::here();
    let done = statement();
    log.follow();
    done
}

/// Fills the result set of `embed_staged_rows` (materialize mode) from the innermost source.
pub fn fill(fcinfo: pg_sys::FunctionCallInfo) -> Result<(), Fault> {
    // A source serves one scan: taken out, its place stays empty, so that nothing reaches it twice.
    let source = SOURCES.with(|sources| sources.try_borrow_mut().ok()?.last_mut()?.take());
    fill_from(fcinfo, source.ok_or(Fault::NoStagedRows)?)
}

fn fill_from(fcinfo: pg_sys::FunctionCallInfo, source: *mut dyn RowSource) -> Result<(), Fault> {
    let mut rows = RowStore::of(fcinfo)?;
    loop {
        interrupts::check();
        // SAFETY: `source` was registered by a `with_rows` that is still running, and taken out by this call
        // alone.
        if !rows.put(|cells| unsafe { (*source).next_row(cells) })? {
            return Ok(());
        }
    }
}
