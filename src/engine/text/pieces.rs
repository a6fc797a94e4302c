//! Cuts a very long text into pieces, so that reading its first tokens does not cost memory and time for all
//! of it. A text up to [`PIECE_BYTES`] is one piece. Cuts lie where a BERT tokenizer splits words anyway, so
//! that the tokens of the pieces are the tokens of the text.

/// Longest piece, in bytes of UTF-8.
pub const PIECE_BYTES: usize = 64 * 1024;

/// The pieces of a text, in order.
#[derive(Debug, Clone)]
pub struct Pieces<'a> {
    rest: &'a str,
}

/// Cuts `text` into pieces of at most [`PIECE_BYTES`] bytes.
pub fn pieces(text: &str) -> Pieces<'_> {
    Pieces { rest: text }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        if self.rest.len() <= PIECE_BYTES {
            return Some(std::mem::take(&mut self.rest));
        }
        let window = self.rest.get(..self.rest.floor_char_boundary(PIECE_BYTES)).unwrap_or(self.rest);
        let cut = last_after(window, char::is_whitespace).or_else(|| last_after(window, splits_words));
        let (piece, rest) = self.rest.split_at(cut.unwrap_or(window.len()));
        // A word of this length is one unknown token, however much of it there is: its rest adds nothing.
        self.rest = if cut.is_some() { rest } else { rest.trim_start_matches(|c| !ends_word(c)) };
        Some(piece)
    }
}

/// Byte position behind the last character of `window` that `matches`.
fn last_after(window: &str, matches: fn(char) -> bool) -> Option<usize> {
    window.char_indices().rev().find(|&(_, c)| matches(c)).map(|(at, c)| at + c.len_utf8())
}

/// Characters that are words of their own. `[` is left out: it may begin a literal special token.
fn splits_words(c: char) -> bool {
    (c.is_ascii_punctuation() && c != '[') || matches!(c, '\u{4e00}'..='\u{9fff}' | '\u{3400}'..='\u{4dbf}')
}

fn ends_word(c: char) -> bool {
    c.is_whitespace() || c == '[' || splits_words(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(text: &str) -> Vec<usize> {
        pieces(text).map(str::len).collect()
    }

    #[test]
    fn short_text_is_one_piece() {
        assert_eq!(lengths(""), Vec::<usize>::new());
        assert_eq!(lengths(&"a".repeat(PIECE_BYTES)), [PIECE_BYTES]);
    }

    #[test]
    fn pieces_end_behind_white_space_and_lose_nothing() {
        let text = "some words here ".repeat(20_000);
        assert_eq!(pieces(&text).collect::<String>(), text);
        assert!(pieces(&text).all(|piece| piece.ends_with(' ') && piece.len() <= PIECE_BYTES));
    }

    #[test]
    fn text_without_white_space_is_cut_behind_a_word() {
        let text = "北京市".repeat(30_000);
        assert_eq!(pieces(&text).collect::<String>(), text);
        let text = "[SEP]".repeat(20_000);
        assert!(pieces(&text).all(|piece| piece.ends_with(']')));
    }

    #[test]
    fn the_rest_of_an_endless_word_is_left_out() {
        let text = format!("{} end", "x".repeat(1_000_000));
        assert_eq!(lengths(&text), [PIECE_BYTES, 4]);
        let text = "\u{301}".repeat(1_000_000);
        assert_eq!(pieces(&text).count(), 1);
    }
}
