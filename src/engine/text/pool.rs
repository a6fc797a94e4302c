//! From the hidden states of a text's tokens to its one vector.

use serde::{Deserialize, Serialize};

/// How the token vectors of a text become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// Mean over the text's tokens, padding left out.
    Mean,
    /// The first token's.
    Cls,
    /// The graph pools itself and gives one vector a text.
    None,
}

/// Below this a norm counts as this, so that nothing is divided by zero; the Python system's constant.
const SMALLEST_NORM: f32 = 1e-12;

/// Pools one text. `states` holds `dim` values for each of its tokens, padding included; `tokens` of them
/// are the text's.
pub fn pool(states: &[f32], dim: usize, tokens: usize, pooling: Pooling) -> Vec<f32> {
    let mut rows = states.chunks_exact(dim.max(1));
    match pooling {
        Pooling::Cls | Pooling::None => rows.next().map(<[f32]>::to_vec).unwrap_or_default(),
        Pooling::Mean => {
            let mut sum = vec![0.0f32; dim];
            for row in rows.take(tokens) {
                for (total, value) in sum.iter_mut().zip(row) {
                    *total += value;
                }
            }
            // Token counts are far below 2^24, where float32 stops being exact.
            let count = tokens.max(1) as f32;
            sum.iter_mut().for_each(|total| *total /= count);
            sum
        }
    }
}

/// Scales `vector` to unit length.
pub fn normalise(vector: &mut [f32]) {
    let squares: f64 = vector.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
    let norm = (squares.sqrt() as f32).max(SMALLEST_NORM);
    vector.iter_mut().for_each(|value| *value /= norm);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_leaves_padding_out() {
        let states = [1.0, 2.0, 3.0, 6.0, 100.0, 100.0];
        assert_eq!(pool(&states, 2, 2, Pooling::Mean), [2.0, 4.0]);
        assert_eq!(pool(&states, 2, 2, Pooling::Cls), [1.0, 2.0]);
    }

    #[test]
    fn unit_length_also_near_zero() {
        let mut vector = [3.0, 4.0];
        normalise(&mut vector);
        assert_eq!(vector, [0.6, 0.8]);
        let mut zero = [0.0, 0.0];
        normalise(&mut zero);
        assert_eq!(zero, [0.0, 0.0]);
    }
}
