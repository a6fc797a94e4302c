//! A network that needs no library, for tests: the state of a token is a function of its id alone.
#![allow(clippy::unwrap_used)]

use super::super::{
    Result,
    host::{Host, Stop, Unattended},
};
use super::batch::TokenBatch;
use super::board::ModelKey;
use super::*;
use std::cell::Cell;

const DIM: usize = 3;

/// Counts its runs and the largest batch it saw.
struct Fake {
    largest: std::rc::Rc<Cell<usize>>,
}

impl Encoder for Fake {
    fn run(&mut self, batch: &TokenBatch, _host: &dyn Host, take: &mut dyn FnMut(&[f32])) -> Result<()> {
        self.largest.set(self.largest.get().max(batch.rows * batch.columns));
        let states: Vec<f32> = batch
            .ids
            .iter()
            .zip(&batch.mask)
            .flat_map(|(&id, &on)| if on == 1 { [id as f32, (id * id) as f32, 1.0] } else { [f32::NAN; DIM] })
            .collect();
        take(&states);
        Ok(())
    }
}

/// A word-piece tokenizer of seven tokens.
fn tokenizer(max_tokens: usize) -> Tokenizer {
    let json = serde_json::json!({
        "version": "1.0", "truncation": {"max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "padding": {"strategy": {"Fixed": 4}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
        "added_tokens": [],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [1], "tokens": ["[CLS]"]}, "[SEP]": {"id": "[SEP]", "ids": [2], "tokens": ["[SEP]"]}}},
        "decoder": null,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
            "vocab": {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3, "a": 4, "b": 5, "##b": 6}},
    });
    Tokenizer::from_json(json.to_string().as_bytes(), "fake", max_tokens).unwrap()
}

fn model(max_tokens: usize, pooling: Pooling) -> (TextModel, std::rc::Rc<Cell<usize>>) {
    let largest = std::rc::Rc::new(Cell::new(0));
    let spec = TextSpec { model_id: "fake".into(), dim: DIM, max_tokens, pooling, normalise: false };
    (
        TextModel::new(
            spec,
            ModelKey::default(),
            tokenizer(max_tokens),
            Box::new(Fake { largest: largest.clone() }),
        ),
        largest,
    )
}

#[test]
fn baked_in_truncation_and_padding_are_ignored() {
    let got = tokenizer(8).encode("a ab bbb x", &Unattended).unwrap();
    assert_eq!(got, Tokens { ids: vec![1, 4, 4, 6, 5, 6, 6, 2], truncated: true });
    let got = tokenizer(9).encode("a ab bbb x", &Unattended).unwrap();
    assert_eq!(got, Tokens { ids: vec![1, 4, 4, 6, 5, 6, 6, 3, 2], truncated: false });
    assert_eq!(tokenizer(8).count("a ab bbb x", &Unattended).unwrap(), 9);
    assert_eq!(tokenizer(8).encode("", &Unattended).unwrap().ids, [1, 2]);
}

#[test]
fn pieces_of_a_long_text_give_the_tokens_of_the_whole() {
    let text = "ab b x ".repeat(30_000);
    assert_eq!(tokenizer(8).count(&text, &Unattended).unwrap(), 2 + 4 * 30_000);
    assert_eq!(
        tokenizer(8).encode(&text, &Unattended).unwrap(),
        tokenizer(8).encode("ab b x ab b", &Unattended).unwrap()
    );
    let text = format!("{} a", "\u{301}b".repeat(100_000));
    assert_eq!(tokenizer(8).encode(&text, &Unattended).unwrap().ids, [1, 3, 4, 2]);
}

#[test]
fn vectors_come_in_the_order_of_their_texts_whatever_the_batch() {
    let texts = ["ab", "", "a a a b", "x", "b"];
    for bound in [1, 3, 8, 1000] {
        let (mut model, largest) = model(16, Pooling::Mean);
        let got = model.embed(&texts, bound, &Unattended).unwrap();
        assert_eq!(got[0].vector, [13.0 / 4.0, (1.0 + 16.0 + 36.0 + 4.0) / 4.0, 1.0]);
        assert_eq!(got[1].vector, [1.5, 2.5, 1.0]);
        assert_eq!(got.iter().map(|text| text.tokens).collect::<Vec<_>>(), [4, 2, 6, 3, 3]);
        assert!(largest.get() <= bound.max(6), "{bound}: {}", largest.get());
    }
}

#[test]
fn states_that_are_not_finite_are_an_error() {
    struct Broken;
    impl Encoder for Broken {
        fn run(&mut self, batch: &TokenBatch, _: &dyn Host, take: &mut dyn FnMut(&[f32])) -> Result<()> {
            take(&vec![f32::INFINITY; batch.ids.len() * DIM]);
            Ok(())
        }
    }
    let spec =
        TextSpec { model_id: "m".into(), dim: DIM, max_tokens: 8, pooling: Pooling::Cls, normalise: true };
    let mut model = TextModel::new(spec, ModelKey::default(), tokenizer(8), Box::new(Broken));
    let got = model.embed(&["a"], 100, &Unattended).unwrap_err();
    assert_eq!(got, TextError::NonFinite { model: "m".into() }.into());
}

#[test]
fn a_host_stops_between_batches() {
    struct Impatient(Cell<usize>);
    impl Host for Impatient {
        fn checkpoint(&self) -> Result<()> {
            self.0.set(self.0.get() + 1);
            if self.0.get() > 7 { Err(TextError::Interrupted.into()) } else { Ok(()) }
        }
        fn shielded(&self, work: &mut dyn FnMut()) {
            work();
        }
        fn watched(&self, _: &dyn Stop, work: &mut dyn FnMut()) {
            work();
        }
    }
    let (mut model, _) = model(8, Pooling::Mean);
    let got = model.embed(&["a"; 6], 3, &Impatient(Cell::new(0))).unwrap_err();
    assert_eq!(got, TextError::Interrupted.into());
}

#[test]
fn a_tokenizer_without_room_for_text_is_refused() {
    assert!(Tokenizer::from_json(b"{}", "m", 8).is_err());
    assert!(Tokenizer::from_json(b"", "m", 8).is_err());
    let (model, _) = model(8, Pooling::None);
    assert_eq!(model.tokenizer().largest_id(), 6);
    assert_eq!(model.spec().dim, DIM);
}
