//! Texts to vectors with one model: tokens, batches, runs, pooling.

use super::super::{Error, Result, host::Host};
use super::batch::{TokenBatch, plan};
use super::board::{ModelKey, Offer};
use super::error::TextError;
use super::pool::{Pooling, normalise, pool};
use super::spec::TextSpec;
use super::tokenize::{Tokenizer, Tokens};

/// Texts tokenized and sorted at a time: enough to find mates of like length, few enough to keep in memory.
const WINDOW_TEXTS: usize = 1024;

/// The network between token ids and hidden states.
pub trait Encoder {
    /// Runs one batch and hands its output to `take`: float32, `rows * columns * dim` values, or
    /// `rows * dim` of a graph that pools itself.
    ///
    /// # Errors
    /// What the runtime says; what `host` says when the run was to stop.
    fn run(&mut self, batch: &TokenBatch, host: &dyn Host, take: &mut dyn FnMut(&[f32])) -> Result<()>;
}

/// The vector of one text.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    /// `dim` finite components.
    pub vector: Vec<f32>,
    /// Tokens the model read, special ones included.
    pub tokens: usize,
    /// Whether the text was longer than the model reads.
    pub truncated: bool,
}

/// A loaded model.
pub struct TextModel {
    spec: TextSpec,
    key: ModelKey,
    tokenizer: Tokenizer,
    encoder: Box<dyn Encoder>,
}

impl TextModel {
    /// Puts the parts together. Processes whose models have the same key share runs, so it must be a digest of all
    /// that a vector depends on.
    pub fn new(spec: TextSpec, key: ModelKey, tokenizer: Tokenizer, encoder: Box<dyn Encoder>) -> TextModel {
        TextModel { spec, key, tokenizer, encoder }
    }

    /// What this model is.
    pub fn spec(&self) -> &TextSpec {
        &self.spec
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// One vector for each text, in order. Texts ride in batches of at most `batch_tokens` padded tokens
    /// (one text alone may have more); the vector of a text does not depend on its mates.
    ///
    /// # Errors
    /// [`TextError::NonFinite`], what the runtime says, and what `host` says between batches.
    pub fn embed(&mut self, texts: &[&str], batch_tokens: usize, host: &dyn Host) -> Result<Vec<Embedded>> {
        let mut out = Vec::with_capacity(texts.len());
        for window in texts.chunks(WINDOW_TEXTS) {
            let mut tokens = Vec::with_capacity(window.len());
            for text in window {
                tokens.push(self.tokenizer.encode(text, host)?);
            }
            self.embed_window(&tokens, batch_tokens, host, &mut out)?;
        }
        Ok(out)
    }

    /// Runs the model once on a text and once on its tokenizer's largest token id, which only a network
    /// made for that vocabulary has a vector for.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`] when it has none; those of [`TextModel::embed`].
    pub fn probe(&mut self, host: &dyn Host) -> Result<()> {
        let text = self.tokenizer.encode("a", host)?;
        self.run_texts(&[&text.ids], host)?;
        let largest = self.tokenizer.largest_id();
        let batch = TokenBatch::new(&[&[largest]]);
        self.encoder.run(&batch, host, &mut |_| {}).map_err(|error| match error {
            Error::Text(TextError::RunFailed { model, cause }) => {
                let problem = format!("its token {largest} is none of the graph's: {cause}");
                TextError::Tokenizer { model, problem }.into()
            }
            other => other,
        })
    }

    fn embed_window(
        &mut self,
        tokens: &[Tokens],
        batch_tokens: usize,
        host: &dyn Host,
        out: &mut Vec<Embedded>,
    ) -> Result<()> {
        let lengths: Vec<usize> = tokens.iter().map(|text| text.ids.len()).collect();
        let mut vectors: Vec<Vec<f32>> = vec![Vec::new(); tokens.len()];
        for group in plan(&lengths, batch_tokens) {
            host.checkpoint()?;
            let ids: Vec<&[u32]> =
                group.iter().filter_map(|&index| tokens.get(index)).map(|text| text.ids.as_slice()).collect();
            for (&index, vector) in group.iter().zip(self.embed_group(&ids, batch_tokens, host)?) {
                if let Some(place) = vectors.get_mut(index) {
                    *place = vector;
                }
            }
        }
        out.extend(tokens.iter().zip(vectors).map(|(text, vector)| Embedded {
            vector,
            tokens: text.ids.len(),
            truncated: text.truncated,
        }));
        Ok(())
    }

    /// The vectors of one batch; a single short text may share a run with those of other processes.
    fn embed_group(&mut self, ids: &[&[u32]], batch_tokens: usize, host: &dyn Host) -> Result<Vec<Vec<f32>>> {
        if let ([ids], Some(batching)) = (ids, host.batching()) {
            let offer = Offer { model: self.key, ids, dim: self.spec.dim, batch_tokens };
            if offer.fits() {
                return Ok(vec![batching.embed(&offer, &mut |texts| self.run_texts(texts, host))?]);
            }
        }
        self.run_texts(ids, host)
    }

    /// Runs texts in one batch, here.
    fn run_texts(&mut self, texts: &[&[u32]], host: &dyn Host) -> Result<Vec<Vec<f32>>> {
        let batch = TokenBatch::new(texts);
        let TextSpec { dim, pooling, normalise: unit, .. } = self.spec;
        let stride = if pooling == Pooling::None { dim } else { batch.columns * dim };
        let mut vectors = Vec::with_capacity(texts.len());
        self.encoder.run(&batch, host, &mut |states| {
            for (text, rows) in texts.iter().zip(states.chunks_exact(stride.max(1))) {
                let mut vector = pool(rows, dim, text.len(), pooling);
                if unit {
                    normalise(&mut vector);
                }
                vectors.push(vector);
            }
        })?;
        let sound = |vector: &Vec<f32>| vector.len() == dim && vector.iter().all(|value| value.is_finite());
        if vectors.len() == texts.len() && vectors.iter().all(sound) {
            Ok(vectors)
        } else {
            Err(TextError::NonFinite { model: self.spec.model_id.clone() }.into())
        }
    }
}
