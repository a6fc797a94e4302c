//! Finding similar ones: exact, over every candidate.

use pgrx::datum::JsonB;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde_json::Value;

use super::arguments::{day, required};
use crate::engine::joint::scope::Scope;
use crate::engine::search::{Hit, LeftOut, check_top_k};
use crate::engine::vector::VectorRef;
use crate::engine::{Day, Error};
use crate::pg::ffi::json::JsonText;
use crate::pg::ffi::regclass::Regclass;
use crate::pg::report::{Fault, JointFault};
use crate::pg::spi::joint_search::{Candidates, JointSource, Method};
use crate::pg::spi::{models, spaces};

/// A search, as its faces ask for it.
struct Search<'a> {
    joint_type: &'a str,
    model_id: &'a str,
    /// What the target's scope contains, as a JSON object.
    scope: String,
    as_of: Day,
    /// Days of the candidates.
    from: Option<Day>,
    to: Option<Day>,
    /// What candidates' scopes contain, as a JSON object; the target's entity type unless it names one.
    filter: String,
    top_k: Option<i32>,
    embeddings: Option<Regclass>,
    /// `exact` or `hnsw`.
    method: Option<&'a str>,
}

impl Search<'_> {
    fn run(&self) -> Result<Vec<Hit>, Fault> {
        let top_k = required(self.top_k, "top_k")?;
        check_top_k(top_k.into())?;
        let method = method(required(self.method, "method")?)?;
        let source = JointSource::open(self.embeddings, self.joint_type, self.model_id)?;
        let Some(target) = source.target(&self.scope, self.as_of)? else {
            let missing = source.missing(&self.scope, self.as_of)?;
            // Rows of unregistered models can be searched; a model that nobody knows is likely a misspelling.
            if matches!(&missing, JointFault::NoEmbedding { other_dates, .. } if other_dates.is_empty()) {
                models::spec_json(self.model_id, "joint")?;
            }
            return Err(missing.into());
        };
        let vector = VectorRef::new(&target.vector)?;
        let count = vector.count_non_finite();
        if count > 0 {
            return Err(Error::NonFiniteVector { count, dim: vector.dim() }.into());
        }
        let mut filter = self.filter.clone();
        let mut entity_type = Scope::parse(&filter).get("entity_type");
        if entity_type.is_none() {
            entity_type = target.scope.get("entity_type");
            filter = with_member(&filter, "entity_type", entity_type.as_deref());
        }
        if Scope::parse(&filter).get("source").is_none() && self.has_gaps()? {
            filter = with_member(&filter, "source", target.scope.get("source").as_deref());
        }
        let candidates =
            Candidates { from: self.from, to: self.to, filter: &filter, entity_type: entity_type.as_deref() };
        let Some(top) = source.nearest(&target, &candidates, top_k, method)? else { return Ok(Vec::new()) };
        let left_out = top.left_out();
        let hits = top.into_sorted();
        if left_out.total() > 0 {
            notice!("{}", tell(left_out, vector.dim()));
        }
        Ok(hits)
    }

    /// Whether a branch of the space may be missing, so that cosines compare only vectors of the same branches.
    fn has_gaps(&self) -> Result<bool, Fault> {
        let rows = spaces::of_model(self.joint_type, self.model_id)?;
        Ok(rows.iter().any(|row| row.space.leaves_gaps()))
    }
}

fn method(name: &str) -> Result<Method, Fault> {
    match name {
        "exact" => Ok(Method::Exact),
        "hnsw" => Ok(Method::Hnsw),
        other => Err(Fault::InvalidChoice {
            argument: "method",
            value: other.to_owned(),
            allowed: "\"exact\" and \"hnsw\"",
        }),
    }
}

fn tell(left_out: LeftOut, dim: usize) -> String {
    let parts = [
        (left_out.no_vector, "without a vector".to_owned()),
        (left_out.other_dim, format!("of another dimension than {dim}")),
        (left_out.non_finite, "with values that are not finite".to_owned()),
    ];
    let parts: Vec<String> =
        parts.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    format!("left out of the search: {}", parts.join(", "))
}

/// A JSON object of the members that are there.
fn members(given: &[(&str, Option<&str>)]) -> String {
    let given = given.iter().filter_map(|(key, value)| Some(((*key).to_owned(), (*value)?.into())));
    Value::Object(given.collect()).to_string()
}

/// The JSON object with one more member put in front, if there is one.
fn with_member(object: &str, name: &str, value: Option<&str>) -> String {
    let Some(value) = value else { return object.to_owned() };
    let comma = if object == "{}" { "" } else { ", " };
    format!("{{\"{name}\": {}{comma}{}", Value::from(value), &object[1..])
}

/// Rank from 1, and the scope of a hit.
fn ranked(hits: Vec<Hit>) -> impl Iterator<Item = (i32, Hit, Scope)> {
    hits.into_iter().zip(1..).map(|(hit, rank)| {
        let scope = Scope::parse(&hit.payload);
        (rank, hit, scope)
    })
}

/// The issuers whose joint profile at one date is most like that of `issuer_id`.
#[pg_extern(stable, parallel_safe, cost = 10000)]
pub fn find_similar_profiles(
    issuer_id: Option<&str>,
    as_of: Option<Date>,
    model_id: default!(Option<&str>, "'joint-profile-core-v1'"),
    top_k: default!(Option<i32>, 10),
    region: default!(Option<&str>, "NULL"),
    embeddings: default!(Option<Regclass>, "pg_catalog.to_regclass('joint_embeddings')"),
    method: default!(Option<&str>, "'exact'"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(rank, i32),
            name!(cosine, f64),
            name!(euclidean, f64),
            name!(issuer_id, Option<String>),
            name!(instrument_id, Option<String>),
            name!(region, Option<String>),
            name!(source, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let as_of = day(as_of, "as_of")?;
    let kind = ("entity_type", Some("ISSUER"));
    let search = Search {
        joint_type: "PROFILE_CORE_V0",
        model_id: required(model_id, "model_id")?,
        scope: members(&[kind, ("issuer_id", Some(required(issuer_id, "issuer_id")?))]),
        as_of,
        from: Some(as_of),
        to: Some(as_of),
        filter: members(&[kind, ("region", region)]),
        top_k,
        embeddings,
        method,
    };
    Ok(TableIterator::new(ranked(search.run()?).map(|(rank, hit, scope)| {
        let get = |key| scope.get(key);
        (rank, hit.cosine, hit.distance, get("issuer_id"), get("instrument_id"), get("region"), get("source"))
    })))
}

/// The portfolios whose joint vector at one date is most like that of `portfolio_id`.
#[pg_extern(stable, parallel_safe, cost = 10000)]
pub fn find_similar_portfolios(
    portfolio_id: Option<&str>,
    as_of: Option<Date>,
    model_id: default!(Option<&str>, "'joint-portfolio-core-v1'"),
    top_k: default!(Option<i32>, 10),
    embeddings: default!(Option<Regclass>, "pg_catalog.to_regclass('joint_embeddings')"),
    method: default!(Option<&str>, "'exact'"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(rank, i32),
            name!(cosine, f64),
            name!(euclidean, f64),
            name!(portfolio_id, Option<String>),
            name!(source, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let as_of = day(as_of, "as_of")?;
    let kind = ("entity_type", Some("PORTFOLIO"));
    let search = Search {
        joint_type: "PORTFOLIO_CORE_V0",
        model_id: required(model_id, "model_id")?,
        scope: members(&[kind, ("portfolio_id", Some(required(portfolio_id, "portfolio_id")?))]),
        as_of,
        from: Some(as_of),
        to: Some(as_of),
        filter: members(&[kind]),
        top_k,
        embeddings,
        method,
    };
    Ok(TableIterator::new(ranked(search.run()?).map(|(rank, hit, scope)| {
        (rank, hit.cosine, hit.distance, scope.get("portfolio_id"), scope.get("source"))
    })))
}

/// The scenarios, of all dates or a range, that are most like the state of an instrument at one date.
#[pg_extern(stable, parallel_safe, cost = 10000)]
#[allow(clippy::too_many_arguments)]
pub fn find_similar_stab_scenarios(
    instrument_id: Option<&str>,
    as_of: Option<Date>,
    model_id: default!(Option<&str>, "'joint-stab-fragility-v1'"),
    top_k: default!(Option<i32>, 10),
    scenario_set_id: default!(Option<&str>, "NULL"),
    start_date: default!(Option<Date>, "NULL"),
    end_date: default!(Option<Date>, "NULL"),
    embeddings: default!(Option<Regclass>, "pg_catalog.to_regclass('joint_embeddings')"),
    method: default!(Option<&str>, "'exact'"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(rank, i32),
            name!(cosine, f64),
            name!(euclidean, f64),
            name!(scenario_set_id, Option<String>),
            name!(scenario_id, Option<String>),
            name!(as_of_date, Date),
            name!(source, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let instrument_id = Some(required(instrument_id, "instrument_id")?);
    let (from, to) = bounds(start_date, end_date)?;
    let search = Search {
        joint_type: "STAB_FRAGILITY_V0",
        model_id: required(model_id, "model_id")?,
        scope: members(&[("entity_type", Some("INSTRUMENT")), ("entity_id", instrument_id)]),
        as_of: day(as_of, "as_of")?,
        from,
        to,
        filter: members(&[("entity_type", Some("SCENARIO")), ("scenario_set_id", scenario_set_id)]),
        top_k,
        embeddings,
        method,
    };
    Ok(TableIterator::new(ranked(search.run()?).map(|(rank, hit, scope)| {
        let day = Date::saturating_from_raw(hit.day);
        let get = |key| scope.get(key);
        (rank, hit.cosine, hit.distance, get("scenario_set_id"), get("scenario_id"), day, get("source"))
    })))
}

/// The entities of a joint space that are most like the one that `scope` describes; candidates are those of
/// the same date, or of a range.
#[pg_extern(stable, parallel_safe, cost = 10000)]
#[allow(clippy::too_many_arguments)]
pub fn find_similar(
    joint_type: Option<&str>,
    scope: Option<JsonText>,
    as_of: Option<Date>,
    top_k: default!(Option<i32>, 10),
    filter: default!(Option<JsonText>, "NULL"),
    model_id: default!(Option<&str>, "NULL"),
    start_date: default!(Option<Date>, "NULL"),
    end_date: default!(Option<Date>, "NULL"),
    embeddings: default!(Option<Regclass>, "pg_catalog.to_regclass('joint_embeddings')"),
    method: default!(Option<&str>, "'exact'"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(rank, i32),
            name!(cosine, f64),
            name!(euclidean, f64),
            name!(entity_id, Option<String>),
            name!(as_of_date, Date),
            name!(entity_scope, JsonB),
        ),
    >,
    ErrorReport,
> {
    let joint_type = required(joint_type, "joint_type")?;
    let as_of = day(as_of, "as_of")?;
    let bounded = start_date.is_some() || end_date.is_some();
    let (from, to) = if bounded { bounds(start_date, end_date)? } else { (Some(as_of), Some(as_of)) };
    let model = match model_id {
        Some(model_id) => model_id.to_owned(),
        None => spaces::only_model(joint_type)?,
    };
    let search = Search {
        joint_type,
        model_id: &model,
        scope: object(required(scope, "scope")?, "scope")?,
        as_of,
        from,
        to,
        filter: filter.map(|filter| object(filter, "filter")).transpose()?.unwrap_or_else(|| "{}".to_owned()),
        top_k,
        embeddings,
        method,
    };
    Ok(TableIterator::new(ranked(search.run()?).map(|(rank, hit, scope)| {
        let day = Date::saturating_from_raw(hit.day);
        (rank, hit.cosine, hit.distance, scope.entity(), day, JsonB(scope.into_json()))
    })))
}

/// The text of a `jsonb` argument that must be an object.
pub fn object(value: JsonText, argument: &'static str) -> Result<String, Fault> {
    if value.0.starts_with('{') { Ok(value.0) } else { Err(JointFault::NotAnObject { argument }.into()) }
}

/// The bounds of a range, each of which may be absent.
pub fn bounds(start: Option<Date>, end: Option<Date>) -> Result<(Option<Day>, Option<Day>), Fault> {
    let from = start.map(|date| day(Some(date), "start_date")).transpose()?;
    let to = end.map(|date| day(Some(date), "end_date")).transpose()?;
    match (from, to) {
        (Some(from), Some(to)) if to < from => {
            Err(Fault::EmptyRange { start: from.to_string(), end: to.to_string() })
        }
        _ => Ok((from, to)),
    }
}
