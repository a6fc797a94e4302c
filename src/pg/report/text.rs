//! SQLSTATE, detail and hint of what can go wrong between a text and its vector.

use pgrx::prelude::*;

use super::Wording;
use crate::engine::text::TextError;

const CHECK_MODELS: &str = "Run SELECT * FROM embed_check_models() as a superuser, and make and install the model again if it fails.";
const TRY_AGAIN: &str =
    "The failure is remembered by this session: after mending it, reconnect or SELECT unload_text_models().";

/// The same codes for the file or the graph of a projection, of which other advice holds.
pub(super) fn projection(error: &TextError) -> Wording {
    let code = wording(error).code;
    match error {
        TextError::GraphRefused { .. } | TextError::GraphUnreadable { .. } => Wording::code(code)
            .detail("A graph takes one float32 matrix of one row and gives one, with all weights in its file, without loops, without operators of its own."),
        TextError::FileUnsafe { .. } => Wording::code(code)
            .detail("Whoever can write the file can change what all the model's vectors mean.")
            .hint("Give the file to root or to the server's user, as a regular file that only its owner may write."),
        TextError::FileChanged { .. } => Wording::code(code)
            .detail("A model id never changes its meaning, so another file is not used in its place.")
            .hint("Put the registered file back, or register the new one under a new id."),
        TextError::ModelTooLarge { .. } | TextError::RunFailed { .. } | TextError::NonFinite { .. } | TextError::Interrupted => {
            Wording::code(code)
        }
        _ => Wording::code(code)
            .detail("Projections are read from files below prometheus_embed.model_directory, symbolic links resolved."),
    }
}

pub(super) fn wording(error: &TextError) -> Wording {
    use PgSqlErrorCode::*;
    match error {
        TextError::RuntimeNotConfigured => Wording::code(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE)
            .detail("Text functions need the ONNX Runtime library; all others work without it.")
            .hint("Install the package prometheus-embed-runtime, or run make model and make install, or set prometheus_embed.onnxruntime_library."),
        TextError::RuntimeMissing { .. } => Wording::code(ERRCODE_UNDEFINED_FILE)
            .detail("Text functions need the ONNX Runtime library that prometheus_embed.onnxruntime_library names; all others work without it.")
            .hint(format!("Install the package prometheus-embed-runtime, or run make model and make install, or correct the setting. {TRY_AGAIN}")),
        TextError::RuntimeUnusable { .. } => Wording::code(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE)
            .detail("prometheus_embed.onnxruntime_library must name an ONNX Runtime library of version 1.21 or later; 1.28.0 is tested.")
            .hint(format!("Install the package prometheus-embed-runtime, or run make model and make install, or correct the setting. {TRY_AGAIN}")),
        TextError::RuntimeFixed { .. } => Wording::code(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE)
            .detail("A process holds one such library for its whole life.")
            .hint("Reconnect: the new setting takes effect in a new session."),
        TextError::Directory { .. } => Wording::code(ERRCODE_INVALID_PARAMETER_VALUE)
            .hint("Name a directory below prometheus_embed.model_directory, such as make model makes."),
        TextError::DirectoryOutside { .. } => Wording::code(ERRCODE_INSUFFICIENT_PRIVILEGE)
            .detail("Models are read from directories below prometheus_embed.model_directory, symbolic links resolved.")
            .hint("Copy the model there, or have a superuser change the setting."),
        TextError::FileMissing { .. } => Wording::code(ERRCODE_UNDEFINED_FILE)
            .detail("Models are read from directories below prometheus_embed.model_directory.")
            .hint(format!("Install the package prometheus-embed-model, or run make model and make install. {TRY_AGAIN}")),
        TextError::FileUnreadable { .. } => Wording::code(ERRCODE_IO_ERROR).hint(TRY_AGAIN),
        TextError::FileUnsafe { .. } => Wording::code(ERRCODE_INSUFFICIENT_PRIVILEGE)
            .detail("Whoever can write a model's files can change what all its vectors mean.")
            .hint("Give the file to root or to the server's user, as a regular file that only its owner may write."),
        TextError::FileChanged { .. } => Wording::code(ERRCODE_DATA_CORRUPTED)
            .detail("A model id never changes its meaning, so another file is not used in its place.")
            .hint(format!("{CHECK_MODELS} {TRY_AGAIN}")),
        TextError::Manifest { .. } => Wording::code(ERRCODE_CONFIG_FILE_ERROR)
            .hint("docs/text.md says what manifest.json holds; make model writes it."),
        TextError::GraphRefused { .. } => Wording::code(ERRCODE_FEATURE_NOT_SUPPORTED)
            .detail("A text model takes input_ids and attention_mask (and token_type_ids) and gives float32 vectors, without loops, without operators of its own.")
            .hint("Export the model anew, or build it with make model MODEL_SRC=...; dynamic quantisation can be allowed when the model is registered."),
        TextError::GraphUnreadable { .. } => Wording::code(ERRCODE_DATA_CORRUPTED).hint(TRY_AGAIN),
        TextError::Tokenizer { .. } => Wording::code(ERRCODE_DATA_CORRUPTED)
            .hint("tokenizer.json must be the one the model was trained with."),
        TextError::ModelTooLarge { .. } => Wording::code(ERRCODE_OUT_OF_MEMORY)
            .detail("The size of a model is that of its files, most of which all sessions share.")
            .hint("Raise prometheus_embed.model_memory_limit."),
        TextError::RunFailed { .. } => Wording::code(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION).hint(CHECK_MODELS),
        TextError::NonFinite { .. } => Wording::code(ERRCODE_DATA_EXCEPTION).hint(CHECK_MODELS),
        TextError::TooManyTexts { limit, .. } => Wording::code(ERRCODE_PROGRAM_LIMIT_EXCEEDED)
            .hint(format!("Pass at most {limit} texts, or use backfill_profile_text().")),
        TextError::Interrupted => Wording::code(ERRCODE_QUERY_CANCELED),
    }
}
