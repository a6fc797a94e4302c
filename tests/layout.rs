//! The house rules as tests: which room may know what, and how long files and functions may be. They read the
//! sources as text (comments and strings blanked out), so they take milliseconds and need no Postgres.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

const MAX_FILE_LINES: usize = 500;
const MAX_FUNCTION_LINES: usize = 60;

/// One Rust file: its path from the checkout's root with `/`, its text, and its text without comments and strings.
struct Source {
    path: String,
    text: String,
    code: String,
}

impl Source {
    fn is_in(&self, rooms: &[&str]) -> bool {
        rooms.iter().any(|room| self.path.starts_with(room))
    }

    /// Lines on which `found` says yes, as `path:line: the line`.
    fn lines_where(&self, code: &str, found: impl Fn(&str) -> bool) -> Vec<String> {
        let lines = code.lines().zip(self.text.lines()).enumerate();
        lines
            .filter(|(_, (code, _))| found(code))
            .map(|(number, (_, text))| format!("{}:{}: {}", self.path, number + 1, text.trim()))
            .collect()
    }
}

/// Every Rust file of the checkout, in sorted order; read once.
static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches"] {
        collect(&root.join(folder), &mut files);
    }
    files.sort();
    let read = |file: PathBuf| {
        // What cannot be read counts as empty, and so breaks the rule that a file says what it is for.
        let text = fs::read_to_string(&file).unwrap_or_default();
        let path = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().replace('\\', "/");
        let code = blank_comments_and_strings(&text);
        Source { path, text, code }
    };
    files.into_iter().map(read).collect()
});

/// The files below `folder`.
fn sources(folder: &str) -> impl Iterator<Item = &'static Source> {
    SOURCES.iter().filter(move |source| source.is_in(&[folder]))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Blanks out comments, strings and character literals; what stays keeps its line and column.
fn blank_comments_and_strings(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at).filter(|&end| end > at);
        match end {
            Some(end) => {
                out.extend(chars[at..end].iter().map(|&c| if c == '\n' { c } else { ' ' }));
                at = end;
            }
            None => {
                out.push(chars[at]);
                at += 1;
            }
        }
    }
    out
}

/// Where the comment, string or character literal that begins at `at` ends, if one does.
fn literal_end(chars: &[char], at: usize) -> Option<usize> {
    let starts =
        |from: usize, what: &str| what.chars().enumerate().all(|(i, c)| chars.get(from + i) == Some(&c));
    let after_word = at > 0 && is_word(chars[at - 1]);
    if starts(at, "//") {
        return Some(find(chars, at, "\n").unwrap_or(chars.len()));
    }
    if starts(at, "/*") {
        return Some(block_comment_end(chars, at));
    }
    if !after_word && (starts(at, "r\"") || starts(at, "r#") || starts(at, "br\"") || starts(at, "br#")) {
        return raw_string_end(chars, at);
    }
    match chars[at] {
        '"' => Some(quoted_end(chars, at, '"')),
        '\'' if chars.get(at + 1) == Some(&'\\') || chars.get(at + 2) == Some(&'\'') => {
            Some(quoted_end(chars, at, '\''))
        }
        _ => None,
    }
}

fn find(chars: &[char], from: usize, what: &str) -> Option<usize> {
    let what: Vec<char> = what.chars().collect();
    (from..chars.len()).find(|&at| chars[at..].starts_with(&what))
}

fn block_comment_end(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        if chars[at..].starts_with(&['/', '*']) {
            depth += 1;
            at += 2;
        } else if chars[at..].starts_with(&['*', '/']) {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at
}

/// None for a raw identifier such as `r#type`.
fn raw_string_end(chars: &[char], at: usize) -> Option<usize> {
    let mut open = at;
    while chars.get(open).is_some_and(|c| matches!(c, 'b' | 'r')) {
        open += 1;
    }
    let hashes = chars[open..].iter().take_while(|&&c| c == '#').count();
    if chars.get(open + hashes) != Some(&'"') {
        return None;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    Some(find(chars, open + hashes + 1, &close).map_or(chars.len(), |end| end + close.len()))
}

fn quoted_end(chars: &[char], at: usize, quote: char) -> usize {
    let mut end = at + 1;
    while end < chars.len() && chars[end] != quote {
        end += if chars[end] == '\\' { 2 } else { 1 };
    }
    (end + 1).min(chars.len())
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The line has `word` as a whole identifier.
fn has_word(line: &str, word: &str) -> bool {
    line.split(|c| !is_word(c)).any(|part| part == word)
}

/// Where the block whose `{` is the first one from `from` on ends (past its `}`); None when a `;` comes first.
fn block_end(code: &str, from: usize) -> Option<usize> {
    let (mut braces, mut others) = (0, 0);
    for (offset, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => others += 1,
            b')' | b']' => others -= 1,
            b';' if braces == 0 && others == 0 => return None,
            b'{' => braces += 1,
            b'}' => {
                braces -= 1;
                if braces == 0 {
                    return Some(offset + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// The code without what only tests compile: items below `#[cfg(test)]` and the like.
fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    let mut from = 0;
    while let Some(start) = out[from..].find("#[cfg(").map(|found| from + found) {
        let condition_end = out[start..].find(']').map_or(out.len(), |found| start + found);
        let condition = &out[start..condition_end];
        from = condition_end;
        if has_word(condition, "test") && !condition.contains("not(test") {
            let end = block_end(&out, condition_end).unwrap_or(condition_end);
            let blank: String = out[start..end].chars().map(|c| if c == '\n' { c } else { ' ' }).collect();
            out.replace_range(start..end, &blank);
            from = start + blank.len();
        }
    }
    out
}

/// Every function with a body: its name, first line and number of lines.
fn functions(code: &str) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let name: String = code[at + 3..].chars().take_while(|&c| is_word(c)).collect();
        if name.is_empty() || code[..at].chars().next_back().is_some_and(is_word) {
            continue;
        }
        if let Some(end) = block_end(code, at) {
            let line = code[..at].lines().count().max(1);
            found.push((name, line, code[at..end].lines().count()));
        }
    }
    found
}

/// No file below `folder` but outside `rooms` has a line on which `found` says yes.
fn only_in(rooms: &[&str], folder: &str, found: impl Fn(&str) -> bool) {
    let broken: Vec<String> = sources(folder)
        .filter(|source| !source.is_in(rooms))
        .flat_map(|source| source.lines_where(&source.code, &found))
        .collect();
    assert!(broken.is_empty(), "belongs only in {rooms:?}:\n{}", broken.join("\n"));
}

#[test]
fn the_engine_does_not_know_postgres() {
    only_in(&[], "src/engine", |line| {
        ["pgrx", "pg_sys"].iter().any(|word| has_word(line, word)) || line.contains("crate::pg")
    });
}

#[test]
fn onnx_runtime_is_known_in_its_room_only() {
    only_in(&["src/engine/onnx"], "src", |line| {
        line.match_indices("ort::").any(|(at, _)| !line[..at].ends_with(is_word))
    });
}

#[test]
fn spi_is_used_in_its_room_only() {
    only_in(&["src/pg/spi", "src/pg/tests"], "src", |line| {
        line.contains("Spi::") || has_word(line, "SpiClient")
    });
}

#[test]
fn unsafe_is_in_its_rooms_only() {
    only_in(&["src/pg/ffi", "src/engine/simd.rs"], "", |line| has_word(line, "unsafe"));
}

#[test]
fn sqlstates_are_in_their_rooms_only() {
    only_in(&["src/pg/report", "src/pg/ffi"], "src", |line| has_word(line, "PgSqlErrorCode"));
}

#[test]
fn nothing_panics_outside_tests() {
    let calls = [".unwrap()", ".expect("];
    let macros = ["panic!", "todo!", "unimplemented!", "unreachable!"];
    let panics = |line: &str| {
        calls.iter().any(|call| line.contains(call))
            || macros
                .iter()
                .any(|name| line.match_indices(name).any(|(at, _)| !line[..at].ends_with(is_word)))
    };
    let tests_only = |path: &str| path.ends_with("/tests.rs") || path.contains("/tests/");
    let broken: Vec<String> = sources("src")
        .filter(|source| !tests_only(&source.path))
        .flat_map(|source| source.lines_where(&without_tests(&source.code), panics))
        .collect();
    assert!(broken.is_empty(), "return an error instead:\n{}", broken.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent: Vec<String> = SOURCES
        .iter()
        .filter(|source| {
            !source.text.lines().find(|line| !line.starts_with("#![")).is_some_and(|l| l.starts_with("//! "))
        })
        .map(|source| source.path.clone())
        .collect();
    assert!(silent.is_empty(), "begin with a //! line: {silent:?}");
}

#[test]
fn files_are_short() {
    let long: Vec<String> = SOURCES
        .iter()
        .map(|source| (&source.path, source.text.lines().count()))
        .filter(|&(_, lines)| lines > MAX_FILE_LINES)
        .map(|(path, lines)| format!("{path}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "longer than {MAX_FILE_LINES} lines: {long:?}");
}

#[test]
fn functions_are_short() {
    let mut long = Vec::new();
    for source in SOURCES.iter() {
        for (name, line, lines) in functions(&source.code) {
            if lines > MAX_FUNCTION_LINES {
                long.push(format!("{}:{line}: fn {name} has {lines} lines", source.path));
            }
        }
    }
    assert!(long.is_empty(), "longer than {MAX_FUNCTION_LINES} lines:\n{}", long.join("\n"));
}

#[test]
fn these_rules_read_rust_rightly() {
    let text = "let a = \"unsafe\"; // unsafe\nlet b = r#\"unsafe \"x\" \"#; /* unsafe /* nested */ unsafe */ let c = '\"';\nlet d: &'a str = b\"unsafe\"; let r#type = 1; unsafe {}\n";
    let code = blank_comments_and_strings(text);
    let lines: Vec<bool> = code.lines().map(|line| has_word(line, "unsafe")).collect();
    assert_eq!(lines, [false, false, true]);
    assert_eq!(code.len(), text.len());
    assert!(code.contains("let c =") && code.contains("&'a str") && code.contains("r#type"));
}

#[test]
fn tests_are_left_out_and_functions_measured() {
    let code = "fn one(a: [u8; 2]) -> u8 {\n    a.unwrap()\n}\n#[cfg(test)]\nmod tests {\n    fn two() { b.unwrap() }\n}\n#[cfg(not(test))]\nfn three() {}\ntrait T { fn four(); }\n";
    let kept = without_tests(code);
    assert_eq!(kept.matches("unwrap").count(), 1);
    assert!(kept.contains("fn three") && !kept.contains("fn two"));
    let measured: Vec<(String, usize)> =
        functions(&kept).into_iter().map(|(name, _, lines)| (name, lines)).collect();
    assert_eq!(measured, [("one".to_owned(), 3), ("three".to_owned(), 1)]);
}
