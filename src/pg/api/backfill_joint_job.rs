//! What the procedure `backfill_joint_range` calls: the entities of a job, and one batch of them.
//!
//! The procedure itself, which commits between the batches, is in `sql/32_procedures.sql`.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::arguments::required;
use super::backfill_entities::names;
use super::backfill_joint::{Selection, open_sources, space, table};
use super::backfill_numeric::range;
use super::partition::{batch_names, batch_size, part};
use crate::engine::partition::Part;
use crate::pg::backfill::OnExisting;
use crate::pg::backfill::job::{Listing, Outcome, Summary};
use crate::pg::backfill::joint::{self, Fate};
use crate::pg::ffi::array::ItemArray;
use crate::pg::ffi::json::JsonText;
use crate::pg::ffi::regclass::Regclass;
use crate::pg::ffi::transaction;
use crate::pg::report::Fault;
use crate::pg::spi::joint_keys::{self, Key};
use crate::pg::spi::joint_rows::{JointTarget, Sources};
use crate::pg::spi::listed::Listed;
use crate::pg::spi::relation::Relation;
use crate::pg::spi::spaces::SpaceRow;

/// A space with the tables of a job.
struct Opened {
    row: SpaceRow,
    target: JointTarget,
    sources: Sources,
    on_existing: OnExisting,
}

/// The arguments that make an [`Opened`].
struct Named<'a> {
    joint_type: Option<&'a str>,
    model_id: Option<&'a str>,
    entity_type: Option<&'a str>,
    branch_models: Option<JsonText>,
    on_existing: Option<&'a str>,
    numeric_embeddings: Option<Regclass>,
    text_embeddings: Option<Regclass>,
    target: Option<Regclass>,
}

impl Named<'_> {
    fn open(self) -> Result<Opened, Fault> {
        transaction::refuse_read_only();
        let joint_type = required(self.joint_type, "joint_type")?;
        let on_existing = OnExisting::parse(required(self.on_existing, "on_existing")?)?;
        let row = space(joint_type, self.model_id, self.entity_type, self.branch_models)?;
        let target = JointTarget::open(self.target)?;
        target.allows(on_existing)?;
        let sources = open_sources(&row, self.numeric_embeddings, self.text_embeddings)?;
        Ok(Opened { row, target, sources, on_existing })
    }
}

/// Checks every argument of a job and lists the entities of its part, in byte order, with the number of vectors
/// to look after and a fingerprint of both.
#[pg_extern(volatile, parallel_unsafe, cost = 100000)]
#[allow(clippy::too_many_arguments)]
pub fn embed_joint_job_entities(
    joint_type: Option<&str>,
    start_date: Option<Date>,
    end_date: Option<Date>,
    entity_ids: Option<ItemArray<'_, str>>,
    model_id: Option<&str>,
    entity_type: Option<&str>,
    market_id: Option<&str>,
    region: Option<&str>,
    branch_models: Option<JsonText>,
    max_entities: Option<i32>,
    skip_entities: Option<i32>,
    on_existing: Option<&str>,
    numeric_embeddings: Option<Regclass>,
    text_embeddings: Option<Regclass>,
    target: Option<Regclass>,
    profiles: Option<Regclass>,
    instruments: Option<Regclass>,
    markets: Option<Regclass>,
    partition: Option<i32>,
    partitions: Option<i32>,
    batch_entities: Option<i32>,
) -> Result<
    TableIterator<'static, (name!(entities, Vec<String>), name!(total, i64), name!(digest, i64))>,
    ErrorReport,
> {
    let named = Named {
        joint_type,
        model_id,
        entity_type,
        branch_models,
        on_existing,
        numeric_embeddings,
        text_embeddings,
        target,
    };
    let selection = Selection {
        days: Some(range(start_date, end_date)?),
        entity_ids: names(entity_ids, "entity_ids")?,
        market_id,
        region,
        max_entities,
        skip_entities,
        profiles,
        instruments,
        markets,
        ..Selection::default()
    };
    let part = part(partition, partitions)?;
    batch_size(batch_entities)?;
    let listing = named.open()?.list(&selection, part)?;
    Ok(TableIterator::once((listing.entities, listing.total, listing.digest)))
}

/// Computes and stores the joint vectors of some entities at each of their dates; figures and failures.
#[pg_extern(volatile, parallel_unsafe, cost = 1000000)]
#[allow(clippy::too_many_arguments)]
pub fn embed_joint_job_step(
    entities: Option<ItemArray<'_, str>>,
    joint_type: Option<&str>,
    start_date: Option<Date>,
    end_date: Option<Date>,
    model_id: Option<&str>,
    entity_type: Option<&str>,
    region: Option<&str>,
    branch_models: Option<JsonText>,
    on_existing: Option<&str>,
    numeric_embeddings: Option<Regclass>,
    text_embeddings: Option<Regclass>,
    target: Option<Regclass>,
    profiles: Option<Regclass>,
    instruments: Option<Regclass>,
    markets: Option<Regclass>,
) -> Result<pgrx::JsonB, ErrorReport> {
    let named = Named {
        joint_type,
        model_id,
        entity_type,
        branch_models,
        on_existing,
        numeric_embeddings,
        text_embeddings,
        target,
    };
    let selection = Selection {
        days: Some(range(start_date, end_date)?),
        entity_ids: Some(batch_names(entities)?),
        region,
        profiles,
        instruments,
        markets,
        ..Selection::default()
    };
    Ok(pgrx::JsonB(named.open()?.step(&selection)?.to_json()))
}

impl Opened {
    /// The entities that are selected and belong to `part`. One that was named and has no date counts one
    /// vector, which will fail.
    fn list(&self, selection: &Selection<'_>, part: Part) -> Result<Listing, Fault> {
        let row = &self.row;
        selection.check(row.entity_type, &row.entities)?;
        let (days, ids) = (selection.span()?, selection.entity_ids.as_deref());
        let mut found = match row.entities.as_str() {
            "instruments" => {
                let ids = selection.instruments()?;
                let days = selection.instrument_days(row, &self.target, &self.sources)?;
                let (dates, sum) = (days.len() as i64, days.iter().map(|day| i64::from(day.0)).sum());
                ids.into_iter().map(|entity| Listed { entity, dates, sum }).collect()
            }
            "profiles" => {
                let columns = ["issuer_id", "as_of_date"];
                let profiles = Relation::open(selection.profiles, "profiles", "profiles", &columns)?;
                joint_keys::listed_profiles(&profiles, days, ids)?
            }
            _ => match row.space.leaves().first() {
                Some(leaf) => {
                    let table = table(leaf.table, &self.target, &self.sources)?;
                    joint_keys::listed_branch(table, leaf, days, ids)?
                }
                None => Vec::new(),
            },
        };
        if let (Some(ids), true) = (ids, row.entities != "instruments") {
            let absent = ids.iter().filter(|id| found.binary_search_by(|at| at.entity.cmp(id)).is_err());
            let absent = absent.map(|id| Listed { entity: id.clone(), dates: 1, sum: 0 });
            let absent: Vec<Listed> = absent.collect();
            found.extend(absent);
            found.sort_unstable_by(|a, b| a.entity.cmp(&b.entity));
        }
        if let (Some(max), true) = (selection.max_entities, row.entities != "instruments") {
            found.truncate(max as usize);
        }
        found.retain(|listed| part.has(&listed.entity));
        Ok(Listing::of(found))
    }

    fn step(&self, selection: &Selection<'_>) -> Result<Summary, Fault> {
        let Self { row, target, sources, on_existing } = self;
        let (keys, absent) = selection.keys(row, target, sources)?;
        let fates = joint::run(row, target, sources, &keys, *on_existing)?;
        let leaves = row.space.leaves();
        let made = keys.iter().zip(&fates);
        let reasons: Vec<Option<String>> = made
            .clone()
            .map(|(key, fate)| (fate.status == "failed").then(|| fate.detail(leaves, key)).flatten())
            .collect();
        let mut outcomes: Vec<(&Key, Outcome<'_>)> = made
            .zip(&reasons)
            .map(|((key, fate), reason)| (key, outcome(fate, reason.as_deref())))
            .chain(absent.iter().map(|(key, reason)| (key, Outcome::Failed(reason))))
            .collect();
        outcomes.sort_by(|(a, _), (b, _)| (&a.entity, a.day).cmp(&(&b.entity, b.day)));
        Ok(Summary::of(outcomes.into_iter().map(|(key, outcome)| (key.entity.as_str(), key.day, outcome))))
    }
}

fn outcome<'a>(fate: &Fate, reason: Option<&'a str>) -> Outcome<'a> {
    match fate.status {
        "inserted" => Outcome::Inserted,
        "replaced" => Outcome::Replaced,
        "skipped" => Outcome::Left,
        _ => Outcome::Failed(reason.unwrap_or("no branch has a vector")),
    }
}
