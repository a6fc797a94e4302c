//! Dynamic batching: single texts of several processes share runs of the network.
//!
//! A text alone reads all weights of a network for a few tokens, and more runs than processors take turns within a run.
//! The [`Board`] says who runs with whom; locking it, waiting and waking are the program's ([`Meeting`]).

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::super::{Error, Result};
use super::board::{Arrival, Board, Found, Offer, Process};
use super::error::TextError;

/// Vectors of texts, in order.
pub type Run<'r> = dyn FnMut(&[&[u32]]) -> Result<Vec<Vec<f32>>> + 'r;

/// A program that lets its processes share runs.
pub trait Batching {
    /// The vector of `offer`, which must fit: computed by `run` here, with texts of other processes behind it, or by
    /// another process.
    ///
    /// # Errors
    /// Those of `run`, and what the program says when the caller is to stop; it may also unwind.
    fn embed(&self, offer: &Offer<'_>, run: &mut Run<'_>) -> Result<Vec<f32>>;
}

/// Where processes meet at one board.
pub trait Meeting {
    /// This process.
    fn me(&self) -> Process;

    /// Lets `look` work with the board while nobody else does.
    fn locked<T>(&self, look: impl FnOnce(&mut Board) -> T) -> T;

    /// Has `process` come back from [`Meeting::wait`], now or as soon as it waits. It may be gone.
    fn wake(&self, process: Process);

    /// Returns when somebody woke this process, after `most`, or before.
    ///
    /// # Errors
    /// What the program says when the caller is to stop; it may also unwind.
    fn wait(&self, most: Duration) -> Result<()>;
}

/// So long a run waits for those that got a vector a moment ago: eight sessions and their clients need some milliseconds of a
/// processor until the next texts are there, a run of eight texts some seventy.
const GATHERING: Duration = Duration::from_millis(5);

/// After so long a text is not waited for any more: who was to compute it has no processor, or is stopped.
const PATIENCE: Duration = Duration::from_secs(3);

impl<M: Meeting> Batching for M {
    fn embed(&self, offer: &Offer<'_>, run: &mut Run<'_>) -> Result<Vec<f32>> {
        let me = self.me();
        let place = Place { meeting: self, me };
        let (arrival, gathered) = self.locked(|board| (board.arrive(me, offer), board.gathered()));
        gathered.into_iter().for_each(|process| self.wake(process));
        let seat = match arrival {
            Arrival::Run => return lead(self, offer, run),
            Arrival::Alone => return alone(offer, run),
            Arrival::Wait(seat) => seat,
        };
        let came = Instant::now();
        while let Some(left) = PATIENCE.checked_sub(came.elapsed()) {
            match self.locked(|board| board.look(me, seat)) {
                Found::Nothing => self.wait(left)?,
                Found::Turn => return lead(self, offer, run),
                Found::Vector(vector) => return Ok(vector),
                Found::Failed => break,
            }
        }
        drop(place);
        alone(offer, run)
    }
}

/// Runs, with others that wait.
fn lead<M: Meeting>(meeting: &M, offer: &Offer<'_>, run: &mut Run<'_>) -> Result<Vec<f32>> {
    let me = meeting.me();
    let came = Instant::now();
    while meeting.locked(|board| board.gathers(me)) {
        match GATHERING.checked_sub(came.elapsed()) {
            Some(left) => meeting.wait(left)?,
            None => meeting.locked(|board| board.give_up(me)),
        }
    }
    let taken = meeting.locked(|board| board.take_along(me, offer));
    let texts: Vec<&[u32]> =
        std::iter::once(offer.ids).chain(taken.iter().map(|(_, ids)| ids.as_slice())).collect();
    let done = run(&texts);
    let shared = !taken.is_empty();
    let woken: Vec<Process> = meeting.locked(|board| match &done {
        Ok(vectors) => {
            board.count(texts.len());
            let others = taken.iter().zip(vectors.iter().skip(1));
            others.filter_map(|((seat, _), vector)| board.deliver(me, *seat, vector)).collect()
        }
        // They wait again.
        Err(Error::Text(TextError::Interrupted)) => Vec::new(),
        Err(_) => taken.iter().filter_map(|(seat, _)| board.fail(me, *seat)).collect(),
    });
    woken.into_iter().for_each(|process| meeting.wake(process));
    match done {
        // Whose text was at fault is not known: each for itself.
        Err(error) if shared && error != TextError::Interrupted.into() => alone(offer, run),
        done => Ok(done?.into_iter().next().unwrap_or_default()),
    }
}

fn alone(offer: &Offer<'_>, run: &mut Run<'_>) -> Result<Vec<f32>> {
    Ok(run(&[offer.ids])?.into_iter().next().unwrap_or_default())
}

/// What a process has to do with the board, while it has.
struct Place<'m, M: Meeting> {
    meeting: &'m M,
    me: Process,
}

impl<M: Meeting> Drop for Place<'_, M> {
    fn drop(&mut self) {
        let called = self.meeting.locked(|board| board.leave(self.me));
        called.into_iter().for_each(|process| self.meeting.wake(process));
    }
}
