//! Rows made in Rust, added to a plain table a page at a time, as COPY does: one lock of the page and one record
//! of the log for all rows of a page, and no row is staged, planned or parsed.
//!
//! What an `INSERT` does beyond adding rows, to its indexes too, and checking constraints is not done here:
//! [`insert`] refuses every table that needs it, and whoever calls it then runs the `INSERT`.

use pgrx::pg_sys;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::prelude::*;
use pgrx::tupdesc::PgTupleDesc;

use super::pages::Pages;
use super::rowstore::Cells;
use super::staged::RowSource;
use super::wal::WrittenOut;
use super::{interrupts, json};
use crate::pg::report::Fault;

/// Rows added at a time: some pages of vectors of 384 dimensions, small enough for the processor's cache.
const ROWS: usize = 64;

/// First block of the memory for these rows; it is kept from one lot of rows to the next.
const ROW_MEMORY: usize = 256 * 1024;

/// What a column of the target gets.
#[derive(Debug, Clone, Copy)]
pub enum Cell<'a> {
    /// The cell of this number of each staged row, which is of this type.
    Staged(usize, Type),
    /// The same text in every row.
    Text(&'a str),
    /// The same document in every row.
    Json(&'a str),
    /// The same number in every row.
    Int(i32),
    /// When the transaction began.
    Now,
}

/// Types of staged cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// `text`, also for a column of `varchar`.
    Text,
    /// `date`
    Date,
    /// `bytea`
    Bytes,
    /// `int4`
    Int,
    /// `uuid`
    Uuid,
}

impl Type {
    fn oid(self) -> pg_sys::Oid {
        match self {
            Type::Text => pg_sys::TEXTOID,
            Type::Date => pg_sys::DATEOID,
            Type::Bytes => pg_sys::BYTEAOID,
            Type::Int => pg_sys::INT4OID,
            Type::Uuid => pg_sys::UUIDOID,
        }
    }
}

impl Cell<'_> {
    fn oid(&self) -> pg_sys::Oid {
        match self {
            Cell::Staged(_, kind) => kind.oid(),
            Cell::Text(_) => pg_sys::TEXTOID,
            Cell::Json(_) => pg_sys::JSONBOID,
            Cell::Int(_) => pg_sys::INT4OID,
            Cell::Now => pg_sys::TIMESTAMPTZOID,
        }
    }

    /// Whether a column of the type takes it as it is.
    fn fits(&self, column: &pg_sys::FormData_pg_attribute) -> bool {
        let (cell, column) = (self.oid(), column.atttypid);
        cell == column || cell == pg_sys::TEXTOID && column == pg_sys::VARCHAROID
    }

    /// The datum of a cell that is the same in every row, in the current memory context.
    fn constant(&self) -> Option<pg_sys::Datum> {
        match *self {
            Cell::Staged(..) => None,
            Cell::Text(text) => text.into_datum(),
            Cell::Json(document) => json::jsonb(document),
            Cell::Int(number) => number.into_datum(),
            // SAFETY: reads a variable of the backend.
            Cell::Now => Some(pg_sys::Datum::from(unsafe { pg_sys::GetCurrentTransactionStartTimestamp() })),
        }
    }
}

/// How a column of the table is filled.
enum Column {
    /// NULL
    Null,
    /// The same in every row.
    Constant(pg_sys::Datum),
    /// From the staged row; `limit`: longest text in characters.
    Staged { cell: usize, limit: Option<i32> },
    /// By its default.
    Default(*mut pg_sys::ExprState),
}

/// Adds the rows of `source` to the table `oid`: each of `columns` gets its cell, the others their default. How many
/// there were; None, with nothing done, where only an `INSERT` does all that the table asks for. The caller has
/// seen that the user may insert into these columns, and that the planner inserts into the table itself.
///
/// Errors: what constraints, indexes, defaults and `source` raise, all of it as an `INSERT` does; the rows go
/// with the transaction or subtransaction.
pub fn insert(
    oid: pg_sys::Oid,
    columns: &[(&str, Cell<'_>)],
    source: &mut dyn RowSource,
) -> Result<Option<u64>, Fault> {
    // SAFETY: the table is locked for writing until the transaction ends, as an INSERT locks it; everything
    // that is opened is closed on every way out but an error, which leaves it to the transaction.
    unsafe {
        let relation = pg_sys::table_open(oid, pg_sys::RowExclusiveLock as pg_sys::LOCKMODE);
        let written = match is_plain(&*relation).then(|| Writer::open(relation, columns)).flatten() {
            Some(mut writer) => {
                let written = writer.write(source);
                writer.close();
                written.map(Some)
            }
            None => Ok(None),
        };
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        written
    }
}

/// Whether adding rows, index entries and checking constraints is all that an `INSERT` into the table does.
///
/// # Safety
/// The relation is open.
unsafe fn is_plain(relation: &pg_sys::RelationData) -> bool {
    // SAFETY: relcache entries of an open relation are complete, and what is absent is null.
    unsafe {
        let class = &*relation.rd_rel;
        let other_session = class.relpersistence == pg_sys::RELPERSISTENCE_TEMP as std::ffi::c_char
            && !relation.rd_islocaltemp;
        class.relkind == pg_sys::RELKIND_RELATION as std::ffi::c_char
            && class.relam == pg_sys::HEAP_TABLE_AM_OID
            && !class.relispartition
            && !other_session
            && relation.rd_rules.is_null()
            && !relation.trigdesc.as_ref().is_some_and(on_insert)
            && pg_sys::check_enable_rls(relation.rd_id, pg_sys::InvalidOid, true)
                != pg_sys::CheckEnableRlsResult::RLS_ENABLED as i32
    }
}

fn on_insert(triggers: &pg_sys::TriggerDesc) -> bool {
    triggers.trig_insert_before_row
        || triggers.trig_insert_after_row
        || triggers.trig_insert_instead_row
        || triggers.trig_insert_before_statement
        || triggers.trig_insert_after_statement
        || triggers.trig_insert_new_table
}

/// A table that is being written.
struct Writer {
    relation: pg_sys::Relation,
    state: *mut pg_sys::EState,
    result: *mut pg_sys::ResultRelInfo,
    per_row: *mut pg_sys::ExprContext,
    pages: Pages,
    log: WrittenOut,
    command: pg_sys::CommandId,
    columns: Vec<Column>,
    types: Vec<pg_sys::Oid>,
    row_memory: pg_sys::MemoryContext,
    slots: Vec<*mut pg_sys::TupleTableSlot>,
    filled: usize,
}

impl Writer {
    /// None where [`columns`] finds none.
    ///
    /// # Safety
    /// The relation is open, locked for writing, and stays so until the writer is closed.
    unsafe fn open(relation: pg_sys::Relation, cells: &[(&str, Cell<'_>)]) -> Option<Self> {
        // SAFETY: as the executor sets up an INSERT, and COPY FROM: all of it lives in the memory of `state`, or
        // in the current one, which the caller keeps until the writer is closed.
        unsafe {
            let state = pg_sys::CreateExecutorState();
            let per_row = pg_sys::MakePerTupleExprContext(state);
            let Some(columns) = columns(relation, state, cells) else {
                pg_sys::FreeExecutorState(state);
                return None;
            };
            let result = pg_sys::palloc0(size_of::<pg_sys::ResultRelInfo>()).cast::<pg_sys::ResultRelInfo>();
            (*result).type_ = pg_sys::NodeTag::T_ResultRelInfo;
            pg_sys::InitResultRelInfo(result, relation, 0, std::ptr::null_mut(), 0);
            pg_sys::ExecOpenIndices(result, false);
            // An expression of an index or a default may look at tables.
            pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
            let row_memory = pg_sys::AllocSetContextCreateInternal(
                pg_sys::CurrentMemoryContext,
                c"prometheus_embed rows".as_ptr(),
                ROW_MEMORY,
                ROW_MEMORY,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            );
            Some(Self {
                relation,
                state,
                result,
                per_row,
                pages: Pages::open(relation),
                log: WrittenOut::here(),
                command: pg_sys::GetCurrentCommandId(true),
                types: staged_types(cells),
                columns,
                row_memory,
                slots: (0..ROWS).map(|_| pg_sys::table_slot_create(relation, std::ptr::null_mut())).collect(),
                filled: 0,
            })
        }
    }

    fn write(&mut self, source: &mut dyn RowSource) -> Result<u64, Fault> {
        let mut values = vec![pg_sys::Datum::null(); self.types.len()];
        let mut nulls = vec![true; self.types.len()];
        let mut written = 0;
        loop {
            interrupts::check();
            nulls.fill(true);
            // SAFETY: cells live in the row memory until the rows are in the table.
            let more = unsafe {
                let caller = pg_sys::MemoryContextSwitchTo(self.row_memory);
                let mut cells = Cells::of(&mut values, &mut nulls, &self.types);
                let more = source.next_row(&mut cells).and_then(|more| cells.check().map(|()| more));
                pg_sys::MemoryContextSwitchTo(caller);
                more?
            };
            if !more {
                self.flush();
                return Ok(written);
            }
            self.fill(&values, &nulls);
            written += 1;
            if self.filled == self.slots.len() {
                self.flush();
            }
        }
    }

    /// Makes the next row of the table of a staged one, and checks its constraints.
    fn fill(&mut self, values: &[pg_sys::Datum], nulls: &[bool]) {
        let slot = self.slots[self.filled];
        // SAFETY: the slot is of the relation and has a place for each of its columns; it is empty. Defaults may
        // raise, which the boundary turns into a panic.
        unsafe {
            let row_values = std::slice::from_raw_parts_mut((*slot).tts_values, self.columns.len());
            let row_nulls = std::slice::from_raw_parts_mut((*slot).tts_isnull, self.columns.len());
            let caller = pg_sys::MemoryContextSwitchTo(self.row_memory);
            for ((value, null), column) in row_values.iter_mut().zip(row_nulls).zip(&self.columns) {
                (*value, *null) = match *column {
                    Column::Null => (pg_sys::Datum::null(), true),
                    Column::Constant(datum) => (datum, false),
                    Column::Staged { cell, .. } if nulls[cell] => (pg_sys::Datum::null(), true),
                    Column::Staged { cell, limit: None } => (values[cell], false),
                    Column::Staged { cell, limit: Some(limit) } => (limited(values[cell], limit), false),
                    Column::Default(expression) => evaluated(expression, self.per_row),
                };
            }
            (*slot).tts_tableOid = (*self.relation).rd_id;
            pg_sys::ExecStoreVirtualTuple(slot);
            if !(*(*self.relation).rd_att).constr.is_null() {
                pg_sys::ExecConstraints(self.result, slot, self.state);
            }
            pg_sys::MemoryContextSwitchTo(caller);
        }
        self.filled += 1;
    }

    /// Adds the rows at hand to the table and to its indexes.
    fn flush(&mut self) {
        // SAFETY: the first `filled` slots hold rows; an expression context that holds nothing of a row any
        // longer may be reset; so may the row memory once the rows are in the table.
        unsafe {
            let caller = pg_sys::MemoryContextSwitchTo((*self.per_row).ecxt_per_tuple_memory);
            self.pages.add(&mut self.slots[..self.filled], self.command);
            pg_sys::MemoryContextSwitchTo(caller);
            for &slot in &self.slots[..self.filled] {
                if (*self.result).ri_NumIndices > 0 {
                    index(self.result, slot, self.state);
                }
                clear(slot);
                pg_sys::MemoryContextReset((*self.per_row).ecxt_per_tuple_memory);
            }
            pg_sys::MemoryContextReset(self.row_memory);
        }
        self.log.follow();
        self.filled = 0;
    }

    /// Lets go of everything, and shows the rows to the commands that follow.
    fn close(self) {
        // SAFETY: each was made by `open` and is let go once.
        unsafe {
            self.slots.iter().for_each(|&slot| pg_sys::ExecDropSingleTupleTableSlot(slot));
            self.pages.close();
            pg_sys::ExecCloseIndices(self.result);
            pg_sys::PopActiveSnapshot();
            pg_sys::FreeExecutorState(self.state);
            pg_sys::MemoryContextDelete(self.row_memory);
            pg_sys::CommandCounterIncrement();
        }
    }
}

/// Adds a row to the indexes; exclusion constraints are checked there, too.
///
/// # Safety
/// The slot's row is in the table of `result`, whose indexes are open.
unsafe fn index(
    result: *mut pg_sys::ResultRelInfo,
    slot: *mut pg_sys::TupleTableSlot,
    state: *mut pg_sys::EState,
) {
    let (none, no_list) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: as the caller promises. Constraints that are checked later do so by triggers, and a table with
    // triggers is none of ours: the list of indexes to look at again is not needed.
    unsafe {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        pg_sys::ExecInsertIndexTuples(result, slot, state, false, false, none, no_list);
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        pg_sys::ExecInsertIndexTuples(result, slot, state, false, false, none, no_list, false);
    }
}

/// Empties a slot.
///
/// # Safety
/// The slot is one of `table_slot_create`.
unsafe fn clear(slot: *mut pg_sys::TupleTableSlot) {
    // SAFETY: every kind of slot has this function.
    unsafe {
        pg_guard_ffi_boundary(|| {
            if let Some(clear) = (*(*slot).tts_ops).clear {
                clear(slot);
            }
        });
    }
}

/// How each column of the table is filled; None where a cell does not fit, or Postgres computes or checks a value
/// in another way.
///
/// # Safety
/// The relation is open.
unsafe fn columns(
    relation: pg_sys::Relation,
    state: *mut pg_sys::EState,
    cells: &[(&str, Cell<'_>)],
) -> Option<Vec<Column>> {
    // SAFETY: the descriptor is that of an open relation; defaults are compiled in the memory of `state`, whose
    // life they share.
    unsafe {
        let attributes = PgTupleDesc::from_pg_unchecked((*relation).rd_att);
        let mut found = 0;
        let caller = pg_sys::MemoryContextSwitchTo((*state).es_query_cxt);
        let mut column = |attribute: &pg_sys::FormData_pg_attribute| {
            if attribute.attisdropped {
                return Some(Column::Null);
            } else if attribute.attgenerated != 0 {
                return None;
            }
            let Some((_, cell)) = cells.iter().find(|(name, _)| *name == attribute.name()) else {
                // A domain may refuse NULL.
                let domain =
                    pg_sys::get_typtype(attribute.atttypid) == pg_sys::TYPTYPE_DOMAIN as std::ffi::c_char;
                return (!domain).then(|| default(relation, attribute.attnum));
            };
            found += 1;
            // The length of a varchar is kept with four bytes for a header.
            let limit = (attribute.atttypid == pg_sys::VARCHAROID && attribute.atttypmod > 4)
                .then_some(attribute.atttypmod);
            match *cell {
                _ if !cell.fits(attribute) => None,
                Cell::Staged(cell, _) => Some(Column::Staged { cell, limit }),
                _ => {
                    let datum = cell.constant()?;
                    Some(Column::Constant(limit.map_or(datum, |limit| limited(datum, limit))))
                }
            }
        };
        let columns: Option<Vec<Column>> = attributes.iter().map(&mut column).collect();
        pg_sys::MemoryContextSwitchTo(caller);
        columns.filter(|_| found == cells.len())
    }
}

/// The types of the staged cells, by their number.
fn staged_types(cells: &[(&str, Cell<'_>)]) -> Vec<pg_sys::Oid> {
    let mut types = Vec::new();
    for (_, cell) in cells {
        if let Cell::Staged(number, kind) = cell {
            types.resize(types.len().max(number + 1), pg_sys::InvalidOid);
            types[*number] = kind.oid();
        }
    }
    types
}

/// The default of a column, compiled.
///
/// # Safety
/// The relation is open; the current memory context lives as long as the result.
unsafe fn default(relation: pg_sys::Relation, attribute: i16) -> Column {
    // SAFETY: as COPY FROM does it for columns that are not in the file.
    unsafe {
        let expression = pg_sys::build_column_default(relation, attribute.into()).cast::<pg_sys::Expr>();
        if expression.is_null() {
            return Column::Null;
        }
        let planned = pg_sys::expression_planner(expression);
        Column::Default(pg_sys::ExecInitExpr(planned, std::ptr::null_mut()))
    }
}

/// The value of a default, in the current memory context.
///
/// # Safety
/// Both belong to the same executor state.
unsafe fn evaluated(
    expression: *mut pg_sys::ExprState,
    context: *mut pg_sys::ExprContext,
) -> (pg_sys::Datum, bool) {
    let mut null = false;
    // SAFETY: the expression was compiled by ExecInitExpr, which sets the function that evaluates it.
    let value = unsafe {
        pg_guard_ffi_boundary(|| match (*expression).evalfunc {
            Some(evaluate) => evaluate(expression, context, &mut null),
            None => pg_sys::Datum::null(),
        })
    };
    (value, null)
}

/// A text as a `varchar` of this type modifier holds it: 22001 where it is too long.
///
/// # Safety
/// The datum is a `text`.
unsafe fn limited(text: pg_sys::Datum, limit: i32) -> pg_sys::Datum {
    // SAFETY: as the caller promises; a text of no more bytes than the limit has characters needs no look.
    unsafe {
        let bytes = pgrx::varsize_any_exhdr(text.cast_mut_ptr::<pg_sys::varlena>());
        if bytes <= (limit - 4) as usize {
            return text;
        }
        let arguments = [Some(text), limit.into_datum(), false.into_datum()];
        pgrx::direct_function_call_as_datum(pg_sys::varchar, &arguments).unwrap_or(text)
    }
}
