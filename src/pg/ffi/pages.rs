//! Pages for rows that are added many at a time.
//!
//! PostgreSQL 14 and 15 lengthen a table page by page, each under a lock that connections side by side wait for.
//! From where another holds that lock on, and the table has no room for a row, all pages for the rows at hand are
//! added under one lock here. A writer alone is quicker with the server's own way; later versions need nothing.

use pgrx::pg_sys;

/// What of a page is left for rows, the page's own header taken off.
#[cfg(any(feature = "pg14", feature = "pg15"))]
const PAGE: usize = pg_sys::BLCKSZ as usize - 24;

/// Rows beyond this length go to the TOAST relation in part, and are shorter in the table than here.
#[cfg(any(feature = "pg14", feature = "pg15"))]
const LONGEST: usize = PAGE / 4 - 16;

/// Where the rows of one writer go.
pub(super) struct Pages {
    relation: pg_sys::Relation,
    bulk: pg_sys::BulkInsertState,
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    own: Own,
}

/// Pages that this writer has added.
#[cfg(any(feature = "pg14", feature = "pg15"))]
struct Own {
    /// False once the table has had room of its own, or a row was too long.
    wanted: bool,
    /// Whether another connection has been met that lengthens the table.
    met: bool,
    /// What its options keep free of a page.
    kept: usize,
    /// The page being filled, and its room.
    page: pg_sys::BlockNumber,
    room: usize,
}

impl Pages {
    /// # Safety
    /// The relation is an open table, locked for writing, and stays so until [`Pages::close`].
    pub unsafe fn open(relation: pg_sys::Relation) -> Self {
        // SAFETY: as the caller promises.
        unsafe {
            Self {
                relation,
                bulk: pg_sys::GetBulkInsertState(),
                #[cfg(any(feature = "pg14", feature = "pg15"))]
                own: Own::of(&*relation),
            }
        }
    }

    /// Adds the rows in `slots` to the table, and notes in each where it is.
    ///
    /// # Safety
    /// The slots are of the relation and hold rows.
    pub unsafe fn add(&mut self, slots: &mut [*mut pg_sys::TupleTableSlot], command: pg_sys::CommandId) {
        // SAFETY: as the caller promises.
        unsafe {
            #[cfg(any(feature = "pg14", feature = "pg15"))]
            if self.own.add(self.relation, slots, command) {
                return;
            }
            insert(self.relation, slots, command, self.bulk);
        }
    }

    /// Lets go of the page at hand.
    pub fn close(self) {
        // SAFETY: made by `open`, and let go once.
        unsafe { pg_sys::FreeBulkInsertState(self.bulk) }
    }
}

/// # Safety
/// As of [`Pages::add`].
unsafe fn insert(
    relation: pg_sys::Relation,
    slots: &mut [*mut pg_sys::TupleTableSlot],
    command: pg_sys::CommandId,
    bulk: pg_sys::BulkInsertState,
) {
    // SAFETY: as the caller promises.
    unsafe {
        pg_sys::heap_multi_insert(relation, slots.as_mut_ptr(), slots.len() as i32, command, 0, bulk);
    }
}

#[cfg(any(feature = "pg14", feature = "pg15"))]
impl Own {
    fn of(relation: &pg_sys::RelationData) -> Self {
        // SAFETY: the options of a table are of this type, if it has any.
        let options = unsafe { relation.rd_options.cast::<pg_sys::StdRdOptions>().as_ref() };
        let filled = options.map_or(100, |options| options.fillfactor.clamp(0, 100));
        let kept = pg_sys::BLCKSZ as usize * (100 - filled as usize) / 100;
        Self { wanted: true, met: false, kept, page: pg_sys::InvalidBlockNumber, room: 0 }
    }

    /// Adds the rows to pages of its own; false, with nothing done, where it does not want to.
    ///
    /// # Safety
    /// As of [`Pages::add`].
    unsafe fn add(
        &mut self,
        relation: pg_sys::Relation,
        slots: &mut [*mut pg_sys::TupleTableSlot],
        command: pg_sys::CommandId,
    ) -> bool {
        // SAFETY: as the caller promises.
        self.met = self.met || self.wanted && unsafe { is_being_lengthened(relation) };
        if !self.met {
            return false;
        }
        // SAFETY: as the caller promises; a row's tuple belongs to its slot.
        let lengths: Vec<usize> = unsafe {
            let tuple = |&slot: &*mut _| pg_sys::ExecFetchSlotHeapTuple(slot, true, std::ptr::null_mut());
            slots.iter().map(|slot| (*tuple(slot)).t_len as usize).collect()
        };
        let longest = lengths.iter().copied().max().unwrap_or(0);
        // SAFETY: reads the map of free space.
        self.wanted = self.wanted
            && longest <= LONGEST.min(PAGE.saturating_sub(self.kept))
            && (self.room > 0
                || unsafe { pg_sys::GetPageWithFreeSpace(relation, longest) } == pg_sys::InvalidBlockNumber);
        if !self.wanted {
            return false;
        }
        let pages = self.pages(&lengths);
        // SAFETY: as the caller promises. Where another has filled the page meanwhile, or the mark is lost, the
        // server looks for a page itself.
        unsafe {
            let mut added = lengthen(relation, pages.iter().filter(|rows| rows.new).count());
            let mut rest = slots;
            for Rows { count, new } in pages {
                if new {
                    self.page = added.next().unwrap_or(pg_sys::InvalidBlockNumber);
                }
                if let Some(storage) = (*relation).rd_smgr.as_mut() {
                    storage.smgr_targblock = self.page;
                }
                let (rows, behind) = rest.split_at_mut(count);
                insert(relation, rows, command, std::ptr::null_mut());
                rest = behind;
            }
        }
        true
    }

    /// How rows of these lengths are spread over pages, the one at hand first.
    fn pages(&mut self, lengths: &[usize]) -> Vec<Rows> {
        let mut pages = Vec::with_capacity(lengths.len());
        let mut rows = Rows { count: 0, new: false };
        for length in lengths {
            // With a line pointer.
            let needed = length.next_multiple_of(8) + 4;
            if self.room < needed {
                if rows.count > 0 {
                    pages.push(rows);
                }
                rows = Rows { count: 0, new: true };
                self.room = PAGE - self.kept;
            }
            rows.count += 1;
            self.room -= needed.min(self.room);
        }
        pages.push(rows);
        pages
    }
}

/// Rows that go to one page.
#[cfg(any(feature = "pg14", feature = "pg15"))]
struct Rows {
    count: usize,
    /// Whether it is a page to be added.
    new: bool,
}

/// Whether another connection holds the lock for adding pages to the table.
///
/// # Safety
/// As of [`Pages::open`].
#[cfg(any(feature = "pg14", feature = "pg15"))]
unsafe fn is_being_lengthened(relation: pg_sys::Relation) -> bool {
    let exclusive = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;
    // SAFETY: as the caller promises; the lock is let go at once.
    unsafe {
        let free = pg_sys::ConditionalLockRelationForExtension(relation, exclusive);
        if free {
            pg_sys::UnlockRelationForExtension(relation, exclusive);
        }
        !free
    }
}

/// Adds empty pages to a table; their numbers. What an error leaves unused, VACUUM finds.
///
/// # Safety
/// As of [`Pages::open`].
#[cfg(any(feature = "pg14", feature = "pg15"))]
unsafe fn lengthen(relation: pg_sys::Relation, pages: usize) -> std::vec::IntoIter<pg_sys::BlockNumber> {
    let mut added = Vec::with_capacity(pages);
    if pages > 0 {
        // SAFETY: as the server adds pages for several writers: under the lock, each page zeroed and let go.
        unsafe {
            let exclusive = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;
            pg_sys::LockRelationForExtension(relation, exclusive);
            for _ in 0..pages {
                let buffer = pg_sys::ReadBufferExtended(
                    relation,
                    pg_sys::ForkNumber::MAIN_FORKNUM,
                    pg_sys::InvalidBlockNumber,
                    pg_sys::ReadBufferMode::RBM_ZERO_AND_LOCK,
                    std::ptr::null_mut(),
                );
                added.push(pg_sys::BufferGetBlockNumber(buffer));
                pg_sys::UnlockReleaseBuffer(buffer);
            }
            pg_sys::UnlockRelationForExtension(relation, exclusive);
        }
    }
    added.into_iter()
}
