//! What a job in committed batches carries from one transaction to the next, and what it says of a batch.

use crate::engine::Day;
use crate::engine::numeric::MarketSums;
use crate::pg::backfill::ledger::{Entry, Fate};
use crate::pg::report::Fault;

/// Version of the packed form.
const VERSION: u8 = 1;

/// What all batches of a job share, read once when it starts: every batch sees the same dates and the same
/// market, whatever is committed meanwhile.
#[derive(Debug, Default, PartialEq)]
pub struct Scope {
    /// As-of dates, ascending.
    pub days: Vec<Day>,
    /// No key had a row when the job started.
    pub fresh: bool,
    /// The market's sums, for models with a market.
    pub market: Option<MarketSums>,
}

impl Scope {
    /// The packed form: version, `fresh`, number of days as u32, days as i32, then the sums if there are any.
    pub fn pack(&self) -> Vec<u8> {
        let mut out = vec![VERSION, u8::from(self.fresh), u8::from(self.market.is_some())];
        out.extend((self.days.len() as u32).to_le_bytes());
        self.days.iter().for_each(|day| out.extend(day.0.to_le_bytes()));
        if let Some(market) = &self.market {
            out.extend(market.pack());
        }
        out
    }

    /// Reads the packed form. Errors: [`Fault::MalformedScope`] (22P03), and those of the sums.
    pub fn unpack(bytes: &[u8]) -> Result<Self, Fault> {
        let ([VERSION, fresh @ (0 | 1), has_market @ (0 | 1)], rest) = split::<3>(bytes)? else {
            return Err(Fault::MalformedScope);
        };
        let (count, rest) = split::<4>(rest)?;
        let length = (u32::from_le_bytes(count) as usize).checked_mul(4).ok_or(Fault::MalformedScope)?;
        let (days, rest) = rest.split_at_checked(length).ok_or(Fault::MalformedScope)?;
        let days: Vec<Day> =
            days.chunks_exact(4).map(|c| Day(i32::from_le_bytes([c[0], c[1], c[2], c[3]]))).collect();
        if !days.is_sorted() || (has_market == 0 && !rest.is_empty()) {
            return Err(Fault::MalformedScope);
        }
        let market = (has_market == 1).then(|| MarketSums::unpack(rest)).transpose()?;
        Ok(Self { days, fresh: fresh == 1, market })
    }

    /// Fingerprint of the dates and of `entities`, by which a job knows whether it still is what it was.
    pub fn digest(&self, entities: &[String]) -> i64 {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        self.days.iter().for_each(|day| hasher.update(&day.0.to_le_bytes()));
        for entity in entities {
            hasher.update(&(entity.len() as u64).to_le_bytes());
            hasher.update(entity.as_bytes());
        }
        hasher.digest().cast_signed()
    }
}

fn split<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), Fault> {
    let (head, rest) = bytes.split_at_checked(N).ok_or(Fault::MalformedScope)?;
    Ok((head.try_into().map_err(|_| Fault::MalformedScope)?, rest))
}

/// A run of consecutive dates of one entity without a vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Index of the entity among those of the batch.
    pub entity: u32,
    /// First date.
    pub first: Day,
    /// Last date.
    pub last: Day,
    /// Number of dates.
    pub dates: u32,
    /// Why, on the last of them.
    pub reason: Box<str>,
}

/// A batch in figures: keys by their fate, and what failed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Keys that got their first row.
    pub inserted: u64,
    /// Keys whose row was overwritten.
    pub replaced: u64,
    /// Keys whose row was left.
    pub skipped: u64,
    /// Keys without a vector.
    pub failed: u64,
    /// The latter, by entity, dates that follow each other taken together.
    pub failures: Vec<Failure>,
}

impl Summary {
    /// Sums up the entries of a batch over `days`.
    pub fn of(mut entries: Vec<Entry>, days: &[Day]) -> Self {
        entries.sort_unstable_by_key(|entry| (entry.entity, entry.day));
        let mut summary = Self::default();
        for Entry { entity, day, fate } in entries {
            match fate {
                Fate::Inserted(_) => summary.inserted += 1,
                Fate::Replaced(_) => summary.replaced += 1,
                Fate::Skipped | Fate::Current => summary.skipped += 1,
                Fate::Failed { reason, .. } => summary.fail(entity, day, reason, days),
            }
        }
        summary
    }

    fn fail(&mut self, entity: u32, day: Day, reason: Box<str>, days: &[Day]) {
        self.failed += 1;
        let before = days.partition_point(|&other| other < day).checked_sub(1).and_then(|at| days.get(at));
        match self.failures.last_mut() {
            Some(run) if run.entity == entity && Some(&run.last) == before => {
                (run.last, run.reason) = (day, reason);
                run.dates += 1;
            }
            _ => self.failures.push(Failure { entity, first: day, last: day, dates: 1, reason }),
        }
    }
}
