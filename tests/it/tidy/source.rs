//! One source file as the house rules see it: as written, without comments and texts, and without its tests.
//!
//! Fed by the walk over the repository or by a sample in a test; feeds the rules. All three views have the same length,
//! so that an offset in one is the same place in the others.

use std::path::{Path, PathBuf};
use std::{fs, iter};

pub struct Source {
    /// Relative to the root of the repository, with `/`.
    pub path: String,
    pub text: String,
    /// Comments and the inside of texts are blank.
    pub code: String,
    /// As `code`, and every item marked `#[cfg(test)]` is blank too.
    pub product: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        let code = blank_comments_and_texts(text);
        let product = if is_test_file(path) { blank(&code) } else { blank_tests(&code) };
        Source { path: path.to_owned(), text: text.to_owned(), code, product }
    }

    /// `file:line: what`, the form in which every rule reports.
    pub fn fault(&self, offset: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path, self.text[..offset].matches('\n').count() + 1)
    }

    /// The line around an offset, as written.
    pub fn line_at(&self, offset: usize) -> &str {
        let start = self.text[..offset].rfind('\n').map_or(0, |at| at + 1);
        self.text[start..].lines().next().unwrap_or_default()
    }

    /// The line before the one around an offset, as written; empty at the top.
    pub fn line_before(&self, offset: usize) -> &str {
        self.text[..offset].rfind('\n').map_or("", |end| self.line_at(end))
    }
}

/// Every file below a folder of the repository that has this extension, in the order of their names. An absent folder
/// has none: parts of the product come later than this test.
pub fn files(folder: &str, extension: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found: Vec<Source> = paths_below(&root.join(folder))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|is| is == extension))
        .map(|path| {
            let relative = path.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
            Source::new(&relative, &fs::read_to_string(&path).expect("a readable UTF-8 file"))
        })
        .collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn paths_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries
        .flat_map(|entry| {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() { paths_below(&path) } else { vec![path] }
        })
        .collect()
}

/// The tests of `board.rs` may stand beside it in `board_tests.rs` or the folder `board_tests/`; a rule makes sure
/// that only tests include it.
pub fn is_test_file(path: &str) -> bool {
    path.ends_with("_tests.rs") || path.ends_with("/tests.rs") || path.contains("_tests/")
}

/// The offsets at which `word` stands in `code`, not as a part of a longer name.
pub fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let mut from = 0;
    iter::from_fn(move || {
        while let Some(at) = code[from..].find(word).map(|found| from + found) {
            from = at + word.len();
            let joined_left = word.starts_with(is_name) && code[..at].ends_with(is_name);
            let joined_right = word.ends_with(is_name) && code[from..].starts_with(is_name);
            if !joined_left && !joined_right {
                return Some(at);
            }
        }
        None
    })
}

pub fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn blank(text: &str) -> String {
    text.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect()
}

fn blank_comments_and_texts(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let (kept, blanked) = next_token(rest, code.ends_with(is_name));
        code.push_str(&rest[..kept]);
        code.push_str(&blank(&rest[kept..kept + blanked]));
        at += kept + blanked;
    }
    code
}

/// How many bytes to keep, and how many after them to blank.
fn next_token(rest: &str, after_name: bool) -> (usize, usize) {
    if rest.starts_with("//") {
        return (0, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (0, block_comment(rest));
    }
    if !after_name && let Some((opening, closing)) = raw_text(rest) {
        let end = rest[opening..].find(&closing).map_or(rest.len(), |found| opening + found + closing.len());
        return (0, end);
    }
    if let Some(inside) = rest.strip_prefix('"') {
        return (1, quoted(inside, '"'));
    }
    if let Some(inside) = rest.strip_prefix('\'') {
        let mut chars = inside.chars();
        let (first, second) = (chars.next(), chars.next());
        // Anything else after a single quote is a lifetime or a label.
        if first == Some('\\') || second == Some('\'') {
            return (1, quoted(inside, '\''));
        }
    }
    (rest.chars().next().map_or(1, char::len_utf8), 0)
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                break;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// The length of the opening of a raw text (`r#"`) and its closing (`"#`).
fn raw_text(rest: &str) -> Option<(usize, String)> {
    let after = ["br", "cr", "r"].iter().find_map(|prefix| rest.strip_prefix(prefix))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let opens = after[hashes..].starts_with('"');
    opens.then(|| (rest.len() - after.len() + hashes + 1, format!("\"{}", "#".repeat(hashes))))
}

/// The length of the inside of a text and its closing quote.
fn quoted(inside: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        if !escaped && c == quote {
            return at + 1;
        }
        escaped = !escaped && c == '\\';
    }
    inside.len()
}

fn blank_tests(code: &str) -> String {
    let mut product = code.to_owned();
    for (at, _) in code.match_indices("#[cfg(test)]") {
        let end = at + item_length(&code[at..]);
        product.replace_range(at..end, &blank(&code[at..end]));
    }
    product
}

/// From an attribute to the end of the item it marks: its `;`, or the brace that closes its body.
fn item_length(code: &str) -> usize {
    let (mut braces, mut brackets) = (0, 0);
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets -= 1,
            '{' => braces += 1,
            '}' => braces -= 1,
            _ => {}
        }
        if (c == '}' && braces <= 0) || (c == ';' && braces == 0 && brackets == 0) {
            return at + 1;
        }
    }
    code.len()
}
