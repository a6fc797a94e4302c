//! How the components of a window become a vector: the recipe, and what carries it out.

use serde::{Deserialize, Serialize};

use super::super::super::error::Result;
use super::super::super::linear::Matrix;
use super::spec::{check, invalid};

/// Most layers of a network.
const MAX_LAYERS: usize = 16;

/// How `window_days * channels` components become `dim`. Fewer are followed by zeros, but for what the user
/// gives: that takes as many as it takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Projection {
    /// More are refused.
    Pad {},
    /// The first `dim` are kept.
    Truncate {},
    /// More go through a matrix of standard normal numbers over `sqrt(dim)`.
    Gaussian {
        /// Seed of the matrix.
        seed: u32,
    },
    /// More go through a matrix with orthonormal rows.
    Orthogonal {
        /// Seed of the matrix.
        seed: u32,
    },
    /// All go through a matrix that the user gives.
    Matrix {
        /// Name of the tensor, shape `[dim, components]`.
        #[serde(default = "weight")]
        tensor: String,
        /// Name of a tensor that is added, shape `[dim]`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bias: Option<String>,
        /// A safetensors file below the directory for models.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<String>,
        /// Digest of its bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sha256: Option<String>,
    },
    /// All go through a network that the user gives.
    Mlp {
        /// Names of its layers, in order: tensors `NAME.weight` and, where there is one, `NAME.bias`.
        layers: Vec<String>,
        /// What happens between two layers.
        activation: Activation,
        /// As above.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<String>,
        /// As above.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sha256: Option<String>,
    },
    /// All go through a graph run by ONNX Runtime, which is not the same to the bit on every CPU.
    Onnx {
        /// The graph, below the directory for models.
        file: String,
        /// Digest of its bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sha256: Option<String>,
    },
}

/// What happens between two layers of a network, number by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `tanh x`.
    Tanh,
    /// `x (1 + erf(x / sqrt 2)) / 2`.
    Gelu,
}

/// Something that turns components into a vector.
pub trait Project: std::fmt::Debug {
    /// Components that it takes; None: any number.
    fn dim_in(&self) -> Option<usize>;

    /// Components that it gives; None: known only by trying.
    fn dim_out(&self) -> Option<usize>;

    /// The vector of `components`, into `out`.
    ///
    /// # Errors
    /// Those of a network that fails.
    fn project(&self, components: &[f64], out: &mut [f64]) -> Result<()>;

    /// The matrix that components are multiplied with and what is then added, where that is all that happens.
    fn affine(&self) -> Option<(&Matrix, Option<&[f64]>)> {
        None
    }
}

impl Project for Matrix {
    fn dim_in(&self) -> Option<usize> {
        Some(self.cols())
    }

    fn dim_out(&self) -> Option<usize> {
        Some(self.rows())
    }

    fn project(&self, components: &[f64], out: &mut [f64]) -> Result<()> {
        self.times(components, out);
        Ok(())
    }

    fn affine(&self) -> Option<(&Matrix, Option<&[f64]>)> {
        Some((self, None))
    }
}

fn weight() -> String {
    "weight".to_owned()
}

impl Projection {
    /// Whether the user gives it.
    pub fn is_given(&self) -> bool {
        matches!(self, Self::Matrix { .. } | Self::Mlp { .. } | Self::Onnx { .. })
    }

    /// The file that it lies in, if it lies in one.
    pub fn file(&self) -> Option<&str> {
        match self {
            Self::Matrix { file, .. } | Self::Mlp { file, .. } => file.as_deref(),
            Self::Onnx { file, .. } => Some(file),
            _ => None,
        }
    }

    /// The digest that its bytes must have, if one is named.
    pub fn sha256(&self) -> Option<&str> {
        match self {
            Self::Matrix { sha256, .. } | Self::Mlp { sha256, .. } | Self::Onnx { sha256, .. } => {
                sha256.as_deref()
            }
            _ => None,
        }
    }

    /// Names the digest that its bytes must have.
    pub fn pin(&mut self, digest: &str) {
        if let Self::Matrix { sha256, .. } | Self::Mlp { sha256, .. } | Self::Onnx { sha256, .. } = self {
            *sha256 = Some(digest.to_owned());
        }
    }

    /// Errors: [`super::super::super::Error::InvalidSpec`].
    pub(super) fn validate(&self) -> Result<()> {
        if let Some(digest) = self.sha256() {
            let hex = digest.len() == 64 && digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            check(hex, "projection.sha256", "must be 64 hexadecimal digits in lower case")?;
        }
        match self {
            Self::Mlp { layers, .. } if layers.is_empty() || layers.len() > MAX_LAYERS => {
                Err(invalid("projection.layers", format!("must name between 1 and {MAX_LAYERS} layers")))
            }
            _ => Ok(()),
        }
    }
}
