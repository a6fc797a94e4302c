//! Whom a joint backfill is about: one statement per call, whatever the number of entities.

use std::collections::HashMap;

use pgrx::datum::{Date, DatumWithOid};

use super::joint_form;
use super::listed::{Listed, listed};
use super::query::{required, select};
use super::relation::Relation;
use crate::engine::Day;
use crate::engine::joint::space::{EntityType, Leaf, Table};
use crate::pg::report::Fault;

/// An entity and a date.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The date of the joint vector.
    pub day: Day,
    /// The entity, as the natural key spells it.
    pub entity: String,
    /// The date of its branches.
    pub read_day: Day,
    /// Its instrument, or its issuer's representative.
    pub instrument: Option<String>,
    /// Its issuer.
    pub issuer: Option<String>,
    /// Its region.
    pub region: Option<String>,
    /// Its scenario set.
    pub set: Option<String>,
}

impl Key {
    /// A key of an entity and nothing else.
    pub fn plain(entity: String, day: Day) -> Self {
        Self { day, entity, read_day: day, instrument: None, issuer: None, region: None, set: None }
    }
}

/// Issuers and dates that have a profile, by date and issuer.
pub fn of_profiles(
    profiles: &Relation,
    (from, to): (Day, Day),
    issuer_ids: Option<&[String]>,
    limit: Option<i64>,
) -> Result<Vec<Key>, Fault> {
    let sql = format!(
        "SELECT DISTINCT p.as_of_date::pg_catalog.date, p.issuer_id::pg_catalog.text COLLATE \"C\" \
         FROM {} p WHERE p.as_of_date OPERATOR(pg_catalog.>=) $1 AND p.as_of_date OPERATOR(pg_catalog.<=) $2 \
           AND ($3::pg_catalog.text[] IS NULL OR p.issuer_id::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($3)) \
         ORDER BY 1, 2 LIMIT $4",
        profiles.sql
    );
    let args = [date(from).into(), date(to).into(), issuer_ids.map(<[String]>::to_vec).into(), limit.into()];
    select(&sql, &args, |row| {
        let day = Day(required(row.date(1)?)?.to_pg_epoch_days());
        let issuer = required(row.text(2)?)?;
        Ok(Key { issuer: Some(issuer.clone()), ..Key::plain(issuer, day) })
    })
}

/// Adds to each issuer its representative instrument (the smallest id by bytes, of any kind, as published but
/// for the collation) and that one's region.
pub fn represent(keys: &mut [Key], instruments: &Relation, markets: Option<&Relation>) -> Result<(), Fault> {
    let region = match markets.filter(|_| instruments.has_column("market_id")) {
        Some(markets) => format!(
            "(SELECT m.region::pg_catalog.text FROM {} m \
              WHERE m.market_id::pg_catalog.text OPERATOR(pg_catalog.=) r.market_id::pg_catalog.text LIMIT 1)",
            markets.sql
        ),
        None => "NULL::pg_catalog.text".to_owned(),
    };
    let sql = format!(
        "SELECT r.issuer_id::pg_catalog.text, r.instrument_id::pg_catalog.text, {region} \
         FROM (SELECT DISTINCT ON (i.issuer_id) i.* FROM {} i \
                WHERE i.issuer_id::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($1) \
                ORDER BY i.issuer_id, i.instrument_id::pg_catalog.text COLLATE \"C\") r",
        instruments.sql
    );
    let mut ids: Vec<String> = keys.iter().filter_map(|key| key.issuer.clone()).collect();
    ids.sort_unstable();
    ids.dedup();
    let found = select(&sql, &[ids.into()], |row| {
        Ok((required(row.text(1)?)?, (required(row.text(2)?)?, row.text(3)?)))
    })?;
    let found: HashMap<String, (String, Option<String>)> = found.into_iter().collect();
    for key in keys {
        if let Some((instrument, region)) = key.issuer.as_ref().and_then(|issuer| found.get(issuer)) {
            (key.instrument, key.region) = (Some(instrument.clone()), region.clone());
        }
    }
    Ok(())
}

/// Adds to each instrument its issuer.
pub fn add_issuers(keys: &mut [Key], instruments: &Relation) -> Result<(), Fault> {
    let sql = format!(
        "SELECT i.instrument_id::pg_catalog.text, i.issuer_id::pg_catalog.text FROM {} i \
         WHERE i.instrument_id::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($1) AND i.issuer_id IS NOT NULL",
        instruments.sql
    );
    let mut ids: Vec<String> = keys.iter().map(|key| key.entity.clone()).collect();
    ids.sort_unstable();
    ids.dedup();
    let found = select(&sql, &[ids.into()], |row| Ok((required(row.text(1)?)?, required(row.text(2)?)?)))?;
    let found: HashMap<String, String> = found.into_iter().collect();
    for key in keys {
        key.issuer = found.get(&key.entity).cloned();
    }
    Ok(())
}

/// Days between two on which a branch has a vector of any entity, ascending.
pub fn days_of(table: &Relation, leaf: &Leaf, (from, to): (Day, Day)) -> Result<Vec<Day>, Fault> {
    let (condition, mut args) = of_leaf(table, leaf);
    let sql = format!(
        "SELECT DISTINCT t.as_of_date::pg_catalog.date FROM {} t WHERE {condition} \
           AND t.as_of_date OPERATOR(pg_catalog.>=) $4 AND t.as_of_date OPERATOR(pg_catalog.<=) $5 ORDER BY 1",
        table.sql
    );
    args.extend([date(from).into(), date(to).into()]);
    select(&sql, &args, |row| Ok(Day(required(row.date(1)?)?.to_pg_epoch_days())))
}

/// Which entities of a branch are asked for.
#[derive(Debug, Default)]
pub struct Wanted<'a> {
    /// First and last day, if bounded.
    pub days: Option<(Day, Day)>,
    /// Entities, if named.
    pub ids: Option<&'a [String]>,
    /// The scenario set, if named.
    pub set: Option<&'a str>,
    /// Most keys.
    pub limit: Option<i64>,
}

/// Entities and days that a branch has a vector of, by day and entity.
pub fn of_branch(table: &Relation, leaf: &Leaf, wanted: &Wanted<'_>) -> Result<Vec<Key>, Fault> {
    let (condition, mut args) = of_leaf(table, leaf);
    let entity = entity_of(table, leaf);
    let sql = format!(
        "SELECT DISTINCT t.as_of_date::pg_catalog.date, {entity} COLLATE \"C\" FROM {} t \
         WHERE {condition} AND t.vector IS NOT NULL AND {entity} IS NOT NULL \
           AND ($4::pg_catalog.date IS NULL OR t.as_of_date OPERATOR(pg_catalog.>=) $4) \
           AND ($5::pg_catalog.date IS NULL OR t.as_of_date OPERATOR(pg_catalog.<=) $5) \
           AND ($6::pg_catalog.text[] IS NULL OR {entity} OPERATOR(pg_catalog.=) ANY ($6)) \
           AND ($7::pg_catalog.text IS NULL OR pg_catalog.starts_with({entity}, $7)) \
         ORDER BY 1, 2 LIMIT $8",
        table.sql
    );
    let (from, to) = wanted.days.unzip();
    args.extend::<[DatumWithOid<'static>; 5]>([
        from.map(date).into(),
        to.map(date).into(),
        wanted.ids.map(<[String]>::to_vec).into(),
        wanted.set.map(|set| format!("{set}:")).into(),
        wanted.limit.into(),
    ]);
    select(&sql, &args, |row| {
        let entity = required(row.text(2)?)?;
        let set = match (leaf.entity_type, wanted.set) {
            (EntityType::Scenario, Some(set)) => Some(set.to_owned()),
            (EntityType::Scenario, None) => entity.rsplit_once(':').map(|(set, _)| set.to_owned()),
            _ => None,
        };
        let own = |kind| (leaf.entity_type == kind).then(|| entity.clone());
        let (instrument, issuer) = (own(EntityType::Instrument), own(EntityType::Issuer));
        let day = Day(required(row.date(1)?)?.to_pg_epoch_days());
        Ok(Key { set, instrument, issuer, ..Key::plain(entity, day) })
    })
}

/// Issuers that have a profile between two days, in byte order, with their dates.
pub fn listed_profiles(
    profiles: &Relation,
    (from, to): (Day, Day),
    issuer_ids: Option<&[String]>,
) -> Result<Vec<Listed>, Fault> {
    let keys = format!(
        "SELECT DISTINCT p.issuer_id::pg_catalog.text AS entity, p.as_of_date::pg_catalog.date AS day \
         FROM {} p WHERE p.issuer_id IS NOT NULL \
           AND p.as_of_date OPERATOR(pg_catalog.>=) $1 AND p.as_of_date OPERATOR(pg_catalog.<=) $2 \
           AND ($3::pg_catalog.text[] IS NULL OR p.issuer_id::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($3))",
        profiles.sql
    );
    let args = [date(from).into(), date(to).into(), issuer_ids.map(<[String]>::to_vec).into()];
    listed(&by_entity(&keys), &args)
}

/// Entities that a branch has a vector of between two days, in byte order, with their dates.
pub fn listed_branch(
    table: &Relation,
    leaf: &Leaf,
    (from, to): (Day, Day),
    ids: Option<&[String]>,
) -> Result<Vec<Listed>, Fault> {
    let (condition, mut args) = of_leaf(table, leaf);
    let entity = entity_of(table, leaf);
    let keys = format!(
        "SELECT DISTINCT {entity} AS entity, t.as_of_date::pg_catalog.date AS day FROM {} t \
         WHERE {condition} AND t.vector IS NOT NULL AND {entity} IS NOT NULL \
           AND t.as_of_date OPERATOR(pg_catalog.>=) $4 AND t.as_of_date OPERATOR(pg_catalog.<=) $5 \
           AND ($6::pg_catalog.text[] IS NULL OR {entity} OPERATOR(pg_catalog.=) ANY ($6))",
        table.sql
    );
    args.extend::<[DatumWithOid<'static>; 3]>([
        date(from).into(),
        date(to).into(),
        ids.map(<[String]>::to_vec).into(),
    ]);
    listed(&by_entity(&keys), &args)
}

/// Keys counted by entity.
fn by_entity(keys: &str) -> String {
    format!(
        "SELECT k.entity, pg_catalog.count(*)::pg_catalog.int8, \
           pg_catalog.sum(k.day OPERATOR(pg_catalog.-) '2000-01-01'::pg_catalog.date)::pg_catalog.int8 \
         FROM ({keys}) k GROUP BY 1 ORDER BY k.entity COLLATE \"C\""
    )
}

/// The entity of a row of a branch's table.
fn entity_of(table: &Relation, leaf: &Leaf) -> &'static str {
    match leaf.table {
        Table::Joint => joint_form::entity(table),
        Table::Numeric | Table::Text => "t.entity_id::pg_catalog.text",
    }
}

/// Condition and arguments 1 to 3 for the rows of a branch's model.
fn of_leaf(table: &Relation, leaf: &Leaf) -> (String, Vec<DatumWithOid<'static>>) {
    let (kind, model) = (leaf.entity_type.name(), leaf.model_id.clone());
    match leaf.table {
        Table::Numeric | Table::Text => (
            "t.entity_type::pg_catalog.text OPERATOR(pg_catalog.=) $1 \
             AND t.model_id::pg_catalog.text OPERATOR(pg_catalog.=) $2 AND ($3::pg_catalog.text IS NULL \
               OR (t.window_spec OPERATOR(pg_catalog.->>) 'window_days') OPERATOR(pg_catalog.=) $3)"
                .to_owned(),
            vec![kind.into(), model.into(), leaf.window_days.map(|days| days.to_string()).into()],
        ),
        Table::Joint => (
            format!(
                "{} OPERATOR(pg_catalog.=) $1 AND t.model_id::pg_catalog.text OPERATOR(pg_catalog.=) $2 \
                 AND t.joint_type::pg_catalog.text OPERATOR(pg_catalog.=) $3",
                joint_form::kind(table)
            ),
            vec![kind.into(), model.into(), leaf.joint_type.clone().into()],
        ),
    }
}

fn date(day: Day) -> Date {
    Date::saturating_from_raw(day.0)
}
