//! What can go wrong between a text and its vector. File names are given without their directory, because
//! the messages reach people who may not read the server's disk.

/// An error of the rooms `text`, `onnx` and `registry`.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TextError {
    /// The setting that names the ONNX Runtime library is empty.
    #[error("no ONNX Runtime library is configured")]
    RuntimeNotConfigured,
    /// The ONNX Runtime library is not where the setting says.
    #[error("ONNX Runtime library \"{file}\" is not there: {cause}")]
    RuntimeMissing {
        /// File name of the library.
        file: String,
        /// What the system said.
        cause: String,
    },
    /// The file exists but is no usable ONNX Runtime.
    #[error("ONNX Runtime library \"{file}\" cannot be used: {cause}")]
    RuntimeUnusable {
        /// File name of the library.
        file: String,
        /// What the loader or the runtime said.
        cause: String,
    },
    /// Another library is loaded already; a process can hold only one.
    #[error("ONNX Runtime is already loaded from another file in this session")]
    RuntimeFixed {
        /// File name of the library asked for.
        file: String,
    },
    /// A model directory that may not be used.
    #[error("model directory \"{directory}\" cannot be used: {problem}")]
    Directory {
        /// The name given.
        directory: String,
        /// Why not.
        problem: String,
    },
    /// A directory outside the configured one.
    #[error("model directory \"{directory}\" is outside the directory for models")]
    DirectoryOutside {
        /// The name given.
        directory: String,
    },
    /// A file of the model is missing.
    #[error("file \"{file}\" of model \"{model}\" is not there")]
    FileMissing {
        /// Model or directory name.
        model: String,
        /// File name.
        file: String,
    },
    /// A file of the model cannot be read.
    #[error("file \"{file}\" of model \"{model}\" cannot be read: {cause}")]
    FileUnreadable {
        /// Model or directory name.
        model: String,
        /// File name.
        file: String,
        /// What the system said.
        cause: String,
    },
    /// A file that others than its rightful owner could change.
    #[error("file \"{file}\" of model \"{model}\" is not safe to load: {problem}")]
    FileUnsafe {
        /// Model or directory name.
        model: String,
        /// File name.
        file: String,
        /// What is wrong with its owner or mode.
        problem: String,
    },
    /// A file whose content is not the registered one.
    #[error("file \"{file}\" of model \"{model}\" is not the registered one: {problem}")]
    FileChanged {
        /// Model or directory name.
        model: String,
        /// File name.
        file: String,
        /// What differs.
        problem: String,
    },
    /// A manifest that cannot be used.
    #[error("manifest of model \"{model}\" cannot be used: {problem}")]
    Manifest {
        /// Model or directory name.
        model: String,
        /// What is wrong.
        problem: String,
    },
    /// A graph this extension refuses to run.
    #[error("graph \"{file}\" of model \"{model}\" is refused: {problem}")]
    GraphRefused {
        /// Model or directory name.
        model: String,
        /// File name.
        file: String,
        /// What it holds.
        problem: String,
    },
    /// A graph that no runtime could read.
    #[error("graph \"{file}\" of model \"{model}\" cannot be loaded: {cause}")]
    GraphUnreadable {
        /// Model or directory name.
        model: String,
        /// File name.
        file: String,
        /// What the runtime said.
        cause: String,
    },
    /// A tokenizer that cannot be used with its model.
    #[error("tokenizer of model \"{model}\" cannot be used: {problem}")]
    Tokenizer {
        /// Model or directory name.
        model: String,
        /// What is wrong.
        problem: String,
    },
    /// A model larger than the limit.
    #[error("model \"{model}\" needs {bytes} bytes, more than the limit of {limit}")]
    ModelTooLarge {
        /// Model or directory name.
        model: String,
        /// Size of its files, in bytes.
        bytes: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The runtime failed while computing.
    #[error("model \"{model}\" failed: {cause}")]
    RunFailed {
        /// Model or directory name.
        model: String,
        /// What the runtime said.
        cause: String,
    },
    /// The model computed NaN or infinity.
    #[error("model \"{model}\" gave a vector that is not finite")]
    NonFinite {
        /// Model or directory name.
        model: String,
    },
    /// More text than one call can answer.
    #[error("{texts} texts of {dim} dimensions do not fit one result")]
    TooManyTexts {
        /// Texts asked for.
        texts: usize,
        /// Dimensions of the model.
        dim: usize,
        /// Most texts of one call.
        limit: usize,
    },
    /// The host wants to stop.
    #[error("interrupted")]
    Interrupted,
}
