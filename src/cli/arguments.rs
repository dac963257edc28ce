//! Arguments that several commands share.

use std::path::PathBuf;

use clap::Args;
use clap::builder::RangedI64ValueParser;

/// `--workers`: as many as there are key groups at most.
pub fn workers() -> RangedI64ValueParser<u16> {
    RangedI64ValueParser::<u16>::new().range(1..=256)
}

/// How results are written.
#[derive(Args, Clone, Copy, Debug)]
pub struct OutputArgs {
    /// Write data as one JSON document on stdout, and progress, if there is any, as JSON lines on stderr
    #[arg(long)]
    pub json: bool,
}

/// A path that can be a job file; what is in it is judged later.
pub fn job_path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("sql") => Ok(path),
        Some("toml") => {
            Err("requests aren't supported yet; give a job file and its range: JOB.sql --from … --to …".into())
        }
        _ => Err("a job is a .sql file, such as jobs/page_hits.sql".to_owned()),
    }
}
