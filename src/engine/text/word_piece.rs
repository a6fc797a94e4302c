//! A word-piece vocabulary in one block of memory. The tokenizers library keeps each of its tokens twice as a string
//! of its own; a process per connection would pay for that ten megabytes at a time. Words are cut as it cuts them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tokenizers::models::wordpiece::WordPieceTrainer;
use tokenizers::{Model, Result, Token};

/// Tokens by their text: all texts one after the other, and a table of their places.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Vocabulary {
    text: Box<str>,
    /// Where each token's text begins and the last one ends.
    starts: Box<[u32]>,
    ids: Box<[u32]>,
    /// Open addressing, at most half full: number of a token plus one, or 0.
    slots: Box<[u32]>,
    /// Bytes of the longest token.
    longest: usize,
}

fn hash(token: &str) -> usize {
    xxhash_rust::xxh3::xxh3_64(token.as_bytes()) as usize
}

impl Vocabulary {
    /// Of several entries with one text the last counts, as in the library's map. None beyond 4 GB.
    fn new(text: String, ends: &[u32], ids: Vec<u32>) -> Option<Self> {
        u32::try_from(text.len()).ok()?;
        let starts: Box<[u32]> = std::iter::once(0).chain(ends.iter().copied()).collect();
        let slots = vec![0; (ids.len() * 2).next_power_of_two().max(2)].into_boxed_slice();
        let longest = starts.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0) as usize;
        let mut made =
            Self { text: text.into_boxed_str(), starts, ids: ids.into_boxed_slice(), slots, longest };
        for number in 0..made.ids.len() {
            let slot = made.slot(made.token(number));
            let known = made.slots.get_mut(slot)?;
            match usize::try_from(*known).ok()?.checked_sub(1) {
                Some(earlier) => *made.ids.get_mut(earlier)? = *made.ids.get(number)?,
                None => *known = u32::try_from(number).ok()? + 1,
            }
        }
        Some(made)
    }

    fn token(&self, number: usize) -> &str {
        match self.starts.get(number..number + 2) {
            Some(&[from, to]) => self.text.get(from as usize..to as usize).unwrap_or_default(),
            _ => "",
        }
    }

    /// The slot that holds `token`, or the free one where it belongs.
    fn slot(&self, token: &str) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = hash(token) & mask;
        while let Some(&number) = self.slots.get(at) {
            if number == 0 || self.token(number as usize - 1) == token {
                break;
            }
            at = (at + 1) & mask;
        }
        at
    }

    fn id(&self, token: &str) -> Option<u32> {
        let number = self.slots.get(self.slot(token)).copied().filter(|&number| number > 0)?;
        self.ids.get(number as usize - 1).copied()
    }
}

/// The model of a BERT tokenizer: a word is its longest known beginning, then the longest known continuations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WordPieces {
    vocabulary: Vocabulary,
    unknown: String,
    prefix: String,
    max_chars: usize,
}

impl WordPieces {
    /// The largest id of the vocabulary.
    pub fn largest_id(&self) -> u32 {
        self.vocabulary.ids.iter().copied().max().unwrap_or(0)
    }

    fn unknown(&self, word: &str) -> Result<Vec<Token>> {
        let id = self.vocabulary.id(&self.unknown).ok_or("the vocabulary lacks the unknown token")?;
        Ok(vec![Token { id, value: self.unknown.clone(), offsets: (0, word.len()) }])
    }

    /// The longest piece of `word` that begins at `start`: its id and where it ends. `scratch` keeps its memory
    /// from call to call.
    fn longest(&self, word: &str, start: usize, scratch: &mut String) -> Option<(u32, usize)> {
        let prefix = if start == 0 { "" } else { self.prefix.as_str() };
        scratch.clear();
        scratch.push_str(prefix);
        scratch.push_str(word.get(start..)?);
        let mut end = scratch.floor_char_boundary(self.vocabulary.longest);
        while end > prefix.len() {
            let piece = scratch.get(..end)?;
            if let Some(id) = self.vocabulary.id(piece) {
                return Some((id, start + end - prefix.len()));
            }
            end -= piece.chars().next_back().map_or(1, char::len_utf8);
        }
        None
    }
}

impl Model for WordPieces {
    type Trainer = WordPieceTrainer;

    fn tokenize(&self, word: &str) -> Result<Vec<Token>> {
        if word.chars().count() > self.max_chars {
            return self.unknown(word);
        }
        let (mut tokens, mut scratch, mut start) = (Vec::new(), String::new(), 0);
        while start < word.len() {
            let Some((id, end)) = self.longest(word, start, &mut scratch) else { return self.unknown(word) };
            let value = scratch.get(..scratch.len() - (word.len() - end)).unwrap_or_default().to_owned();
            tokens.push(Token { id, value, offsets: (start, end) });
            start = end;
        }
        Ok(tokens)
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        self.vocabulary.id(token)
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        let number = self.vocabulary.ids.iter().position(|&other| other == id)?;
        Some(self.vocabulary.token(number).to_owned())
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        let ids = self.vocabulary.ids.iter().enumerate();
        ids.map(|(number, &id)| (self.vocabulary.token(number).to_owned(), id)).collect()
    }

    fn get_vocab_size(&self) -> usize {
        self.vocabulary.slots.iter().filter(|&&number| number > 0).count()
    }

    fn save(&self, _: &Path, _: Option<&str>) -> Result<Vec<PathBuf>> {
        Err("a loaded vocabulary is not written".into())
    }

    fn get_trainer(&self) -> WordPieceTrainer {
        WordPieceTrainer::default()
    }
}

/// Reads a vocabulary entry by entry, without a map of it.
struct ReadVocabulary;

impl<'de> DeserializeSeed<'de> for ReadVocabulary {
    type Value = Vocabulary;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Vocabulary, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ReadVocabulary {
    type Value = Vocabulary;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a map of tokens to their numbers")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Vocabulary, A::Error> {
        let (mut text, mut ends, mut ids) = (String::new(), Vec::new(), Vec::new());
        while let Some((token, id)) = map.next_entry::<std::borrow::Cow<'de, str>, u32>()? {
            text.push_str(&token);
            ends.push(u32::try_from(text.len()).map_err(A::Error::custom)?);
            ids.push(id);
        }
        Vocabulary::new(text, &ends, ids).ok_or_else(|| A::Error::custom("the vocabulary is too large"))
    }
}

/// Reads the member `model` of a `tokenizer.json`; any other model than word pieces is an error.
struct ReadModel;

impl<'de> Visitor<'de> for ReadModel {
    type Value = WordPieces;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a word-piece model")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<WordPieces, A::Error> {
        let (mut kind, mut vocabulary, mut unknown, mut prefix, mut max_chars) =
            (None, None, None, None, None);
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            match key.as_ref() {
                "type" => kind = Some(map.next_value::<String>()?),
                "vocab" => vocabulary = Some(map.next_value_seed(ReadVocabulary)?),
                "unk_token" => unknown = Some(map.next_value()?),
                "continuing_subword_prefix" => prefix = Some(map.next_value()?),
                "max_input_chars_per_word" => max_chars = Some(map.next_value()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let missing = |name| move || A::Error::missing_field(name);
        if kind.as_deref() != Some("WordPiece") {
            return Err(A::Error::custom("it is no word-piece model"));
        }
        Ok(WordPieces {
            vocabulary: vocabulary.ok_or_else(missing("vocab"))?,
            unknown: unknown.ok_or_else(missing("unk_token"))?,
            prefix: prefix.ok_or_else(missing("continuing_subword_prefix"))?,
            max_chars: max_chars.ok_or_else(missing("max_input_chars_per_word"))?,
        })
    }
}

impl<'de> Deserialize<'de> for WordPieces {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(ReadModel)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokenizers::models::wordpiece::WordPiece;

    fn json(vocabulary: &str) -> String {
        format!(
            r###"{{"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 12, "vocab": {vocabulary}}}"###
        )
    }

    const VOCABULARY: &str = r###"{"[UNK]": 0, "a": 1, "ab": 2, "abc": 3, "##c": 4, "##cd": 5, "##é": 6, "é": 7, "##北": 8,
        "北京": 9, "##a": 10, "##": 11, "ab": 12, "##ba": 13, "#": 14, "[PAD]": 15}"###;

    fn both() -> (WordPieces, WordPiece) {
        let json = json(VOCABULARY);
        (serde_json::from_str(&json).unwrap(), serde_json::from_str(&json).unwrap())
    }

    proptest! {
        #[test]
        fn words_are_cut_as_the_library_cuts_them(word in "[abcdé北京#xA]{0,14}") {
            let (ours, theirs) = both();
            prop_assert_eq!(ours.tokenize(&word).unwrap(), theirs.tokenize(&word).unwrap());
        }
    }

    #[test]
    fn the_vocabulary_is_the_librarys() {
        let (ours, theirs) = both();
        assert_eq!(ours.get_vocab(), theirs.get_vocab());
        assert_eq!((ours.largest_id(), ours.get_vocab_size()), (15, theirs.get_vocab_size()));
        for (token, id) in theirs.get_vocab() {
            assert_eq!(ours.token_to_id(&token), Some(id));
            assert_eq!(ours.id_to_token(id), theirs.id_to_token(id));
        }
        assert_eq!((ours.token_to_id("nope"), ours.id_to_token(99)), (None, None));
        // Its first number was taken by a later one.
        assert_eq!(ours.id_to_token(2), theirs.id_to_token(2));
    }

    #[test]
    fn no_unknown_token_is_an_error_only_where_it_is_needed() {
        let ours: WordPieces = serde_json::from_str(&json(r#"{"a": 1}"#)).unwrap();
        assert_eq!(ours.tokenize("a").unwrap().len(), 1);
        assert!(ours.tokenize("b").is_err());
        let none: WordPieces = serde_json::from_str(&json("{}")).unwrap();
        assert!(none.tokenize("a").is_err());
        assert_eq!(none.tokenize("").unwrap(), []);
    }

    #[test]
    fn other_models_are_left_to_the_library() {
        for other in [
            json("{}").replace("WordPiece", "BPE"),
            json("{}").replace(r#""unk_token": "[UNK]", "#, ""),
            json(r#"{"a": -1}"#),
            json(r#"[["a", 1]]"#),
        ] {
            assert!(serde_json::from_str::<WordPieces>(&other).is_err(), "{other}");
        }
    }
}
