//! Every error that a caller can see: its SQLSTATE, message, detail and hint. Nothing else in the crate
//! names a SQLSTATE, and both matches are exhaustive, so an error without a code does not compile.
//!
//! Wording follows PostgreSQL's style: the message is lower case without a full stop and carries the
//! values; detail and hint are sentences.

mod joint;
mod text;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::engine::Error;

pub use joint::JointFault;

/// What can go wrong on the Postgres floor, beside the engine's errors.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// An error of the engine.
    #[error(transparent)]
    Engine(#[from] Error),
    /// An array argument with more than one dimension.
    #[error("argument \"{argument}\" must be a one-dimensional array, not one of {dimensions} dimensions")]
    ArrayDimensions { argument: &'static str, dimensions: i32 },
    /// An array argument with a NULL element.
    #[error("argument \"{argument}\" must not contain nulls")]
    NullElement { argument: &'static str, position: usize },
    /// An argument that may not be NULL.
    #[error("argument \"{argument}\" must not be null")]
    NullArgument { argument: &'static str },
    /// Text that is not UTF-8.
    #[error("argument \"{argument}\" is not valid UTF-8")]
    NotUtf8 { argument: &'static str },
    /// An argument whose value is not among those allowed.
    #[error("invalid value for argument \"{argument}\": \"{value}\"")]
    InvalidChoice { argument: &'static str, value: String, allowed: &'static str },
    /// A date argument that is infinite.
    #[error("argument \"{argument}\" must be a finite date")]
    InfiniteDate { argument: &'static str },
    /// A range whose end lies before its start.
    #[error("end_date {end} lies before start_date {start}")]
    EmptyRange { start: String, end: String },
    /// A model that is not registered.
    #[error("model \"{model_id}\" does not exist")]
    UnknownModel { model_id: String, near: Vec<String> },
    /// A model of another modality.
    #[error("model \"{model_id}\" is a {found} model, not a {wanted} model")]
    WrongModality { model_id: String, found: String, wanted: &'static str },
    /// A model id that is taken.
    #[error("model \"{model_id}\" already exists")]
    ModelExists { model_id: String },
    /// An id that no model may have.
    #[error("invalid model id \"{model_id}\"")]
    InvalidModelId { model_id: String },
    /// A caller who may not read files of the server.
    #[error("permission denied to read model files of the server")]
    FileRights,
    /// A relation that was not found by name.
    #[error("relation \"{name}\" does not exist")]
    MissingRelation { name: &'static str, argument: &'static str },
    /// A relation of a kind that cannot be read or written here.
    #[error("\"{name}\" is not a table, view or foreign table")]
    WrongRelationKind { name: String, argument: &'static str },
    /// A relation that lacks a column.
    #[error("column \"{column}\" of relation \"{relation}\" does not exist")]
    MissingColumn { relation: String, column: String, argument: &'static str },
    /// Neither a market nor instruments were named.
    #[error("either \"market_id\" or \"instrument_ids\" must be given")]
    NothingSelected,
    /// A market that no instrument belongs to.
    #[error("market \"{market_id}\" has no instruments")]
    UnknownMarket { market_id: String, known: Vec<String> },
    /// `append` on a table that allows one row per key.
    #[error("cannot append to \"{relation}\": it has a unique key")]
    AppendToUnique { relation: String },
    /// A table without a unique key, in a transaction that cannot see what others commit meanwhile.
    #[error("cannot write to \"{relation}\" at this isolation level: it has no unique key")]
    CannotSeeKeys { relation: String },
    /// `update` on a table that does not say what its rows were made from.
    #[error("cannot tell stale rows of \"{relation}\": it has no column \"input_digest\"")]
    NoInputDigest { relation: String },
    /// What a job passes from batch to batch, not as we wrote it.
    #[error("malformed scope of a job")]
    MalformedScope,
    /// Aggregate arguments that change from row to row.
    #[error("argument \"{argument}\" must be the same on every row of a group")]
    ChangingArgument { argument: &'static str },
    /// A support function of an aggregate called by hand.
    #[error("aggregate support function called outside an aggregate")]
    NotAnAggregate,
    /// A partial aggregate state that no version of ours wrote.
    #[error("malformed partial aggregate state")]
    MalformedState,
    /// `embed_staged_rows` called outside a backfill.
    #[error("embed_staged_rows can only be called by a running backfill")]
    NoStagedRows,
    /// A set-returning function called where no set is taken.
    #[error("set-valued function called in context that cannot accept a set")]
    NoResultSet,
    /// A schema that does not exist.
    #[error("schema \"{name}\" does not exist")]
    UnknownSchema { name: String },
    /// No schema of the search_path exists.
    #[error("no schema to create the tables in")]
    NoSchema { search_path: String },
    /// Something about joint spaces and searches.
    #[error(transparent)]
    Joint(#[from] JointFault),
    /// The extension's own schema was not found.
    #[error("extension \"prometheus_embed\" is not installed in this database")]
    NotInstalled,
    /// SPI refused a call of ours.
    #[error("query of the extension failed: {0}")]
    Spi(String),
    /// A state that cannot be: a bug.
    #[error("internal error: {what}")]
    Internal { what: String },
}

impl Fault {
    /// An error of pgrx's SPI layer.
    pub fn spi(error: pgrx::spi::SpiError) -> Self {
        Self::Spi(error.to_string())
    }
}

impl From<pgrx::spi::SpiError> for Fault {
    fn from(error: pgrx::spi::SpiError) -> Self {
        Self::spi(error)
    }
}

/// Code, detail and hint; the message is the error's `Display`.
struct Wording {
    code: PgSqlErrorCode,
    detail: Option<String>,
    hint: Option<String>,
}

impl Wording {
    fn code(code: PgSqlErrorCode) -> Self {
        Self { code, detail: None, hint: None }
    }

    fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn report(self, message: String) -> ErrorReport {
        let mut report = ErrorReport::new(self.code, shortened(message), "prometheus_embed");
        if let Some(detail) = self.detail {
            report = report.set_detail(shortened(detail));
        }
        if let Some(hint) = self.hint {
            report = report.set_hint(shortened(hint));
        }
        report
    }
}

/// Characters of a message that are told: what it quotes may be as long as any text.
const LONGEST: usize = 2_000;

fn shortened(mut text: String) -> String {
    let whole = text.len();
    if let Some((cut, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(cut);
        text.push_str(&format!("... ({whole} bytes)"));
    }
    text
}

impl From<Error> for ErrorReport {
    fn from(error: Error) -> Self {
        engine_wording(&error).report(error.to_string())
    }
}

impl From<Fault> for ErrorReport {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Engine(error) => error.into(),
            fault => fault_wording(&fault).report(fault.to_string()),
        }
    }
}

fn engine_wording(error: &Error) -> Wording {
    use PgSqlErrorCode::*;
    match error {
        Error::VectorBytes { .. } => Wording::code(ERRCODE_INVALID_BINARY_REPRESENTATION)
            .detail("A vector is little-endian float32 without a header: 4 bytes per dimension."),
        Error::TooManyDimensions { .. } | Error::TooManyRows { .. } => {
            Wording::code(ERRCODE_PROGRAM_LIMIT_EXCEEDED)
        }
        Error::DimensionMismatch { .. } => Wording::code(ERRCODE_DATA_EXCEPTION)
            .hint("Compare vectors of one model, or bring them to one dimension with pad_to_dim()."),
        Error::NonFiniteVector { .. } => Wording::code(ERRCODE_DATA_EXCEPTION)
            .hint("Look for zero, negative or missing prices in the rows that the vector was made from."),
        Error::LengthMismatch { .. } => Wording::code(ERRCODE_ARRAY_ELEMENT_ERROR)
            .hint("Pass one close and one volume per day, oldest first."),
        Error::DuplicateDay { .. } => Wording::code(ERRCODE_DATA_EXCEPTION)
            .detail("Which of the rows counts would be chance.")
            .hint("Pass one row per instrument and day."),
        Error::TooFewRows(_) | Error::NoVector(_) => Wording::code(ERRCODE_DATA_EXCEPTION),
        Error::NeedsMarket => Wording::code(ERRCODE_INVALID_PARAMETER_VALUE)
            .hint("Use backfill_numeric(), or num_window_embed(instrument_id, as_of, ...), which read the price table."),
        Error::TooFewToFit { found: 0, .. } => Wording::code(ERRCODE_DATA_EXCEPTION).hint(
            "A fit learns from rows up to its date: prices, named features, or the embeddings of texts, which \
             backfill_profile_text() makes. Is there any of that date?",
        ),
        Error::TooFewToFit { .. } => Wording::code(ERRCODE_DATA_EXCEPTION)
            .hint("Ask for fewer components, or fit on more entities or a longer window."),
        Error::WrongInputs { .. } => Wording::code(ERRCODE_WRONG_OBJECT_TYPE)
            .hint("backfill_numeric() embeds prices, backfill_numeric_profile() named features."),
        Error::CannotFit { .. } => Wording::code(ERRCODE_WRONG_OBJECT_TYPE)
            .hint("Fit on num-regime-core-v2 or another pipeline, on num-profile-core-v2, or on a text model."),
        Error::MalformedPart { .. } => Wording::code(ERRCODE_DATA_CORRUPTED),
        Error::Weights { .. } => Wording::code(ERRCODE_DATA_EXCEPTION)
            .hint("docs/encoders.md says what tensors a projection takes."),
        Error::Projection(error) => text::projection(error),
        Error::MatrixTooLarge { .. } | Error::JsonTooLarge { .. } => Wording::code(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
        Error::PackedSeries { .. } | Error::PackedList { .. } => {
            Wording::code(ERRCODE_INVALID_BINARY_REPRESENTATION)
        }
        Error::InvalidSpec { .. } => {
            Wording::code(ERRCODE_INVALID_PARAMETER_VALUE).hint("docs/encoders.md lists every key of a spec.")
        }
        Error::InvalidSpace { .. } => {
            Wording::code(ERRCODE_INVALID_PARAMETER_VALUE).hint("docs/joint.md lists every key of a space.")
        }
        Error::OutOfRange { .. } => Wording::code(ERRCODE_INVALID_PARAMETER_VALUE),
        Error::Text(error) => text::wording(error),
        Error::InvalidWeight { .. } | Error::ZeroWeights => Wording::code(ERRCODE_INVALID_PARAMETER_VALUE),
        Error::NumberTooLarge { .. } | Error::MalformedNumber { .. } => {
            Wording::code(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE)
        }
        Error::WeightCount { .. } => Wording::code(ERRCODE_ARRAY_ELEMENT_ERROR),
        Error::OutOfMemory => Wording::code(ERRCODE_OUT_OF_MEMORY),
    }
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

fn near_models(near: &[String]) -> String {
    if near.is_empty() {
        return "SELECT model_id FROM embed_models lists the registered models.".to_owned();
    }
    format!("Registered models with a like name: {}.", list(near))
}

fn models_of(modality: &str) -> String {
    format!("SELECT model_id FROM embed_models WHERE modality = '{modality}' lists those that fit.")
}

fn fault_wording(fault: &Fault) -> Wording {
    use PgSqlErrorCode::*;
    match fault {
        Fault::Engine(error) => engine_wording(error),
        Fault::ArrayDimensions { .. } => Wording::code(ERRCODE_ARRAY_ELEMENT_ERROR),
        Fault::NullElement { position, .. } => Wording::code(ERRCODE_NULL_VALUE_NOT_ALLOWED)
            .detail(format!("Element {position} is null.")),
        Fault::NullArgument { .. } => Wording::code(ERRCODE_NULL_VALUE_NOT_ALLOWED),
        Fault::NotUtf8 { .. } => Wording::code(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
        Fault::InvalidChoice { allowed, .. } => Wording::code(ERRCODE_INVALID_PARAMETER_VALUE)
            .hint(format!("Allowed values are {allowed}.")),
        Fault::InfiniteDate { .. } => Wording::code(ERRCODE_DATETIME_FIELD_OVERFLOW),
        Fault::EmptyRange { .. } => Wording::code(ERRCODE_INVALID_PARAMETER_VALUE)
            .detail("Both bounds belong to the range."),
        Fault::UnknownModel { near, .. } => Wording::code(ERRCODE_UNDEFINED_OBJECT).hint(near_models(near)),
        Fault::WrongModality { wanted, .. } => Wording::code(ERRCODE_WRONG_OBJECT_TYPE).hint(models_of(wanted)),
        Fault::ModelExists { .. } => Wording::code(ERRCODE_DUPLICATE_OBJECT)
            .detail("A model id never changes its meaning.")
            .hint("Register the changed recipe under a new id."),
        Fault::InvalidModelId { .. } => Wording::code(ERRCODE_INVALID_NAME).detail(
            "A model id begins with a letter or digit and has up to 63 letters, digits, dots, dashes and underscores.",
        ),
        Fault::FileRights => Wording::code(ERRCODE_INSUFFICIENT_PRIVILEGE)
            .hint("Ask a superuser or a member of pg_read_server_files."),
        Fault::MissingRelation { name, argument } => Wording::code(ERRCODE_UNDEFINED_TABLE).hint(format!(
            "Put the schema of \"{name}\" on the search_path, pass {argument} => 'schema.table', or create the tables with SELECT embed_migrate()."
        )),
        Fault::WrongRelationKind { argument, .. } => Wording::code(ERRCODE_WRONG_OBJECT_TYPE)
            .detail(format!("It was given as argument \"{argument}\".")),
        Fault::MissingColumn { argument, .. } => Wording::code(ERRCODE_UNDEFINED_COLUMN)
            .detail(format!("The relation was given as argument \"{argument}\"."))
            .hint("Pass a view that has the columns of docs/tables.md under their names."),
        Fault::NothingSelected => Wording::code(ERRCODE_INVALID_PARAMETER_VALUE)
            .hint("Name a market, as in market_id => 'US_EQ', or instruments, as in instrument_ids => ARRAY['AAPL.US']."),
        Fault::UnknownMarket { known, .. } => {
            let wording = Wording::code(ERRCODE_INVALID_PARAMETER_VALUE);
            if known.is_empty() { wording } else { wording.hint(format!("Markets with instruments: {}.", list(known))) }
        }
        Fault::AppendToUnique { .. } => Wording::code(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE)
            .hint("Use on_existing => 'replace' or 'skip', or drop the unique index to keep several rows per key."),
        Fault::CannotSeeKeys { .. } => Wording::code(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE)
            .detail("A transaction at REPEATABLE READ or SERIALIZABLE does not see rows that another backfill has just committed, and would double them.")
            .hint("Create the natural key with SELECT embed_migrate(), or use READ COMMITTED."),
        Fault::NoInputDigest { .. } => Wording::code(ERRCODE_UNDEFINED_COLUMN)
            .hint("Add it with SELECT embed_migrate(), or use on_existing => 'skip' or 'replace'."),
        Fault::ChangingArgument { .. } => Wording::code(ERRCODE_INVALID_PARAMETER_VALUE)
            .hint("Pass a constant, or add the column to GROUP BY."),
        Fault::NotAnAggregate | Fault::NoStagedRows | Fault::NotInstalled => Wording::code(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
        Fault::NoResultSet => Wording::code(ERRCODE_FEATURE_NOT_SUPPORTED),
        Fault::MalformedState | Fault::MalformedScope => Wording::code(ERRCODE_INVALID_BINARY_REPRESENTATION),
        Fault::UnknownSchema { .. } => Wording::code(ERRCODE_INVALID_SCHEMA_NAME)
            .hint("Create it first: CREATE SCHEMA. The name is taken as it is, without quotes."),
        Fault::NoSchema { search_path } => Wording::code(ERRCODE_INVALID_SCHEMA_NAME)
            .detail(format!("search_path is {search_path}, and none of its schemas exists or may be used."))
            .hint("Create the schema, or set search_path so that it begins with one that exists."),
        Fault::Joint(fault) => joint::wording(fault),
        Fault::Spi(_) | Fault::Internal { .. } => Wording::code(ERRCODE_INTERNAL_ERROR)
            .hint("This is a bug of prometheus_embed; please report it with the statement that showed it."),
    }
}
