//! What `pg_stat_activity` says a backend waits for.

use pgrx::pg_sys;

/// While it lives, the backend is shown as waiting for a text model's files.
#[derive(Debug)]
pub struct ModelLoad(());

impl ModelLoad {
    /// Begins to wait.
    pub fn begin() -> Self {
        show(event());
        Self(())
    }
}

impl Drop for ModelLoad {
    // Stores a number; calls nothing of Postgres, so an error on its way out is safe.
    fn drop(&mut self) {
        show(0);
    }
}

fn show(event: u32) {
    // SAFETY: points to this backend's place in shared memory or, before it has one, to a variable of its own;
    // the server stores there as this does, with one aligned write.
    unsafe { std::ptr::write_volatile(pg_sys::my_wait_event_info, event) };
}

/// A name of ours, from version 17 on; before, all extensions share one.
#[cfg(any(feature = "pg17", feature = "pg18"))]
fn event() -> u32 {
    use std::cell::Cell;
    thread_local! {
        static EVENT: Cell<u32> = const { Cell::new(0) };
    }
    EVENT.with(|event| {
        if event.get() == 0 {
            // SAFETY: finds or makes the name in shared memory; the name is NUL-terminated and short enough.
            event.set(unsafe { pg_sys::WaitEventExtensionNew(c"PrometheusEmbedModelLoad".as_ptr()) });
        }
        event.get()
    })
}

#[cfg(not(any(feature = "pg17", feature = "pg18")))]
fn event() -> u32 {
    pg_sys::PG_WAIT_EXTENSION
}
