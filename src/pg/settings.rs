//! Every setting (GUC) of the extension, in alphabetical order. docs/settings.md lists them too.

use std::ffi::CString;
use std::path::PathBuf;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};

use super::ffi::paths;

/// Stands for the server's library directory at the beginning of a path, as it does for Postgres itself.
const LIBDIR: &str = "$libdir";
/// Stands for the server's directory of shared files.
const SHAREDIR: &str = "$sharedir";

static BATCH_TOKENS: GucSetting<i32> = GucSetting::<i32>::new(512);
static DYNAMIC_BATCHING: GucSetting<bool> = GucSetting::<bool>::new(true);
static INTRA_OP_THREADS: GucSetting<i32> = GucSetting::<i32>::new(1);
static MODEL_DIRECTORY: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c"$sharedir/prometheus_embed/models"));
static MODEL_MEMORY_LIMIT: GucSetting<i32> = GucSetting::<i32>::new(1024);
static ONNXRUNTIME_LIBRARY: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c"$libdir/prometheus_embed/libonnxruntime.so.1.28.0"));

static PRELOAD_MODELS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));

/// Makes the settings known to the server.
pub fn register() {
    register_runs();
    register_models();
    reserve_prefix();
}

fn register_runs() {
    GucRegistry::define_int_guc(
        c"prometheus_embed.batch_tokens",
        c"Most tokens, padding included, that a text model reads at once.",
        c"Texts of like length share a batch; a longer text rides alone. Larger batches take more memory and answer later to a cancellation.",
        &BATCH_TOKENS,
        16,
        8192,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"prometheus_embed.dynamic_batching",
        c"Whether short texts that come one by one share runs of a model with those of other sessions.",
        c"As many runs go on at once as there are processors; texts that come meanwhile wait for the next one.",
        &DYNAMIC_BATCHING,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"prometheus_embed.intra_op_threads",
        c"Threads with which a text model computes, the session's own included.",
        c"With 1 no thread is ever made. A change takes effect when the model is used next; it is then loaded again.",
        &INTRA_OP_THREADS,
        1,
        64,
        GucContext::Suset,
        GucFlags::default(),
    );
}

fn register_models() {
    GucRegistry::define_string_guc(
        c"prometheus_embed.model_directory",
        c"Directory below which the directories of text models are.",
        c"$sharedir at the beginning stands for the server's directory of shared files.",
        &MODEL_DIRECTORY,
        GucContext::Suset,
        GucFlags::SUPERUSER_ONLY,
    );
    GucRegistry::define_int_guc(
        c"prometheus_embed.model_memory_limit",
        c"Most memory of the text models that a session has loaded, by the sizes of their files.",
        c"The least recently used model is dropped to make room. Most of a model's files is mapped and shared by all sessions.",
        &MODEL_MEMORY_LIMIT,
        1,
        1_048_576,
        GucContext::Suset,
        GucFlags::UNIT_MB,
    );
    GucRegistry::define_string_guc(
        c"prometheus_embed.onnxruntime_library",
        c"The ONNX Runtime library that text models are run with.",
        c"$libdir at the beginning stands for the server's library directory. A session that has loaded one keeps it.",
        &ONNXRUNTIME_LIBRARY,
        GucContext::Suset,
        GucFlags::SUPERUSER_ONLY,
    );
    GucRegistry::define_string_guc(
        c"prometheus_embed.preload_models",
        c"Text models that a session loads when it starts, by their ids with commas between them.",
        c"Works for sessions that load the library when they start: session_preload_libraries = 'prometheus_embed'.",
        &PRELOAD_MODELS,
        GucContext::Suset,
        GucFlags::default(),
    );
}

/// From version 15 on, a misspelt setting of ours is refused.
fn reserve_prefix() {
    #[cfg(not(feature = "pg14"))]
    super::ffi::paths::reserve_setting_prefix(c"prometheus_embed");
}

/// Most padded tokens of a batch.
pub fn batch_tokens() -> usize {
    usize::try_from(BATCH_TOKENS.get()).unwrap_or(1)
}

/// Whether single short texts may share runs with those of other sessions.
pub fn dynamic_batching() -> bool {
    DYNAMIC_BATCHING.get()
}

/// Threads of one run.
pub fn intra_op_threads() -> usize {
    usize::try_from(INTRA_OP_THREADS.get()).unwrap_or(1)
}

/// Where the directories of models are; empty when unset.
pub fn model_directory() -> PathBuf {
    expand(MODEL_DIRECTORY.get(), SHAREDIR, paths::share_directory)
}

/// Most bytes of loaded models.
pub fn model_memory_limit() -> u64 {
    u64::try_from(MODEL_MEMORY_LIMIT.get()).unwrap_or(0) << 20
}

/// Ids of the models that a session loads when it starts.
pub fn preload_models() -> Vec<String> {
    let value = PRELOAD_MODELS.get().map(|value| value.to_string_lossy().into_owned()).unwrap_or_default();
    value.split(',').map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned).collect()
}

/// The ONNX Runtime library; empty when unset.
pub fn onnxruntime_library() -> PathBuf {
    expand(ONNXRUNTIME_LIBRARY.get(), LIBDIR, paths::library_directory)
}

fn expand(value: Option<CString>, variable: &str, directory: fn() -> PathBuf) -> PathBuf {
    let value = value.map(|value| value.to_string_lossy().into_owned()).unwrap_or_default();
    match value.strip_prefix(variable) {
        Some(rest) => directory().join(rest.trim_start_matches('/')),
        None => PathBuf::from(value),
    }
}
