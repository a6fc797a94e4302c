//! Pages of shared_buffers brought into the processor's cache as a whole.
//!
//! Rows lie in a page from its end to its start, and between two of them a scan does much else: so a processor does not
//! see that their vectors are one stretch of memory, and waits for them line by line. A page whose vectors are wanted
//! is read here from its start to its end when the first of them is about to be used.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use pgrx::pg_sys;

/// Bytes of a page.
const PAGE: usize = pg_sys::BLCKSZ as usize;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Bytes of vectors in a page from which on the next is read as a whole: with fewer, most of it is not wanted.
const DENSE: usize = PAGE / 3;

/// The page that the last vector lay in, counted from the first of shared_buffers; the bytes of vectors met there; and
/// those of a page before it, the later the weightier. Where several queries of a process take turns, pages are read late or
/// not at all; nothing else depends on these.
static LAST: AtomicUsize = AtomicUsize::new(usize::MAX);
static USED: AtomicUsize = AtomicUsize::new(0);
static USUAL: AtomicUsize = AtomicUsize::new(0);

/// To be called with each vector of a scan before it is used, wherever it lies.
#[inline]
pub fn meet(vector: &[u8]) {
    // SAFETY: a variable of the server, which is set before a session begins.
    let first = unsafe { pg_sys::BufferBlocks }.addr();
    let page = vector.as_ptr().addr().wrapping_sub(first) / PAGE;
    if page == LAST.load(Relaxed) {
        USED.store(USED.load(Relaxed) + vector.len(), Relaxed);
    } else {
        turn_to(page, vector.len());
    }
}

/// To be called with each row of a scan before it is taken apart, if the slot is one of rows in pages (see
/// [`has_pages`]): as [`meet`] would do with the row's vector, a little earlier.
///
/// # Safety
/// The slot holds a row, and has pages.
#[inline]
pub(super) unsafe fn arrive(slot: *mut pg_sys::TupleTableSlot) {
    // SAFETY: as the caller promises. Buffers are counted from 1, those of the session alone from -1 downwards.
    let buffer = unsafe { (*slot.cast::<pg_sys::BufferHeapTupleTableSlot>()).buffer };
    let page = usize::try_from(buffer).unwrap_or(0).wrapping_sub(1);
    if page != LAST.load(Relaxed) {
        turn_to(page, 0);
    }
}

/// Whether rows of this slot stay in their pages.
///
/// # Safety
/// The slot is one of a table.
pub(super) unsafe fn has_pages(slot: *mut pg_sys::TupleTableSlot) -> bool {
    // SAFETY: as the caller promises; the other is compared by its address only.
    unsafe { std::ptr::eq((*slot).tts_ops, &raw const pg_sys::TTSOpsBufferHeapTuple) }
}

#[inline(never)]
fn turn_to(page: usize, used: usize) {
    // SAFETY: as above.
    let pages = usize::try_from(unsafe { pg_sys::NBuffers }).unwrap_or(0);
    if page >= pages {
        return;
    }
    LAST.store(page, Relaxed);
    let usual = (USUAL.load(Relaxed) + USED.swap(used, Relaxed)) / 2;
    USUAL.store(usual, Relaxed);
    if usual >= DENSE {
        // SAFETY: the page is one of shared_buffers.
        unsafe { read(pg_sys::BufferBlocks.cast::<u8>().add(page * PAGE)) }
    }
}

/// # Safety
/// The page is one of shared_buffers.
unsafe fn read(page: *const u8) {
    // Every line is asked for, into the second-level cache, which waits for more of them at a time than the first; then each
    // is waited for. Either alone gains less.
    #[cfg(target_arch = "x86_64")]
    for offset in (0..PAGE).step_by(LINE) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a hint about an address; it reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(page.add(offset).cast()) };
    }
    for offset in (0..PAGE).step_by(LINE) {
        // SAFETY: memory of the server, mapped while it runs. Others may write to it: what is read is not used.
        unsafe { page.add(offset).read_volatile() };
    }
}
