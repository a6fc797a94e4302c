//! What the running transaction may do.

use pgrx::pg_sys;

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
