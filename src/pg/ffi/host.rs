//! The backend as host of the engine's long-running rooms: interrupts, signal masks, memory given back.
//!
//! A running network cannot look for interrupts itself. While one runs, the handlers of SIGINT and SIGTERM
//! are wrapped: Postgres' own handler does what it always does, then the run is told to end. No thread and no
//! timer is needed for that, and a run that is not interrupted pays four system calls.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use pgrx::pg_sys;

use super::interrupts;
use super::meeting::SharedBoard;
use super::{arena, tensor_memory};
use crate::engine::Result;
use crate::engine::host::{Host, Stop};
use crate::engine::onnx::lending::Environment;
use crate::engine::text::batching::Batching;
use crate::pg::settings;

/// This backend.
#[derive(Debug, Clone, Copy)]
pub struct Backend;

/// The signals by which Postgres cancels a statement or ends a backend.
const SIGNALS: [libc::c_int; 2] = [libc::SIGINT, libc::SIGTERM];

/// A reference to what stops the running call, behind a thin pointer.
struct Watched<'a>(&'a dyn Stop);

/// The call under way, or null.
static WATCHED: AtomicPtr<Watched<'static>> = AtomicPtr::new(std::ptr::null_mut());

/// Postgres' own handlers of `SIGNALS`, as addresses.
static HANDLERS: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];

impl Host for Backend {
    fn lend_memory(&self, environment: &Environment) -> bool {
        tensor_memory::lend(environment)
    }

    fn batching(&self) -> Option<&dyn Batching> {
        if !settings::dynamic_batching() {
            return None;
        }
        SharedBoard::get().map(|board| board as &dyn Batching)
    }

    fn checkpoint(&self) -> Result<()> {
        interrupts::check();
        Ok(())
    }

    fn shielded(&self, work: &mut dyn FnMut()) {
        // SAFETY: both sets are initialised by the calls that fill them; changing this thread's mask and
        // setting it back has no other effect.
        let before = unsafe {
            let (mut all, mut before) = (std::mem::zeroed(), std::mem::zeroed());
            libc::sigfillset(&mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
            before
        };
        // Nothing of Postgres is called in here, so an unwind can only be a Rust panic.
        let done = catch_unwind(AssertUnwindSafe(work));
        // SAFETY: as above.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut()) };
        if let Err(panic) = done {
            resume_unwind(panic);
        }
    }

    fn watched(&self, stop: &dyn Stop, work: &mut dyn FnMut()) {
        let watched = Watched(stop);
        WATCHED.store((&raw const watched).cast_mut().cast(), Ordering::SeqCst);
        let before = SIGNALS.map(wrap);
        if stop_requested() {
            // It came before the handler was in place.
            stop.stop();
        }
        let done = catch_unwind(AssertUnwindSafe(work));
        for (signal, action) in SIGNALS.into_iter().zip(before) {
            if let Some(action) = action {
                // SAFETY: puts back the action that was there.
                unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) };
            }
        }
        WATCHED.store(std::ptr::null_mut(), Ordering::SeqCst);
        if let Err(panic) = done {
            resume_unwind(panic);
        }
    }
}

/// Puts `on_signal` before the handler of `signal`. The action that was there, if it was a handler.
fn wrap(signal: libc::c_int) -> Option<libc::sigaction> {
    // SAFETY: `before` is filled by the first call. Postgres installs plain handlers, without SA_SIGINFO; the
    // new action keeps its mask and flags.
    unsafe {
        let mut before: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(signal, std::ptr::null(), &mut before) != 0 {
            return None;
        }
        let plain = before.sa_flags & libc::SA_SIGINFO == 0;
        if !plain || before.sa_sigaction == libc::SIG_DFL || before.sa_sigaction == libc::SIG_IGN {
            return None;
        }
        let slot = SIGNALS.iter().position(|&other| other == signal)?;
        HANDLERS.get(slot)?.store(before.sa_sigaction, Ordering::SeqCst);
        let mut ours = before;
        ours.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as usize;
        libc::sigaction(signal, &ours, std::ptr::null_mut());
        Some(before)
    }
}

/// Postgres' handler first, then the running call is told to end if that is what the signal asked for.
extern "C" fn on_signal(signal: libc::c_int) {
    for (ours, handler) in SIGNALS.into_iter().zip(&HANDLERS) {
        let address = handler.load(Ordering::SeqCst);
        if ours == signal && address != 0 {
            // SAFETY: `wrap` stored the address of a handler with this signature.
            let handler: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(address) };
            handler(signal);
        }
    }
    let watched = WATCHED.load(Ordering::SeqCst);
    if !watched.is_null() && stop_requested() {
        // SAFETY: `watched` sets the pointer back to null before what it points to goes; this runs on the
        // same thread, in between. `Stop` promises to be callable from a signal handler.
        unsafe { (*watched).0.stop() };
    }
}

/// Whether the statement was cancelled or the backend is to end.
fn stop_requested() -> bool {
    // SAFETY: plain ints that signal handlers set.
    unsafe {
        std::ptr::read_volatile(&raw const pg_sys::QueryCancelPending) != 0
            || std::ptr::read_volatile(&raw const pg_sys::ProcDiePending) != 0
    }
}

/// Processors that this process may use, as far as it can tell: asked once, for that reads files.
pub fn processors() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// What must hold before ONNX Runtime is loaded: its builds from 1.29 on phone home unless told not to.
pub fn forbid_telemetry() {
    // SAFETY: a backend has one thread as long as the library that would make others is not loaded, and
    // Postgres reads its environment on that thread only.
    unsafe { std::env::set_var("ORT_DISABLE_TELEMETRY", "1") };
}

/// While it lives, the allocator keeps what one batch freed for the next, instead of giving it back and
/// asking for it again page by page; when it goes, also in an error, what is more than the next small batch needs is
/// given back.
#[derive(Debug)]
pub struct BatchMemory(());

/// Memory of the heap that stays with the session for the next small batch, in bytes: giving it back and taking it again,
/// page by page, would cost a short text a twentieth of its time.
#[cfg(target_env = "gnu")]
const KEPT: usize = 2 << 20;

/// Likewise, of the memory of tensors: what eight short texts of a small network need.
const KEPT_TENSORS: usize = 11 << 19;

/// A run that needed more than this for its tensors was none of a few short texts: of its memory nothing is kept.
const LARGE_RUN: usize = 8 << 20;

/// By how much memory may seem to shrink that has not: counters of pages are not exact.
#[cfg(target_env = "gnu")]
const SLACK: usize = 512 << 10;

/// What the process had of its own after the last time that the heap's free memory was given back, in bytes.
#[cfg(target_env = "gnu")]
static LEFT: AtomicUsize = AtomicUsize::new(0);

impl BatchMemory {
    /// Begins to keep freed memory.
    pub fn keep() -> Self {
        // The largest value that glibc takes for the first, and more than any batch needs for the second.
        set_thresholds(32 << 20, 1 << 30);
        Self(())
    }
}

impl Drop for BatchMemory {
    // Calls nothing of Postgres, so an error on its way out is safe.
    fn drop(&mut self) {
        // The first is the one that a process starts with; by the second, what is kept stays when others free memory.
        set_thresholds(128 << 10, 16 << 20);
        release_memory();
    }
}

fn set_thresholds(map: libc::c_int, trim: libc::c_int) {
    #[cfg(target_env = "gnu")]
    // SAFETY: parameters of the allocator; no memory in use is touched.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, map);
        libc::mallopt(libc::M_TRIM_THRESHOLD, trim);
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = (map, trim);
}

/// Memory in pages that this process has of its own, without that of tensors, in bytes. What the allocator calls free says less: much of
/// that has no pages.
#[cfg(target_env = "gnu")]
fn own_memory() -> Option<usize> {
    /// Bytes of a page, at least.
    const PAGE: usize = 4096;
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = pages.split_ascii_whitespace().skip(1).map_while(|number| number.parse::<usize>().ok());
    let (resident, shared) = (pages.next()?, pages.next()?);
    Some((resident.saturating_sub(shared) * PAGE).saturating_sub(arena::held()))
}

/// Gives freed memory back to the system, but for a little.
pub fn release_memory() {
    arena::give_back(if arena::held() > LARGE_RUN { 0 } else { KEPT_TENSORS });
    #[cfg(target_env = "gnu")]
    {
        let left = LEFT.load(Ordering::Relaxed);
        if own_memory().is_none_or(|own| own > left + KEPT || own + SLACK < left) {
            release_heap();
        }
    }
}

/// Gives all freed memory back to the system.
pub fn release_all_memory() {
    arena::give_back(0);
    release_heap();
}

fn release_heap() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: has no effect on memory in use.
        unsafe { libc::malloc_trim(0) };
        LEFT.store(own_memory().unwrap_or(0), Ordering::Relaxed);
    }
}

/// Rows of a result; what making them needed is given back when they have been read.
#[derive(Debug)]
pub struct Released<I> {
    rows: I,
    // Dropped after `rows`.
    _memory: ReleaseOnDrop,
}

#[derive(Debug)]
struct ReleaseOnDrop;

impl Drop for ReleaseOnDrop {
    // Calls nothing of Postgres. All of it: many rows may have filled holes again that were given back before.
    fn drop(&mut self) {
        release_all_memory();
    }
}

impl<I: Iterator> Released<I> {
    /// Wraps `rows`.
    pub fn after(rows: I) -> Self {
        Self { rows, _memory: ReleaseOnDrop }
    }
}

impl<I: Iterator> Iterator for Released<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        self.rows.next()
    }
}
