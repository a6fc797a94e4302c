//! Where the SQL of joint spaces and searches stands in the install script.

pgrx::extension_sql_file!("../../sql/11_spaces.sql", name = "spaces", requires = ["models"]);
pgrx::extension_sql_file!(
    "../../sql/21_nearest.sql",
    name = "nearest",
    requires = [
        api::nearest::embed_nearest_step,
        api::nearest::embed_nearest_combine,
        api::nearest::embed_nearest_pack,
        api::nearest::embed_nearest_unpack,
    ]
);
pgrx::extension_sql_file!(
    "../../sql/50_joint.sql",
    name = "joint",
    requires = ["spaces", api::backfill_joint::backfill_joint, api::show::show_joint]
);
pgrx::extension_sql_file!(
    "../../sql/22_spread.sql",
    name = "spread",
    requires = [api::spread::embed_spread_step, api::spread::embed_spread_final]
);
pgrx::extension_sql_file!("../../sql/55_pgvector.sql", name = "pgvector", requires = ["joint"]);
pgrx::extension_sql_file!("../../sql/60_views.sql", name = "joint_views", requires = ["spaces", "spread"]);
pgrx::extension_sql_file!(
    "../../sql/81_joint_privileges.sql",
    name = "joint_privileges",
    requires = [
        "spaces",
        "nearest",
        "joint",
        "joint_views",
        "procedures",
        api::backfill_entities::backfill_numeric_portfolio,
        api::backfill_entities::backfill_numeric_scenario,
        api::spaces::register_joint_space,
        api::search::find_similar_profiles,
        api::search::find_similar_portfolios,
        api::search::find_similar_stab_scenarios,
        api::search::find_similar,
    ]
);
pgrx::extension_sql_file!(
    "../../sql/91_joint_comments.sql",
    name = "joint_comments",
    requires =
        ["joint_privileges", api::joint_average::joint_average, api::joint_average::joint_average_of_many,]
);
