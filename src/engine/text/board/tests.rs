//! The board under any order of events, and threads that meet at one.
#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use proptest::prelude::*;

use super::super::super::Result;
use super::super::batching::{Batching, Meeting};
use super::super::error::TextError;
use super::{Arrival, Board, Found, MAX_DIM, MAX_TOKENS, Offer, Process, SEATS};

fn offer(ids: &[u32], model: u8) -> Offer<'_> {
    Offer { model: [model; 16], ids, dim: 2, batch_tokens: 64 }
}

/// What a text of these tokens gives, whoever computes it.
fn vector(ids: &[u32]) -> Vec<f32> {
    vec![ids.len() as f32, ids.iter().sum::<u32>() as f32]
}

#[test]
fn as_many_run_as_there_are_processors_and_the_next_takes_others_along() {
    let mut board = Board::new(2);
    let texts: Vec<Vec<u32>> = (1..=6).map(|n| vec![n; 4]).collect();
    let came: Vec<Arrival> = (1..).zip(&texts).map(|(p, ids)| board.arrive(p, &offer(ids, 0))).collect();
    assert_eq!(came[..2], [Arrival::Run, Arrival::Run]);
    assert_eq!(came[2..], [0, 1, 2, 3].map(Arrival::Wait));
    assert_eq!(board.leave(1), [3], "the one that waits longest is called");
    assert_eq!(board.look(3, 0), Found::Turn);
    let taken = board.take_along(3, &offer(&texts[2], 0));
    assert_eq!(
        taken,
        [(1, vec![4; 4]), (2, vec![5; 4])],
        "half of the five that run or wait, itself included"
    );
    assert_eq!(board.look(4, 1), Found::Nothing);
    assert_eq!(board.deliver(3, 1, &[4.0, 16.0]), Some(4));
    assert_eq!(board.look(4, 1), Found::Vector(vec![4.0, 16.0]));
    assert_eq!(board.fail(3, 2), Some(5));
    assert_eq!(board.look(5, 2), Found::Failed);
    // One more is left to whoever comes next.
    assert_eq!(board.leave(3), [6]);
    assert!(board.leave(6).is_empty());
    assert!(board.leave(2).is_empty());
    assert_eq!(board.now(), (0, 0, 2));
}

/// A board of two runs at once and eight processes: a run of three has ended, another one goes on, two texts wait.
fn busy() -> (Box<Board>, Vec<u32>) {
    let (mut board, ids) = (Box::new(Board::new(2)), vec![5; 4]);
    (1..=8).for_each(|process| {
        board.arrive(process, &offer(&ids, 0));
    });
    assert_eq!(board.take_along(2, &offer(&ids, 0)).len(), 3);
    assert_eq!(board.take_along(1, &offer(&ids, 0)).len(), 3);
    let woken: Vec<Process> = (0..SEATS).filter_map(|seat| board.deliver(1, seat, &vector(&ids))).collect();
    assert_eq!(woken, [6, 7, 8]);
    board.count(4);
    assert!(board.leave(1).is_empty(), "nobody waits");
    (6..=8).for_each(|process| {
        assert_eq!(board.look(process, process - 3), Found::Vector(vector(&ids)));
    });
    (board, ids)
}

#[test]
fn a_run_waits_for_those_who_got_a_vector_a_moment_ago() {
    let (mut board, ids) = busy();
    assert_eq!(board.arrive(7, &offer(&ids, 0)), Arrival::Run);
    assert!(board.gathers(7));
    for process in [1, 8] {
        assert!(matches!(board.arrive(process, &offer(&ids, 0)), Arrival::Wait(_)));
        assert!(board.gathers(7) && board.gathered().is_none(), "{process} is not the last");
    }
    assert!(matches!(board.arrive(6, &offer(&ids, 0)), Arrival::Wait(_)));
    assert_eq!(board.gathered(), Some(7));
    assert!(!board.gathers(7) && board.gathered().is_none());
    assert_eq!(board.take_along(7, &offer(&ids, 0)).len(), 3, "as many as ride in the other run");
}

#[test]
fn nobody_is_waited_for_who_does_not_come_back() {
    let (mut board, ids) = busy();
    let mut waited = 0;
    for round in 0..100 {
        assert_eq!(board.arrive(7, &offer(&ids, 0)), Arrival::Run);
        if board.gathers(7) {
            waited += 1;
            assert!(!(2..=60).contains(&round), "waited again in round {round}");
            board.give_up(7);
            assert!(!board.gathers(7), "it goes on without them");
        }
        assert!(board.take_along(7, &offer(&ids, 0)).is_empty());
        // Four more are said to have been served, and never come.
        board.count(5);
        board.leave(7);
    }
    assert!((3..=4).contains(&waited), "waited {waited} times");
}

#[test]
fn no_more_texts_than_runs_wait_for_nobody() {
    let mut board = Board::new(3);
    for _ in 0..5 {
        for process in 1..=3 {
            assert_eq!(board.arrive(process, &offer(&[1], 0)), Arrival::Run);
            assert!(!board.gathers(process));
        }
        for process in 1..=3 {
            board.count(1);
            board.leave(process);
        }
    }
}

#[test]
fn who_waits_for_others_and_goes_holds_nobody_up() {
    let (mut board, ids) = busy();
    assert_eq!(board.arrive(7, &offer(&ids, 0)), Arrival::Run);
    assert!(board.gathers(7));
    let Arrival::Wait(seat) = board.arrive(8, &offer(&ids, 0)) else { panic!("there is a seat") };
    assert_eq!(board.leave(7), [8]);
    assert_eq!(board.look(8, seat), Found::Turn);
    assert!(!board.gathers(8) && board.gathered().is_none());
}

#[test]
fn only_texts_of_the_same_network_and_of_like_length_ride_together() {
    let mut board = Board::new(1);
    assert_eq!(board.arrive(1, &offer(&[1], 0)), Arrival::Run);
    let texts = [
        vec![1; 8],
        vec![2; 40],
        vec![3; 9],
        vec![4; 7],
        vec![5; 8],
        vec![6; 8],
        vec![7; 9],
        vec![8; 8],
        vec![9; 8],
    ];
    for (process, ids) in (2..).zip(&texts) {
        let model = u8::from(process == 5);
        board.arrive(process, &offer(ids, model));
    }
    assert_eq!(board.leave(1), [2]);
    assert_eq!(board.look(2, 0), Found::Turn);
    let taken: Vec<usize> =
        board.take_along(2, &offer(&texts[0], 0)).into_iter().map(|(seat, _)| seat).collect();
    // Neither the long one nor the other network's; 7 texts of at most 9 tokens are 63 of 64.
    assert_eq!(taken, [2, 4, 5, 6, 7, 8]);
}

#[test]
fn what_a_process_took_along_waits_again_when_it_goes() {
    let mut board = Board::new(1);
    for process in 1..=3 {
        board.arrive(process, &offer(&[7, 7], 0));
    }
    assert_eq!(board.take_along(1, &offer(&[7, 7], 0)).len(), 2);
    // One of them does not wait for it.
    assert!(board.leave(2).is_empty());
    assert_eq!(board.leave(1), [3], "the other one runs itself");
    assert_eq!(board.look(3, 1), Found::Turn);
    assert!(board.leave(3).is_empty());
    assert_eq!(board.now(), (0, 0, 1));
}

#[test]
fn a_full_board_sends_nobody_away() {
    let mut board = Board::new(1);
    let came: Vec<Arrival> = (1..=SEATS + 3).map(|process| board.arrive(process, &offer(&[1], 0))).collect();
    assert_eq!(came.iter().filter(|came| matches!(came, Arrival::Wait(_))).count(), SEATS);
    assert_eq!(came[SEATS + 1..], [Arrival::Alone, Arrival::Alone]);
    assert!(offer(&[0; MAX_TOKENS], 0).fits() && !offer(&[0; MAX_TOKENS + 1], 0).fits());
    assert!(
        !Offer { dim: MAX_DIM + 1, ..offer(&[0], 0) }.fits() && !Offer { dim: 0, ..offer(&[0], 0) }.fits()
    );
}

/// A process in the model of the property test.
#[derive(Debug, Clone, PartialEq)]
enum Is {
    Away,
    Running(Vec<(usize, Vec<u32>)>),
    Waiting(usize),
}

/// What comes next for a process that is `is`: it comes with a new text, leaves, ends its run well or not, or looks.
fn step(
    board: &mut Board,
    texts: &mut HashMap<Process, Vec<u32>>,
    process: Process,
    is: Is,
    (what, tokens): (u8, usize),
) -> std::result::Result<Is, TestCaseError> {
    match (is, what) {
        (Is::Away, _) => {
            let ids = vec![process as u32 * 100 + tokens as u32; tokens];
            texts.insert(process, ids.clone());
            match board.arrive(process, &offer(&ids, 0)) {
                Arrival::Run => {
                    if board.gathers(process) && what < 5 {
                        board.give_up(process);
                    }
                    return Ok(Is::Running(board.take_along(process, &offer(&ids, 0))));
                }
                Arrival::Wait(seat) => return Ok(Is::Waiting(seat)),
                Arrival::Alone => prop_assert!(false, "there are seats for all"),
            }
        }
        // Cancelled, or it ended with its run unfinished.
        (_, 0) => {
            board.leave(process);
        }
        (Is::Running(taken), how) => {
            for (seat, ids) in taken {
                if how == 1 {
                    board.fail(process, seat);
                } else {
                    board.deliver(process, seat, &vector(&ids));
                }
            }
            if how > 1 {
                board.count(1);
            }
            board.leave(process);
        }
        (Is::Waiting(seat), _) => match board.look(process, seat) {
            Found::Nothing => return Ok(Is::Waiting(seat)),
            Found::Turn => {
                return Ok(Is::Running(board.take_along(process, &offer(&texts[&process], 0))));
            }
            Found::Vector(found) => prop_assert_eq!(found, vector(&texts[&process])),
            Found::Failed => {}
        },
    }
    Ok(Is::Away)
}

proptest! {
    /// Whatever comes and goes in whichever order: never more runs than allowed, everybody gets the vector of their own
    /// text, nobody waits while a run is free, and in the end the board is empty.
    #[test]
    fn no_text_is_lost_or_mixed_up(
        limit in 1usize..4,
        steps in prop::collection::vec((1usize..9, (0u8..10, 1usize..12)), 1..120),
    ) {
        let mut board = Board::new(limit);
        let mut texts: HashMap<Process, Vec<u32>> = HashMap::new();
        let mut all: HashMap<Process, Is> = (1..9).map(|process| (process, Is::Away)).collect();
        for (process, what) in steps {
            let next = step(&mut board, &mut texts, process, all[&process].clone(), what)?;
            all.insert(process, next);
            let (running, _, most) = board.now();
            prop_assert!(running <= most);
            let waits = |p: &Process, is: &Is| matches!(is, Is::Waiting(seat) if board.clone().look(*p, *seat) == Found::Nothing);
            let riding = |is: &Is| if let Is::Running(taken) = is { taken.len() } else { 0 };
            // Who waits and is not part of a run waits because all runs are taken.
            if all.iter().filter(|(p, is)| waits(p, is)).count() > all.values().map(riding).sum() {
                prop_assert_eq!(running, most);
            }
        }
        for process in 1..9 {
            board.leave(process);
        }
        let (running, waiting, _) = board.now();
        prop_assert_eq!((running, waiting), (0, 0));
    }
}

/// Threads in place of processes.
struct Hall {
    board: Mutex<Board>,
    woken: Mutex<Vec<Process>>,
    bell: Condvar,
}

/// A thread at the board.
struct Guest<'h> {
    hall: &'h Hall,
    me: Process,
    /// Waits after which it is told to stop.
    patience: Cell<usize>,
}

impl Meeting for Guest<'_> {
    fn me(&self) -> Process {
        self.me
    }

    fn locked<T>(&self, look: impl FnOnce(&mut Board) -> T) -> T {
        look(&mut self.hall.board.lock().unwrap())
    }

    fn wake(&self, process: Process) {
        self.hall.woken.lock().unwrap().push(process);
        self.hall.bell.notify_all();
    }

    fn wait(&self, most: Duration) -> Result<()> {
        let left = self.patience.get();
        if left == 0 {
            return Err(TextError::Interrupted.into());
        }
        self.patience.set(left - 1);
        let woken = self.hall.woken.lock().unwrap();
        let (mut woken, _) =
            self.hall.bell.wait_timeout_while(woken, most, |woken| !woken.contains(&self.me)).unwrap();
        woken.retain(|process| *process != self.me);
        Ok(())
    }
}

#[test]
fn threads_share_runs_and_each_gets_its_own_vector() {
    let hall = Hall { board: Mutex::new(Board::new(2)), woken: Mutex::new(Vec::new()), bell: Condvar::new() };
    let texts_of = |me: usize| (0..60u32).map(move |n| vec![me as u32 * 1000 + n; 3 + (me + n as usize) % 3]);
    std::thread::scope(|scope| {
        for me in 1..=12 {
            let hall = &hall;
            scope.spawn(move || {
                for (n, ids) in texts_of(me).enumerate() {
                    // Some are told to stop while they wait, some runs fail when they are shared, some are stopped.
                    let guest = Guest { hall, me, patience: Cell::new(if n % 7 == 3 { 0 } else { 1000 }) };
                    let mut runs = 0;
                    let got = guest.embed(&offer(&ids, 0), &mut |texts| {
                        std::thread::sleep(Duration::from_micros(300));
                        runs += 1;
                        assert_eq!(texts[0], ids);
                        match n % 11 {
                            5 if texts.len() > 1 => Err(TextError::NonFinite { model: "m".into() }.into()),
                            8 => Err(TextError::Interrupted.into()),
                            _ => Ok(texts.iter().map(|ids| vector(ids)).collect()),
                        }
                    });
                    match got {
                        Ok(got) => assert_eq!(got, vector(&ids)),
                        Err(error) => {
                            assert_eq!(error, TextError::Interrupted.into());
                            assert!(n % 7 == 3 || n % 11 == 8, "{me} {n} was not told to stop");
                        }
                    }
                    assert!(runs <= 2);
                }
            });
        }
    });
    let board = hall.board.lock().unwrap();
    assert_eq!(board.now(), (0, 0, 2));
    assert!(board.tally().most > 1, "no run was shared: {:?}", board.tally());
}
