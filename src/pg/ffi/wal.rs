//! The log of a transaction that writes much, written out by the server's process for that while rows are made.
//!
//! That process looks five times a second. Between two looks a backfill fills the log's buffers several times, and
//! then writes them out itself, a page of 8 kB at a time and a file with its fsync, before it may go on.

use pgrx::pg_sys;

/// Bytes of log from one call of that process to the next: as many as it gathers for an fsync by default
/// (`wal_writer_flush_after`), and few of any buffers in which the log of bulk writes has room.
const STRIDE: pg_sys::XLogRecPtr = 1 << 20;

/// Up to where the server has been asked to write the log out.
pub(super) struct WrittenOut(pg_sys::XLogRecPtr);

impl WrittenOut {
    /// From here on.
    pub fn here() -> Self {
        // SAFETY: reads a position in shared memory under a spin lock.
        let log = || unsafe { pg_sys::GetXLogInsertRecPtr() };
        Self(Some(end()).filter(|&end| end > 0).unwrap_or_else(log))
    }

    /// Asks for what has been logged since, if it is worth it; does not wait for it.
    pub fn follow(&mut self) {
        let end = end();
        if end.saturating_sub(self.0) >= STRIDE {
            // SAFETY: notes a position in shared memory under a spin lock and wakes a process, if it runs, as a
            // commit does that is not waited for; the log up to there is complete.
            unsafe { pg_sys::XLogSetAsyncXactLSN(end) };
            self.0 = end;
        }
    }
}

/// Where the last record of this transaction ends, 0 before its first.
fn end() -> pg_sys::XLogRecPtr {
    // SAFETY: reads a variable of the backend.
    unsafe { pg_sys::XactLastRecEnd }
}
