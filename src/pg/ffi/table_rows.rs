//! Rows of a table read without the executor: conditions are compared where the row lies, and the rows that meet them are
//! handed to a kernel. Visibility, locks, statistics and the order of pages are the table's access method's.

use std::ffi::CStr;

use pgrx::pg_sys;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::tupdesc::PgTupleDesc;

use super::bytea::{bytes_of, plain_bytes};
use super::interrupts;
use super::page_stream;
use super::parallel::{self, Shares, Team};
use crate::pg::report::Fault;

/// Rows read between two looks at whether the query was cancelled.
const AT_ONCE: usize = 64;

/// What a row must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// A `text` or `varchar` column holds just this.
    Text(&'static str, String),
    /// A `date` column lies between two days, both included, counted from 2000-01-01.
    Days(&'static str, Option<i32>, Option<i32>),
}

/// A condition on the column of this number, counted from 0.
enum Check {
    Text(usize, Vec<u8>),
    Days(usize, i32, i32),
}

/// A table, what its rows must hold, and the `N` columns that are wanted of them.
pub struct TableRows<const N: usize> {
    relation: pg_sys::Relation,
    checks: Vec<Check>,
    wanted: [usize; N],
    /// Columns up to the last one that is looked at.
    columns: usize,
}

impl<const N: usize> TableRows<N> {
    /// Opens the table `oid` where its rows can be read so, else None: it is an ordinary table or materialized view of
    /// `pages` pages at least, the user may read all of it, no policy hides rows, `wanted` columns are there and of these types,
    /// and texts are equal only where their bytes are.
    pub fn open(
        oid: pg_sys::Oid,
        pages: u32,
        conditions: &[Condition],
        wanted: [(&str, pg_sys::Oid); N],
    ) -> Option<Self> {
        // SAFETY: the table stays open, and locked for reading until the transaction ends, as by a query.
        unsafe {
            let relation = pg_sys::table_open(oid, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
            let found = (is_readable(&*relation) && blocks(relation) >= pages)
                .then(|| Self::find(relation, conditions, wanted))
                .flatten();
            if found.is_none() {
                close(relation);
            }
            found
        }
    }

    /// # Safety
    /// The relation is open.
    unsafe fn find(
        relation: pg_sys::Relation,
        conditions: &[Condition],
        wanted: [(&str, pg_sys::Oid); N],
    ) -> Option<Self> {
        // SAFETY: the descriptor of an open relation; only catalogs are read.
        let attributes = unsafe { PgTupleDesc::from_pg_unchecked((*relation).rd_att) };
        let column = |name: &str| {
            let named = |attribute: &&pg_sys::FormData_pg_attribute| {
                // A generated column that is not stored is none of the row's.
                !attribute.attisdropped && attribute.name() == name && attribute.attgenerated as u8 != b'v'
            };
            attributes.iter().enumerate().find(|(_, attribute)| named(attribute))
        };
        let check = |condition: &Condition| match condition {
            Condition::Text(name, text) => {
                let (number, attribute) = column(name)?;
                let is_text = [pg_sys::TEXTOID, pg_sys::VARCHAROID].contains(&attribute.atttypid);
                // SAFETY: reads the catalog.
                let bytewise =
                    is_text && unsafe { pg_sys::get_collation_isdeterministic(attribute.attcollation) };
                bytewise.then(|| Check::Text(number, text.as_bytes().to_vec()))
            }
            Condition::Days(name, from, to) => {
                let (number, attribute) = column(name)?;
                let days = (from.unwrap_or(i32::MIN), to.unwrap_or(i32::MAX));
                (attribute.atttypid == pg_sys::DATEOID).then_some(Check::Days(number, days.0, days.1))
            }
        };
        let checks = conditions.iter().map(check).collect::<Option<Vec<_>>>()?;
        let mut numbers = [0; N];
        for (number, (name, kind)) in numbers.iter_mut().zip(wanted) {
            let (found, _) = column(name).filter(|(_, attribute)| attribute.atttypid == kind)?;
            *number = found;
        }
        let checked = checks.iter().map(|check| match check {
            Check::Text(number, _) | Check::Days(number, ..) => *number,
        });
        let columns = checked.chain(numbers).max().map_or(0, |last| last + 1);
        Some(Self { relation, checks, wanted: numbers, columns })
    }

    /// Hands the wanted cells of the rows that meet the conditions to `taker`, as a query of the statement at hand would
    /// see them. What [`Taker::take`] allocates from Postgres goes with the row.
    ///
    /// With a share, of the pages that it hands out only; the rest others read.
    ///
    /// Errors: those of `taker`, what reading raises, and cancellation.
    pub fn each(&self, share: Option<Shares>, taker: &mut impl Taker<N>) -> Result<(), Fault> {
        // SAFETY: a scan and a slot of the open relation, let go once; an error raised in between leaves them to the
        // transaction.
        unsafe {
            let scan = match share {
                None => begin(self.relation),
                Some(Shares(pages)) => pg_sys::table_beginscan_parallel(self.relation, pages),
            };
            let slot = pg_sys::table_slot_create(self.relation, std::ptr::null_mut());
            let done = self.read(scan, slot, taker);
            pg_sys::ExecDropSingleTupleTableSlot(slot);
            end(scan);
            done
        }
    }

    /// # Safety
    /// Scan and slot are of the relation.
    unsafe fn read(
        &self,
        scan: pg_sys::TableScanDesc,
        slot: *mut pg_sys::TupleTableSlot,
        taker: &mut impl Taker<N>,
    ) -> Result<(), Fault> {
        // SAFETY: as the caller promises. Cells of a slot are valid until it is given the next row, and what is returned
        // of one refers to nothing of it.
        unsafe {
            let memory = RowMemory::new();
            let done = loop {
                interrupts::check();
                match self.advance(scan, slot, taker) {
                    Step::End => break Ok(()),
                    Step::Pause => {}
                    Step::Row => {
                        let row = Row::of(slot, self.columns);
                        let taken = memory.within(|| {
                            let holds = self.checks.iter().all(|check| check.holds(row));
                            if holds {
                                taker.take(&self.wanted.map(|number| row.cell(number)))
                            } else {
                                Ok(())
                            }
                        });
                        if taken.is_err() {
                            break taken;
                        }
                    }
                }
            };
            memory.delete();
            done
        }
    }

    /// Goes on to the next row that is worth a look, or over many that are not.
    ///
    /// # Safety
    /// Scan and slot are of the relation.
    unsafe fn advance(
        &self,
        scan: pg_sys::TableScanDesc,
        slot: *mut pg_sys::TupleTableSlot,
        taker: &impl Taker<N>,
    ) -> Step {
        // SAFETY: every access method has this function. What it raises jumps over this closure, which owns nothing, and
        // is turned into a panic by the guard; nothing else in here calls Postgres: one guard is for many rows.
        unsafe {
            pg_guard_ffi_boundary(|| {
                let Some(next) = (*(*(*scan).rs_rd).rd_tableam).scan_getnextslot else { return Step::End };
                let has_pages = page_stream::has_pages(slot);
                for _ in 0..AT_ONCE {
                    if !next(scan, pg_sys::ScanDirection::ForwardScanDirection, slot) {
                        return Step::End;
                    }
                    if has_pages {
                        page_stream::arrive(slot);
                    }
                    if usize::try_from((*slot).tts_nvalid).unwrap_or(0) < self.columns {
                        slot_getsomeattrs_int(slot, self.columns as i32);
                    }
                    let row = Row::of(slot, self.columns);
                    let fails = self.checks.iter().any(|check| check.surely_fails(row));
                    if !fails && !taker.skips(row.cell(self.wanted[N - 1])) {
                        return Step::Row;
                    }
                }
                Step::Pause
            })
        }
    }

    /// How many of the workers that the server `planned` make reading quicker: it reckons with what the executor takes for a
    /// row. Where the table says itself how many it is to have, just as many.
    pub fn workers(&self, planned: usize) -> usize {
        // SAFETY: the table is open, and has pages; options of a table or view are of this type.
        let (pages, said) = unsafe {
            let options = (*self.relation).rd_options.cast::<pg_sys::StdRdOptions>().as_ref();
            (blocks(self.relation), options.is_some_and(|options| options.parallel_workers >= 0))
        };
        if said { planned } else { parallel::worthwhile(planned, pages as usize) }
    }

    /// Starts as many of `workers` as the server has left to read it together: as [`Team::start`].
    ///
    /// # Safety
    /// As of [`Team::start`].
    pub(super) unsafe fn share(&self, entry: &CStr, workers: usize, order: &[u8]) -> Team {
        // SAFETY: the table stays open at least as long as the borrow; the rest is the caller's promise.
        unsafe { Team::start(self.relation, entry, workers, order) }
    }

    /// Lets go of the table.
    pub fn close(self) {
        // SAFETY: opened once, by `open`.
        unsafe { close(self.relation) }
    }
}

/// What is done with rows.
pub trait Taker<const N: usize> {
    /// Whether a row is known by its last cell, and without a call of Postgres, to be of no interest: `take` would do
    /// nothing with it.
    fn skips(&self, last: pg_sys::NullableDatum) -> bool;

    /// Uses a row. Errors: those of the use; no more rows follow.
    fn take(&mut self, cells: &[pg_sys::NullableDatum; N]) -> Result<(), Fault>;
}

/// Where reading stands.
enum Step {
    /// There are no more rows.
    End,
    /// At a row that may be of interest.
    Row,
    /// Behind a row that is not.
    Pause,
}

/// The columns of a row in a slot, as far as they are read.
#[derive(Clone, Copy)]
struct Row<'a> {
    values: &'a [pg_sys::Datum],
    nulls: &'a [bool],
}

impl<'a> Row<'a> {
    /// # Safety
    /// The slot holds a row until 'a ends, with as many columns read.
    #[inline]
    unsafe fn of(slot: *mut pg_sys::TupleTableSlot, columns: usize) -> Self {
        // SAFETY: as the caller promises.
        unsafe {
            let values = std::slice::from_raw_parts((*slot).tts_values, columns);
            Row { values, nulls: std::slice::from_raw_parts((*slot).tts_isnull, columns) }
        }
    }

    #[inline]
    fn cell(self, number: usize) -> pg_sys::NullableDatum {
        pg_sys::NullableDatum { value: self.values[number], isnull: self.nulls[number] }
    }
}

impl Check {
    /// # Safety
    /// The row is one of the table.
    unsafe fn holds(&self, row: Row<'_>) -> bool {
        match self {
            // SAFETY: the column is a text or varchar.
            Check::Text(number, text) => {
                !row.nulls[*number] && unsafe { bytes_of(row.values[*number]) == text.as_slice() }
            }
            Check::Days(..) => !unsafe { self.surely_fails(row) },
        }
    }

    /// Whether the row fails, as far as its cells tell where they lie.
    ///
    /// # Safety
    /// The row is one of the table.
    #[inline]
    unsafe fn surely_fails(&self, row: Row<'_>) -> bool {
        match self {
            Check::Text(number, text) => {
                // SAFETY: the column is a text or varchar.
                let plain = || unsafe { plain_bytes(row.values[*number]) };
                row.nulls[*number] || plain().is_some_and(|found| found != text.as_slice())
            }
            Check::Days(number, from, to) => {
                row.nulls[*number] || !(*from..=*to).contains(&(row.values[*number].value() as i32))
            }
        }
    }
}

/// Memory for what looking at one row allocates: values that are stored compressed or out of line.
struct RowMemory(pg_sys::MemoryContext);

impl RowMemory {
    fn new() -> Self {
        // SAFETY: a child of the current context, so that it goes with it after an error.
        Self(unsafe {
            pg_sys::AllocSetContextCreateInternal(
                pg_sys::CurrentMemoryContext,
                c"prometheus_embed row".as_ptr(),
                pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            )
        })
    }

    /// Runs `look` with this memory, and empties it.
    ///
    /// # Safety
    /// What is returned refers to nothing in it.
    unsafe fn within<T>(&self, look: impl FnOnce() -> T) -> T {
        // SAFETY: as the caller promises; an error in between leaves the caller's memory to whoever catches it.
        unsafe {
            let caller = pg_sys::MemoryContextSwitchTo(self.0);
            let seen = look();
            pg_sys::MemoryContextSwitchTo(caller);
            pg_sys::MemoryContextReset(self.0);
            seen
        }
    }

    fn delete(self) {
        // SAFETY: made by `new`, and deleted once.
        unsafe { pg_sys::MemoryContextDelete(self.0) }
    }
}

/// Begins to read the whole table, as a sequential scan does.
///
/// # Safety
/// The relation is open.
unsafe fn begin(relation: pg_sys::Relation) -> pg_sys::TableScanDesc {
    use pg_sys::ScanOptions::{SO_ALLOW_PAGEMODE, SO_ALLOW_STRAT, SO_ALLOW_SYNC, SO_TYPE_SEQSCAN};
    let (no_key, alone) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: every access method has this function, and an open relation one.
    unsafe {
        let snapshot = pg_sys::GetActiveSnapshot();
        pg_guard_ffi_boundary(|| {
            let flags = SO_TYPE_SEQSCAN | SO_ALLOW_STRAT | SO_ALLOW_SYNC | SO_ALLOW_PAGEMODE;
            let begin = (*(*relation).rd_tableam).scan_begin;
            begin.map_or(std::ptr::null_mut(), |begin| begin(relation, snapshot, 0, no_key, alone, flags))
        })
    }
}

/// # Safety
/// The scan is one of [`begin`], and not used after this.
unsafe fn end(scan: pg_sys::TableScanDesc) {
    // SAFETY: as for `begin`.
    unsafe {
        pg_guard_ffi_boundary(|| {
            if let Some(end) = (*(*(*scan).rs_rd).rd_tableam).scan_end {
                end(scan);
            }
        });
    }
}

// pgrx puts a guard of its own around it, which has no business inside another.
unsafe extern "C-unwind" {
    fn slot_getsomeattrs_int(slot: *mut pg_sys::TupleTableSlot, columns: i32);
}

/// Whether a query of the user would see every row, and nothing watches who reads what.
///
/// # Safety
/// The relation is open.
unsafe fn is_readable(relation: &pg_sys::RelationData) -> bool {
    // SAFETY: relcache entries of an open relation are complete; the rest reads catalogs and variables of the backend.
    unsafe {
        let class = &*relation.rd_rel;
        let kinds = [pg_sys::RELKIND_RELATION, pg_sys::RELKIND_MATVIEW];
        let other_session = class.relpersistence == pg_sys::RELPERSISTENCE_TEMP as std::ffi::c_char
            && !relation.rd_islocaltemp;
        kinds.map(|kind| kind as std::ffi::c_char).contains(&class.relkind)
            && class.relispopulated
            && !other_session
            && (&raw const pg_sys::ExecutorCheckPerms_hook).read().is_none()
            && pg_sys::pg_class_aclcheck(
                relation.rd_id,
                pg_sys::GetUserId(),
                pg_sys::ACL_SELECT as pg_sys::AclMode,
            ) == pg_sys::AclResult::ACLCHECK_OK
            && pg_sys::check_enable_rls(relation.rd_id, pg_sys::InvalidOid, true)
                != pg_sys::CheckEnableRlsResult::RLS_ENABLED as i32
    }
}

/// # Safety
/// The relation is open and has pages.
unsafe fn blocks(relation: pg_sys::Relation) -> u32 {
    // SAFETY: as the caller promises.
    unsafe { pg_sys::RelationGetNumberOfBlocksInFork(relation, pg_sys::ForkNumber::MAIN_FORKNUM) }
}

/// # Safety
/// The relation is open, and not used after this.
unsafe fn close(relation: pg_sys::Relation) {
    // SAFETY: the lock stays until the transaction ends.
    unsafe { pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE) }
}
