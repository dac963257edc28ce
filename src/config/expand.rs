//! `${VAR}` and `${file:PATH}` in values: what comes from the surroundings rather than from a file that is shared.
//! Invariant: what was put in is not looked at again, so no value can reach for another one.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A mounted secret is a password or a bundle of certificates, never more.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// What makes the name a file's.
const FILE: &str = "file:";

/// Where values come from.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The variables of the environment.
    pub variables: &'a BTreeMap<OsString, OsString>,
    /// The project folder: relative paths start there.
    pub root: &'a Path,
}

/// A text with everything put in.
#[derive(PartialEq, Eq)]
pub struct Expanded {
    /// The text.
    pub text: String,
    /// A part of it comes from a file, so it is a secret.
    pub from_file: bool,
}

/// Why a text can't be expanded.
#[derive(Debug, Error)]
pub enum ExpandError {
    /// No such variable.
    #[error("the environment variable `{name}` isn't set")]
    Missing {
        /// Its name.
        name: String,
    },
    /// A variable whose value isn't text.
    #[error("the environment variable `{name}` holds bytes that aren't UTF-8")]
    NotText {
        /// Its name.
        name: String,
    },
    /// `${` and no `}` behind it.
    #[error("`${{` is never closed")]
    Open,
    /// Neither the name of a variable nor a file.
    #[error("`${{{inside}}}` names no variable")]
    Name {
        /// What stands between the braces.
        inside: String,
    },
    /// A file that can't be read.
    #[error("the file {} can't be read: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that can't be a secret.
    #[error("the file {} {reason}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
}

impl ExpandError {
    /// The way out.
    pub fn help(&self) -> String {
        match self {
            ExpandError::Missing { name } => format!("set {name}, or write $${{ where the characters ${{ are meant"),
            ExpandError::NotText { .. } => "set it to text".to_owned(),
            ExpandError::Open => "close it with }, or write $${ where the characters ${ are meant".to_owned(),
            ExpandError::Name { .. } => {
                "write ${NAME} for a variable (letters, digits and _), ${file:PATH} for the content of a file, $${ for the \
                 characters ${"
                    .to_owned()
            }
            ExpandError::File { .. } => {
                "mount it or correct the path; a relative one starts at the project's folder".to_owned()
            }
            ExpandError::Unfit { .. } => "name a file that holds one secret as text".to_owned(),
        }
    }
}

/// The text with variables and files put in; `None` if there is nothing to put in.
pub fn expand(text: &str, surroundings: Surroundings<'_>) -> Result<Option<Expanded>, ExpandError> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut expanded = Expanded { text: String::with_capacity(text.len()), from_file: false };
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let behind = &rest[at + 2..];
        if rest[..at].ends_with('$') {
            // `$${` stands for the characters `${`.
            expanded.text.push_str(&rest[..at - 1]);
            expanded.text.push_str("${");
            rest = behind;
            continue;
        }
        expanded.text.push_str(&rest[..at]);
        let end = behind.find('}').ok_or(ExpandError::Open)?;
        let inside = &behind[..end];
        match inside.strip_prefix(FILE) {
            Some(path) => {
                expanded.text.push_str(&file(&surroundings.root.join(path.trim()))?);
                expanded.from_file = true;
            }
            None => expanded.text.push_str(variable(inside, surroundings.variables)?),
        }
        rest = &behind[end + 1..];
    }
    expanded.text.push_str(rest);
    Ok(Some(expanded))
}

fn variable<'a>(name: &str, variables: &'a BTreeMap<OsString, OsString>) -> Result<&'a str, ExpandError> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(is_name) || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(ExpandError::Name { inside: name.to_owned() });
    }
    let value = variables.get(std::ffi::OsStr::new(name));
    let value = value.ok_or_else(|| ExpandError::Missing { name: name.to_owned() })?;
    value.to_str().ok_or_else(|| ExpandError::NotText { name: name.to_owned() })
}

/// The content of a file, without the line break at its end.
fn file(path: &Path) -> Result<String, ExpandError> {
    let unreadable = |source| ExpandError::File { path: path.to_owned(), source };
    let unfit = |reason| ExpandError::Unfit { path: path.to_owned(), reason };
    let about = std::fs::metadata(path).map_err(unreadable)?;
    if about.is_dir() {
        return Err(unfit("is a folder"));
    }
    if about.len() > FILE_BYTES_MAX {
        return Err(unfit("is larger than 1 MiB"));
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    let mut text = String::from_utf8(bytes).map_err(|_| unfit("isn't UTF-8"))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand_in(root: &Path, text: &str) -> Result<Option<(String, bool)>, String> {
        let variables = [("A", "a"), ("DOLLAR", "${A}"), ("_X1", "")];
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let expanded = expand(text, Surroundings { variables: &variables, root });
        let expanded = expanded.map_err(|error| format!("{error}; {}", error.help()))?;
        Ok(expanded.map(|expanded| (expanded.text, expanded.from_file)))
    }

    #[test]
    fn variables_are_put_in_once() {
        let put = |text: &str| expand_in(Path::new("/"), text).expect("can be expanded").map(|(text, _)| text);
        assert_eq!(put("plain $A {A} $"), None);
        assert_eq!(put("${A}-${A}").as_deref(), Some("a-a"));
        assert_eq!(put("${DOLLAR}").as_deref(), Some("${A}"));
        assert_eq!(put("$${A} costs $5, ${A}").as_deref(), Some("${A} costs $5, a"));
        assert_eq!(put("x${_X1}y").as_deref(), Some("xy"));
    }

    #[test]
    fn what_can_not_be_put_in_is_refused_with_the_way_out() {
        let refused = |text: &str| expand_in(Path::new("/"), text).expect_err("refused");
        assert_eq!(
            refused("${B}"),
            "the environment variable `B` isn't set; set B, or write $${ where the characters ${ are meant"
        );
        assert!(refused("${A").starts_with("`${` is never closed"));
        assert!(refused("${A:-b}").starts_with("`${A:-b}` names no variable"));
        assert!(refused("${}").starts_with("`${}` names no variable"));
    }

    #[test]
    fn files_give_their_text_without_the_last_line_break() {
        let folder = tempfile::tempdir().expect("a folder");
        let put = |name: &str, content: &[u8]| std::fs::write(folder.path().join(name), content).expect("a file");
        put("pw", b"hunter2\r\n");
        put("two", b"a\nb\n\n");
        put("bytes", b"\xff");
        let expanded = |text: &str| expand_in(folder.path(), text);
        assert_eq!(expanded("u:${file:pw}@"), Ok(Some(("u:hunter2@".to_owned(), true))));
        assert_eq!(expanded("${file:two}"), Ok(Some(("a\nb\n".to_owned(), true))));
        let absolute = format!("${{file:{}}}", folder.path().join("pw").display());
        assert_eq!(expanded(&absolute), Ok(Some(("hunter2".to_owned(), true))));
        assert!(expanded("${file:none}").expect_err("refused").contains("none can't be read: No such file"));
        assert!(expanded("${file:bytes}").expect_err("refused").contains("isn't UTF-8"));
        assert!(expanded("${file:.}").expect_err("refused").contains("is a folder"));
    }
}
