//! What the running transaction may do, and what it can take back.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::{ERRCODE_T_R_DEADLOCK_DETECTED, ERRCODE_UNIQUE_VIOLATION};
use pgrx::pg_sys::panic::CaughtError;

use crate::pg::report::Fault;

/// Raises 25006 in a read-only transaction and on a standby, before anything is computed or a transaction id
/// is asked for (which on a standby is an internal error).
pub fn refuse_read_only() {
    let command = c"a statement that writes embeddings or models";
    // SAFETY: both only read backend state, and raise with the NUL-terminated text in their message.
    unsafe {
        pg_sys::PreventCommandIfReadOnly(command.as_ptr());
        pg_sys::PreventCommandDuringRecovery(command.as_ptr());
    }
}

/// Whether the transaction goes on to see only what was committed before it began: REPEATABLE READ and above.
pub fn has_one_snapshot() -> bool {
    // SAFETY: reads a variable of the backend.
    unsafe { pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32 }
}

/// Which command of a session runs: what it has read of a table holds until another command begins, this
/// one changes something, or a savepoint is rolled back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunningCommand {
    statement_start: i64,
    command: pg_sys::CommandId,
    subtransaction: pg_sys::SubTransactionId,
}

impl RunningCommand {
    /// The one that runs now.
    pub fn now() -> Self {
        // SAFETY: all three read variables of the backend.
        unsafe {
            Self {
                statement_start: pg_sys::GetCurrentStatementStartTimestamp(),
                command: pg_sys::GetCurrentCommandId(false),
                subtransaction: pg_sys::GetCurrentSubTransactionId(),
            }
        }
    }
}

/// Runs `work` in a subtransaction. None: it ran into a row or a lock of another transaction (23505, 40P01) and
/// left nothing behind. Other errors pass through, with the subtransaction undone.
///
/// Errors: those of `work`.
pub fn attempt<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<Option<T>, Fault> {
    let subtransaction = Subtransaction::begin();
    // What `work` has borrowed is not looked at after an unwinding but by callers that begin anew.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => {
            subtransaction.keep();
            Ok(Some(done))
        }
        Ok(Err(fault)) => {
            subtransaction.undo();
            Err(fault)
        }
        Err(error) => {
            subtransaction.undo();
            if is_of_another(&*error) { Ok(None) } else { resume_unwind(error) }
        }
    }
}

fn is_of_another(error: &(dyn Any + Send)) -> bool {
    let Some(CaughtError::PostgresError(report)) = error.downcast_ref::<CaughtError>() else { return false };
    [ERRCODE_UNIQUE_VIOLATION, ERRCODE_T_R_DEADLOCK_DETECTED].contains(&report.sql_error_code())
}

/// A subtransaction under way, and what was current before it.
struct Subtransaction {
    memory: pg_sys::MemoryContext,
    owner: pg_sys::ResourceOwner,
}

impl Subtransaction {
    fn begin() -> Self {
        // SAFETY: reads and sets variables of the backend as a block with an exception handler of PL/pgSQL
        // does: the subtransaction gets its resource owner, memory stays the caller's.
        unsafe {
            let begun = Self { memory: pg_sys::CurrentMemoryContext, owner: pg_sys::CurrentResourceOwner };
            pg_sys::BeginInternalSubTransaction(std::ptr::null());
            pg_sys::MemoryContextSwitchTo(begun.memory);
            begun
        }
    }

    fn keep(self) {
        // SAFETY: the subtransaction that `begin` began is the innermost: whatever `work` began has ended.
        unsafe { pg_sys::ReleaseCurrentSubTransaction() };
        self.restore();
    }

    fn undo(self) {
        // SAFETY: as above; pgrx has flushed the error state, so that this may raise again. The memory
        // context that an error leaves behind may die with the subtransaction.
        unsafe {
            pg_sys::MemoryContextSwitchTo(self.memory);
            pg_sys::RollbackAndReleaseCurrentSubTransaction();
        }
        self.restore();
    }

    fn restore(self) {
        // SAFETY: both were current when the subtransaction began and outlive it.
        unsafe {
            pg_sys::MemoryContextSwitchTo(self.memory);
            pg_sys::CurrentResourceOwner = self.owner;
        }
    }
}
