//! Memory of Postgres for one piece of work, freed when it is done.

use pgrx::pg_sys;

/// Runs `work` with a memory context of its own: what it allocates from Postgres, and does not return, is
/// freed at its end. Long loops need it, or every round leaves its arguments behind until the statement ends.
///
/// When `work` unwinds, the context stays; it goes with its parent when the statement is aborted.
pub fn scratch<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: the new context is a child of the current one and outlives `work`; switching back and deleting
    // it is done once, after which nothing of it is referred to: `work` returns Rust values only.
    unsafe {
        let caller = pg_sys::CurrentMemoryContext;
        let context = pg_sys::AllocSetContextCreateInternal(
            caller,
            c"prometheus_embed scratch".as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        );
        pg_sys::MemoryContextSwitchTo(context);
        let done = work();
        pg_sys::MemoryContextSwitchTo(caller);
        pg_sys::MemoryContextDelete(context);
        done
    }
}
