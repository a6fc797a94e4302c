//! What a job in committed batches carries from one transaction to the next, and what it says of a batch.

use crate::engine::Day;
use crate::engine::numeric::MarketSums;
use crate::pg::report::Fault;
use crate::pg::spi::listed::Listed;

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

/// What became of one vector of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// Its key got its first row.
    Inserted,
    /// Its row was overwritten.
    Replaced,
    /// Its row was left, or there was nothing to make one of.
    Left,
    /// There is none, and why.
    Failed(&'a str),
}

/// A run of dates of one entity without a vector, none of its other dates between them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Failure {
    entity: String,
    first: Day,
    last: Day,
    dates: u32,
    /// Why, on the last of them.
    reason: String,
}

/// A batch in figures: vectors by their outcome, and what failed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Summary {
    inserted: u64,
    replaced: u64,
    skipped: u64,
    failed: u64,
    failures: Vec<Failure>,
    /// Whether the latest outcome was a failure, which the next one of the same entity can join.
    failing: bool,
}

impl Summary {
    /// Sums up the outcomes of a batch, which come entity by entity, each one's dates ascending.
    pub fn of<'a>(outcomes: impl Iterator<Item = (&'a str, Day, Outcome<'a>)>) -> Self {
        let mut summary = Self::default();
        outcomes.for_each(|(entity, day, outcome)| summary.add(entity, day, outcome));
        summary
    }

    /// One more outcome, in that order.
    pub fn add(&mut self, entity: &str, day: Day, outcome: Outcome<'_>) {
        let joins = self.failing && self.failures.last().is_some_and(|run| run.entity == entity);
        self.failing = matches!(outcome, Outcome::Failed(_));
        match outcome {
            Outcome::Inserted => self.inserted += 1,
            Outcome::Replaced => self.replaced += 1,
            Outcome::Left => self.skipped += 1,
            Outcome::Failed(reason) => self.fail(entity, day, reason, joins),
        }
    }

    fn fail(&mut self, entity: &str, day: Day, reason: &str, joins: bool) {
        self.failed += 1;
        match self.failures.last_mut().filter(|_| joins) {
            Some(run) => {
                run.last = day;
                run.dates += 1;
                reason.clone_into(&mut run.reason);
            }
            None => self.failures.push(Failure {
                entity: entity.to_owned(),
                first: day,
                last: day,
                dates: 1,
                reason: reason.to_owned(),
            }),
        }
    }

    /// As `embed_job_advance` reads it.
    pub fn to_json(&self) -> serde_json::Value {
        let failure = |failure: &Failure| {
            serde_json::json!({
                "entity_id": failure.entity,
                "first_date": failure.first.to_string(),
                "last_date": failure.last.to_string(),
                "dates": failure.dates,
                "detail": failure.reason,
            })
        };
        serde_json::json!({
            "inserted": self.inserted,
            "replaced": self.replaced,
            "skipped": self.skipped,
            "failed": self.failed,
            "failures": self.failures.iter().map(failure).collect::<Vec<_>>(),
        })
    }
}

/// What a job over entities with dates of their own is about.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Entities in byte order, those of the job's part that have any vector to make.
    pub entities: Vec<String>,
    /// Vectors to look after.
    pub total: i64,
    /// Fingerprint of the entities and their dates, by which a job knows whether it still is what it was.
    pub digest: i64,
}

impl Listing {
    /// The listing of `found`, which is in byte order.
    pub fn of(found: Vec<Listed>) -> Self {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        let mut listing = Self::default();
        for Listed { entity, dates, sum } in found.into_iter().filter(|listed| listed.dates > 0) {
            hasher.update(&(entity.len() as u64).to_le_bytes());
            hasher.update(entity.as_bytes());
            hasher.update(&dates.to_le_bytes());
            hasher.update(&sum.to_le_bytes());
            listing.total += dates;
            listing.entities.push(entity);
        }
        listing.digest = hasher.digest().cast_signed();
        listing
    }
}
