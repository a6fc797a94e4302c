//! What the catalog keeps about a text model: the whole recipe, with the digests that its files must have.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::super::text::{Pooling, TextError, TextSpec};
use super::super::{Error, Result};
use super::files::ModelFiles;
use super::manifest::FileEntry;

/// The recipe of a text model, as `embed_models.spec` holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Directory of its files, below the directory for models.
    pub directory: String,
    /// Components of a vector.
    pub dim: usize,
    /// Tokens after which a text is cut, special ones included.
    pub max_tokens: usize,
    /// From token vectors to one.
    pub pooling: Pooling,
    /// Whether vectors are scaled to unit length.
    pub normalise: bool,
    /// Whether the graph may quantise by what it sees at run time.
    #[serde(default)]
    pub allow_dynamic_quantisation: bool,
    /// SHA-256 of the published weights that the graph was made from, where its own bytes differ from
    /// machine to machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights_sha256: Option<String>,
    /// Files whose bytes are fixed.
    pub files: Vec<FileEntry>,
}

impl Recipe {
    /// Reads a recipe.
    ///
    /// # Errors
    /// [`Error::InvalidSpec`].
    pub fn from_json(json: &str) -> Result<Recipe> {
        serde_json::from_str(json)
            .map_err(|e| Error::InvalidSpec { key: "spec".to_owned(), problem: e.to_string() })
    }

    /// As JSON text.
    ///
    /// # Errors
    /// None that can happen; serialisation is fallible by type.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(self)
            .map_err(|e| Error::InvalidSpec { key: "spec".to_owned(), problem: e.to_string() })
    }

    /// The recipe of the model in a directory, every file's digest fixed.
    pub fn of(files: &ModelFiles, directory: &str) -> Recipe {
        let manifest = &files.manifest;
        Recipe {
            directory: directory.to_owned(),
            dim: manifest.dim,
            max_tokens: manifest.max_tokens,
            pooling: manifest.pooling,
            normalise: manifest.normalise,
            allow_dynamic_quantisation: false,
            weights_sha256: None,
            files: manifest.files.clone(),
        }
    }

    /// What the model is, for [`crate::engine::text`].
    pub fn spec(&self, model_id: &str) -> TextSpec {
        TextSpec {
            model_id: model_id.to_owned(),
            dim: self.dim,
            max_tokens: self.max_tokens,
            pooling: self.pooling,
            normalise: self.normalise,
        }
    }

    /// Compares a directory's manifest with the digests of the recipe.
    ///
    /// # Errors
    /// [`TextError::FileChanged`] naming the first file that differs.
    pub fn check(&self, files: &ModelFiles, model: &str) -> Result<()> {
        let changed = |file: &str| TextError::FileChanged {
            model: model.to_owned(),
            file: file.to_owned(),
            problem: "the manifest names another digest".to_owned(),
        };
        for file in &self.files {
            if files.manifest.file(&file.name).is_none_or(|found| found.sha256 != file.sha256) {
                return Err(changed(&file.name).into());
            }
        }
        let weights = files.manifest.built.as_ref().and_then(|built| built.weights_sha256.as_ref());
        if self.weights_sha256.is_some() && self.weights_sha256.as_ref() != weights {
            return Err(changed(&files.manifest.graph).into());
        }
        Ok(())
    }

    /// Digest of a document and this model: while it is the same, so is the vector.
    ///
    /// # Errors
    /// As [`Recipe::to_json`].
    pub fn input_digest(&self, model_id: &str, document: &str) -> Result<[u8; 16]> {
        let mut hash = Sha256::new();
        for part in [model_id, &self.to_json()?, document] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        let mut short = [0u8; 16];
        short.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
        Ok(short)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe() -> Recipe {
        Recipe::from_json(
            r#"{"directory": "m", "dim": 4, "max_tokens": 8, "pooling": "cls", "normalise": false, "files": []}"#,
        )
        .unwrap()
    }

    #[test]
    fn a_recipe_survives_its_json() {
        assert_eq!(Recipe::from_json(&recipe().to_json().unwrap()).unwrap(), recipe());
        assert!(Recipe::from_json("{}").is_err());
        assert!(Recipe::from_json(r#"{"directory": 1}"#).is_err());
    }

    #[test]
    fn the_digest_changes_with_document_model_and_recipe() {
        let base = recipe().input_digest("m", "text").unwrap();
        assert_eq!(recipe().input_digest("m", "text").unwrap(), base);
        assert_ne!(recipe().input_digest("m", "text ").unwrap(), base);
        assert_ne!(recipe().input_digest("mt", "ext").unwrap(), base);
        assert_ne!(Recipe { max_tokens: 9, ..recipe() }.input_digest("m", "text").unwrap(), base);
    }
}
