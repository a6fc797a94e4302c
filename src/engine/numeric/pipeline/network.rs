//! Matrices and networks that a user gives as safetensors: read, checked, and run in float64 with one fixed
//! order of operations, so that a vector has the same bits on every CPU.

use safetensors::{Dtype, SafeTensors};

use super::super::super::error::{Error, Result};
use super::super::super::linear::Matrix;
use super::projection::{Activation, Project, Projection};

/// Largest file of weights, in bytes.
pub const MAX_BYTES: usize = 64 << 20;

/// Layers, each a matrix and what is added, with an activation between them.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    layers: Vec<Layer>,
    activation: Option<Activation>,
}

#[derive(Debug, Clone, PartialEq)]
struct Layer {
    /// Shape `[outputs, inputs]`.
    weight: Matrix,
    bias: Option<Vec<f64>>,
}

impl Network {
    /// Reads the tensors that `projection` names out of `bytes`, of which nothing is believed.
    ///
    /// Errors: [`Error::Weights`] saying which tensor is wrong and how, [`Error::MatrixTooLarge`],
    /// [`Error::OutOfMemory`].
    pub fn from_safetensors(projection: &Projection, bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_BYTES {
            return Err(refuse(format!("they have {} bytes, more than {MAX_BYTES}", bytes.len())));
        }
        let tensors = SafeTensors::deserialize(bytes)
            .map_err(|error| refuse(format!("they are no safetensors: {error}")))?;
        let network = match projection {
            Projection::Matrix { tensor, bias, .. } => {
                let bias = bias.as_ref().map(|name| vector(&tensors, name)).transpose()?;
                Self { layers: vec![layer(&tensors, tensor, bias)?], activation: None }
            }
            Projection::Mlp { layers, activation, .. } => {
                let layers = layers.iter().map(|name| {
                    let bias = format!("{name}.bias");
                    let bias = match tensors.tensor(&bias) {
                        Ok(_) => Some(vector(&tensors, &bias)?),
                        Err(_) => None,
                    };
                    layer(&tensors, &format!("{name}.weight"), bias)
                });
                Self { layers: layers.collect::<Result<_>>()?, activation: Some(*activation) }
            }
            _ => return Err(refuse("the projection takes none".to_owned())),
        };
        network.check_chain()
    }

    fn check_chain(self) -> Result<Self> {
        for (number, pair) in (2..).zip(self.layers.windows(2)) {
            let (gives, takes) = (pair[0].weight.rows(), pair[1].weight.cols());
            if gives != takes {
                return Err(refuse(format!(
                    "layer {number} takes {takes} numbers, the one before gives {gives}"
                )));
            }
        }
        Ok(self)
    }
}

fn refuse(problem: String) -> Error {
    Error::Weights { problem }
}

fn layer(tensors: &SafeTensors<'_>, name: &str, bias: Option<Vec<f64>>) -> Result<Layer> {
    let (shape, values) = read(tensors, name)?;
    let &[rows, cols] = shape.as_slice() else {
        return Err(refuse(format!("tensor \"{name}\" has shape {shape:?}, not two dimensions")));
    };
    if rows == 0 || cols == 0 {
        return Err(refuse(format!("tensor \"{name}\" has shape {shape:?}, which is empty")));
    }
    if let Some(found) = bias.as_ref().map(Vec::len).filter(|found| *found != rows) {
        return Err(refuse(format!(
            "tensor \"{name}\" has {rows} rows, what is added to them {found} numbers"
        )));
    }
    let mut weight = Matrix::zeros(rows, cols)?;
    (0..rows).for_each(|row| weight.row_mut(row).copy_from_slice(&values[row * cols..(row + 1) * cols]));
    Ok(Layer { weight, bias })
}

fn vector(tensors: &SafeTensors<'_>, name: &str) -> Result<Vec<f64>> {
    let (shape, values) = read(tensors, name)?;
    match shape.len() {
        1 => Ok(values),
        _ => Err(refuse(format!("tensor \"{name}\" has shape {shape:?}, not one dimension"))),
    }
}

/// Shape and values of a tensor of finite numbers.
fn read(tensors: &SafeTensors<'_>, name: &str) -> Result<(Vec<usize>, Vec<f64>)> {
    let tensor = tensors.tensor(name).map_err(|_| {
        let mut names = tensors.names();
        names.sort_unstable();
        names.truncate(8);
        refuse(format!("there is no tensor \"{name}\" among {}", names.join(", ")))
    })?;
    let data = tensor.data();
    let values: Vec<f64> = match tensor.dtype() {
        Dtype::F32 => data.as_chunks::<4>().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
        Dtype::F64 => data.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
        other => return Err(refuse(format!("tensor \"{name}\" is {other:?}, not F32 or F64"))),
    };
    match values.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(refuse(format!("tensor \"{name}\" has a number that is not finite, at {at}"))),
        None => Ok((tensor.shape().to_vec(), values)),
    }
}

impl Activation {
    fn apply(self, x: f64) -> f64 {
        match self {
            Self::Relu => x.max(0.0),
            Self::Tanh => libm::tanh(x),
            Self::Gelu => 0.5 * x * (1.0 + libm::erf(x / std::f64::consts::SQRT_2)),
        }
    }
}

impl Project for Network {
    fn dim_in(&self) -> Option<usize> {
        self.layers.first().map(|layer| layer.weight.cols())
    }

    fn dim_out(&self) -> Option<usize> {
        self.layers.last().map(|layer| layer.weight.rows())
    }

    fn project(&self, components: &[f64], out: &mut [f64]) -> Result<()> {
        let mut values = components.to_vec();
        for (number, layer) in self.layers.iter().enumerate() {
            if let Some(activation) = self.activation.filter(|_| number > 0) {
                values.iter_mut().for_each(|x| *x = activation.apply(*x));
            }
            let mut next = vec![0.0; layer.weight.rows()];
            layer.weight.times(&values, &mut next);
            if let Some(bias) = &layer.bias {
                next.iter_mut().zip(bias).for_each(|(x, b)| *x += b);
            }
            values = next;
        }
        out.iter_mut().zip(&values).for_each(|(slot, x)| *slot = *x);
        Ok(())
    }

    fn affine(&self) -> Option<(&Matrix, Option<&[f64]>)> {
        match self.layers.as_slice() {
            [layer] => Some((&layer.weight, layer.bias.as_deref())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use safetensors::tensor::TensorView;

    fn bytes_of(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    fn file(tensors: &[(&str, &[usize], &[f32])]) -> Vec<u8> {
        let stored: Vec<_> = tensors.iter().map(|(.., values)| bytes_of(values)).collect();
        let views = tensors.iter().zip(&stored).map(|((name, shape, _), data)| {
            (*name, TensorView::new(Dtype::F32, shape.to_vec(), data).unwrap())
        });
        safetensors::serialize(views, None).unwrap()
    }

    fn mlp(layers: &[&str], activation: &str) -> Projection {
        serde_json::from_value(serde_json::json!({"kind": "mlp", "layers": layers, "activation": activation}))
            .unwrap()
    }

    fn matrix() -> Projection {
        serde_json::from_str(r#"{"kind": "matrix"}"#).unwrap()
    }

    fn projected(network: &Network, components: &[f64]) -> Vec<f64> {
        let mut out = vec![0.0; network.dim_out().unwrap()];
        network.project(components, &mut out).unwrap();
        out
    }

    #[test]
    fn a_matrix_projects() {
        let bytes = file(&[("weight", &[2, 3], &[1.0, 2.0, 3.0, 0.0, -1.0, 0.5])]);
        let network = Network::from_safetensors(&matrix(), &bytes).unwrap();
        assert_eq!((network.dim_in(), network.dim_out()), (Some(3), Some(2)));
        assert_eq!(projected(&network, &[1.0, 1.0, 2.0]), [9.0, 0.0]);
    }

    #[test]
    fn activations_stand_between_layers_only() {
        let bytes = file(&[
            ("0.weight", &[2, 2], &[1.0, 0.0, 0.0, 1.0]),
            ("0.bias", &[2], &[0.0, -3.0]),
            ("2.weight", &[1, 2], &[-1.0, 1.0]),
        ]);
        let of = |activation| {
            let network = Network::from_safetensors(&mlp(&["0", "2"], activation), &bytes).unwrap();
            projected(&network, &[2.0, 1.0])[0]
        };
        assert_eq!(of("relu"), -2.0);
        assert!((of("tanh") - (-2f64.tanh() + (-2f64).tanh())).abs() < 1e-15);
        assert!((of("gelu") - (-1.954_499_736_103_641_5 - 0.045_500_263_896_358_5)).abs() < 1e-12);
    }

    #[test]
    fn hostile_weights_are_refused_and_named() {
        let good =
            file(&[("weight", &[2, 2], &[1.0; 4]), ("b", &[2], &[0.0; 2]), ("cube", &[1, 1, 1], &[1.0])]);
        let why = |projection: &Projection, bytes: &[u8]| match Network::from_safetensors(projection, bytes) {
            Err(Error::Weights { problem }) => problem,
            other => panic!("{other:?}"),
        };
        let named = |tensor: &str| -> Projection {
            serde_json::from_value(serde_json::json!({"kind": "matrix", "tensor": tensor})).unwrap()
        };
        assert!(why(&named("w"), &good).contains("no tensor \"w\" among b, cube, weight"));
        assert!(why(&named("b"), &good).contains("shape [2], not two dimensions"));
        assert!(why(&named("cube"), &good).contains("[1, 1, 1]"));
        for length in 0..good.len() {
            assert!(why(&matrix(), &good[..length]).contains("no safetensors"), "{length}");
        }
        let infinite = file(&[("weight", &[1, 2], &[1.0, f32::INFINITY])]);
        assert!(why(&matrix(), &infinite).contains("not finite, at 1"));
        let empty = file(&[("weight", &[0, 2], &[])]);
        assert!(why(&matrix(), &empty).contains("empty"));
        let chain = file(&[("a.weight", &[2, 2], &[1.0; 4]), ("b.weight", &[1, 3], &[1.0; 3])]);
        assert!(why(&mlp(&["a", "b"], "relu"), &chain).contains("layer 2 takes 3 numbers"));
        let bias = file(&[("a.weight", &[2, 2], &[1.0; 4]), ("a.bias", &[3], &[1.0; 3])]);
        assert!(why(&mlp(&["a"], "relu"), &bias).contains("3 numbers"));
        let data = [0u8; 16];
        let ints = [("weight", TensorView::new(Dtype::I64, vec![1, 2], &data).unwrap())];
        assert!(why(&matrix(), &safetensors::serialize(ints, None).unwrap()).contains("is I64"));
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(Network::from_safetensors(&matrix(), &bytes).is_err());
        }
    }
}
