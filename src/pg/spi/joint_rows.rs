//! The rows of a `joint_embeddings` table: the statement that reads branches, and the one that writes.

use pgrx::datum::{Date, DatumWithOid};

use super::extension::schema;
use super::joint_form;
use super::joint_keys::Key;
use super::query::{execute, required, select_first, select_newest};
use super::relation::Relation;
use super::spaces::SpaceRow;
use crate::engine::Day;
use crate::engine::joint::space::{EntityType, Leaf, Table};
use crate::pg::backfill::OnExisting;
use crate::pg::ffi::regclass::Regclass;
use crate::pg::ffi::staged::{RowSource, with_rows};
use crate::pg::ffi::transaction;
use crate::pg::report::Fault;

/// Columns of ours, filled where the table has them: name, its value.
const LINEAGE: [(&str, &str); 3] = [
    ("branches", "k.branches::pg_catalog.jsonb"),
    ("input_digest", "k.digest"),
    ("computed_at", "pg_catalog.now()"),
];

/// Keys as rows, from arguments 1 to 7. They come in key order, and every join below is a loop over them.
const KEYS: &str = "ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.date[]), \
    pg_catalog.unnest($3::pg_catalog.date[]), pg_catalog.unnest($4::pg_catalog.text[]), \
    pg_catalog.unnest($5::pg_catalog.text[]), pg_catalog.unnest($6::pg_catalog.text[]), \
    pg_catalog.unnest($7::pg_catalog.text[])) \
    WITH ORDINALITY AS k(entity, day, read_day, instrument, issuer, region, scenario_set, n)";

/// The window of a numeric row.
const WINDOW: &str = "(t.window_spec OPERATOR(pg_catalog.->>) 'window_days')";

/// The shape of a staged row; `backfill::joint` fills its cells in this order.
const STAGED: &str = "k(entity pg_catalog.text, day pg_catalog.date, instrument pg_catalog.text, \
    issuer pg_catalog.text, region pg_catalog.text, scenario_set pg_catalog.text, source pg_catalog.text, \
    branches pg_catalog.text, digest pg_catalog.uuid, vector pg_catalog.bytea)";

/// Arguments before those of the branches.
const FIXED: usize = 10;

/// A joint table and the space that one run writes to it.
#[derive(Debug)]
pub struct JointTarget {
    relation: Relation,
    unique: bool,
}

/// What a run has to know of the rows that its keys have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Nothing: there are none, or none that matter.
    None,
    /// Whether there is one.
    Row,
    /// What it was made from, too.
    Digest,
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

/// What was found for a key.
#[derive(Debug)]
pub struct Found<'t> {
    /// The key, by its place.
    pub key: usize,
    /// The row that it has.
    pub stored: Stored,
    /// The vectors of its branches, in their order.
    pub vectors: Vec<Option<&'t [u8]>>,
}

/// The tables that branches are read from.
#[derive(Debug)]
pub struct Sources {
    /// Numeric vectors, where a branch needs them.
    pub numeric: Option<Relation>,
    /// Texts, where a branch needs them.
    pub text: Option<Relation>,
}

impl JointTarget {
    /// Checks the table. Errors: as [`Relation::open`].
    pub fn open(given: Option<Regclass>) -> Result<Self, Fault> {
        let relation = joint_form::open(given, "target", &joint_form::COLUMNS)?;
        let unique = joint_form::has_natural_key(&relation)?;
        if unique || relation.has_column("joint_id") {
            return Ok(Self { relation, unique });
        }
        // Without a key and without ids, nothing tells the rows of this run from those before it.
        let column = "joint_id".to_owned();
        Err(Fault::MissingColumn { relation: relation.sql, column, argument: "target" })
    }

    /// The table.
    pub fn relation(&self) -> &Relation {
        &self.relation
    }

    /// Whether the table allows one row per key.
    pub fn unique(&self) -> bool {
        self.unique
    }

    /// Whether `on_existing` makes sense for the table.
    ///
    /// Errors: [`Fault::AppendToUnique`] (55000), [`Fault::NoInputDigest`] (42703).
    pub fn allows(&self, on_existing: OnExisting) -> Result<(), Fault> {
        let relation = || self.relation.sql.clone();
        match on_existing {
            OnExisting::Append if self.unique => Err(Fault::AppendToUnique { relation: relation() }),
            OnExisting::Update if !self.relation.has_column("input_digest") => {
                Err(Fault::NoInputDigest { relation: relation() })
            }
            _ => Ok(()),
        }
    }

    /// Holds off other runs that write the same space until the transaction ends. A writing statement, so that
    /// later ones see the rows that a run before this one has just committed.
    ///
    /// Errors: [`Fault::CannotSeeKeys`] where nothing can make them see those rows.
    pub fn lock(&self, row: &SpaceRow) -> Result<(), Fault> {
        if transaction::has_one_snapshot() {
            return Err(Fault::CannotSeeKeys { relation: self.relation.sql.clone() });
        }
        let sql = "SELECT pg_catalog.pg_advisory_xact_lock($1::pg_catalog.int4, \
                   pg_catalog.hashtext(pg_catalog.concat_ws(E'\\x01', $2, $3, $4)))::pg_catalog.text";
        let oid = self.relation.oid.to_u32() as i32;
        let args = [
            oid.into(),
            row.joint_type.as_str().into(),
            row.model_id.as_str().into(),
            row.entity_type.name().into(),
        ];
        execute(sql, &args).map(|_| ())
    }

    /// Whether the space has any row between two days, both included.
    pub fn any_between(&self, row: &SpaceRow, from: Day, to: Day) -> Result<bool, Fault> {
        let sql = format!(
            "SELECT 1 FROM {} t WHERE t.joint_type::pg_catalog.text OPERATOR(pg_catalog.=) $1 \
               AND t.model_id::pg_catalog.text OPERATOR(pg_catalog.=) $2 \
               AND t.as_of_date OPERATOR(pg_catalog.>=) $3 AND t.as_of_date OPERATOR(pg_catalog.<=) $4 LIMIT 1",
            self.relation.sql
        );
        let args = [
            row.joint_type.as_str().into(),
            row.model_id.as_str().into(),
            date(from).into(),
            date(to).into(),
        ];
        Ok(select_first(&sql, &args, |_| Ok(()))?.is_some())
    }

    /// The largest row id there is, as text: rows written from now on have larger ones.
    pub fn last_row(&self, row: &SpaceRow) -> Result<Option<String>, Fault> {
        let sql = format!(
            "SELECT pg_catalog.max(t.joint_id)::pg_catalog.text FROM {} t \
             WHERE t.joint_type::pg_catalog.text OPERATOR(pg_catalog.=) $1 \
               AND t.model_id::pg_catalog.text OPERATOR(pg_catalog.=) $2",
            self.relation.sql
        );
        let args = [row.joint_type.as_str().into(), row.model_id.as_str().into()];
        Ok(select_first(&sql, &args, |row| row.text(1))?.flatten())
    }

    /// Deletes rows of `keys` up to row id `last`, for a table that cannot upsert.
    pub fn delete(&self, row: &SpaceRow, keys: &[&Key], last: &str) -> Result<u64, Fault> {
        let sql = format!(
            "DELETE FROM {relation} t \
             USING ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.date[])) AS k(entity, day) \
             WHERE {key} AND t.joint_id OPERATOR(pg_catalog.<=) $6::pg_catalog.int8",
            relation = self.relation.sql,
            key = self.key_condition("$3", "$4", "$5"),
        );
        let args = [
            keys.iter().map(|key| key.entity.clone()).collect::<Vec<String>>().into(),
            keys.iter().map(|key| date(key.day)).collect::<Vec<Date>>().into(),
            row.joint_type.as_str().into(),
            row.model_id.as_str().into(),
            row.entity_type.name().into(),
            last.into(),
        ];
        execute(&sql, &args)
    }

    /// The vectors of the branches of every key, in the order of the keys, while `read` runs: one statement, which sees what
    /// was committed until now.
    pub fn branches(
        &self,
        row: &SpaceRow,
        sources: &Sources,
        keys: &[Key],
        look: Look,
        read: impl FnOnce(&[Found<'_>]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut args: Vec<DatumWithOid<'static>> = key_args(keys);
        args.extend(space_args(row));
        let leaves = row.space.leaves();
        let joins: Vec<String> = leaves
            .iter()
            .enumerate()
            .map(|(index, leaf)| self.branch(index, leaf, sources, &mut args))
            .collect::<Result<_, Fault>>()?;
        let vectors: String = (0..leaves.len()).map(|index| format!(", b{index}.vector")).collect();
        let (stored, existing) = self.existing(look);
        let joins = joins.join(" ");
        // No ORDER BY, which would sort vectors: loops keep the order of the keys.
        let sql = format!("SELECT k.n, {stored}{vectors} FROM {KEYS} {joins}{existing}");
        select_newest(&sql, &args, |rows| {
            let mut found = Vec::with_capacity(keys.len());
            for row in rows {
                found.push(Found {
                    key: usize::try_from(required(row.long(1)?)? - 1).unwrap_or(usize::MAX),
                    stored: Stored {
                        exists: row.bool(2)?.unwrap_or(false),
                        digest: row.uuid(3)?.map(|digest| *digest.as_bytes()),
                        bytes: row.int(4)?.map_or(0, |bytes| bytes.unsigned_abs() as usize),
                    },
                    vectors: (5..)
                        .take(leaves.len())
                        .map(|column| row.slice(column))
                        .collect::<Result<_, _>>()?,
                });
            }
            found.sort_by_key(|found| found.key);
            read(&found)
        })
    }

    /// Writes the rows of `source`, over those that their keys have where the table has a unique key.
    pub fn insert(&self, row: &SpaceRow, source: &mut dyn RowSource) -> Result<u64, Fault> {
        let sql = self.insert_sql(row)?;
        let args = space_args(row);
        with_rows(source, || execute(&sql, &args))
    }

    /// Raises 42501 where the caller lacks a privilege to insert or to overwrite, whether or not it comes to that. Plans
    /// the statement, and does not run it.
    pub fn check_privileges(&self, row: &SpaceRow) -> Result<(), Fault> {
        execute(&format!("EXPLAIN {}", self.insert_sql(row)?), &space_args(row)).map(|_| ())
    }

    fn insert_sql(&self, row: &SpaceRow) -> Result<String, Fault> {
        let (key_names, key_values) = match joint_form::has_entity_columns(&self.relation) {
            true => (", entity_type, entity_id", ", $3, k.entity"),
            false => ("", ""),
        };
        let lineage: Vec<_> = LINEAGE.iter().filter(|(name, _)| self.relation.has_column(name)).collect();
        Ok(format!(
            "INSERT INTO {target} (joint_type, as_of_date, entity_scope, model_id, vector{key_names}{names}) \
             SELECT $1, k.day, {scope}, $2, k.vector{key_values}{values} \
             FROM {schema}.embed_staged_rows() AS {STAGED}{conflict}",
            target = self.relation.sql,
            names = lineage.iter().map(|(name, _)| format!(", {name}")).collect::<String>(),
            values = lineage.iter().map(|(_, value)| format!(", {value}")).collect::<String>(),
            scope = scope_sql(row),
            schema = schema()?,
            conflict = self.conflict(&lineage),
        ))
    }

    /// The columns of [`Stored`], and the join that finds them.
    fn existing(&self, look: Look) -> (&'static str, String) {
        const COLUMNS: &str = "e.there, e.digest, e.bytes";
        let rows = format!("FROM {} t WHERE {}", self.relation.sql, self.key_condition("$8", "$9", "$10"));
        let bytes = "pg_catalog.octet_length(t.vector::pg_catalog.bytea)";
        let row = match look {
            Look::None => {
                return (
                    "NULL::pg_catalog.bool, NULL::pg_catalog.uuid, NULL::pg_catalog.int4",
                    String::new(),
                );
            }
            Look::Row => {
                format!(
                    "SELECT true AS there, NULL::pg_catalog.uuid AS digest, NULL::pg_catalog.int4 AS bytes {rows} LIMIT 1"
                )
            }
            Look::Digest if self.unique => {
                format!("SELECT true AS there, t.input_digest AS digest, {bytes} AS bytes {rows} LIMIT 1")
            }
            // Of several rows none is the row of the key.
            Look::Digest => format!(
                "SELECT true AS there, CASE WHEN pg_catalog.count(*) OPERATOR(pg_catalog.=) 1 THEN (pg_catalog.array_agg(t.input_digest))[1] END AS digest, \
                   pg_catalog.max({bytes}) AS bytes {rows} HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 0"
            ),
        };
        (COLUMNS, format!(" LEFT JOIN LATERAL ({row}) e ON true"))
    }

    /// Rows of table `t` with the key of `k`.
    fn key_condition(&self, joint_type: &str, model_id: &str, entity_type: &str) -> String {
        format!(
            "t.joint_type::pg_catalog.text OPERATOR(pg_catalog.=) {joint_type} \
             AND t.model_id::pg_catalog.text OPERATOR(pg_catalog.=) {model_id} \
             AND t.as_of_date OPERATOR(pg_catalog.=) k.day \
             AND {kind} OPERATOR(pg_catalog.=) {entity_type} AND {entity} OPERATOR(pg_catalog.=) k.entity",
            kind = joint_form::kind(&self.relation),
            entity = joint_form::entity(&self.relation),
        )
    }

    fn conflict(&self, lineage: &[&(&str, &str)]) -> String {
        if !self.unique {
            return String::new();
        }
        let reference = if self.relation.has_column("vector_ref") { ", vector_ref = NULL" } else { "" };
        let updates: String = lineage.iter().map(|(name, _)| format!(", {name} = excluded.{name}")).collect();
        format!(
            " ON CONFLICT (model_id, joint_type, as_of_date, ({kind}), ({entity})) \
             DO UPDATE SET entity_scope = excluded.entity_scope, vector = excluded.vector{reference}{updates}",
            kind = joint_form::kind(&self.relation).replace("t.", ""),
            entity = joint_form::entity(&self.relation).replace("t.entity", "entity"),
        )
    }

    /// The newest vector of a branch for each key, as a lateral join.
    fn branch(
        &self,
        index: usize,
        leaf: &Leaf,
        sources: &Sources,
        args: &mut Vec<DatumWithOid<'static>>,
    ) -> Result<String, Fault> {
        let internal = || Fault::Internal { what: "a branch's table was not opened".to_owned() };
        let id = key_column(leaf.entity_type);
        let mut bind = |value: DatumWithOid<'static>| {
            args.push(value);
            format!("${}", args.len())
        };
        let model = bind(leaf.model_id.clone().into());
        let (relation, row_id, condition) = match leaf.table {
            Table::Numeric => {
                let window = leaf.window_days.map(|days| bind(days.to_string().into()));
                let window = window.map(|days| format!(" AND {WINDOW} OPERATOR(pg_catalog.=) {days}"));
                let window = window.unwrap_or_default();
                let condition = format!(
                    "t.as_of_date OPERATOR(pg_catalog.=) k.read_day \
                     AND t.entity_type::pg_catalog.text OPERATOR(pg_catalog.=) {kind} \
                     AND t.entity_id::pg_catalog.text OPERATOR(pg_catalog.=) {id}{window}",
                    kind = bind(leaf.entity_type.name().into()),
                );
                (sources.numeric.as_ref().ok_or_else(internal)?, "embedding_id", condition)
            }
            Table::Text => {
                let condition = format!(
                    "t.source_type::pg_catalog.text OPERATOR(pg_catalog.=) {kind} \
                     AND t.source_id::pg_catalog.text OPERATOR(pg_catalog.=) ({id} OPERATOR(pg_catalog.||) ':' \
                       OPERATOR(pg_catalog.||) pg_catalog.to_char(k.read_day, 'YYYY-MM-DD'))",
                    kind = bind(leaf.source_type.clone().into()),
                );
                (sources.text.as_ref().ok_or_else(internal)?, "embedding_id", condition)
            }
            Table::Joint => {
                let condition = format!(
                    "t.joint_type::pg_catalog.text OPERATOR(pg_catalog.=) {joint_type} \
                     AND t.as_of_date OPERATOR(pg_catalog.=) k.read_day \
                     AND {of_kind} OPERATOR(pg_catalog.=) {kind} AND {entity} OPERATOR(pg_catalog.=) {id}",
                    of_kind = joint_form::kind(&self.relation),
                    entity = joint_form::entity(&self.relation),
                    joint_type = bind(leaf.joint_type.clone().into()),
                    kind = bind(leaf.entity_type.name().into()),
                );
                (&self.relation, "joint_id", condition)
            }
        };
        let newest =
            if relation.has_column(row_id) { format!(" ORDER BY t.{row_id} DESC") } else { String::new() };
        Ok(format!(
            "LEFT JOIN LATERAL (SELECT t.vector::pg_catalog.bytea AS vector FROM {table} t \
               WHERE t.model_id::pg_catalog.text OPERATOR(pg_catalog.=) {model} AND {condition}{newest} LIMIT 1) b{index} ON true",
            table = relation.sql,
        ))
    }
}

/// Where a key has the id of an entity of this kind.
fn key_column(kind: EntityType) -> &'static str {
    match kind {
        EntityType::Issuer => "k.issuer",
        EntityType::Instrument => "k.instrument",
        EntityType::Portfolio | EntityType::Scenario => "k.entity",
    }
}

/// The scope of a key: what is not known is not there.
fn scope_sql(row: &SpaceRow) -> String {
    let keys: String = row
        .scope_keys
        .iter()
        .map(|key| {
            let value = match key.as_str() {
                "issuer_id" => "k.issuer",
                "instrument_id" => "k.instrument",
                "region" => "k.region",
                "scenario_set_id" => "k.scenario_set",
                "scenario_id" => {
                    "pg_catalog.substr(k.entity, pg_catalog.length(k.scenario_set) OPERATOR(pg_catalog.+) 2)"
                }
                _ => "k.entity",
            };
            format!(", '{}', {value}", key.replace('\'', "''"))
        })
        .collect();
    format!(
        "pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('entity_type', $3{keys}, \
         'source', k.source, 'as_of_date', pg_catalog.to_char(k.day, 'YYYY-MM-DD')))"
    )
}

/// Joint type, model and kind of entity.
fn space_args(row: &SpaceRow) -> [DatumWithOid<'static>; 3] {
    [row.joint_type.clone().into(), row.model_id.clone().into(), row.entity_type.name().into()]
}

fn key_args(keys: &[Key]) -> Vec<DatumWithOid<'static>> {
    fn texts(keys: &[Key], of: impl Fn(&Key) -> Option<String>) -> DatumWithOid<'static> {
        keys.iter().map(of).collect::<Vec<Option<String>>>().into()
    }
    let mut args = Vec::with_capacity(FIXED + 8);
    args.push(texts(keys, |key| Some(key.entity.clone())));
    args.push(keys.iter().map(|key| date(key.day)).collect::<Vec<Date>>().into());
    args.push(keys.iter().map(|key| date(key.read_day)).collect::<Vec<Date>>().into());
    args.push(texts(keys, |key| key.instrument.clone()));
    args.push(texts(keys, |key| key.issuer.clone()));
    args.push(texts(keys, |key| key.region.clone()));
    args.push(texts(keys, |key| key.set.clone()));
    args
}

fn date(day: Day) -> Date {
    Date::saturating_from_raw(day.0)
}
