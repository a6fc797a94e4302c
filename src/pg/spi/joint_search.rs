//! Searching `joint_embeddings`: the target, its nearest, and what exists where a target does not.

use pgrx::datum::{Date, DatumWithOid};
use pgrx::prelude::*;

use super::extension::schema;
use super::joint_form;
use super::joint_hnsw::HnswIndex;
use super::query::{required, select, select_first};
use super::relation::Relation;
use crate::engine::Day;
use crate::engine::joint::scope::Scope;
use crate::engine::search::TopK;
use crate::pg::ffi::errors::keep_code;
use crate::pg::ffi::regclass::Regclass;
use crate::pg::ffi::whole_scan::{self, WholeScan};
use crate::pg::nearest::WholeSearch;
use crate::pg::report::{Fault, JointFault};

const OF_MODEL: &str = "t.joint_type::pg_catalog.text OPERATOR(pg_catalog.=) $1 \
    AND t.model_id::pg_catalog.text OPERATOR(pg_catalog.=) $2";

/// Candidates that an index is asked for, per result wanted: its distances are those of rounded vectors.
const OVERSAMPLE: i64 = 2;

/// Pages from which on a table is read without the executor, if the server would read all of it: below, the time goes
/// into planning, which is then done once.
const LARGE: u32 = 128;

/// Newest dates looked through for a hint.
const HINT_DATES: i32 = 30;

/// A joint table, one joint type and model of it.
#[derive(Debug)]
pub struct JointSource {
    relation: Relation,
    joint_type: String,
    model_id: String,
    unique: bool,
}

/// The row that others are compared to.
#[derive(Debug)]
pub struct Target {
    /// Its scope.
    pub scope: Scope,
    /// Its vector.
    pub vector: Vec<u8>,
}

/// How the nearest are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Every candidate is compared.
    Exact,
    /// pgvector's HNSW index names candidates, which are then compared.
    Hnsw,
}

/// Which rows are candidates.
#[derive(Debug)]
pub struct Candidates<'a> {
    /// First day, if bounded.
    pub from: Option<Day>,
    /// Last day, if bounded.
    pub to: Option<Day>,
    /// JSON that a candidate's scope must contain.
    pub filter: &'a str,
    /// Entity type of the filter: named in the query too when many dates are read, for the index.
    pub entity_type: Option<&'a str>,
}

impl JointSource {
    /// Checks the table. Errors: as [`Relation::open`].
    pub fn open(given: Option<Regclass>, joint_type: &str, model_id: &str) -> Result<Self, Fault> {
        let relation = joint_form::open(given, "embeddings", &joint_form::COLUMNS)?;
        let unique = joint_form::has_natural_key(&relation)?;
        Ok(Self { relation, joint_type: joint_type.to_owned(), model_id: model_id.to_owned(), unique })
    }

    /// The newest row of the entity that `scope` (JSON) describes, at one day; None when there is none.
    ///
    /// Errors: [`JointFault::AmbiguousScope`] when the scope fits several entities.
    pub fn target(&self, scope: &str, day: Day) -> Result<Option<Target>, Fault> {
        let (pinned, args) = self.scoped(scope);
        let sql = format!(
            "SELECT t.entity_scope::pg_catalog.text, t.vector FROM {} t WHERE {OF_MODEL} \
               AND t.as_of_date OPERATOR(pg_catalog.=) $6 AND {pinned} AND t.vector IS NOT NULL \
             ORDER BY {} DESC LIMIT 20",
            self.relation.sql,
            joint_form::row_id(&self.relation)
        );
        let args: Vec<_> = args.into_iter().chain([date(day).into()]).collect();
        let mut found = select(&sql, &args, |row| {
            Ok(Target { scope: Scope::parse(&required(row.text(1)?)?), vector: required(row.bytes(2)?)? })
        })?;
        let mut names: Vec<String> = found.iter().map(|target| target.scope.tie_key()).collect();
        names.sort_unstable();
        names.dedup();
        names.truncate(5);
        if found.iter().any(|target| target.scope.identity() != found[0].scope.identity()) {
            return Err(JointFault::AmbiguousScope { scope: scope.to_owned(), entities: names }.into());
        }
        Ok((!found.is_empty()).then(|| found.swap_remove(0)))
    }

    /// The nearest candidates and what was left out; None when there is no candidate at all.
    pub fn nearest(
        &self,
        target: &Target,
        candidates: &Candidates<'_>,
        top_k: i32,
        method: Method,
    ) -> Result<Option<TopK>, Fault> {
        let condition = candidates.condition(joint_form::kind(&self.relation));
        let (from, changed) = match method {
            Method::Exact => (self.newest_rows(), None),
            Method::Hnsw if !self.unique => {
                return Err(JointFault::HnswNeedsKey { relation: self.relation.sql.clone() }.into());
            }
            Method::Hnsw => {
                let index = HnswIndex::find(&self.relation, &self.model_id)?;
                let filtered =
                    format!("{condition} AND t.entity_scope OPERATOR(pg_catalog.@>) $7::pg_catalog.jsonb");
                let changed = index.widen(&target.vector, OVERSAMPLE * i64::from(top_k))?;
                (index.nearest_rows(&self.relation, &filtered, "$5", "$10"), Some(changed))
            }
        };
        let sql = format!(
            "SELECT {schema}.embed_nearest({row}, t.as_of_date::pg_catalog.date, \
               t.entity_scope::pg_catalog.jsonb, t.vector::pg_catalog.bytea, $5, $6, $7::pg_catalog.jsonb, $8) \
             FROM {from} t WHERE {condition}",
            schema = schema()?,
            row = joint_form::row_id(&self.relation),
        );
        let args = [
            self.joint_type.as_str().into(),
            self.model_id.as_str().into(),
            candidates.from.map(date).into(),
            candidates.to.map(date).into(),
            target.vector.as_slice().into(),
            top_k.into(),
            candidates.filter.into(),
            target.scope.identity().into(),
            candidates.entity_type.into(),
            // One more, for the target itself.
            (OVERSAMPLE * i64::from(top_k) + 1).into(),
        ];
        if method == Method::Exact
            && let Some(top) = self.read(&sql, &args, target, candidates, top_k)?
        {
            return Ok(Some(top));
        }
        let packed = select_first(&sql, &args, |row| row.bytes(1))?.flatten();
        if let Some(changed) = changed {
            changed.restore();
        }
        Ok(packed.map(|packed| TopK::unpack(&packed)).transpose()?)
    }

    /// As the statement `sql` finds them, where all that the server would do for it is to read the whole table; else None.
    fn read(
        &self,
        sql: &str,
        args: &[DatumWithOid<'_>],
        target: &Target,
        candidates: &Candidates<'_>,
        top_k: i32,
    ) -> Result<Option<TopK>, Fault> {
        let search = WholeSearch {
            table: self.relation.oid.to_u32(),
            joint_type: self.joint_type.clone(),
            model_id: self.model_id.clone(),
            days: (candidates.from.map(|day| day.0), candidates.to.map(|day| day.0)),
            query: target.vector.clone(),
            top_k,
            filter: candidates.filter.to_owned(),
            exclude: target.scope.identity(),
        };
        let Some(rows) = search.open(LARGE) else { return Ok(None) };
        let (oid, conditions) = (self.relation.oid, candidates.conditions());
        let whole = Spi::connect(|_| keep_code(|| whole_scan::of(sql, args, oid, conditions)));
        let top = whole.map(|WholeScan { workers }| {
            debug1!("reading all of {} without the executor", self.relation.sql);
            keep_code(|| search.run(&rows, workers))
        });
        rows.close();
        top.transpose()
    }

    /// The table, or its newest rows where several of one key may be there.
    fn newest_rows(&self) -> String {
        let relation = &self.relation.sql;
        if self.unique {
            return relation.clone();
        }
        // Without ids there is no newest of several rows.
        if !self.relation.has_column("joint_id") {
            return relation.clone();
        }
        // A row that names no entity stands for itself.
        let key = format!(
            "t.as_of_date, {kind}, COALESCE({entity}, E'\\x01' OPERATOR(pg_catalog.||) t.joint_id::pg_catalog.text)",
            kind = joint_form::kind(&self.relation),
            entity = joint_form::entity(&self.relation),
        );
        format!(
            "(SELECT DISTINCT ON ({key}) t.* FROM {relation} t WHERE {OF_MODEL} ORDER BY {key}, t.joint_id DESC)"
        )
    }

    /// Condition and arguments 1 to 5 for rows whose scope contains `scope`.
    fn scoped(&self, scope: &str) -> (String, Vec<DatumWithOid<'static>>) {
        let (kind, id) = Scope::parse(scope).pinned().unzip();
        let pinned = format!(
            "t.entity_scope OPERATOR(pg_catalog.@>) $3::pg_catalog.jsonb{}",
            if id.is_some() {
                format!(
                    " AND {} OPERATOR(pg_catalog.=) $4 AND {} OPERATOR(pg_catalog.=) $5",
                    joint_form::kind(&self.relation),
                    joint_form::entity(&self.relation),
                )
            } else {
                String::new()
            }
        );
        let args = vec![
            self.joint_type.clone().into(),
            self.model_id.clone().into(),
            scope.to_owned().into(),
            kind.into(),
            id.into(),
        ];
        (pinned, args)
    }

    /// Why there is no target: dates and models that exist instead.
    pub fn missing(&self, scope: &str, day: Day) -> Result<JointFault, Fault> {
        let (pinned, args) = self.scoped(scope);
        let relation = &self.relation.sql;
        // A skip scan: one probe of the index per date, not a read of every row.
        let dates = format!(
            "WITH RECURSIVE d(day, n) AS ( \
               SELECT (SELECT pg_catalog.max(t.as_of_date) FROM {relation} t WHERE {OF_MODEL}), 1 \
               UNION ALL \
               SELECT (SELECT pg_catalog.max(t.as_of_date) FROM {relation} t WHERE {OF_MODEL} \
                        AND t.as_of_date OPERATOR(pg_catalog.<) d.day), d.n OPERATOR(pg_catalog.+) 1 \
                 FROM d WHERE d.day IS NOT NULL AND d.n OPERATOR(pg_catalog.<) {HINT_DATES}) \
             SELECT pg_catalog.to_char(d.day, 'YYYY-MM-DD'), CASE WHEN EXISTS (SELECT FROM {relation} t WHERE {OF_MODEL} \
                      AND t.as_of_date OPERATOR(pg_catalog.=) d.day AND {pinned}) THEN 1 ELSE 0 END \
             FROM d WHERE d.day IS NOT NULL ORDER BY d.day DESC"
        );
        let dates = select(&dates, &args, |row| Ok((required(row.text(1)?)?, row.int(2)? == Some(1))))?;
        let models = format!(
            "SELECT DISTINCT t.model_id::pg_catalog.text COLLATE \"C\" FROM {relation} t \
             WHERE t.joint_type::pg_catalog.text OPERATOR(pg_catalog.=) $1 \
               AND t.model_id::pg_catalog.text OPERATOR(pg_catalog.<>) $2 \
               AND t.as_of_date OPERATOR(pg_catalog.=) $6 AND {pinned} ORDER BY 1 LIMIT 5"
        );
        let args: Vec<_> = args.into_iter().chain([date(day).into()]).collect();
        Ok(JointFault::NoEmbedding {
            joint_type: self.joint_type.clone(),
            scope: scope.to_owned(),
            day: day.to_string(),
            model_id: self.model_id.clone(),
            dates: dates.iter().filter(|(_, there)| *there).map(|(day, _)| day.clone()).take(5).collect(),
            other_dates: dates.iter().map(|(day, _)| day.clone()).take(5).collect(),
            models: select(&models, &args, |row| required(row.text(1)?))?,
        })
    }
}

impl Candidates<'_> {
    /// How many conditions [`Candidates::condition`] names.
    fn conditions(&self) -> usize {
        let bounds = match (self.from, self.to) {
            (Some(from), Some(to)) if from == to => return 3,
            (from, to) => usize::from(from.is_some()) + usize::from(to.is_some()),
        };
        2 + bounds + usize::from(self.entity_type.is_some())
    }

    /// Arguments 3 and 4 are the bounds, 9 the entity type.
    fn condition(&self, kind: &str) -> String {
        let mut condition = OF_MODEL.to_owned();
        match (self.from, self.to) {
            (Some(from), Some(to)) if from == to => {
                condition.push_str(" AND t.as_of_date OPERATOR(pg_catalog.=) $3");
                return condition;
            }
            (from, to) => {
                if from.is_some() {
                    condition.push_str(" AND t.as_of_date OPERATOR(pg_catalog.>=) $3");
                }
                if to.is_some() {
                    condition.push_str(" AND t.as_of_date OPERATOR(pg_catalog.<=) $4");
                }
            }
        }
        if self.entity_type.is_some() {
            condition.push_str(&format!(" AND {kind} OPERATOR(pg_catalog.=) $9"));
        }
        condition
    }
}

fn date(day: Day) -> Date {
    Date::saturating_from_raw(day.0)
}
