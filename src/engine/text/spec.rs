//! What is known of a text model without its files; also where there is no runtime to run it.

use super::pool::Pooling;

/// What a text model is, beside its files.
#[derive(Debug, Clone, PartialEq)]
pub struct TextSpec {
    /// Its id, for errors.
    pub model_id: String,
    /// Components of a vector.
    pub dim: usize,
    /// Tokens after which a text is cut, special ones included.
    pub max_tokens: usize,
    /// From token vectors to one.
    pub pooling: Pooling,
    /// Whether vectors are scaled to unit length.
    pub normalise: bool,
}
