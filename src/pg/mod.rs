//! The Postgres floor: the SQL surface (`api`), queries (`spi`), datums (`ffi`), errors (`report`).
//!
//! Only `ffi` has `unsafe`, only `spi` has SQL text, only `report` names SQLSTATEs.

mod api;
mod backfill;
mod ffi;
mod fit;
mod joint_sql;
mod nearest;
mod projection;
mod report;
mod settings;
mod spi;
mod text;

use pgrx::prelude::*;

pgrx::pg_module_magic!(name, version);

/// Called by the server when the library is loaded, by a first call or preloaded. Text models are loaded
/// later, on first use, or while a session starts; never in the postmaster.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    settings::register();
    crate::engine::host::on_checkpoint(ffi::interrupts::check);
    if ffi::connect::is_starting() {
        text::warm_up();
    }
}

pgrx::extension_sql_file!("../../sql/00_preconditions.sql", name = "preconditions", bootstrap);
pgrx::extension_sql_file!("../../sql/10_models.sql", name = "models", requires = ["preconditions"]);
pgrx::extension_sql_file!("../../sql/12_model_parts.sql", name = "model_parts", requires = ["models"]);
pgrx::extension_sql_file!(
    "../../sql/20_aggregates.sql",
    name = "aggregates",
    requires = [
        api::aggregate::embed_price_series_step,
        api::aggregate::embed_price_series_adjusted_step,
        api::aggregate::embed_price_series_combine,
        api::aggregate::embed_price_series_pack,
        api::aggregate::embed_price_series_unpack,
        api::panel::embed_price_panel_step,
        api::panel::embed_price_panel_adjusted_step,
        api::panel::embed_price_panel_combine,
        api::panel::embed_price_panel_pack,
        api::panel::embed_price_panel_unpack,
        api::aggregate::num_window_step,
        api::aggregate::num_window_combine,
        api::aggregate::num_window_serialize,
        api::aggregate::num_window_deserialize,
        api::aggregate::num_window_final,
        api::moving::num_window_join,
        api::moving::num_window_leave,
        api::moving::num_window_moved,
        api::market::embed_market_sums_step,
        api::market::embed_market_sums_combine,
        api::market::embed_market_sums_pack,
        api::market::embed_market_sums_unpack,
    ]
);
pgrx::extension_sql_file!(
    "../../sql/30_overloads.sql",
    name = "overloads",
    requires = [
        api::vectors::vector_from_array,
        api::vectors::pad_float8_to_dim,
        api::numeric::num_window_embed_lookup,
        api::backfill_numeric::backfill_numeric_days,
    ]
);
pgrx::extension_sql_file!(
    "../../sql/40_text.sql",
    name = "text",
    requires = [
        "models",
        api::text::embed_profile_document,
        api::text::text_profile_embed,
        api::text_models::register_text_model,
        api::text_models::embed_session_text_models,
        api::text_models::embed_check_models,
        api::backfill_text::backfill_profile_text,
        api::backfill_text::backfill_profile_text_days,
    ]
);
pgrx::extension_sql_file!(
    "../../sql/31_jobs.sql",
    name = "jobs",
    requires = [
        "preconditions",
        api::partition::embed_partition,
        api::backfill_numeric_job::embed_numeric_job_read,
        api::backfill_numeric_job::embed_numeric_job_step,
        api::backfill_text_job::embed_text_job_step,
        api::backfill_joint_job::embed_joint_job_step,
    ]
);
pgrx::extension_sql_file!(
    "../../sql/32_procedures.sql",
    name = "procedures",
    requires = [
        "jobs",
        api::backfill_numeric_job::embed_numeric_job_entities,
        api::backfill_numeric_job::embed_numeric_job_scope,
        api::backfill_text_job::embed_text_job_entities,
        api::backfill_joint_job::embed_joint_job_entities,
    ]
);
pgrx::extension_sql_file!(
    "../../sql/50_checks.sql",
    name = "checks",
    requires = [api::numeric::num_window_embed_lookup, api::vectors::euclidean_dist]
);
pgrx::extension_sql_file!(
    "../../sql/51_explain.sql",
    name = "explain",
    requires = [
        "models",
        "spaces",
        api::vectors::vector_to_array,
        api::vectors::l2_norm,
        api::vectors::vector_dim,
        api::vectors::dot_product,
        api::explain::embed_place_back,
        api::explain::embed_named_parts,
        api::explain::embed_window_parts
    ]
);
pgrx::extension_sql_file!(
    "../../sql/80_privileges.sql",
    name = "privileges",
    requires = [
        "models",
        "procedures",
        api::fit::fit_embedding_model,
        api::backfill_profile::backfill_numeric_profile,
        api::backfill_numeric::backfill_numeric,
        api::backfill_numeric::backfill_numeric_days,
        api::models::register_numeric_model,
        api::models::drop_embedding_model,
    ]
);
pgrx::extension_sql_file!(
    "../../sql/70_status.sql",
    name = "status",
    requires = ["jobs", api::about::embed_version, api::about::embed_library_status]
);
pgrx::extension_sql_file!("../../sql/90_comments.sql", name = "comments", finalize);
