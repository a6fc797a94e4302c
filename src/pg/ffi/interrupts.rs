//! Cancellation inside Rust loops.

use pgrx::pg_sys;

/// Raises the pending cancellation, timeout or termination, if there is one.
///
/// pgrx's own macro reads a plain static, which the optimiser moves out of tight loops; this read is
/// volatile.
#[inline]
pub fn check() {
    // SAFETY: InterruptPending is a plain int that signal handlers set; ProcessInterrupts is called on
    // the backend's own thread, outside any critical section.
    unsafe {
        if std::ptr::read_volatile(&raw const pg_sys::InterruptPending) != 0 {
            pg_sys::ProcessInterrupts();
        }
    }
}
