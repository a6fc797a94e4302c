//! The joint backfill: one statement looks up the branches of every key, fuses them by calling back into the
//! running backfill, and writes the result.

use std::cell::RefCell;

use super::OnExisting;
use crate::engine::joint::space::{EntityType, Leaf, Table};
use crate::engine::simd;
use crate::pg::ffi::transaction;
use crate::pg::report::{Fault, JointFault};
use crate::pg::spi::joint_keys::Key;
use crate::pg::spi::joint_rows::{JointTarget, Look, Sources};
use crate::pg::spi::spaces::{Source, SpaceRow};

/// What became of a key.
#[derive(Debug, Clone, PartialEq)]
pub struct Fate {
    /// `inserted`, `replaced`, `skipped` or `failed`.
    pub status: &'static str,
    /// Components of the vector.
    pub dim: Option<i32>,
    /// Branches that were found, one bit each.
    pub found: u32,
    /// Branches that are in the vector, one bit each.
    pub used: u32,
    /// Components that are NaN or infinite.
    pub non_finite: usize,
    /// Why there is no vector, beside missing branches.
    pub reason: Option<String>,
    /// Why the row that was there was left, if it was.
    pub left: Option<&'static str>,
}

impl Fate {
    /// No vector.
    const NONE: Fate =
        Fate { status: "failed", dim: None, found: 0, used: 0, non_finite: 0, reason: None, left: None };

    /// What a reader should know: why there is no new vector, which of the `leaves` are missing for `key`.
    pub fn detail(&self, leaves: &[Leaf], key: &Key) -> Option<String> {
        let missing = leaves.iter().enumerate().filter(|(index, _)| self.found & (1 << index) == 0);
        let odd = (self.non_finite > 0).then(|| {
            format!("{} of {} values are not finite", self.non_finite, self.dim.unwrap_or_default())
        });
        let parts: Vec<String> = (self.reason.iter().cloned())
            .chain(self.left.map(str::to_owned))
            .chain(missing.map(|(_, leaf)| missing_branch(leaf, key)))
            .chain(odd)
            .collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

/// A vector to be written, and what its row says of it.
#[derive(Debug)]
pub struct FusedRow {
    /// The vector.
    pub vector: Vec<u8>,
    /// Member `source` of the scope.
    pub source: String,
    /// Branches and their weights, as JSON.
    pub branches: String,
    /// Digest of the branches.
    pub digest: [u8; 16],
}

/// A backfill while its statement runs.
struct Run {
    row: SpaceRow,
    on_existing: OnExisting,
    fates: Vec<Option<Fate>>,
}

thread_local! {
    /// Backfills that run, innermost last: a trigger may start one of its own.
    static RUNS: RefCell<Vec<Run>> = const { RefCell::new(Vec::new()) };
}

/// Takes the run off again, also when an error unwinds.
struct Registered;

impl Drop for Registered {
    fn drop(&mut self) {
        RUNS.with(|runs| runs.try_borrow_mut().map(|mut runs| runs.pop()).ok());
    }
}

/// The row that a key has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stored {
    /// Whether there is one.
    pub exists: bool,
    /// Digest of the branches that it was made from, where it is known and asked for.
    pub digest: Option<[u8; 16]>,
    /// Length of its vector.
    pub bytes: usize,
}

/// Fuses the branches of key `number` (from 1) of the innermost run; None when nothing is to be written.
///
/// Errors: [`JointFault::NoRun`].
pub fn fuse(number: i64, stored: Stored, vectors: &[Option<&[u8]>]) -> Result<Option<FusedRow>, Fault> {
    RUNS.with(|runs| {
        let mut runs = runs.try_borrow_mut().map_err(|_| JointFault::NoRun)?;
        let run = runs.last_mut().ok_or(JointFault::NoRun)?;
        let slot = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        let slot = slot.filter(|slot| *slot < run.fates.len()).ok_or(JointFault::NoRun)?;
        // One bit of a mask for each branch of the space: nobody else can be the caller.
        if vectors.len() != run.row.space.leaves().len() {
            return Err(JointFault::NoRun.into());
        }
        let (fate, row) = run.fuse(stored, vectors);
        run.fates[slot] = Some(fate);
        Ok(row)
    })
}

impl Run {
    fn fuse(&self, stored: Stored, vectors: &[Option<&[u8]>]) -> (Fate, Option<FusedRow>) {
        let found = vectors.iter().enumerate().filter(|(_, vector)| vector.is_some());
        let found = found.fold(0, |mask, (index, _)| mask | 1 << index);
        let mut fate = Fate { found, ..Fate::NONE };
        let fused = match self.row.space.fuse(vectors) {
            Ok(Some(fused)) => fused,
            Ok(None) => return (fate, None),
            Err(error) => {
                fate.reason = Some(format!("{error} ({})", self.dims(vectors)));
                return (fate, None);
            }
        };
        fate.dim = Some((fused.vector.len() / 4) as i32);
        fate.used = fused.used;
        let digest = self.row.space.digest(vectors);
        fate.left = match self.on_existing {
            OnExisting::Skip if stored.exists => Some("row exists"),
            OnExisting::Update if stored.digest == Some(digest) && stored.bytes == fused.vector.len() => {
                Some("up to date")
            }
            _ => None,
        };
        if fate.left.is_some() {
            fate.status = "skipped";
            return (fate, None);
        }
        fate.status = if stored.exists { "replaced" } else { "inserted" };
        fate.non_finite = simd::count_non_finite(&fused.vector);
        let row = FusedRow {
            source: self.source(fused.used),
            branches: self.branches(fused.used),
            digest,
            vector: fused.vector.into_owned(),
        };
        (fate, Some(row))
    }

    fn used(&self, mask: u32) -> impl Iterator<Item = &Leaf> {
        let leaves = self.row.space.leaves().iter().enumerate();
        leaves.filter(move |(index, _)| mask & (1 << index) != 0).map(|(_, leaf)| leaf)
    }

    fn source(&self, mask: u32) -> String {
        let joined = |name: fn(&Leaf) -> &str| self.used(mask).map(name).collect::<Vec<_>>().join("+");
        match &self.row.source {
            Source::Branches => joined(|leaf| &leaf.name),
            Source::Models => joined(|leaf| &leaf.model_id),
            Source::Text(text) => text.clone(),
        }
    }

    /// Branch to model, of those in the vector.
    fn branches(&self, mask: u32) -> String {
        let members = self.used(mask).map(|leaf| (leaf.name.clone(), leaf.model_id.clone().into()));
        serde_json::Value::Object(members.collect()).to_string()
    }

    fn dims(&self, vectors: &[Option<&[u8]>]) -> String {
        let leaves = self.row.space.leaves().iter().zip(vectors);
        let parts: Vec<String> = leaves
            .filter_map(|(leaf, vector)| Some(format!("{} has {} bytes", leaf.name, (*vector)?.len())))
            .collect();
        parts.join(", ")
    }
}

/// Writes the joint vectors of `keys`, which are sorted and different; one fate per key.
///
/// Errors: [`Fault::AppendToUnique`], [`Fault::NoInputDigest`], and whatever reading and writing raise.
pub fn run(
    row: &SpaceRow,
    target: &JointTarget,
    sources: &Sources,
    keys: &[Key],
    on_existing: OnExisting,
) -> Result<Vec<Fate>, Fault> {
    transaction::refuse_read_only();
    target.allows(on_existing)?;
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let replaces = matches!(on_existing, OnExisting::Replace | OnExisting::Update) && !target.unique();
    if !target.unique() && on_existing != OnExisting::Append {
        target.lock(row)?;
    }
    // A look-up per key is saved where no key can have a row.
    let look = match (on_existing, keys.first(), keys.last()) {
        (OnExisting::Append, _, _) => Look::None,
        (OnExisting::Skip, _, _) => Look::Row,
        (_, Some(first), Some(last)) if !target.any_between(row, first.day, last.day)? => Look::None,
        (OnExisting::Update, _, _) => Look::Digest,
        (OnExisting::Replace, _, _) => Look::Row,
    };
    let last = if replaces { target.last_row(row)? } else { None };
    let fates = {
        let fates = vec![None; keys.len()];
        RUNS.with(|runs| match runs.try_borrow_mut() {
            Ok(mut runs) => {
                runs.push(Run { row: row.clone(), on_existing, fates });
                Ok(())
            }
            Err(_) => Err(JointFault::NoRun),
        })?;
        let _registered = Registered;
        target.insert(row, sources, keys, look)?;
        RUNS.with(|runs| runs.borrow_mut().last_mut().map(|run| std::mem::take(&mut run.fates)))
    };
    let fates: Option<Vec<Fate>> = fates.and_then(|fates| fates.into_iter().collect());
    let fates = fates.ok_or_else(|| Fault::Internal { what: "a joint backfill lost a key".to_owned() })?;
    if let Some(last) = last {
        let replaced = keys.iter().zip(&fates).filter(|(_, fate)| fate.status == "replaced");
        let replaced: Vec<&Key> = replaced.map(|(key, _)| key).collect();
        if !replaced.is_empty() {
            target.delete(row, &replaced, &last)?;
        }
    }
    Ok(fates)
}

/// What is missing of a key, in words.
fn missing_branch(leaf: &Leaf, key: &Key) -> String {
    let kind = leaf.table.modality();
    match (leaf.entity_type, &key.instrument, &key.issuer) {
        (EntityType::Instrument, None, _) => format!("no {kind} embedding: the issuer has no instrument"),
        (EntityType::Issuer, _, None) => format!("no {kind} embedding: the instrument has no issuer"),
        _ => {
            let window = match (leaf.table, leaf.window_days) {
                (Table::Numeric, Some(days)) => format!(" and {days} days"),
                _ => String::new(),
            };
            format!("no {kind} embedding at {} for {}{window}", key.read_day, leaf.model_id)
        }
    }
}
