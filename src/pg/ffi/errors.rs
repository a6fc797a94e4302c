//! Keeping the SQLSTATE of an error that passes through Rust.
//!
//! pgrx turns a Postgres error into a Rust panic and back, and on the way makes XX000 of every code that is not in
//! its own list: the codes that people give their own errors (`RAISE ... USING ERRCODE = 'AB001'`). Postgres calls
//! the functions on `error_context_stack` for every message before it goes anywhere: here one notes the code, and
//! another puts it back when pgrx raises the error again.
//!
//! pgrx also copies what the error says, in memory of the context at hand. Where memory has run out to the last page the
//! copy is an error of its own, which is copied, until Postgres gives up with a PANIC: so some memory is kept aside
//! and let go in time.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::{self, ERRCODE_INTERNAL_ERROR};
use pgrx::pg_sys::panic::CaughtError;

/// Memory kept aside: Postgres asks for a mebibyte at least where a context has grown large, and Rust for some more.
/// Nothing is written to it, so that it is none until then.
const ASIDE: usize = 4 << 20;

/// Bits of a code that are its class: two characters of six bits.
const CLASS_BITS: i32 = 0xfff;

thread_local! {
    /// Code of the latest error that was raised below a [`keep_code`].
    static RAISED: Cell<i32> = const { Cell::new(0) };
    /// Code to put back into the error that is being raised again; 0 for none.
    static KEPT: Cell<i32> = const { Cell::new(0) };
    /// Memory for what follows an error that says there is none.
    static RESERVE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Keeps memory aside, if there is any.
fn keep_reserve() {
    with_reserve(|reserve| {
        if reserve.capacity() == 0 {
            // Where that fails, what follows is refused memory in a moment.
            let _ = reserve.try_reserve_exact(ASIDE);
        }
    });
}

/// Neither while it is in use nor while the process ends: a callback must not panic.
fn with_reserve(work: impl FnOnce(&mut Vec<u8>)) {
    let _ = RESERVE.try_with(|reserve| reserve.try_borrow_mut().map(|mut reserve| work(&mut reserve)));
}

/// Runs `work`; a Postgres error that leaves it arrives at the user with the code that it was raised with.
pub fn keep_code<T>(work: impl FnOnce() -> T) -> T {
    keep_reserve();
    // SAFETY: the entry lives until it is taken off the stack again, and whatever `work` put on top has gone by
    // then; Postgres restores the stack itself where an error is caught below.
    let done = unsafe {
        let outer = pg_sys::error_context_stack;
        let mut entry = entry(note_code, outer);
        pg_sys::error_context_stack = &raw mut entry;
        let done = catch_unwind(AssertUnwindSafe(work));
        pg_sys::error_context_stack = outer;
        done
    };
    done.unwrap_or_else(|error| {
        if lost_its_code(&*error) {
            put_back(RAISED.get());
        }
        resume_unwind(error)
    })
}

/// Whether pgrx replaced the code of this error.
fn lost_its_code(error: &(dyn Any + Send)) -> bool {
    let Some(CaughtError::PostgresError(report)) = error.downcast_ref::<CaughtError>() else { return false };
    let raised = RAISED.get();
    report.sql_error_code() == ERRCODE_INTERNAL_ERROR
        && raised != ERRCODE_INTERNAL_ERROR as i32
        && PgSqlErrorCode::from(raised as isize) == ERRCODE_INTERNAL_ERROR
}

/// Has the next internal error, which is this one raised again at the end of the function, carry `code`.
fn put_back(code: i32) {
    thread_local! {
        static ENTRY: Cell<*mut pg_sys::ErrorContextCallback> = const { Cell::new(std::ptr::null_mut()) };
    }
    if ENTRY.get().is_null() {
        // Once per backend: it may stay on the stack until Postgres' own handler takes it off.
        ENTRY.set(Box::into_raw(Box::new(entry(restore_code, std::ptr::null_mut()))));
    }
    let entry = ENTRY.get();
    // SAFETY: the entry is never freed, and only the backend's own thread uses it. It is on the stack at most once:
    // the handler that catches what is being raised restores the stack as it was before the function was called.
    unsafe {
        let mut below = pg_sys::error_context_stack;
        while !below.is_null() && below != entry {
            below = (*below).previous;
        }
        if below.is_null() {
            (*entry).previous = pg_sys::error_context_stack;
            pg_sys::error_context_stack = entry;
        }
    }
    KEPT.set(code);
}

type Callback = unsafe extern "C-unwind" fn(*mut c_void);

fn entry(callback: Callback, previous: *mut pg_sys::ErrorContextCallback) -> pg_sys::ErrorContextCallback {
    pg_sys::ErrorContextCallback { previous, callback: Some(callback), arg: std::ptr::null_mut() }
}

// pgrx leaves out what belongs inside `ereport`; called without its guard, which has no business in a callback.
unsafe extern "C-unwind" {
    fn geterrcode() -> i32;
    fn errcode(code: i32) -> i32;
}

/// Notes the code of an error, and makes room where it is that there is none; messages of classes 00 to 02 are none.
unsafe extern "C-unwind" fn note_code(_: *mut c_void) {
    // SAFETY: Postgres calls this while it finishes a message.
    let code = unsafe { geterrcode() };
    let messages = [
        PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION,
        PgSqlErrorCode::ERRCODE_WARNING,
        PgSqlErrorCode::ERRCODE_NO_DATA,
    ];
    if !messages.iter().any(|&class| class as i32 & CLASS_BITS == code & CLASS_BITS) {
        RAISED.set(code);
    }
    if code == PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY as i32 {
        with_reserve(|reserve| *reserve = Vec::new());
    }
}

/// Puts the kept code into an internal error, once.
unsafe extern "C-unwind" fn restore_code(_: *mut c_void) {
    // SAFETY: as above; setting the code is all that happens.
    unsafe {
        if KEPT.get() != 0 && geterrcode() == ERRCODE_INTERNAL_ERROR as i32 {
            errcode(KEPT.replace(0));
        }
    }
}
