//! The joint backfill: for some hundred keys at a time, one statement looks up their branches, and one writes what they
//! are fused to.

use std::collections::HashMap;
use std::rc::Rc;

use super::OnExisting;
use crate::engine::joint::space::{EntityType, Leaf, Table};
use crate::engine::simd;
use crate::pg::ffi::guc::ChangedSettings;
use crate::pg::ffi::scratch::scratch;
use crate::pg::ffi::staged::{Cells, RowSource};
use crate::pg::ffi::{interrupts, transaction};
use crate::pg::report::Fault;
use crate::pg::spi::joint_keys::Key;
use crate::pg::spi::joint_rows::{Found, JointTarget, Look, Sources, Stored};
use crate::pg::spi::spaces::{Source, SpaceRow};

/// Keys of the first pair of statements; from then on the size of their vectors is known.
const FIRST_KEYS: usize = 64;

/// Most keys of a pair of statements.
const MOST_KEYS: usize = 1_000;

/// Bytes of vectors that a pair of statements holds, about: below the default `work_mem`, so that staged rows stay in
/// memory.
const CHUNK_BYTES: usize = 3 << 20;

/// Keys fused at a time: what they need stays in the processor's cache.
const TOGETHER: usize = 32;

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
struct FusedRow {
    /// Its key, among those of the chunk.
    key: usize,
    vector: Vec<u8>,
    digest: [u8; 16],
    words: Rc<Words>,
}

/// What the rows of one set of branches say of it.
#[derive(Debug)]
struct Words {
    /// Member `source` of the scope.
    source: String,
    /// Branches and their models, as JSON.
    branches: String,
}

/// A backfill under way.
struct Run<'a> {
    row: &'a SpaceRow,
    target: &'a JointTarget,
    sources: &'a Sources,
    on_existing: OnExisting,
    look: Look,
    /// By the branches that are used, one bit each.
    words: HashMap<u32, Rc<Words>>,
    /// Bytes that the vectors of one key took at most.
    bytes_each: usize,
}

impl Run<'_> {
    /// Fuses and writes some keys; their fates, in order.
    fn chunk(&mut self, keys: &[Key]) -> Result<Vec<Fate>, Fault> {
        let (row, target, sources, look) = (self.row, self.target, self.sources, self.look);
        let mut fates: Vec<Option<Fate>> = vec![None; keys.len()];
        let mut rows = Vec::with_capacity(keys.len());
        target.branches(row, sources, keys, look, |found| {
            for found in found.chunks(TOGETHER) {
                interrupts::check();
                self.fuse(found, &mut fates, &mut rows);
            }
            Ok(())
        })?;
        if !rows.is_empty() {
            target.insert(row, &mut Rows { keys, rows: rows.iter() })?;
        }
        let fates: Option<Vec<Fate>> = fates.into_iter().collect();
        fates.ok_or_else(|| Fault::Internal { what: "a joint backfill lost a key".to_owned() })
    }

    fn fuse(&mut self, found: &[Found<'_>], fates: &mut [Option<Fate>], rows: &mut Vec<FusedRow>) {
        let vectors: Vec<&[Option<&[u8]>]> = found.iter().map(|found| found.vectors.as_slice()).collect();
        let space = &self.row.space;
        for (found, fused) in found.iter().zip(space.fuse_all(&vectors)) {
            let there = found.vectors.iter().enumerate().filter(|(_, vector)| vector.is_some());
            let there = there.fold(0, |mask, (index, _)| mask | 1 << index);
            let mut fate = Fate { found: there, ..Fate::NONE };
            match fused {
                Ok(Some(fused)) => {
                    let digest = space.digest(&found.vectors);
                    fate.dim = Some((fused.vector.len() / 4) as i32);
                    fate.used = fused.used;
                    fate.left = self.left(&found.stored, digest, fused.vector.len());
                    fate.status = match (fate.left, found.stored.exists) {
                        (Some(_), _) => "skipped",
                        (None, true) => "replaced",
                        (None, false) => "inserted",
                    };
                    if fate.left.is_none() {
                        fate.non_finite = simd::count_non_finite(&fused.vector);
                        let words = self.words(fused.used);
                        rows.push(FusedRow {
                            key: found.key,
                            vector: fused.vector.into_owned(),
                            digest,
                            words,
                        });
                    }
                    let bytes = found.vectors.iter().flatten().map(|vector| vector.len()).sum::<usize>();
                    self.bytes_each = self.bytes_each.max(bytes);
                }
                Ok(None) => {}
                Err(error) => fate.reason = Some(format!("{error} ({})", self.dims(&found.vectors))),
            }
            if let Some(slot) = fates.get_mut(found.key) {
                *slot = Some(fate);
            }
        }
    }

    /// Why the row that a key has is left, if it is.
    fn left(&self, stored: &Stored, digest: [u8; 16], bytes: usize) -> Option<&'static str> {
        match self.on_existing {
            OnExisting::Skip if stored.exists => Some("row exists"),
            OnExisting::Update if stored.digest == Some(digest) && stored.bytes == bytes => {
                Some("up to date")
            }
            _ => None,
        }
    }

    fn words(&mut self, mask: u32) -> Rc<Words> {
        let row = self.row;
        let words = || {
            let leaves = row.space.leaves().iter().enumerate();
            let used: Vec<&Leaf> =
                leaves.filter(|(index, _)| mask & (1 << index) != 0).map(|(_, leaf)| leaf).collect();
            let joined =
                |name: fn(&Leaf) -> &str| used.iter().map(|leaf| name(leaf)).collect::<Vec<_>>().join("+");
            let source = match &row.source {
                Source::Branches => joined(|leaf| &leaf.name),
                Source::Models => joined(|leaf| &leaf.model_id),
                Source::Text(text) => text.clone(),
            };
            let members = used.iter().map(|leaf| (leaf.name.clone(), leaf.model_id.clone().into()));
            Rc::new(Words { source, branches: serde_json::Value::Object(members.collect()).to_string() })
        };
        Rc::clone(self.words.entry(mask).or_insert_with(words))
    }

    fn dims(&self, vectors: &[Option<&[u8]>]) -> String {
        let leaves = self.row.space.leaves().iter().zip(vectors);
        let parts: Vec<String> = leaves
            .filter_map(|(leaf, vector)| Some(format!("{} has {} bytes", leaf.name, (*vector)?.len())))
            .collect();
        parts.join(", ")
    }
}

/// The rows of one chunk.
struct Rows<'a> {
    keys: &'a [Key],
    rows: std::slice::Iter<'a, FusedRow>,
}

impl RowSource for Rows<'_> {
    fn next_row(&mut self, cells: &mut Cells<'_>) -> Result<bool, Fault> {
        let Some(row) = self.rows.next() else { return Ok(false) };
        let Some(key) = self.keys.get(row.key) else { return Ok(false) };
        let known = [&key.instrument, &key.issuer, &key.region, &key.set];
        cells.text(0, &key.entity);
        cells.date(1, key.day);
        for (column, value) in (2..).zip(known) {
            if let Some(value) = value {
                cells.text(column, value);
            }
        }
        cells.text(6, &row.words.source);
        cells.text(7, &row.words.branches);
        cells.uuid(8, row.digest);
        cells.bytes(9, row.vector.len(), |out| {
            out.copy_from_slice(&row.vector);
            Ok(())
        })?;
        Ok(true)
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
    target.check_privileges(row)?;
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
    let mut run = Run { row, target, sources, on_existing, look, words: HashMap::new(), bytes_each: 0 };
    let mut fates = Vec::with_capacity(keys.len());
    // Statements are dear only by the number of their keys: compiling them costs more than it saves.
    let changed = ChangedSettings::set(&[(c"jit", c"off")]);
    while fates.len() < keys.len() {
        let size = match run.bytes_each {
            0 => FIRST_KEYS,
            bytes => (CHUNK_BYTES / bytes).clamp(1, MOST_KEYS),
        };
        let rest = &keys[fates.len()..];
        fates.extend(scratch(|| run.chunk(&rest[..size.min(rest.len())]))?);
    }
    changed.restore();
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
