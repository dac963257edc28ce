//! Locations as users and catalogs write them: a folder, `file://…`, `s3://bucket/prefix`.
//! Invariant: taken literally (`%2F` is three characters), except for the `file://` URL of a profile's folder.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a location can't be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{location}: {detail}")]
pub struct LocationError {
    /// As it was given.
    pub location: String,
    /// What is wrong with it, and what would be right.
    pub detail: String,
}

/// A location taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Parsed<'a> {
    /// A path on this machine, absolute or not.
    Local(&'a str),
    /// A bucket and what stands behind it, without a slash at either end.
    S3 { bucket: &'a str, path: &'a str },
}

/// Takes a location apart; a plain path and `file:/path` are local.
pub(super) fn parse(location: &str) -> Result<Parsed<'_>, LocationError> {
    let refuse = |detail: &str| Err(LocationError { location: location.to_owned(), detail: detail.to_owned() });
    let Some((scheme, rest)) = location.split_once("://") else {
        return Ok(Parsed::Local(location.strip_prefix("file:").unwrap_or(location)));
    };
    match scheme {
        "file" => Ok(Parsed::Local(rest)),
        "s3" | "s3a" => {
            let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
            if bucket.is_empty() || bucket.contains(['@', ':', '?']) {
                return refuse("it names no bucket; write s3://BUCKET/PREFIX, keys and endpoint stand in [store]");
            }
            Ok(Parsed::S3 { bucket, path: path.trim_matches('/') })
        }
        "gs" | "gcs" => refuse("Google Cloud Storage is not built in; use a folder or s3://BUCKET/PREFIX"),
        "az" | "azure" | "abfs" | "abfss" | "adl" | "wasb" | "wasbs" => {
            refuse("Azure storage is not built in; use a folder or s3://BUCKET/PREFIX")
        }
        _ => refuse("there is no storage of this kind; use a folder, file:///PATH or s3://BUCKET/PREFIX"),
    }
}

/// Whether a location of the profile is one that can be opened, without opening it: the location as it is used, a
/// relative folder below `root` made absolute.
///
/// # Errors
/// When its kind isn't built in, or it names no bucket or no absolute path.
pub fn check_location(location: &str, root: &Path) -> Result<String, LocationError> {
    match parse(location)? {
        Parsed::Local(_) => Ok(folder(location, root)?.display().to_string()),
        Parsed::S3 { .. } => Ok(location.trim_end_matches('/').to_owned()),
    }
}

/// The folder of a location: relative ones are below `root`, `file://` URLs must be absolute.
pub(super) fn folder(location: &str, root: &Path) -> Result<PathBuf, LocationError> {
    match location.split_once("://") {
        Some(_) => url::Url::parse(location).ok().and_then(|url| url.to_file_path().ok()).ok_or_else(|| {
            let detail = "it isn't an absolute path; write file:///path".to_owned();
            LocationError { location: location.to_owned(), detail }
        }),
        None => Ok(root.join(location.strip_prefix("file:").unwrap_or(location))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_taken_apart_literally() {
        assert_eq!(parse("/tmp/a b/c%2Fd"), Ok(Parsed::Local("/tmp/a b/c%2Fd")));
        assert_eq!(parse("file:///tmp/c%2Fd"), Ok(Parsed::Local("/tmp/c%2Fd")));
        assert_eq!(parse("file:/tmp/c"), Ok(Parsed::Local("/tmp/c")));
        assert_eq!(parse("s3://lake/a/b%2Fc/"), Ok(Parsed::S3 { bucket: "lake", path: "a/b%2Fc" }));
        assert_eq!(parse("s3a://lake"), Ok(Parsed::S3 { bucket: "lake", path: "" }));
    }

    #[test]
    fn what_is_not_built_in_is_refused_with_the_way_out() {
        let refused =
            |location: &str| check_location(location, Path::new("/project")).expect_err("refused").to_string();
        for (location, expected) in [
            ("gs://lake/a", "gs://lake/a: Google Cloud Storage is not built in; use a folder or s3://BUCKET/PREFIX"),
            ("abfss://c@a.dfs.core.windows.net/x", "Azure storage is not built in"),
            ("hdfs://nn/a", "there is no storage of this kind; use a folder, file:///PATH or s3://BUCKET/PREFIX"),
            ("s3:///a", "it names no bucket"),
            ("s3://key:secret@lake/a", "keys and endpoint stand in [store]"),
            ("file://elsewhere/state", "write file:///path"),
        ] {
            let message = refused(location);
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_relative_folder_is_below_the_project() {
        let used = |location: &str| check_location(location, Path::new("/project")).expect("can be used");
        assert_eq!(used(".kappa/state"), "/project/.kappa/state");
        assert_eq!(used("/var/lib/kappa"), "/var/lib/kappa");
        assert_eq!(used("file:///var/my%20state"), "/var/my state");
        assert_eq!(used("s3://lake/state/"), "s3://lake/state");
    }
}
