//! `backfill_joint`: the joint vectors of a space at one date or over a range. Its faces with the published
//! arguments are in `sql/50_joint.sql`.

use std::collections::{BTreeMap, HashSet};

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::arguments::{day, required};
use super::backfill_entities::{cut, limit, names};
use super::search::bounds;
use crate::engine::Day;
use crate::engine::joint::space::{EntityType, Table};
use crate::pg::backfill::OnExisting;
use crate::pg::backfill::joint::{self, Fate};
use crate::pg::ffi::array::ItemArray;
use crate::pg::ffi::interrupts;
use crate::pg::ffi::json::JsonText;
use crate::pg::ffi::regclass::Regclass;
use crate::pg::report::{Fault, JointFault};
use crate::pg::spi::joint_keys::{self, Key, Wanted};
use crate::pg::spi::joint_rows::{JointTarget, Sources};
use crate::pg::spi::relation::Relation;
use crate::pg::spi::reports::{self, SET_COLUMNS};
use crate::pg::spi::spaces::{self, SpaceRow};
use crate::pg::spi::{instruments as instrument_table, models};

/// Everything that says which entities a call is about.
#[derive(Default)]
pub(super) struct Selection<'a> {
    pub(super) days: Option<(Day, Day)>,
    pub(super) entity_ids: Option<Vec<String>>,
    pub(super) market_id: Option<&'a str>,
    pub(super) scenario_set_id: Option<&'a str>,
    pub(super) region: Option<&'a str>,
    pub(super) max_entities: Option<i32>,
    pub(super) skip_entities: Option<i32>,
    pub(super) profiles: Option<Regclass>,
    pub(super) instruments: Option<Regclass>,
    pub(super) markets: Option<Regclass>,
    pub(super) scenario_sets: Option<Regclass>,
}

/// Computes and stores the joint vectors of a space.
#[pg_extern(volatile, parallel_unsafe, cost = 1000000)]
#[allow(clippy::too_many_arguments)]
pub fn backfill_joint(
    joint_type: Option<&str>,
    as_of: default!(Option<Date>, "NULL"),
    start_date: default!(Option<Date>, "NULL"),
    end_date: default!(Option<Date>, "NULL"),
    entity_ids: default!(Option<ItemArray<'_, str>>, "NULL"),
    model_id: default!(Option<&str>, "NULL"),
    entity_type: default!(Option<&str>, "NULL"),
    market_id: default!(Option<&str>, "NULL"),
    scenario_set_id: default!(Option<&str>, "NULL"),
    region: default!(Option<&str>, "NULL"),
    branch_models: default!(Option<JsonText>, "NULL"),
    max_entities: default!(Option<i32>, "NULL"),
    skip_entities: default!(Option<i32>, "NULL"),
    on_existing: default!(Option<&str>, "'replace'"),
    numeric_embeddings: default!(Option<Regclass>, "pg_catalog.to_regclass('numeric_window_embeddings')"),
    text_embeddings: default!(Option<Regclass>, "pg_catalog.to_regclass('text_embeddings')"),
    target: default!(Option<Regclass>, "pg_catalog.to_regclass('joint_embeddings')"),
    profiles: default!(Option<Regclass>, "pg_catalog.to_regclass('profiles')"),
    instruments: default!(Option<Regclass>, "pg_catalog.to_regclass('instruments')"),
    markets: default!(Option<Regclass>, "pg_catalog.to_regclass('markets')"),
    scenario_sets: default!(Option<Regclass>, "pg_catalog.to_regclass('scenario_sets')"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(entity_id, String),
            name!(as_of_date, Date),
            name!(model_id, String),
            name!(status, &'static str),
            name!(dim, Option<i32>),
            name!(instrument_id, Option<String>),
            name!(used, Vec<String>),
            name!(missing, Vec<String>),
            name!(detail, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let joint_type = required(joint_type, "joint_type")?;
    let on_existing = OnExisting::parse(required(on_existing, "on_existing")?)?;
    let row =
        space(joint_type, model_id, entity_type.or(scenario_set_id.map(|_| "SCENARIO")), branch_models)?;
    let target = JointTarget::open(target)?;
    let sources = open_sources(&row, numeric_embeddings, text_embeddings)?;
    let selection = Selection {
        days: days(as_of, start_date, end_date, scenario_set_id.is_some())?,
        entity_ids: names(entity_ids, "entity_ids")?,
        market_id,
        scenario_set_id,
        region,
        max_entities,
        skip_entities,
        profiles,
        instruments,
        markets,
        scenario_sets,
    };
    Ok(TableIterator::new(selection.run(row, &target, &sources, on_existing)?))
}

type Told = (
    String,
    Date,
    String,
    &'static str,
    Option<i32>,
    Option<String>,
    Vec<String>,
    Vec<String>,
    Option<String>,
);

fn tell(row: SpaceRow, keys: Vec<Key>, fates: Vec<Fate>, absent: Vec<(Key, String)>) -> Vec<Told> {
    let date = |day: Day| Date::saturating_from_raw(day.0);
    let mut told: Vec<(Key, Told)> = Vec::with_capacity(keys.len() + absent.len());
    for (key, fate) in keys.into_iter().zip(fates) {
        interrupts::check();
        let leaves = row.space.leaves();
        let missing = leaves.iter().enumerate().filter(|(index, _)| fate.found & (1 << index) == 0);
        let line = (
            key.entity.clone(),
            date(key.day),
            row.model_id.clone(),
            fate.status,
            fate.dim,
            key.instrument.clone(),
            row.space.names(fate.used).into_iter().map(str::to_owned).collect(),
            missing.map(|(_, leaf)| leaf.name.clone()).collect(),
            fate.detail(leaves, &key),
        );
        told.push((key, line));
    }
    for (key, reason) in absent {
        let (entity, day) = (key.entity.clone(), date(key.day));
        let line =
            (entity, day, row.model_id.clone(), "failed", None, None, Vec::new(), Vec::new(), Some(reason));
        told.push((key, line));
    }
    told.sort_by(|a, b| a.0.cmp(&b.0));
    told.into_iter().map(|(_, line)| line).collect()
}

/// First and last day. Errors: [`JointFault::DatesUnclear`], [`Fault::EmptyRange`].
fn days(
    as_of: Option<Date>,
    start: Option<Date>,
    end: Option<Date>,
    optional: bool,
) -> Result<Option<(Day, Day)>, Fault> {
    match (as_of, bounds(start, end)?) {
        (Some(as_of), (None, None)) => {
            let day = day(Some(as_of), "as_of")?;
            Ok(Some((day, day)))
        }
        (None, (Some(from), Some(to))) => Ok(Some((from, to))),
        (None, (None, None)) if optional => Ok(None),
        _ => Err(JointFault::DatesUnclear.into()),
    }
}

/// The space that is meant, with the models that were asked for.
pub(super) fn space(
    joint_type: &str,
    model_id: Option<&str>,
    entity_type: Option<&str>,
    branch_models: Option<JsonText>,
) -> Result<SpaceRow, Fault> {
    let entity_type = entity_type.map(EntityType::parse).transpose()?;
    let mut row = spaces::find(joint_type, model_id, entity_type)?;
    override_models(&mut row, branch_models)?;
    Ok(row)
}

/// Replaces the models of branches, by branch name; an empty model takes an optional branch away.
fn override_models(row: &mut SpaceRow, models: Option<JsonText>) -> Result<(), Fault> {
    let Some(JsonText(json)) = models else { return Ok(()) };
    let not_an_object = || JointFault::NotAnObject { argument: "branch_models" };
    let models: BTreeMap<String, Option<String>> =
        serde_json::from_str(&json).map_err(|_| not_an_object())?;
    for (branch, model) in models {
        // The published arguments name branches that other spaces need not have: `?name`.
        let (optional, branch) = match branch.strip_prefix('?') {
            Some(name) => (true, name.to_owned()),
            None => (false, branch),
        };
        let leaf = row.space.leaves().iter().find(|leaf| leaf.name == branch);
        if leaf.is_none() && optional {
            continue;
        }
        let Some(leaf) = leaf else {
            let known = row.space.leaves().iter().map(|leaf| leaf.name.clone()).collect();
            return Err(
                JointFault::UnknownBranch { joint_type: row.joint_type.clone(), branch, known }.into()
            );
        };
        let Some(model) = model.filter(|model| *model != leaf.model_id) else { continue };
        if !model.is_empty() {
            models::spec_json(&model, leaf.table.modality())?;
        }
        row.space.set_model(&branch, &model)?;
    }
    Ok(())
}

/// The tables that the branches of a space are in. Errors: as [`Relation::open`].
pub(super) fn open_sources(
    row: &SpaceRow,
    numeric: Option<Regclass>,
    text: Option<Regclass>,
) -> Result<Sources, Fault> {
    let needs = |table| row.space.leaves().iter().any(|leaf| leaf.table == table);
    let open = |given, argument, name, columns: &[&str]| Relation::open(given, argument, name, columns);
    let numeric_columns = ["entity_type", "entity_id", "window_spec", "as_of_date", "model_id", "vector"];
    let numeric = needs(Table::Numeric)
        .then(|| open(numeric, "numeric_embeddings", "numeric_window_embeddings", &numeric_columns));
    let text_columns = ["source_type", "source_id", "model_id", "vector"];
    let text = needs(Table::Text).then(|| open(text, "text_embeddings", "text_embeddings", &text_columns));
    Ok(Sources { numeric: numeric.transpose()?, text: text.transpose()? })
}

impl Selection<'_> {
    fn run(
        &self,
        row: SpaceRow,
        target: &JointTarget,
        sources: &Sources,
        on_existing: OnExisting,
    ) -> Result<Vec<Told>, Fault> {
        let (keys, absent) = self.keys(&row, target, sources)?;
        let fates = joint::run(&row, target, sources, &keys, on_existing)?;
        Ok(tell(row, keys, fates, absent))
    }

    /// The keys, sorted, and entities that were named and have none.
    pub(super) fn keys(
        &self,
        row: &SpaceRow,
        target: &JointTarget,
        sources: &Sources,
    ) -> Result<(Vec<Key>, Vec<(Key, String)>), Fault> {
        self.check(row.entity_type, &row.entities)?;
        let (mut keys, place) = match row.entities.as_str() {
            "profiles" => (self.of_profiles()?, "profile"),
            "instruments" => (self.of_instruments(row, target, sources)?, "embedding"),
            _ => (self.of_branch(row, target, sources)?, "embedding"),
        };
        let full = self.max_entities.is_some_and(|max| keys.len() > max as usize);
        if row.entities != "instruments" {
            cut(&mut keys, self.max_entities, "entities");
        }
        keys.sort_unstable();
        keys.dedup_by(|a, b| (a.day, &a.entity) == (b.day, &b.entity));
        self.relate(row, &mut keys)?;
        let mut absent = Vec::new();
        if let (Some(ids), Some((from, to)), false) = (&self.entity_ids, self.days, full) {
            let there: HashSet<&str> = keys.iter().map(|key| key.entity.as_str()).collect();
            let named = ids.iter().filter(|id| !there.contains(id.as_str()));
            let span = if from == to { format!("at {from}") } else { format!("in {from}..{to}") };
            absent.extend(named.map(|id| (Key::plain(id.clone(), to), format!("no {place} {span}"))));
        }
        Ok((keys, absent))
    }

    /// Arguments that mean nothing for this kind of entity are refused, not ignored.
    pub(super) fn check(&self, kind: EntityType, entities: &str) -> Result<(), Fault> {
        let unfit = |argument| Err(JointFault::UnfitArgument { argument, entity_type: kind.name() }.into());
        limit(self.max_entities)?;
        if self.scenario_set_id.is_some() && kind != EntityType::Scenario {
            return unfit("scenario_set_id");
        }
        if entities != "instruments" {
            for (argument, given) in [
                ("market_id", self.market_id.is_some()),
                ("region", self.region.is_some()),
                ("skip_entities", self.skip_entities.is_some()),
            ] {
                if given {
                    return unfit(argument);
                }
            }
        }
        Ok(())
    }

    /// The dates, of a kind of entity that needs them. Errors: [`JointFault::DatesUnclear`].
    pub(super) fn span(&self) -> Result<(Day, Day), Fault> {
        self.days.ok_or_else(|| JointFault::DatesUnclear.into())
    }

    fn of_profiles(&self) -> Result<Vec<Key>, Fault> {
        let profiles = Relation::open(self.profiles, "profiles", "profiles", &["issuer_id", "as_of_date"])?;
        let ids = self.entity_ids.as_deref();
        joint_keys::of_profiles(&profiles, self.span()?, ids, limit(self.max_entities)?)
    }

    /// Adds what the branches and the scope need to know of issuers and instruments.
    fn relate(&self, row: &SpaceRow, keys: &mut [Key]) -> Result<(), Fault> {
        let other = |kind| row.space.leaves().iter().any(|leaf| leaf.entity_type == kind);
        let named = |name: &str| row.scope_keys.iter().any(|key| key == name);
        let columns = ["issuer_id", "instrument_id"];
        let open = || Relation::open(self.instruments, "instruments", "instruments", &columns);
        match row.entity_type {
            EntityType::Issuer
                if other(EntityType::Instrument) || named("instrument_id") || named("region") =>
            {
                let columns = ["market_id", "region"];
                let markets =
                    self.markets.map(|given| Relation::open(Some(given), "markets", "markets", &columns));
                joint_keys::represent(keys, &open()?, markets.transpose()?.as_ref())
            }
            EntityType::Instrument if other(EntityType::Issuer) || named("issuer_id") => {
                joint_keys::add_issuers(keys, &open()?)
            }
            _ => Ok(()),
        }
    }

    /// Instruments named and those of a market, in byte order.
    pub(super) fn instruments(&self) -> Result<Vec<String>, Fault> {
        if self.market_id.is_none() && self.entity_ids.is_none() {
            return Err(Fault::NothingSelected);
        }
        let mut ids = self.entity_ids.clone().unwrap_or_default();
        if let Some(market_id) = self.market_id {
            let columns = ["instrument_id", "market_id", "asset_class", "status"];
            let table = Relation::open(self.instruments, "instruments", "instruments", &columns)?;
            let more = self.max_entities.map(|max| max.saturating_add(1));
            let mut found = instrument_table::of_market(&table, market_id, more, self.skip_entities)?;
            cut(&mut found, self.max_entities, "instruments");
            ids.extend(found);
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// Of one date that one; of a range those on which the first branch has any vector.
    pub(super) fn instrument_days(
        &self,
        row: &SpaceRow,
        target: &JointTarget,
        sources: &Sources,
    ) -> Result<Vec<Day>, Fault> {
        let (from, to) = self.span()?;
        match row.space.leaves().first().filter(|_| from != to) {
            Some(leaf) => {
                let table = self::table(leaf.table, target, sources)?;
                joint_keys::days_of(table, leaf, (from, to))
            }
            None => Ok(vec![from]),
        }
    }

    fn of_instruments(
        &self,
        row: &SpaceRow,
        target: &JointTarget,
        sources: &Sources,
    ) -> Result<Vec<Key>, Fault> {
        let ids = self.instruments()?;
        let days = self.instrument_days(row, target, sources)?;
        let key = |id: &String, day| Key {
            instrument: Some(id.clone()),
            region: self.region.map(str::to_owned),
            ..Key::plain(id.clone(), day)
        };
        Ok(days
            .iter()
            .flat_map(|&day| ids.iter().map(move |id| (id, day)))
            .map(|(id, day)| key(id, day))
            .collect())
    }

    fn of_branch(&self, row: &SpaceRow, target: &JointTarget, sources: &Sources) -> Result<Vec<Key>, Fault> {
        let Some(leaf) = row.space.leaves().first() else { return Ok(Vec::new()) };
        let wanted = Wanted {
            days: self.days,
            ids: self.entity_ids.as_deref(),
            set: self.scenario_set_id,
            limit: limit(self.max_entities)?,
        };
        let table = self::table(leaf.table, target, sources)?;
        let mut keys = joint_keys::of_branch(table, leaf, &wanted)?;
        if let Some(set) = self.scenario_set_id {
            self.date_scenarios(&mut keys, set)?;
        }
        Ok(keys)
    }

    /// Scenarios are dated by their set, and by their numeric row only where the set has no date.
    fn date_scenarios(&self, keys: &mut Vec<Key>, set: &str) -> Result<(), Fault> {
        let Some(sets) = self.scenario_sets else { return Ok(()) };
        let sets = Relation::open(Some(sets), "scenario_sets", "scenario_sets", &SET_COLUMNS)?;
        let about = reports::find_scenario_set(&sets, set)?;
        if keys.is_empty() && about.is_none() {
            reports::scenario_set(&sets, set)?;
        }
        if let Some(day) = about.and_then(|about| about.base_day) {
            // Of several dates of a scenario, the newest counts.
            keys.sort_by(|a, b| (&a.entity, b.day).cmp(&(&b.entity, a.day)));
            keys.dedup_by(|a, b| a.entity == b.entity);
            keys.iter_mut().for_each(|key| key.day = day);
        }
        Ok(())
    }
}

/// The table of a branch.
pub(super) fn table<'a>(
    table: Table,
    target: &'a JointTarget,
    sources: &'a Sources,
) -> Result<&'a Relation, Fault> {
    let found = match table {
        Table::Numeric => sources.numeric.as_ref(),
        Table::Text => sources.text.as_ref(),
        Table::Joint => Some(target.relation()),
    };
    found.ok_or_else(|| Fault::Internal { what: "a branch's table was not opened".to_owned() })
}
