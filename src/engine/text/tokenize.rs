//! Text to token ids, as transformers' AutoTokenizer does it: special tokens around, cut at the model's own
//! limit. What `tokenizer.json` says about truncation and padding is ignored: the file of all-MiniLM-L6-v2
//! says 128, which nobody's Python uses.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokenizers::{
    DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, TokenizerImpl,
};

use super::super::{Result, host::Host};
use super::{error::TextError, pieces::pieces, word_piece::WordPieces};

/// The library's tokenizer around a word-piece model of ours.
type Compact =
    TokenizerImpl<WordPieces, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// A tokenizer of the library.
enum Inner {
    /// Of a BERT-type model: its vocabulary in a tenth of the memory.
    Compact(Box<Compact>),
    /// Of any other model.
    Library(Box<tokenizers::Tokenizer>),
}

/// A tokenizer with the limit of its model.
pub struct Tokenizer {
    inner: Inner,
    model: String,
    before: Vec<u32>,
    after: Vec<u32>,
    max_tokens: usize,
}

/// The tokens of one text, special ones included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Token ids, at most the model's limit.
    pub ids: Vec<u32>,
    /// Whether the text had more tokens than that.
    pub truncated: bool,
}

impl Tokenizer {
    /// Reads the JSON form that the `tokenizers` library writes. `model` names it in errors.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`] when the JSON is none, or leaves no room for text below `max_tokens`.
    pub fn from_json(json: &[u8], model: &str, max_tokens: usize) -> Result<Tokenizer> {
        // Its thread pool would make threads in a process that must have one.
        tokenizers::utils::parallelism::set_parallelism(false);
        let refuse = |problem: String| TextError::Tokenizer { model: model.to_owned(), problem };
        let inner = Inner::from_json(json).map_err(|e| refuse(e.to_string()))?;
        let (before, after) = special_tokens(&inner).map_err(refuse)?;
        if before.len() + after.len() >= max_tokens {
            return Err(refuse(format!("a limit of {max_tokens} tokens leaves no room for text")).into());
        }
        Ok(Tokenizer { inner, model: model.to_owned(), before, after, max_tokens })
    }

    /// The tokens of `text`. A text of any length costs no more than its first tokens.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`] when the tokenizer fails on the text; what `host` says at its checkpoint.
    pub fn encode(&self, text: &str, host: &dyn Host) -> Result<Tokens> {
        let room = self.max_tokens - self.before.len() - self.after.len();
        let mut ids = self.before.clone();
        let end = self.before.len() + room;
        for piece in pieces(text) {
            // First, so that a thousand texts that are each cut in their first piece can be stopped, too.
            host.checkpoint()?;
            ids.extend_from_slice(self.plain(piece)?.get_ids());
            if ids.len() > end {
                break;
            }
        }
        let truncated = ids.len() > end;
        ids.truncate(end);
        ids.extend_from_slice(&self.after);
        Ok(Tokens { ids, truncated })
    }

    /// Number of tokens of the whole text with its special tokens, whatever the model's limit.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn count(&self, text: &str, host: &dyn Host) -> Result<usize> {
        let mut count = self.before.len() + self.after.len();
        for piece in pieces(text) {
            count += self.plain(piece)?.len();
            host.checkpoint()?;
        }
        Ok(count)
    }

    /// The largest token id there is.
    pub fn largest_id(&self) -> u32 {
        self.inner.largest_id()
    }

    fn plain(&self, piece: &str) -> Result<tokenizers::Encoding> {
        self.inner
            .encode(piece, false)
            .map_err(|e| TextError::Tokenizer { model: self.model.clone(), problem: e.to_string() }.into())
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("model", &self.model).field("max_tokens", &self.max_tokens).finish()
    }
}

/// Runs `work` of the library, which panics on some files that contradict themselves: an error like any other.
fn guarded<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> tokenizers::Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err("it contradicts itself".into()))
}

impl Inner {
    /// Without the padding and the truncation that the JSON may ask for.
    fn from_json(json: &[u8]) -> tokenizers::Result<Self> {
        guarded(|| {
            if let Ok(mut compact) = Compact::from_bytes(json) {
                compact.with_padding(None);
                compact.with_truncation(None)?;
                return Ok(Self::Compact(Box::new(compact)));
            }
            let mut library = tokenizers::Tokenizer::from_bytes(json)?;
            library.with_padding(None);
            library.with_truncation(None)?;
            Ok(Self::Library(Box::new(library)))
        })
    }

    fn encode(&self, text: &str, special: bool) -> tokenizers::Result<tokenizers::Encoding> {
        guarded(|| match self {
            Self::Compact(compact) => compact.encode_fast(text, special),
            Self::Library(library) => library.encode_fast(text, special),
        })
    }

    fn largest_id(&self) -> u32 {
        match self {
            Self::Compact(compact) => {
                let added = compact.get_added_vocabulary().get_vocab().values().copied().max();
                compact.get_model().largest_id().max(added.unwrap_or(0))
            }
            Self::Library(library) => library.get_vocab(true).into_values().max().unwrap_or(0),
        }
    }
}

/// What the tokenizer puts before and after the tokens of a text.
fn special_tokens(tokenizer: &Inner) -> std::result::Result<(Vec<u32>, Vec<u32>), String> {
    let sample = "a";
    let with = tokenizer.encode(sample, true).map_err(|e| e.to_string())?;
    let without = tokenizer.encode(sample, false).map_err(|e| e.to_string())?;
    let (with, without) = (with.get_ids(), without.get_ids());
    if without.is_empty() {
        return Err("it finds no token in a letter".to_owned());
    }
    let at = with.windows(without.len()).position(|part| part == without);
    let at = at.ok_or_else(|| "its special tokens stand inside the text".to_owned())?;
    let (before, rest) = with.split_at(at);
    let after = rest.get(without.len()..).unwrap_or_default();
    Ok((before.to_vec(), after.to_vec()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn json(model: serde_json::Value) -> Vec<u8> {
        let json = serde_json::json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [
                {"id": 9, "content": "[NEW]", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
            "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null, "model": model,
        });
        json.to_string().into_bytes()
    }

    #[test]
    fn a_special_token_that_is_not_there_is_an_error() {
        let model = serde_json::json!({"type": "WordLevel", "unk_token": "u", "vocab": {"u": 0, "a": 1}});
        let mut whole: serde_json::Value = serde_json::from_slice(&json(model)).unwrap();
        let processor = serde_json::json!({"type": "TemplateProcessing", "pair": [], "special_tokens": {},
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]});
        whole.as_object_mut().unwrap().insert("post_processor".to_owned(), processor);
        let refused = Tokenizer::from_json(whole.to_string().as_bytes(), "odd", 8).unwrap_err();
        assert!(matches!(refused, crate::engine::Error::Text(TextError::Tokenizer { .. })), "{refused:?}");
    }

    #[test]
    fn a_text_that_is_cut_can_be_stopped() {
        struct Impatient;
        impl Host for Impatient {
            fn checkpoint(&self) -> Result<()> {
                Err(TextError::Interrupted.into())
            }
            fn shielded(&self, work: &mut dyn FnMut()) {
                work();
            }
            fn watched(&self, _stop: &dyn crate::engine::host::Stop, work: &mut dyn FnMut()) {
                work();
            }
        }
        let words = serde_json::json!({"type": "WordLevel", "unk_token": "u", "vocab": {"u": 0, "a": 1}});
        let tokenizer = Tokenizer::from_json(&json(words), "words", 8).unwrap();
        let text = "a ".repeat(100);
        assert_eq!(tokenizer.encode(&text, &Impatient), Err(TextError::Interrupted.into()));
        assert!(tokenizer.encode(&text, &crate::engine::host::Unattended).unwrap().truncated);
    }

    #[test]
    fn models_other_than_word_pieces_are_the_librarys() {
        let words =
            serde_json::json!({"type": "WordLevel", "unk_token": "u", "vocab": {"u": 0, "a": 1, "b": 2}});
        let tokenizer = Tokenizer::from_json(&json(words), "words", 8).unwrap();
        assert!(matches!(tokenizer.inner, Inner::Library(_)));
        assert_eq!(tokenizer.encode("a c b", &crate::engine::host::Unattended).unwrap().ids, [1, 0, 2]);
        let pieces = serde_json::json!({"type": "WordPiece", "unk_token": "u", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 9, "vocab": {"u": 0, "a": 1, "##b": 2}});
        let tokenizer = Tokenizer::from_json(&json(pieces), "pieces", 8).unwrap();
        assert!(matches!(tokenizer.inner, Inner::Compact(_)));
        // A token that was added after the vocabulary takes the next free number.
        assert_eq!(
            tokenizer.encode("ab[NEW] c", &crate::engine::host::Unattended).unwrap().ids,
            [1, 2, 3, 0]
        );
        assert_eq!(tokenizer.largest_id(), 3);
    }
}
