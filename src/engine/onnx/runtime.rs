//! The ONNX Runtime library and its one environment. A process can hold one library for its whole life.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ort::environment::Environment;

use super::super::Result;
use super::super::host::Host;
use super::super::text::TextError;

/// The loaded library.
pub struct Runtime {
    path: PathBuf,
    environment: Environment,
    borrows: bool,
}

/// The library of this process, once one was loaded. Never dropped: a library is not unloaded.
static LOADED: Mutex<Option<Arc<Runtime>>> = Mutex::new(None);

impl Runtime {
    /// The library at `path`, loaded if it is not.
    ///
    /// # Errors
    /// [`TextError::RuntimeNotConfigured`], [`TextError::RuntimeMissing`], [`TextError::RuntimeUnusable`], and
    /// [`TextError::RuntimeFixed`] when another one is loaded.
    pub fn load(path: &Path, host: &dyn Host) -> Result<Arc<Runtime>> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        match &*loaded {
            Some(runtime) if runtime.path == path => return Ok(Arc::clone(runtime)),
            _ => check(path)?,
        }
        let file = file_name(path);
        if loaded.is_some() {
            return Err(TextError::RuntimeFixed { file }.into());
        }
        let mut result = Err(TextError::RuntimeNotConfigured);
        host.shielded(&mut || result = environment(path, &file));
        let environment = result?;
        let borrows = host.lend_memory(&environment);
        let runtime = Arc::new(Runtime { path: path.to_owned(), environment, borrows });
        Ok(Arc::clone(loaded.insert(runtime)))
    }

    /// The environment sessions are made in.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Whether the host has memory for tensors.
    pub fn borrows(&self) -> bool {
        self.borrows
    }

    /// What the library says about its build; the manifest of a packed model names it too.
    pub fn build(&self) -> &'static str {
        ort::info()
    }
}

/// What the library of this process says about its build, once one was loaded.
pub fn loaded_build() -> Option<&'static str> {
    LOADED.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|runtime| runtime.build())
}

/// Whether a library can be at `path`, without loading it.
///
/// # Errors
/// [`TextError::RuntimeNotConfigured`], [`TextError::RuntimeMissing`].
pub fn check(path: &Path) -> Result<()> {
    if path.as_os_str().is_empty() {
        return Err(TextError::RuntimeNotConfigured.into());
    }
    let missing = |cause: &str| TextError::RuntimeMissing { file: file_name(path), cause: cause.to_owned() };
    if !path.is_absolute() {
        return Err(missing("the setting must hold an absolute path").into());
    }
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_file() => Ok(()),
        Ok(_) => Err(missing("it is no regular file").into()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(missing("it does not exist").into()),
        Err(e) => Err(missing(&e.kind().to_string()).into()),
    }
}

fn environment(path: &Path, file: &str) -> std::result::Result<Environment, TextError> {
    let unusable = |cause: String| {
        // The reader may not be one to know where things are on the server.
        let cause = cause.replace(&path.display().to_string(), file);
        TextError::RuntimeUnusable { file: file.to_owned(), cause }
    };
    let builder = ort::init_from(path).map_err(|e| {
        let source = std::error::Error::source(&e).map(|s| format!(": {s}")).unwrap_or_default();
        unusable(format!("{e}{source}"))
    })?;
    builder
        .with_telemetry(false)
        // Without a logger of ours, the runtime writes to the server's log in its own format.
        .with_logger(Arc::new(|_, _, _, _, _| {}))
        .build()
        .map_err(|e| unusable(e.to_string()))
}

/// Last part of a path, for messages.
pub fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
