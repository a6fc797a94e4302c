//! The moment in which a connection is made: libraries of `session_preload_libraries` are loaded within the
//! transaction that starts the session.

use std::panic::AssertUnwindSafe;

use pgrx::PgTryBuilder;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::CaughtError;

/// Whether this backend is being started for a client and may read the catalogs.
pub fn is_starting() -> bool {
    // SAFETY: variables of the backend, and a function that reads one.
    unsafe {
        pg_sys::Mode == pg_sys::ProcessingMode::InitProcessing
            && !pg_sys::process_shared_preload_libraries_in_progress
            && pg_sys::IsUnderPostmaster
            && !pg_sys::MyProcPort.is_null()
            && pg_sys::IsTransactionState()
    }
}

/// Runs `work` in a subtransaction with a snapshot of its own, which an error of Postgres' rolls back; its message is
/// the Err. A starting backend would end with the error otherwise.
pub fn attempt<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    // SAFETY: within a transaction. The memory context is the caller's afterwards, as PL/pgSQL leaves it; both ends
    // of the subtransaction restore the resource owner.
    let (context, owner) = unsafe {
        let before = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(before.0);
        before
    };
    let leave = AssertUnwindSafe(|commit: bool| {
        // SAFETY: ends what was begun above.
        unsafe {
            if commit {
                pg_sys::ReleaseCurrentSubTransaction();
            } else {
                pg_sys::RollbackAndReleaseCurrentSubTransaction();
            }
            pg_sys::MemoryContextSwitchTo(context);
            pg_sys::CurrentResourceOwner = owner;
        }
    });
    let work = AssertUnwindSafe(work);
    let done = PgTryBuilder::new(AssertUnwindSafe(move || {
        let work = work;
        // SAFETY: pushed and popped in the same subtransaction; an error pops it, too.
        unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot()) };
        let result = (work.0)();
        // SAFETY: as above.
        unsafe { pg_sys::PopActiveSnapshot() };
        Ok(result)
    }))
    .catch_others(|error| Err(message(&error)))
    .catch_rust_panic(|error| Err(message(&error)))
    .execute();
    (leave.0)(done.is_ok());
    done
}

fn message(error: &CaughtError) -> String {
    match error {
        CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => report.message().to_owned(),
        CaughtError::RustPanic { ereport, .. } => ereport.message().to_owned(),
    }
}
