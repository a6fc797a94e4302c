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
