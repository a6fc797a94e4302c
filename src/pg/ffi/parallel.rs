//! Parallel workers of a table scan that the executor has no part in: started, told what to do, handed pages of the table, and
//! asked for what they found.

use std::ffi::{CStr, c_void};

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::host::processors;
use crate::pg::nearest;
use crate::pg::report::Fault;

/// Where workers find what to do, pages, and where their answers go.
const ORDER: u64 = 1;
const PAGES: u64 = 2;
const ANSWERS: u64 = 3;

/// Room for an answer on its way; a longer one goes in parts.
const QUEUE: usize = 64 * 1024;

/// The library as the server finds it.
const LIBRARY: &CStr = c"$libdir/prometheus_embed";

/// What hands out pages of a table, in shared memory.
#[derive(Debug, Clone, Copy)]
pub struct Shares(pub(super) pg_sys::ParallelTableScanDesc);

/// Of a table, for one worker: reading it takes some twenty milliseconds, starting and ending a worker, and letting it map as much of
/// the server's shared memory, ten.
const WORTH_A_WORKER: usize = 64 << 20;

/// How many of `planned` workers are worth starting for a table of as many pages: more processes than processors only take
/// turns.
pub fn worthwhile(planned: usize, pages: usize) -> usize {
    let own = usize::from(takes_part());
    planned.min(pages / (WORTH_A_WORKER / pg_sys::BLCKSZ as usize)).min(processors().saturating_sub(own))
}

/// Whether the session reads, too, beside its workers.
fn takes_part() -> bool {
    // SAFETY: reads a setting.
    unsafe { pg_sys::parallel_leader_participation }
}

/// Workers of a session.
pub struct Team {
    context: *mut pg_sys::ParallelContext,
    shares: Shares,
    answers: Vec<*mut pg_sys::shm_mq_handle>,
}

impl Team {
    /// Starts as many of `workers` as the server has left, each of which calls `entry` of this library; none is possible, too.
    ///
    /// # Safety
    /// The relation is open, and stays so until the team is dismissed; `entry` calls [`serve`].
    pub(super) unsafe fn start(
        relation: pg_sys::Relation,
        entry: &CStr,
        workers: usize,
        order: &[u8],
    ) -> Self {
        // SAFETY: as the executor starts workers: chunks are estimated, then allocated, before any worker runs. What
        // an error leaves, the end of the transaction or subtransaction lets go.
        unsafe {
            pg_sys::EnterParallelMode();
            let context = pg_sys::CreateParallelContext(LIBRARY.as_ptr(), entry.as_ptr(), workers as i32);
            let snapshot = pg_sys::GetActiveSnapshot();
            let scan = pg_sys::table_parallelscan_estimate(relation, snapshot);
            let estimator = &mut (*context).estimator;
            for chunk in [8 + order.len(), scan, QUEUE * workers] {
                estimator.space_for_chunks += chunk.next_multiple_of(64);
                estimator.number_of_keys += 1;
            }
            pg_sys::InitializeParallelDSM(context);

            let toc = (*context).toc;
            let place = |key: u64, bytes: usize| {
                let chunk = pg_sys::shm_toc_allocate(toc, bytes);
                pg_sys::shm_toc_insert(toc, key, chunk);
                chunk
            };
            let told = place(ORDER, 8 + order.len()).cast::<u8>();
            told.cast::<u64>().write(order.len() as u64);
            told.add(8).copy_from_nonoverlapping(order.as_ptr(), order.len());
            let shares = place(PAGES, scan).cast::<pg_sys::ParallelTableScanDescData>();
            pg_sys::table_parallelscan_initialize(relation, shares, snapshot);
            let queues = place(ANSWERS, QUEUE * workers);
            // Without shared memory the server makes do with no worker at all.
            let possible = usize::try_from((*context).nworkers).unwrap_or(0);
            let mut answers: Vec<_> = (0..possible)
                .map(|number| {
                    let queue = pg_sys::shm_mq_create(queue_of(queues, number), QUEUE);
                    pg_sys::shm_mq_set_receiver(queue, pg_sys::MyProc);
                    pg_sys::shm_mq_attach(queue, (*context).seg, std::ptr::null_mut())
                })
                .collect();
            pg_sys::LaunchParallelWorkers(context);
            answers.truncate(usize::try_from((*context).nworkers_launched).unwrap_or(0));
            for (number, &answer) in answers.iter().enumerate() {
                pg_sys::shm_mq_set_handle(answer, (*(*context).worker.add(number)).bgwhandle);
            }
            Self { context, shares: Shares(shares), answers }
        }
    }

    /// What the session itself reads by, if it is to read, too.
    pub fn own_share(&self) -> Option<Shares> {
        (takes_part() || self.answers.is_empty()).then_some(self.shares)
    }

    /// Hands the answer of every worker to `join`, and ends the team.
    ///
    /// Errors: those of workers and of `join`.
    pub fn finish(self, mut join: impl FnMut(&[u8]) -> Result<(), Fault>) -> Result<(), Fault> {
        let mut joined = Ok(());
        for &answer in &self.answers {
            // SAFETY: the queue lives until the team is dismissed, the message until the queue is read again.
            let message = unsafe { receive(answer) };
            let Some(message) = message else {
                // It failed, and says how while it is waited for.
                joined =
                    Err(Fault::Internal { what: "a parallel worker ended without an answer".to_owned() });
                continue;
            };
            if joined.is_ok() {
                joined = join(message);
            }
        }
        // SAFETY: made by `start`; raises what a worker raised.
        unsafe { pg_sys::WaitForParallelWorkersToFinish(self.context) };
        self.dismiss();
        joined
    }

    /// Ends the team, whatever its workers do.
    pub fn dismiss(self) {
        // SAFETY: made by `start`, and let go once.
        unsafe {
            pg_sys::DestroyParallelContext(self.context);
            pg_sys::ExitParallelMode();
        }
    }
}

/// # Safety
/// The queues are those of [`Team::start`], and more than `number`.
unsafe fn queue_of(queues: *mut c_void, number: usize) -> *mut c_void {
    // SAFETY: as the caller promises.
    unsafe { queues.byte_add(number * QUEUE) }
}

/// The next message; None where the sender has gone.
///
/// # Safety
/// The queue is attached to, and not read again before the message was used.
unsafe fn receive<'a>(queue: *mut pg_sys::shm_mq_handle) -> Option<&'a [u8]> {
    let (mut bytes, mut data) = (0, std::ptr::null_mut());
    // SAFETY: as the caller promises.
    unsafe {
        let got = pg_sys::shm_mq_receive(queue, &mut bytes, &mut data, false);
        (got == pg_sys::shm_mq_result::SHM_MQ_SUCCESS)
            .then(|| std::slice::from_raw_parts(data.cast::<u8>(), bytes))
    }
}

/// Where the server begins a worker of a search.
///
/// # Safety
/// Only the server calls it, in a worker of [`Team::start`].
#[pg_guard]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn prometheus_embed_nearest_share(
    segment: *mut pg_sys::dsm_segment,
    contents: *mut pg_sys::shm_toc,
) {
    // SAFETY: as the caller promises.
    if let Err(fault) = unsafe { serve(segment, contents, nearest::share) } {
        ErrorReport::from(fault).report(PgLogLevel::ERROR);
    }
}

/// The name of that function.
pub(super) const NEAREST: &CStr = c"prometheus_embed_nearest_share";

/// A worker's whole life: `work` gets the order and a share of the table, and its answer goes to the session.
///
/// Errors: those of `work`.
///
/// # Safety
/// In a worker of [`Team::start`], with what the server handed to it.
unsafe fn serve(
    segment: *mut pg_sys::dsm_segment,
    contents: *mut pg_sys::shm_toc,
    work: impl FnOnce(&[u8], Shares) -> Result<Vec<u8>, Fault>,
) -> Result<(), Fault> {
    // SAFETY: the chunks are those that the session made, or the look-up raises.
    unsafe {
        let chunk = |key| pg_sys::shm_toc_lookup(contents, key, false);
        let told = chunk(ORDER).cast::<u8>();
        let order = std::slice::from_raw_parts(told.add(8), told.cast::<u64>().read() as usize);
        let shares = Shares(chunk(PAGES).cast());
        let number = usize::try_from(pg_sys::ParallelWorkerNumber).unwrap_or(0);
        let queue = queue_of(chunk(ANSWERS), number).cast::<pg_sys::shm_mq>();
        pg_sys::shm_mq_set_sender(queue, pg_sys::MyProc);
        let answers = pg_sys::shm_mq_attach(queue, segment, std::ptr::null_mut());
        let answer = work(order, shares)?;
        send(answers, &answer);
        pg_sys::shm_mq_detach(answers);
    }
    Ok(())
}

/// Sends a message; whoever has stopped listening needs none.
///
/// # Safety
/// The queue is attached to.
unsafe fn send(queue: *mut pg_sys::shm_mq_handle, message: &[u8]) {
    let data = message.as_ptr().cast::<c_void>();
    // SAFETY: as the caller promises.
    unsafe {
        #[cfg(feature = "pg14")]
        pg_sys::shm_mq_send(queue, message.len(), data, false);
        #[cfg(not(feature = "pg14"))]
        pg_sys::shm_mq_send(queue, message.len(), data, false, true);
    }
}
