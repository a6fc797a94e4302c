//! The board of dynamic batching in the server's shared memory, where the library is in `shared_preload_libraries`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgrx::lwlock::PgLwLock;
use pgrx::prelude::*;
use pgrx::shmem::PGRXSharedMemory;

use super::interrupts;
use super::wait::{self, Event};
use crate::engine::Result;
use crate::engine::text::batching::Meeting;
use crate::engine::text::board::{Board, Process};

// SAFETY: a board has a fixed size and no pointers.
unsafe impl PGRXSharedMemory for Board {}

// SAFETY: no other lock of the server has this name.
static BOARD: PgLwLock<Board> = unsafe { PgLwLock::new(c"prometheus_embed") };

/// Whether the server has a board: set in the postmaster, before it forks.
static SHARED: AtomicBool = AtomicBool::new(false);

/// Whether this process takes itself off the board when it ends.
static LEAVES: AtomicBool = AtomicBool::new(false);

/// Whether the postmaster is loading `shared_preload_libraries`.
pub fn is_preloading() -> bool {
    // SAFETY: a variable of the process.
    unsafe { pg_sys::process_shared_preload_libraries_in_progress }
}

/// Asks the server for room for the board; only while it loads `shared_preload_libraries`.
pub fn prepare() {
    pgrx::pg_shmem_init!(BOARD = Board::new(processors()));
    SHARED.store(true, Ordering::Relaxed);
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The board of this server, as seen by this backend.
#[derive(Debug)]
pub struct SharedBoard(());

static HERE: SharedBoard = SharedBoard(());

impl SharedBoard {
    /// The board, if the server has one and this process may wait at it.
    pub fn get() -> Option<&'static Self> {
        // SAFETY: variables of the process; a latch that can be set from elsewhere comes with its entry among the
        // server's processes.
        let can_wait = unsafe { !pg_sys::MyProc.is_null() && !pg_sys::MyLatch.is_null() };
        if !SHARED.load(Ordering::Relaxed) || !can_wait {
            return None;
        }
        if !LEAVES.swap(true, Ordering::Relaxed) {
            // SAFETY: called while the process ends, before it loses its locks and its entry.
            unsafe { pg_sys::before_shmem_exit(Some(leave), pg_sys::Datum::from(0)) };
        }
        Some(&HERE)
    }
}

/// An error that ends the process does not unwind: what is on the board is taken back here.
#[pg_guard]
extern "C-unwind" fn leave(_code: i32, _argument: pg_sys::Datum) {
    let called = HERE.locked(|board| board.leave(HERE.me()));
    called.into_iter().for_each(|process| HERE.wake(process));
}

impl Meeting for SharedBoard {
    /// The address of the process' latch, the same in every process.
    fn me(&self) -> Process {
        // SAFETY: set since the process has its entry.
        unsafe { pg_sys::MyLatch.expose_provenance() }
    }

    fn locked<T>(&self, look: impl FnOnce(&mut Board) -> T) -> T {
        look(&mut BOARD.exclusive())
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
