//! Which texts wait, who runs, and who rides along: the decisions of dynamic batching ([`super::batching`]).
//!
//! At most as many runs go on at once as there are processors; texts that come meanwhile wait on the [`Board`], and whoever
//! may run next takes some of the others along, or first waits a moment for those who are about to come. It has a fixed size
//! and no pointers, so that it can lie in memory that processes share, behind a lock of theirs.
//!
//! Whatever happens to a process, [`Board::leave`] takes back all that it had to do with the board: its text, its right to
//! run, and the texts that it took along, which wait again.

#![forbid(unsafe_code)]

mod gather;

use gather::Gathering;

/// Texts that can wait at a time; further ones run at once and alone.
pub const SEATS: usize = 64;
/// Most runs at once.
pub const MAX_RUNS: usize = 64;
/// Longest text that waits for company: for a longer one the weights are read in vain no more.
pub const MAX_TOKENS: usize = 128;
/// Most components of a vector that a seat holds.
pub const MAX_DIM: usize = 1024;

/// A process; never 0.
pub type Process = usize;

/// Tells networks apart: a digest of all that a vector depends on.
pub type ModelKey = [u8; 16];

/// A text that may share a run.
#[derive(Debug, Clone, Copy)]
pub struct Offer<'a> {
    /// Its network.
    pub model: ModelKey,
    /// Its tokens: at most [`MAX_TOKENS`].
    pub ids: &'a [u32],
    /// Components of its vector: at most [`MAX_DIM`].
    pub dim: usize,
    /// Most tokens of a run, padding included.
    pub batch_tokens: usize,
}

impl Offer<'_> {
    /// Whether it fits on a board.
    pub fn fits(&self) -> bool {
        self.ids.len() <= MAX_TOKENS && (1..=MAX_DIM).contains(&self.dim)
    }
}

/// What a process is to do after it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Take others along and run.
    Run,
    /// Wait on this seat until [`Board::look`] says otherwise.
    Wait(usize),
    /// Run alone: there is no seat.
    Alone,
}

/// What a waiting process finds on its seat.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// Nothing yet.
    Nothing,
    /// It is its turn: take others along and run.
    Turn,
    /// Its vector.
    Vector(Vec<f32>),
    /// The run that it was part of failed: it is to run alone.
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Empty,
    Waiting,
    /// Its turn has come; it may run.
    Called,
    /// Part of the run of this process.
    Taken(Process),
    /// As Taken, but nobody waits for it any more.
    Abandoned(Process),
    Done,
    Failed,
}

#[derive(Debug, Clone, Copy)]
struct Seat {
    state: State,
    owner: Process,
    /// Ascending by the time of arrival.
    ticket: u64,
    model: ModelKey,
    tokens: usize,
    dim: usize,
    ids: [u32; MAX_TOKENS],
    vector: [f32; MAX_DIM],
}

const EMPTY: Seat = Seat {
    state: State::Empty,
    owner: 0,
    ticket: 0,
    model: [0; 16],
    tokens: 0,
    dim: 0,
    ids: [0; MAX_TOKENS],
    vector: [0.0; MAX_DIM],
};

/// Counts since the board was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Runs that ended well.
    pub runs: u64,
    /// Texts that rode in them.
    pub texts: u64,
    /// Most texts of one of them.
    pub most: u64,
}

/// Texts that wait, and who runs.
#[derive(Debug, Clone)]
pub struct Board {
    /// Who may run; 0 where nobody does. Beyond `limit` all are 0.
    runners: [Process; MAX_RUNS],
    limit: usize,
    tickets: u64,
    tally: Tally,
    gathering: Gathering,
    seats: [Seat; SEATS],
}

impl Board {
    /// A board for at most `limit` runs at once, at least one.
    pub fn new(limit: usize) -> Self {
        let limit = limit.clamp(1, MAX_RUNS);
        Board {
            runners: [0; MAX_RUNS],
            limit,
            tickets: 0,
            tally: Tally::default(),
            gathering: Gathering::NONE,
            seats: [EMPTY; SEATS],
        }
    }

    /// A text comes. A process has one at a time.
    pub fn arrive(&mut self, process: Process, offer: &Offer<'_>) -> Arrival {
        self.gathering.came();
        if self.begin_run(process) {
            return Arrival::Run;
        }
        let Some(at) = self.seats.iter().position(|seat| seat.state == State::Empty) else {
            return Arrival::Alone;
        };
        let Some(seat) = self.seats.get_mut(at) else { return Arrival::Alone };
        let Some(ids) = seat.ids.get_mut(..offer.ids.len()) else { return Arrival::Alone };
        ids.copy_from_slice(offer.ids);
        self.tickets += 1;
        (seat.state, seat.owner, seat.ticket) = (State::Waiting, process, self.tickets);
        (seat.model, seat.tokens, seat.dim) = (offer.model, offer.ids.len(), offer.dim);
        Arrival::Wait(at)
    }

    /// What became of the text on `seat`. A vector or a failure is told once: the seat is empty then.
    pub fn look(&mut self, process: Process, seat: usize) -> Found {
        let Some(seat) = self.seats.get_mut(seat).filter(|seat| seat.owner == process) else {
            return Found::Failed;
        };
        let found = match seat.state {
            State::Called => Found::Turn,
            State::Done => Found::Vector(seat.vector.iter().take(seat.dim).copied().collect()),
            State::Failed | State::Empty => Found::Failed,
            State::Waiting | State::Taken(_) | State::Abandoned(_) => return Found::Nothing,
        };
        *seat = Seat { state: State::Empty, owner: 0, ..*seat };
        found
    }

    /// Whether `process`, which may run, had better wait until [`Board::gathered`] names it: there are more texts than runs, and
    /// those who got a vector a moment ago are coming back with the next. One process at a time waits so.
    pub fn gathers(&mut self, process: Process) -> bool {
        if self.crowd() > self.limit {
            self.gathering.begin(process);
        }
        if self.gathering.by() != Some(process) {
            return false;
        }
        if self.is_complete() {
            self.gathering.complete();
            return false;
        }
        true
    }

    /// Who waited for others and need not any more.
    pub fn gathered(&self) -> Option<Process> {
        self.gathering.by().filter(|_| self.is_complete())
    }

    /// `process` waits for others no more, whoever has come.
    pub fn give_up(&mut self, process: Process) {
        self.gathering.give_up(process);
    }

    /// Whether as many wait as are a run's share, or nobody else is expected.
    fn is_complete(&self) -> bool {
        self.gathering.away == 0 || self.count_in(|state| state == State::Waiting) + 1 >= self.share()
    }

    /// Processes that have to do with the board: they run, wait or ride, or are expected back.
    fn crowd(&self) -> usize {
        let running = self.runners.iter().filter(|&&runner| runner != 0).count();
        let seated = self.count_in(|state| matches!(state, State::Waiting | State::Taken(_)));
        running + seated + self.gathering.away
    }

    /// Texts of one run when all runs have the same.
    fn share(&self) -> usize {
        self.crowd().div_ceil(self.limit)
    }

    fn count_in(&self, matches: impl Fn(State) -> bool) -> usize {
        self.seats.iter().filter(|seat| matches(seat.state)).count()
    }

    /// Texts that ride along with `offer`, by seat, oldest first: as many as are this run's share of those that wait, within
    /// the tokens of a batch, of like length.
    pub fn take_along(&mut self, process: Process, offer: &Offer<'_>) -> Vec<(usize, Vec<u32>)> {
        let alike = |seat: &Seat| seat.state == State::Waiting && seat.model == offer.model;
        let mut waiting: Vec<usize> =
            self.seats.iter().enumerate().filter(|(_, seat)| alike(seat)).map(|(at, _)| at).collect();
        waiting.sort_unstable_by_key(|&at| self.seats.get(at).map(|seat| seat.ticket));
        // The others are left for the runs that end next: with many processors, soon.
        let share = waiting.len().div_ceil(self.limit.div_ceil(2)).min(self.share().saturating_sub(1));
        let (mut longest, mut real) = (offer.ids.len(), offer.ids.len());
        let mut taken: Vec<(usize, Vec<u32>)> = Vec::with_capacity(share);
        for at in waiting {
            let Some(seat) = self.seats.get_mut(at) else { continue };
            let longer = longest.max(seat.tokens);
            let padded = longer * (taken.len() + 2);
            // At most a quarter of a run is padding.
            let fits = padded <= offer.batch_tokens && 3 * padded <= 4 * (real + seat.tokens);
            if taken.len() < share && fits {
                (longest, real) = (longer, real + seat.tokens);
                seat.state = State::Taken(process);
                taken.push((at, seat.ids.iter().take(seat.tokens).copied().collect()));
            }
        }
        taken
    }

    /// Puts a vector on a seat that `process` took along; who waits there is to be woken.
    pub fn deliver(&mut self, process: Process, seat: usize, vector: &[f32]) -> Option<Process> {
        let seat = self.seats.get_mut(seat)?;
        let waiting = seat.state == State::Taken(process) && vector.len() == seat.dim;
        if let (true, Some(place)) = (waiting, seat.vector.get_mut(..vector.len())) {
            place.copy_from_slice(vector);
            seat.state = State::Done;
            return Some(seat.owner);
        }
        None
    }

    /// Says that a run with that text failed; who waits there is to be woken.
    pub fn fail(&mut self, process: Process, seat: usize) -> Option<Process> {
        let seat = self.seats.get_mut(seat)?;
        (seat.state == State::Taken(process)).then(|| {
            seat.state = State::Failed;
            seat.owner
        })
    }

    /// Counts a run of `texts` that ended well; the processes whose they are may come back with more.
    pub fn count(&mut self, texts: usize) {
        self.gathering.served(texts);
        let texts = texts as u64;
        self.tally.runs = self.tally.runs.saturating_add(1);
        self.tally.texts = self.tally.texts.saturating_add(texts);
        self.tally.most = self.tally.most.max(texts);
    }

    /// `process` has no more to do with the board: its text is gone, those that it took along wait again, and if it ran, others
    /// may. Answers whose turn it is now, who are to be woken. Does nothing for a process that is not there.
    pub fn leave(&mut self, process: Process) -> Vec<Process> {
        self.gathering.give_up(process);
        for seat in &mut self.seats {
            seat.state = match seat.state {
                State::Taken(by) if by == process => State::Waiting,
                State::Abandoned(by) if by == process => State::Empty,
                state => state,
            };
            if seat.owner == process && seat.state != State::Empty {
                seat.owner = 0;
                seat.state = match seat.state {
                    State::Taken(by) | State::Abandoned(by) => State::Abandoned(by),
                    _ => State::Empty,
                };
            }
        }
        self.runners.iter_mut().filter(|runner| **runner == process).for_each(|runner| *runner = 0);
        self.call_next()
    }

    /// Counts since the board was made.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Runs and waiting texts at this moment, and the most runs at once.
    pub fn now(&self) -> (usize, usize, usize) {
        let running = self.runners.iter().filter(|&&runner| runner != 0).count();
        let waiting = self.seats.iter().filter(|seat| seat.state != State::Empty).count();
        (running, waiting, self.limit)
    }

    fn begin_run(&mut self, process: Process) -> bool {
        let free = self.runners.iter_mut().take(self.limit).find(|runner| **runner == 0);
        free.map(|runner| *runner = process).is_some()
    }

    /// Gives free runs to those that have waited longest.
    fn call_next(&mut self) -> Vec<Process> {
        let mut called = Vec::new();
        loop {
            let waiting = self.seats.iter_mut().filter(|seat| seat.state == State::Waiting);
            let Some(next) = waiting.min_by_key(|seat| seat.ticket).map(|seat| (seat.owner, seat.ticket))
            else {
                return called;
            };
            if !self.begin_run(next.0) {
                return called;
            }
            let seat =
                self.seats.iter_mut().find(|seat| seat.state == State::Waiting && seat.ticket == next.1);
            if let Some(seat) = seat {
                seat.state = State::Called;
            }
            called.push(next.0);
        }
    }
}

#[cfg(test)]
mod tests;
