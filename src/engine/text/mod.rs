//! Texts to vectors: the document of a profile, tokens, batches, pooling. Knows no ONNX Runtime: the network
//! is an [`Encoder`], which [`super::onnx`] implements.

pub mod batch;
#[cfg(feature = "onnx")]
pub mod batching;
#[cfg(feature = "onnx")]
pub mod board;
pub mod document;
mod error;
#[cfg(feature = "onnx")]
mod model;
pub mod pieces;
pub mod pool;
mod spec;
#[cfg(test)]
#[cfg(feature = "onnx")]
mod tests;
#[cfg(feature = "onnx")]
mod tokenize;
#[cfg(feature = "onnx")]
mod word_piece;

pub use error::TextError;
#[cfg(feature = "onnx")]
pub use model::{Embedded, Encoder, TextModel};
pub use pool::Pooling;
pub use spec::TextSpec;
#[cfg(feature = "onnx")]
pub use tokenize::{Tokenizer, Tokens};
