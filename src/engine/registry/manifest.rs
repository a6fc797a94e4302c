//! `manifest.json` of a model directory: what the model is, and the digest of each of its files.

use serde::{Deserialize, Serialize};

use super::super::Result;
use super::super::text::{Pooling, TextError};

/// Name of the manifest in its directory.
pub const MANIFEST: &str = "manifest.json";

/// Largest manifest that is read, in bytes.
pub(super) const MAX_MANIFEST_BYTES: u64 = 64 * 1024;

/// Most dimensions of a model, as [`crate::engine::vector`] allows them.
const MAX_DIM: usize = crate::engine::vector::MAX_DIM;
const MAX_TOKENS: usize = 32_768;
const MAX_FILES: usize = 16;

/// What a model directory says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this layout; 1.
    pub format: u32,
    /// Name of the model.
    pub name: String,
    /// Where its weights come from.
    #[serde(default)]
    pub source: String,
    /// Licence of the weights.
    #[serde(default)]
    pub licence: String,
    /// Components of a vector.
    pub dim: usize,
    /// Tokens after which a text is cut, special ones included.
    pub max_tokens: usize,
    /// From token vectors to one.
    pub pooling: Pooling,
    /// Whether vectors are scaled to unit length.
    pub normalise: bool,
    /// File with the graph.
    pub graph: String,
    /// File with the graph for a CPU or runtime other than [`Built`] names.
    #[serde(default)]
    pub plain_graph: Option<String>,
    /// File with the tokenizer.
    pub tokenizer: String,
    /// What `graph` was packed for; any CPU and runtime when absent.
    #[serde(default)]
    pub built: Option<Built>,
    /// Every file of the model.
    pub files: Vec<FileEntry>,
}

/// The CPU and the runtime a graph was packed for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Built {
    /// What the runtime says about its build.
    pub runtime: String,
    /// CPU, as [`crate::engine::onnx`] names it.
    pub cpu: String,
    /// SHA-256 of the weights it was made from.
    #[serde(default)]
    pub weights_sha256: Option<String>,
}

/// One file of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name in the directory.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its content, lower-case hex.
    pub sha256: String,
}

impl Manifest {
    /// Reads and checks a manifest. `model` names it in errors.
    ///
    /// # Errors
    /// [`TextError::Manifest`] saying what is wrong.
    pub fn from_json(json: &[u8], model: &str) -> Result<Manifest> {
        let refuse = |problem: String| TextError::Manifest { model: model.to_owned(), problem };
        let manifest: Manifest = serde_json::from_slice(json).map_err(|e| refuse(e.to_string()))?;
        manifest.problem().map_or(Ok(()), |problem| Err(refuse(problem)))?;
        Ok(manifest)
    }

    /// The entry of a file that the manifest lists.
    pub fn file(&self, name: &str) -> Option<&FileEntry> {
        self.files.iter().find(|file| file.name == name)
    }

    /// Size of all files together, in bytes.
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }

    fn problem(&self) -> Option<String> {
        if self.format != 1 {
            return Some(format!("format is {}, only 1 is known", self.format));
        }
        if !(1..=MAX_DIM).contains(&self.dim) {
            return Some(format!("dim is {}, not between 1 and {MAX_DIM}", self.dim));
        }
        if !(3..=MAX_TOKENS).contains(&self.max_tokens) {
            return Some(format!("max_tokens is {}, not between 3 and {MAX_TOKENS}", self.max_tokens));
        }
        if self.files.is_empty() || self.files.len() > MAX_FILES {
            return Some(format!("it lists {} files, not between 1 and {MAX_FILES}", self.files.len()));
        }
        if let Some(file) = self.files.iter().find(|file| !is_plain_name(&file.name)) {
            return Some(format!("{:?} is no plain file name", file.name));
        }
        if let Some(file) = self.files.iter().find(|file| !is_digest(&file.sha256)) {
            return Some(format!("the sha256 of {:?} is no digest", file.name));
        }
        let mut needed =
            [Some(&self.graph), self.plain_graph.as_ref(), Some(&self.tokenizer)].into_iter().flatten();
        needed.find(|name| self.file(name).is_none()).map(|name| format!("it lists no file {name:?}"))
    }
}

fn is_plain_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !name.is_empty() && name.len() <= 128 && !name.starts_with('.') && name.chars().all(allowed)
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> serde_json::Value {
        serde_json::json!({
            "format": 1, "name": "m", "dim": 4, "max_tokens": 8, "pooling": "mean", "normalise": true,
            "graph": "model.onnx", "tokenizer": "tokenizer.json",
            "files": [
                {"name": "model.onnx", "bytes": 3, "sha256": "0".repeat(64)},
                {"name": "tokenizer.json", "bytes": 2, "sha256": "a".repeat(64)},
            ],
        })
    }

    fn read(value: &serde_json::Value) -> Result<Manifest> {
        Manifest::from_json(value.to_string().as_bytes(), "m")
    }

    #[test]
    fn a_sound_manifest_is_read() {
        let manifest = read(&sample()).unwrap();
        assert_eq!((manifest.bytes(), manifest.pooling, manifest.built), (5, Pooling::Mean, None));
    }

    #[test]
    fn hostile_manifests_are_refused() {
        for (path, value) in [
            ("/format", 2.into()),
            ("/dim", 0.into()),
            ("/dim", serde_json::json!(-1)),
            ("/max_tokens", 2.into()),
            ("/pooling", "max".into()),
            ("/graph", "other.onnx".into()),
            ("/files", serde_json::json!([])),
            ("/files/0/name", "../model.onnx".into()),
            ("/files/0/name", "/etc/passwd".into()),
            ("/files/0/name", ".hidden".into()),
            ("/files/0/sha256", "A".repeat(64).into()),
            ("/files/0/bytes", serde_json::json!(-5)),
        ] {
            let mut changed = sample();
            *changed.pointer_mut(path).unwrap() = value;
            assert!(read(&changed).is_err(), "{path} {changed}");
        }
        assert!(Manifest::from_json(b"", "m").is_err());
        assert!(Manifest::from_json(b"[1]", "m").is_err());
    }
}
