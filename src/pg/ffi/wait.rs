//! What `pg_stat_activity` says a backend waits for.

use pgrx::pg_sys;

/// What can be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A text model's files.
    ModelLoad,
    /// A run of a text model that other sessions take part in.
    SharedRun,
}

/// While it lives, the backend is shown as waiting for a text model's files.
#[derive(Debug)]
pub struct ModelLoad(());

impl ModelLoad {
    /// Begins to wait.
    pub fn begin() -> Self {
        show(event(Event::ModelLoad));
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
pub fn event(event: Event) -> u32 {
    use std::cell::Cell;
    thread_local! {
        static EVENTS: [Cell<u32>; 2] = const { [Cell::new(0), Cell::new(0)] };
    }
    let (at, name) = match event {
        Event::ModelLoad => (0, c"PrometheusEmbedModelLoad"),
        Event::SharedRun => (1, c"PrometheusEmbedSharedRun"),
    };
    EVENTS.with(|events| {
        let Some(known) = events.get(at) else { return pg_sys::PG_WAIT_EXTENSION };
        if known.get() == 0 {
            // SAFETY: finds or makes the name in shared memory; the name is NUL-terminated and short enough.
            known.set(unsafe { pg_sys::WaitEventExtensionNew(name.as_ptr()) });
        }
        known.get()
    })
}

/// A name of ours, from version 17 on; before, all extensions share one.
#[cfg(not(any(feature = "pg17", feature = "pg18")))]
pub fn event(_event: Event) -> u32 {
    pg_sys::PG_WAIT_EXTENSION
}
