//! Memory for the tensors of a run: a region of address space of the process' own, of which only what runs need has memory.
//! The C library's heap serves them worse: it gives back all or nothing of what lies between memory in use, and every page
//! that was given back is zeroed again for the next run.

use std::ffi::c_void;
use std::sync::{Mutex, PoisonError};

use crate::engine::onnx::Blocks;

/// Address space: a batch of half a thousand tokens of a small network needs a sixth. What does not fit comes from the heap.
const REGION: usize = 64 << 20;

/// The region is opened and closed in steps of this: what is not open does not count as memory that the system has promised.
const STEP: usize = 512 << 10;

/// The region of this process, once it has one.
static ARENA: Mutex<Option<Arena>> = Mutex::new(None);

struct Arena {
    base: usize,
    blocks: Blocks,
    /// As far as it can be written to.
    open: usize,
    /// As far as it may have memory.
    reached: usize,
}

/// Runs `work` with the region, if there is one.
fn with<T>(work: impl FnOnce(&mut Arena) -> Option<T>) -> Option<T> {
    ARENA.lock().unwrap_or_else(PoisonError::into_inner).as_mut().and_then(work)
}

/// Makes the region, if there is none. Without address space for it all comes from the heap.
pub fn make() {
    let mut arena = ARENA.lock().unwrap_or_else(PoisonError::into_inner);
    if arena.is_none() {
        *arena = Arena::new();
    }
}

/// Memory of `bytes` bytes, aligned as tensors need it; None where the region has none.
pub fn allocate(bytes: usize) -> Option<*mut c_void> {
    with(|arena| arena.allocate(bytes))
}

/// Frees what [`allocate`] gave. Whether it was that.
pub fn free(memory: *mut c_void) -> bool {
    with(|arena| arena.free(memory as usize)).is_some()
}

/// Gives memory back to the system that is not in use, but for about `kept` bytes: whole steps.
pub fn give_back(kept: usize) {
    with(|arena| {
        arena.give_back(kept);
        Some(())
    });
}

/// Bytes that the region has memory for, at most.
pub fn held() -> usize {
    with(|arena| Some(arena.reached)).unwrap_or(0)
}

impl Arena {
    fn new() -> Option<Self> {
        let nowhere = std::ptr::null_mut();
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: new address space, that nothing else has; a step more than is used, to begin at a multiple of a step.
        let base = unsafe { libc::mmap(nowhere, REGION + STEP, libc::PROT_NONE, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return None;
        }
        let base = (base as usize).next_multiple_of(STEP);
        Some(Arena { base, blocks: Blocks::new(REGION), open: 0, reached: 0 })
    }

    fn allocate(&mut self, bytes: usize) -> Option<*mut c_void> {
        let begin = self.blocks.take(bytes)?;
        let end = self.blocks.end();
        if end > self.open && !self.open_to(end.next_multiple_of(STEP)) {
            self.blocks.give(begin);
            return None;
        }
        self.reached = self.reached.max(end);
        Some((self.base + begin) as *mut c_void)
    }

    /// None where the memory is not the region's.
    fn free(&mut self, memory: usize) -> Option<()> {
        let begin = memory.checked_sub(self.base).filter(|&begin| begin < REGION)?;
        self.blocks.give(begin);
        Some(())
    }

    fn open_to(&mut self, open: usize) -> bool {
        let (begin, bytes) = (self.base + self.open, open - self.open);
        // SAFETY: address space of the region, which nothing uses yet.
        let done =
            unsafe { libc::mprotect(begin as *mut c_void, bytes, libc::PROT_READ | libc::PROT_WRITE) == 0 };
        if done {
            self.open = open;
        }
        done
    }

    fn give_back(&mut self, kept: usize) {
        let used = self.blocks.end().next_multiple_of(STEP);
        let last = used.max((self.blocks.end() + kept) / STEP * STEP);
        if last >= self.open {
            return;
        }
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        // SAFETY: address space of the region behind the last block in use. In its place comes such that has no memory.
        let done = unsafe {
            let begin = (self.base + last) as *mut c_void;
            libc::mmap(begin, self.open - last, libc::PROT_NONE, flags, -1, 0) != libc::MAP_FAILED
        };
        if done {
            self.open = last;
            self.reached = self.reached.min(last);
        }
    }
}
