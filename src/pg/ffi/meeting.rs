//! The board of dynamic batching in memory that all backends share: a segment of the server's dynamic shared memory,
//! made by the first who wants it and kept until the server stops. Its handle and lock are in the server's main shared memory,
//! found by name, as pg_prewarm keeps its own.

use std::ffi::CString;
use std::panic::AssertUnwindSafe;
use std::sync::OnceLock;
use std::time::Duration;

use pgrx::PgTryBuilder;
use pgrx::prelude::*;

use super::host::processors;
use super::interrupts;
use super::wait::{self, Event};
use crate::engine::Result;
use crate::engine::text::batching::Meeting;
use crate::engine::text::board::{Board, Process};

/// In the server's main shared memory.
#[repr(C)]
struct Entry {
    lock: pg_sys::LWLock,
    tranche: i32,
    /// Of the segment that holds the board; 0 while there is none.
    handle: pg_sys::dsm_handle,
}

/// Where this process sees the board. Both stay where they are until the process ends.
#[derive(Debug)]
pub struct SharedBoard {
    entry: *mut Entry,
    board: *mut Board,
}

// SAFETY: a backend uses it on its one thread only; what it points to is shared with other processes, behind the lock.
unsafe impl Send for SharedBoard {}
// SAFETY: as above.
unsafe impl Sync for SharedBoard {}

/// None where it was not to be had: it is not asked for again.
static HERE: OnceLock<Option<SharedBoard>> = OnceLock::new();

impl SharedBoard {
    /// The board of this server; None where the server has no memory for it, or this process cannot wait.
    pub fn get() -> Option<&'static Self> {
        HERE.get_or_init(Self::open).as_ref()
    }

    /// Finds or makes it. A server that has no room is no reason to fail.
    fn open() -> Option<Self> {
        // SAFETY: variables of the process. A latch that can be set from elsewhere comes with its entry among the
        // server's processes.
        let can_wait =
            unsafe { pg_sys::IsUnderPostmaster && !pg_sys::MyProc.is_null() && !pg_sys::MyLatch.is_null() };
        if !can_wait {
            return None;
        }
        // SAFETY: a variable of the process, put back below. Without an owner the mapping outlives the statement.
        let owner = unsafe {
            let owner = pg_sys::CurrentResourceOwner;
            pg_sys::CurrentResourceOwner = std::ptr::null_mut();
            owner
        };
        let opened = PgTryBuilder::new(AssertUnwindSafe(|| {
            // SAFETY: nothing else is locked while a function of ours runs.
            unsafe { open() }
        }))
        .catch_others(|_| {
            // SAFETY: as at the end of any failed statement: only locks of this attempt can be held.
            unsafe { pg_sys::LWLockReleaseAll() };
            None
        })
        .execute();
        // SAFETY: as above.
        unsafe { pg_sys::CurrentResourceOwner = owner };
        if opened.is_some() {
            // SAFETY: called while the process ends, before it loses its locks, its segments and its entry.
            unsafe { pg_sys::before_shmem_exit(Some(leave), pg_sys::Datum::from(0)) };
        }
        opened
    }
}

/// # Safety
///
/// No lock of the server may be held. An error leaves locks behind.
unsafe fn open() -> Option<SharedBoard> {
    // Another build of the library may think of another form.
    let form = format!("prometheus_embed {} {}", env!("CARGO_PKG_VERSION"), size_of::<Board>());
    let name = CString::new(form).ok()?;
    // SAFETY: as extensions find memory of theirs: under the lock that is meant for it, and zeroed when new. A board
    // fits into its segment and is aligned there; it is written before its handle is told.
    unsafe {
        /// `AddinShmemInitLock`, in every supported version.
        const ADDIN_INIT: usize = 21;
        let init = &raw mut (*pg_sys::MainLWLockArray.add(ADDIN_INIT)).lock;
        pg_sys::LWLockAcquire(init, pg_sys::LWLockMode::LW_EXCLUSIVE);
        let mut found = false;
        let entry: *mut Entry = pg_sys::ShmemInitStruct(name.as_ptr(), size_of::<Entry>(), &mut found).cast();
        if !found {
            (*entry).tranche = pg_sys::LWLockNewTrancheId();
            (*entry).handle = 0;
            pg_sys::LWLockInitialize(&raw mut (*entry).lock, (*entry).tranche);
        }
        pg_sys::LWLockRelease(init);
        pg_sys::LWLockRegisterTranche((*entry).tranche, c"PrometheusEmbedBoard".as_ptr());

        pg_sys::LWLockAcquire(&raw mut (*entry).lock, pg_sys::LWLockMode::LW_EXCLUSIVE);
        let segment = if (*entry).handle == 0 {
            pg_sys::dsm_create(size_of::<Board>(), pg_sys::DSM_CREATE_NULL_IF_MAXSEGMENTS as i32)
        } else {
            pg_sys::dsm_attach((*entry).handle)
        };
        if segment.is_null() {
            pg_sys::LWLockRelease(&raw mut (*entry).lock);
            return None;
        }
        let board: *mut Board = pg_sys::dsm_segment_address(segment).cast();
        if (*entry).handle == 0 {
            board.write(Board::new(processors()));
            pg_sys::dsm_pin_segment(segment);
            (*entry).handle = pg_sys::dsm_segment_handle(segment);
        }
        pg_sys::LWLockRelease(&raw mut (*entry).lock);
        Some(SharedBoard { entry, board })
    }
}

/// An error that ends the process does not unwind: what is on the board is taken back here.
#[pg_guard]
extern "C-unwind" fn leave(_code: i32, _argument: pg_sys::Datum) {
    if let Some(here) = HERE.get().and_then(Option::as_ref) {
        let called = here.locked(|board| board.leave(here.me()));
        called.into_iter().for_each(|process| here.wake(process));
    }
}

/// Releases the lock, also when what it was taken for unwinds.
struct Locked(*mut pg_sys::LWLock);

impl Drop for Locked {
    fn drop(&mut self) {
        // SAFETY: taken where this was made.
        unsafe { pg_sys::LWLockRelease(self.0) }
    }
}

impl Meeting for SharedBoard {
    /// The address of the process' latch, the same in every process.
    fn me(&self) -> Process {
        // SAFETY: set since the process has its entry.
        unsafe { pg_sys::MyLatch.expose_provenance() }
    }

    fn locked<T>(&self, look: impl FnOnce(&mut Board) -> T) -> T {
        // SAFETY: the entry and its lock stay where they are; `look` calls nothing of Postgres.
        let _locked = unsafe {
            let lock = &raw mut (*self.entry).lock;
            pg_sys::LWLockAcquire(lock, pg_sys::LWLockMode::LW_EXCLUSIVE);
            Locked(lock)
        };
        // SAFETY: mapped until the process ends, and nobody else's while the lock is held.
        look(unsafe { &mut *self.board })
    }

    fn wake(&self, process: Process) {
        // SAFETY: the latch of an entry among the server's processes: it stays where it is, whoever has the entry. One
        // who was not meant looks and waits again, as for any latch.
        unsafe { pg_sys::SetLatch(std::ptr::with_exposed_provenance_mut(process)) }
    }

    fn wait(&self, most: Duration) -> Result<()> {
        let most = std::ffi::c_long::try_from(most.as_millis()).unwrap_or(1).max(1);
        let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
        // SAFETY: the process' own latch, which is reset before what it tells of is looked at.
        unsafe {
            pg_sys::WaitLatch(pg_sys::MyLatch, events as i32, most, wait::event(Event::SharedRun));
            pg_sys::ResetLatch(pg_sys::MyLatch);
        }
        interrupts::check();
        Ok(())
    }
}
