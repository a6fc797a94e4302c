//! `fit_embedding_model`: computes what a model needs to learn from the user's own rows.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::arguments::{day, required};
use super::models::check_id;
use crate::engine::Error;
use crate::engine::numeric::Recipe;
use crate::engine::numeric::pipeline::spec::Normalise;
use crate::pg::ffi::regclass::Regclass;
use crate::pg::fit::{Fitted, Request, components, cross_section, factors};
use crate::pg::report::Fault;
use crate::pg::spi::named_rows::NamedSource;
use crate::pg::spi::relation::Relation;
use crate::pg::spi::{models, prices as price_table, text_vectors};

/// Fits to what is known at `as_of` and registers the result under a new id.
#[pg_extern(volatile, parallel_unsafe, cost = 1000000)]
#[allow(clippy::too_many_arguments)]
pub fn fit_embedding_model(
    model_id: Option<&str>,
    base_model_id: Option<&str>,
    as_of: Option<Date>,
    window_days: default!(Option<i32>, 756),
    components: default!(Option<i32>, 30),
    source_type: default!(Option<&str>, "'PROFILE'"),
    prices: default!(Option<Regclass>, "pg_catalog.to_regclass('prices_daily')"),
    embeddings: default!(Option<Regclass>, "pg_catalog.to_regclass('text_embeddings')"),
    features: default!(Option<Regclass>, "pg_catalog.to_regclass('profiles')"),
    entity_column: default!(Option<&str>, "'issuer_id'"),
    date_column: default!(Option<&str>, "'as_of_date'"),
    description: default!(Option<&str>, "NULL"),
    instruments: default!(Option<Regclass>, "pg_catalog.to_regclass('instruments')"),
) -> Result<
    TableIterator<
        'static,
        (name!(model_id, String), name!(entities, i32), name!(components, i32), name!(explained, f64)),
    >,
    ErrorReport,
> {
    let request = Request {
        model_id: check_id(required(model_id, "model_id")?)?,
        base_model_id: required(base_model_id, "base_model_id")?,
        as_of: day(as_of, "as_of")?,
        window_days: required(window_days, "window_days")?,
        components: usize::try_from(required(components, "components")?).unwrap_or(0),
        description,
    };
    let fitted = match models::modality(request.base_model_id)?.as_str() {
        "numeric" => match &*models::numeric_spec(request.base_model_id)? {
            Recipe::Named(base) => {
                let (entity_column, date_column) =
                    (required(entity_column, "entity_column")?, required(date_column, "date_column")?);
                let relation =
                    Relation::open(features, "features", "profiles", &[entity_column, date_column])?;
                let columns = base.columns();
                let source = NamedSource { relation: &relation, entity_column, date_column, columns };
                cross_section::fit(&request, base, &source)?
            }
            recipe => fit_factors(&request, recipe, prices, instruments)?,
        },
        "text" => {
            let table = Relation::open(embeddings, "embeddings", "text_embeddings", &text_vectors::COLUMNS)?;
            components::fit(&request, required(source_type, "source_type")?, &table)?
        }
        "joint" => Err(cannot_fit(&request, "it is a joint model"))?,
        _ => Err(cannot_fit(&request, "it is fitted already"))?,
    };
    let Fitted { entities, components, explained } = fitted;
    Ok(TableIterator::once((request.model_id.to_owned(), entities as i32, components as i32, explained)))
}

fn cannot_fit(request: &Request<'_>, reason: &'static str) -> Fault {
    Error::CannotFit { model_id: request.base_model_id.to_owned(), reason }.into()
}

fn fit_factors(
    request: &Request<'_>,
    recipe: &Recipe,
    prices: Option<Regclass>,
    instruments: Option<Regclass>,
) -> Result<Fitted, Fault> {
    let base = match recipe {
        Recipe::Pipeline(base) | Recipe::Projected(base, _) if base.normalise == Normalise::L2 => base,
        Recipe::Pipeline(_) | Recipe::Projected(..) => {
            return Err(cannot_fit(request, "its vectors have no unit length"));
        }
        Recipe::Window(_) | Recipe::Named(_) => {
            return Err(cannot_fit(request, "its encoder learns nothing"));
        }
        Recipe::Factors(..) => return Err(cannot_fit(request, "it is fitted already")),
    };
    let table = Relation::open(prices, "prices", "prices_daily", &price_table::columns(base.reads()))?;
    factors::fit(request, base, &table, instruments)
}
