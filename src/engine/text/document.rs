//! The document of an issuer profile: which fields of the profile are read, and how they become one text.

/// The fields of a profile that make its document, in document order.
pub const FIELDS: [&str; 3] = ["business_description", "risk_summary", "recent_events_summary"];

/// What stands between two fields.
const SEPARATOR: &str = "\n\n";

/// The document of a profile: each field trimmed, empty ones left out, joined by a blank line. `fields` are
/// the string values of [`FIELDS`] in that order, `None` where the profile has no string. `None` when no
/// text is left.
pub fn document(fields: [Option<&str>; 3]) -> Option<String> {
    let parts: Vec<&str> = fields.into_iter().flatten().map(trim).filter(|part| !part.is_empty()).collect();
    (!parts.is_empty()).then(|| parts.join(SEPARATOR))
}

/// Removes leading and trailing white space as Python's `str.strip` does.
pub fn trim(text: &str) -> &str {
    text.trim_matches(is_python_space)
}

/// Python's `str.isspace`: Unicode's White_Space and the four information separators U+001C to U+001F.
fn is_python_space(c: char) -> bool {
    matches!(c, '\u{1c}'..='\u{1f}') || c.is_whitespace()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_trimmed_and_joined_by_a_blank_line() {
        let got = document([Some("  Makes pumps.\n"), Some("\t"), Some("Sold a plant. ")]);
        assert_eq!(got.as_deref(), Some("Makes pumps.\n\nSold a plant."));
    }

    #[test]
    fn nothing_but_blanks_is_no_document() {
        assert_eq!(document([None, Some(""), Some(" \u{a0}\u{3000}\u{2028}\r\n")]), None);
        assert_eq!(document([None; 3]), None);
    }

    #[test]
    fn white_space_is_what_python_strips() {
        let python = [
            '\t', '\n', '\u{b}', '\u{c}', '\r', '\u{1c}', '\u{1d}', '\u{1e}', '\u{1f}', ' ', '\u{85}',
            '\u{a0}', '\u{1680}', '\u{2000}', '\u{2001}', '\u{2002}', '\u{2003}', '\u{2004}', '\u{2005}',
            '\u{2006}', '\u{2007}', '\u{2008}', '\u{2009}', '\u{200a}', '\u{2028}', '\u{2029}', '\u{202f}',
            '\u{205f}', '\u{3000}',
        ];
        let ours: Vec<char> = ('\0'..=char::MAX).filter(|&c| is_python_space(c)).collect();
        assert_eq!(ours, python);
        assert_eq!(trim("\u{200b}a\u{feff}"), "\u{200b}a\u{feff}", "zero-width marks are no white space");
    }

    #[test]
    fn inner_white_space_stays() {
        assert_eq!(document([Some(" a \n\n b "), None, None]).as_deref(), Some("a \n\n b"));
    }
}
