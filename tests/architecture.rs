//! The layers of DESIGN, checked on the source text: who may know whom, and that nothing in the middle knows its face.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules between decoding and publishing: what they do must not depend on where records come from.
const FACELESS: [&str; 6] = ["event", "time", "windows", "joins", "state", "engine"];

/// Modules that know a face: where records come from, or why they are read.
const FACES: [&str; 8] = ["sources", "handing", "reposition", "live", "archive", "offsets", "diff", "backfill"];

/// Words that only identifiers of a module with a mode would have.
const MODE_WORDS: [&str; 4] = ["backfill", "archive", "replay", "face"];
/// Identifiers that say a mode as a whole. (`live` alone may be said of files and the like.)
const MODES: [&str; 6] = ["mode", "Mode", "run_mode", "RunMode", "is_live", "Live"];

#[test]
fn a_module_uses_only_modules_declared_above_it() {
    let modules = declared_modules();
    let mut violations = Vec::new();
    for (index, module) in modules.iter().enumerate() {
        for file in files_of(module) {
            for used in modules_used(&code(&file)) {
                let known = modules.iter().position(|other| *other == used);
                if known.is_none_or(|known| known > index) {
                    violations.push(format!("{} uses crate::{used}", shown(&file)));
                }
            }
        }
    }
    assert!(violations.is_empty(), "declared below the user, or not at all: {violations:#?}");
}

#[test]
fn every_source_file_belongs_to_a_declared_module() {
    let mut owned: BTreeSet<PathBuf> = declared_modules().iter().flat_map(|module| files_of(module)).collect();
    owned.extend(["lib.rs", "main.rs"].map(|file| source().join(file)));
    let unowned: Vec<String> = rust_files(&source()).iter().filter(|file| !owned.contains(*file)).map(shown).collect();
    assert!(unowned.is_empty(), "{unowned:#?}");
}

#[test]
fn the_middle_knows_neither_sources_nor_drivers() {
    let mut violations = Vec::new();
    for module in FACELESS {
        for file in files_of(module) {
            let used = modules_used(&code(&file));
            violations.extend(FACES.iter().filter(|face| used.contains(**face)).map(|face| (shown(&file), *face)));
        }
    }
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn nothing_in_the_middle_has_a_mode() {
    let mut violations = Vec::new();
    for module in FACELESS.into_iter().filter(|module| *module != "event") {
        for file in files_of(module) {
            for identifier in identifiers(&code(&file)) {
                let telling = words(&identifier).iter().any(|word| MODE_WORDS.contains(&word.as_str()));
                if telling || MODES.contains(&identifier.as_str()) {
                    violations.push((shown(&file), identifier));
                }
            }
        }
    }
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn timely_is_used_by_the_engine_only() {
    let engine = source().join("engine");
    let users: Vec<String> = rust_files(&source())
        .iter()
        .filter(|file| !file.starts_with(&engine) && identifiers(&code(file)).iter().any(|word| word == "timely"))
        .map(shown)
        .collect();
    assert!(users.is_empty(), "{users:#?}");
}

#[test]
fn the_reader_of_code_sees_neither_comments_nor_texts_nor_tests() {
    let text = "use crate::{a, b::{c, d}}; // crate::comment\nlet s = \"crate::text\"; let r = r#\"crate::raw \" \"#; \
                /* crate::block */ let c = '\"'; fn f<'a>(x: &'a crate::e::T) {}\n#[cfg(test)]\nmod tests { use crate::f; }";
    let used: Vec<String> = modules_used(&without_noise(text)).into_iter().collect();
    assert_eq!(used, ["a", "b", "e"]);
    assert_eq!(words("isBackfill_HTTPLive"), ["is", "backfill", "httplive"]);
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn shown(file: impl AsRef<Path>) -> String {
    file.as_ref().strip_prefix(env!("CARGO_MANIFEST_DIR")).expect("is inside the package").display().to_string()
}

/// Names of the modules that `src/lib.rs` declares, in order.
fn declared_modules() -> Vec<String> {
    let text = code(&source().join("lib.rs"));
    let declaration = |line: &str| {
        let line = line.trim().trim_start_matches("pub ").trim_start_matches("pub(crate) ");
        Some(line.strip_prefix("mod ")?.strip_suffix(';')?.to_owned())
    };
    let modules: Vec<String> = text.lines().filter_map(declaration).collect();
    assert!(!modules.is_empty(), "src/lib.rs declares no modules");
    modules
}

/// Files of a top-level module; none if there is no such module.
fn files_of(module: &str) -> Vec<PathBuf> {
    let file = source().join(format!("{module}.rs"));
    let mut files = rust_files(&source().join(module));
    files.extend(file.is_file().then_some(file));
    files
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.expect("folder is readable").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// What a file does, without comments, texts and unit tests. Empty for a file that holds only tests.
fn code(file: &Path) -> String {
    let inside = file.strip_prefix(source()).expect("is a source file");
    if inside.iter().any(|part| part == "tests" || part == "tests.rs") {
        return String::new();
    }
    without_noise(&fs::read_to_string(file).expect("file is readable"))
}

fn without_noise(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod ").next().expect("split gives at least one part");
    let mut code = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with("r#\"") {
            rest.find("\"#").map_or(rest.len(), |end| end + 2)
        } else if first == '"' {
            end_of_text(rest)
        } else if let Some(length) = char_literal(rest) {
            length
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        code.push(' ');
        rest = &rest[skipped..];
    }
    code
}

/// Length of the string literal that `text` begins with.
fn end_of_text(text: &str) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length of a character literal, which a lifetime isn't.
fn char_literal(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('\'')?;
    if inner.starts_with('\\') {
        return inner[2..].find('\'').map(|end| end + 4);
    }
    let character = inner.chars().next()?;
    inner[character.len_utf8()..].starts_with('\'').then(|| character.len_utf8() + 2)
}

/// Top-level modules that code names by `crate::`.
fn modules_used(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let path = &code[at + "crate::".len()..];
        if let Some(group) = path.strip_prefix('{') {
            used.extend(group_heads(group));
        } else {
            used.insert(leading_identifier(path));
        }
    }
    // Macros and items of the crate's root aren't modules.
    used.retain(|name| !name.is_empty() && name.chars().next().is_some_and(char::is_lowercase));
    used
}

/// First identifiers of the members of a `{…}` group, nested groups aside.
fn group_heads(group: &str) -> Vec<String> {
    let mut heads = vec![leading_identifier(group)];
    let mut depth = 0;
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(leading_identifier(&group[at + 1..])),
            _ => {}
        }
    }
    heads
}

fn leading_identifier(text: &str) -> String {
    text.trim_start().chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
}

fn identifiers(code: &str) -> BTreeSet<String> {
    let parts = code.split(|character: char| !character.is_alphanumeric() && character != '_');
    parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// Words of an identifier, in lower case: `is_backfill` and `IsBackfill` are both `is`, `backfill`.
fn words(identifier: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![String::new()];
    let mut previous_lower = false;
    for character in identifier.chars() {
        if character == '_' || (character.is_uppercase() && previous_lower) {
            words.push(String::new());
        }
        previous_lower = character.is_lowercase();
        if character != '_' {
            words.last_mut().expect("there is always one").extend(character.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
