//! The one error type of the engine. Variants carry values; wording and SQLSTATEs for SQL callers live in
//! `pg/report.rs`, which matches every variant.

use super::day::Day;

/// What can go wrong on the pure floor.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// A stored vector whose byte length is no positive multiple of four.
    #[error("vector of {bytes} bytes is not a whole, positive number of float32 values")]
    VectorBytes {
        /// Length found, in bytes.
        bytes: usize,
    },
    /// A vector with more components than [`super::vector::MAX_DIM`].
    #[error("vector of {dim} dimensions exceeds the limit of {max}")]
    TooManyDimensions {
        /// Components asked for.
        dim: usize,
        /// Components allowed.
        max: usize,
    },
    /// Two vectors that should have the same dimension.
    #[error("vectors have different dimensions: {left} and {right}")]
    DimensionMismatch {
        /// Components of the first.
        left: usize,
        /// Components of the second.
        right: usize,
    },
    /// A vector with NaN or infinite components where none may be.
    #[error("{count} of {dim} vector components are not finite")]
    NonFiniteVector {
        /// Components that are NaN or infinite.
        count: usize,
        /// Components in all.
        dim: usize,
    },
    /// Price and volume columns of different length.
    #[error("close and volume have different lengths: {left} and {right}")]
    LengthMismatch {
        /// Values in the first column.
        left: usize,
        /// Values in the second column.
        right: usize,
    },
    /// A series beyond [`super::numeric::series::MAX_ROWS`].
    #[error("series has more than {max} rows")]
    TooManyRows {
        /// Rows allowed.
        max: usize,
    },
    /// A day that occurs twice in one series.
    #[error("duplicate day {day}")]
    DuplicateDay {
        /// The day.
        day: Day,
    },
    /// Packed series bytes of impossible length.
    #[error("packed series of {bytes} bytes is malformed")]
    PackedSeries {
        /// Length found, in bytes.
        bytes: usize,
    },
    /// Packed search results of impossible form.
    #[error("packed search results of {bytes} bytes are malformed")]
    PackedList {
        /// Length found, in bytes.
        bytes: usize,
    },
    /// A window with fewer rows than its model allows.
    #[error(transparent)]
    TooFewRows(#[from] super::numeric::TooFewRows),
    /// A pipeline that has no vector for its rows.
    #[error(transparent)]
    NoVector(super::numeric::pipeline::Refusal),
    /// A model that measures against a market, and rows that come without one.
    #[error("the model measures returns against a market, which these rows do not carry")]
    NeedsMarket,
    /// A fit with too little to learn from.
    #[error("cannot fit: found {found} usable vectors that vary, need at least {needed}")]
    TooFewToFit {
        /// Vectors found.
        found: usize,
        /// Vectors needed.
        needed: usize,
    },
    /// A model of other inputs than those at hand.
    #[error("the model embeds {found}, not {wanted}")]
    WrongInputs {
        /// What it embeds.
        found: &'static str,
        /// What was to be embedded.
        wanted: &'static str,
    },
    /// A model that nothing can be fitted on.
    #[error("cannot fit on model \"{model_id}\": {reason}")]
    CannotFit {
        /// The model.
        model_id: String,
        /// Why not.
        reason: &'static str,
    },
    /// A stored part of a fitted model that no fit wrote.
    #[error("part \"{name}\" of the model is malformed")]
    MalformedPart {
        /// Name of the part.
        name: &'static str,
    },
    /// Weights of a projection that cannot be used.
    #[error("cannot use the weights of the projection: {problem}")]
    Weights {
        /// What is wrong with them.
        problem: String,
    },
    /// The file or the graph of a projection.
    #[error(transparent)]
    Projection(super::text::TextError),
    /// A matrix beyond what is computed here.
    #[error("matrix of {rows} x {cols} exceeds the limit of {max} elements")]
    MatrixTooLarge {
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        cols: usize,
        /// Elements allowed.
        max: usize,
    },
    /// A model recipe that cannot be used.
    #[error("invalid spec: {key}: {problem}")]
    InvalidSpec {
        /// Path of the key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A joint space that cannot be used.
    #[error("invalid space: {key}: {problem}")]
    InvalidSpace {
        /// Path of the key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An argument outside its range.
    #[error("{name} must be between {min} and {max}, not {value}")]
    OutOfRange {
        /// Argument.
        name: &'static str,
        /// Value found.
        value: i64,
        /// Smallest value allowed.
        min: i64,
        /// Largest value allowed.
        max: i64,
    },
    /// Something about a text model or a text.
    #[error(transparent)]
    Text(#[from] super::text::TextError),
    /// An integer that float64 cannot hold.
    #[error("number {position} is an integer beyond float64: {text}")]
    NumberTooLarge {
        /// Its position, from 1.
        position: usize,
        /// Its beginning.
        text: String,
    },
    /// A number that is none.
    #[error("value {position} is no JSON number: {text}")]
    MalformedNumber {
        /// Its position, from 1.
        position: usize,
        /// Its beginning.
        text: String,
    },
    /// A weight that is negative or not finite as float32.
    #[error("weight {position} must be a finite number of at least 0, not {value}")]
    InvalidWeight {
        /// Its position, from 1.
        position: usize,
        /// Value found.
        value: f64,
    },
    /// Not one weight per vector.
    #[error("{vectors} vectors need as many weights, not {weights}")]
    WeightCount {
        /// Vectors given.
        vectors: usize,
        /// Weights given.
        weights: usize,
    },
    /// Weights that sum to zero in float32.
    #[error("weights sum to zero")]
    ZeroWeights,
    /// A JSON document that would take more memory to read than it is worth.
    #[error("a JSON argument of {bytes} bytes is too large: at most {most} are read")]
    JsonTooLarge {
        /// Bytes of its `jsonb` form.
        bytes: usize,
        /// Most that are read.
        most: usize,
    },
    /// An allocation that the system refused.
    #[error("out of memory")]
    OutOfMemory,
}

impl std::error::Error for super::numeric::TooFewRows {}

/// Result of the engine.
pub type Result<T> = std::result::Result<T, Error>;
