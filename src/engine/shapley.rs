//! Shapley values: what each member of a team adds to the team's worth, on average over the orders of joining.

use super::error::Result;
use super::host::checkpoint;
use super::random::SplitMix64;

/// Largest team whose every subset is looked at, so that its values are exact.
const EXACT: usize = 10;

/// Teams whose worth is asked for, at most, where they are not.
const ASKED: usize = 2_048;

/// Seed of the orders of joining.
const SEED: u64 = 1;

/// What each of `members` adds to `worth`, which is told who is there. The values add up to the worth of all less that of
/// nobody, which is also returned. Exact for up to 10 members; of more, the mean over random orders of joining and the same
/// backwards, as many as ask for 2,048 teams, always the same ones.
///
/// Errors: those of `worth`.
pub fn shapley(members: usize, worth: &mut dyn FnMut(&[bool]) -> Result<f64>) -> Result<(f64, Vec<f64>)> {
    if members <= EXACT { of_all_teams(members, worth) } else { of_some_orders(members, worth) }
}

fn of_all_teams(members: usize, worth: &mut dyn FnMut(&[bool]) -> Result<f64>) -> Result<(f64, Vec<f64>)> {
    let team = |number: usize| (0..members).map(|member| number >> member & 1 == 1).collect::<Vec<_>>();
    let mut worths = Vec::with_capacity(1 << members);
    for number in 0..1 << members {
        checkpoint();
        worths.push(worth(&team(number))?);
    }
    // Of the orders of joining, the share in which exactly these `size` have come before.
    let mut shares = vec![1.0 / members.max(1) as f64];
    for size in 1..members {
        shares.push(shares[size - 1] * size as f64 / (members - size) as f64);
    }
    let mut values = vec![0.0; members];
    for (member, value) in values.iter_mut().enumerate() {
        let bit = 1usize << member;
        for number in (0..worths.len()).filter(|number| number & bit == 0) {
            *value += shares[number.count_ones() as usize] * (worths[number | bit] - worths[number]);
        }
    }
    Ok((worths[0], values))
}

fn of_some_orders(members: usize, worth: &mut dyn FnMut(&[bool]) -> Result<f64>) -> Result<(f64, Vec<f64>)> {
    let mut random = SplitMix64::new(SEED);
    let nobody = worth(&vec![false; members])?;
    let pairs = (ASKED / members / 2).max(1);
    let mut order: Vec<usize> = (0..members).collect();
    let mut values = vec![0.0; members];
    for turn in 0..pairs * 2 {
        if turn % 2 == 0 {
            shuffle(&mut order, &mut random);
        } else {
            order.reverse();
        }
        let (mut team, mut before) = (vec![false; members], nobody);
        for &member in &order {
            checkpoint();
            team[member] = true;
            let with = worth(&team)?;
            values[member] += with - before;
            before = with;
        }
    }
    values.iter_mut().for_each(|value| *value /= (pairs * 2) as f64);
    Ok((nobody, values))
}

/// Fisher and Yates.
fn shuffle(order: &mut [usize], random: &mut SplitMix64) {
    for last in (1..order.len()).rev() {
        order.swap(last, (random.next_u64() % (last as u64 + 1)) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The mean over every order of joining, by the definition.
    fn by_definition(members: usize, worth: &dyn Fn(&[bool]) -> f64) -> Vec<f64> {
        fn orders(rest: &[usize]) -> Vec<Vec<usize>> {
            if rest.is_empty() {
                return vec![Vec::new()];
            }
            let with = |&first: &usize| {
                let others: Vec<usize> = rest.iter().copied().filter(|x| *x != first).collect();
                orders(&others).into_iter().map(move |mut order| {
                    order.push(first);
                    order
                })
            };
            rest.iter().flat_map(with).collect()
        }
        let all = orders(&(0..members).collect::<Vec<_>>());
        let mut values = vec![0.0; members];
        for order in &all {
            let mut team = vec![false; members];
            for &member in order {
                let before = worth(&team);
                team[member] = true;
                values[member] += (worth(&team) - before) / all.len() as f64;
            }
        }
        values
    }

    /// A worth in which members help and hinder each other.
    fn worth(weights: &[f64], team: &[bool]) -> f64 {
        let sum: f64 = weights.iter().zip(team).filter(|(_, there)| **there).map(|(weight, _)| weight).sum();
        0.5 + sum.tanh() + f64::from(u8::from(team[0] && team[team.len() - 1]))
    }

    proptest! {
        #[test]
        fn few_members_get_what_the_definition_says(weights in prop::collection::vec(-2.0..2.0f64, 1..7)) {
            let known = |team: &[bool]| worth(&weights, team);
            let (nobody, values) = shapley(weights.len(), &mut |team| Ok(known(team))).unwrap();
            prop_assert_eq!(nobody, 0.5);
            for (value, expected) in values.iter().zip(by_definition(weights.len(), &known)) {
                prop_assert!((value - expected).abs() < 1e-12);
            }
        }

        #[test]
        fn values_add_up_and_are_the_same_each_time(weights in prop::collection::vec(-2.0..2.0f64, 1..60)) {
            let mut asked = 0;
            let mut known = |team: &[bool]| { asked += 1; Ok(worth(&weights, team)) };
            let (nobody, values) = shapley(weights.len(), &mut known).unwrap();
            let all = vec![true; weights.len()];
            prop_assert!((nobody + values.iter().sum::<f64>() - worth(&weights, &all)).abs() < 1e-9);
            prop_assert!(asked <= 2_049);
            prop_assert_eq!(values, shapley(weights.len(), &mut |team| Ok(worth(&weights, team))).unwrap().1);
        }
    }

    #[test]
    fn many_members_are_near_their_values_and_idle_ones_get_nothing() {
        // Exact for a sum, and close for a product of pairs, whose value is half of each.
        let weights: Vec<f64> = (0..30).map(f64::from).collect();
        let pairs = |team: &[bool]| {
            let pair = |first: usize| f64::from(u8::from(team[first] && team[first + 1])) * weights[first];
            Ok((0..28).step_by(2).map(pair).sum())
        };
        let (_, values) = shapley(30, &mut { pairs }).unwrap();
        for first in (0..28).step_by(2) {
            let (a, b) = (values[first], values[first + 1]);
            // An order and the same backwards: each of a pair comes second once.
            assert!((a - weights[first] / 2.0).abs() < 1e-9 && (b - weights[first] / 2.0).abs() < 1e-9);
        }
        assert_eq!(values[28..], [0.0, 0.0]);
    }

    #[test]
    fn nobody_is_worth_what_nobody_is() {
        assert_eq!(shapley(0, &mut |_| Ok(0.25)).unwrap(), (0.25, Vec::new()));
    }
}
