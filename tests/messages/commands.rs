//! What every command says, on a small project without servers: one snapshot a command, in the order in which a user would
//! give them.
//!
//! `INSTA_UPDATE=always cargo test --test kappa commands` writes them anew; read the difference before you commit it.

use kappa::event::TableName;
use kappa::iceberg::{Catalog, CatalogConfig, Change};

use crate::support::project::Project;
use crate::support::said::snapshots;

const STREAM: &str = "
CREATE STREAM clicks (
  host TEXT, bytes BIGINT, note TEXT, t TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '5 seconds'
)
LIVE    FROM FILE    'clicks.jsonl'
HISTORY FROM ICEBERG 'raw.clicks';
";

const INSERT: &str = "
INSERT INTO ICEBERG 'marts.hits' PARTITIONED BY (hour(window_start))
SELECT window_start, window_end, host, count(*) AS hits, sum(bytes) AS bytes
FROM   TUMBLE(clicks, t, INTERVAL '1 minute')
GROUP  BY window_start, window_end, host;
";

const CLICKS: &str = r#"{"host":"a","bytes":1,"t":"2026-01-01T00:00:01Z"}
{"host":"b","bytes":2,"t":"2026-01-01T00:00:59.999999Z"}
{"host":"a","bytes":4,"t":"2026-01-01T01:01:00Z"}
broken
{"host":"a","bytes":8,"note":"late","t":"2026-01-01T00:02:30Z"}
{"host":"bot","bytes":16,"t":"2026-01-01T01:01:02Z"}
{"host":"a","bytes":32,"t":"2026-01-01T02:30:00Z"}
"#;

/// Both ends of the two hours that history knows all about.
const HOURS: [&str; 4] = ["--from", "2026-01-01T00:00:00Z", "--to", "2026-01-01T02:00:00Z"];

fn project() -> Project {
    let project = Project::embedded();
    project.write("clicks.jsonl", CLICKS);
    project.write("jobs/hits.sql", format!("{STREAM}{INSERT}"));
    project
}

/// Gives a command and compares everything it says with its snapshot.
#[track_caller]
pub(super) fn says(project: &Project, name: &str, arguments: &[&str]) {
    let finished = project.kappa(arguments);
    let code = finished.code.expect("no signal ends it");
    let mut said = format!("$ kappa {}\n{}", arguments.join(" "), finished.stdout);
    // How often progress is told depends on how fast the machine is.
    let notes: String =
        finished.stderr.split_inclusive('\n').filter(|line| !line.starts_with(r#"{"progress""#)).collect();
    if !notes.is_empty() {
        said += &format!("--- stderr\n{notes}");
    }
    said += &format!("--- exit {code}\n");
    assert!(!said.contains("\n\n\n"), "two empty lines in a row:\n{said}");
    snapshots("messages/commands", &[]).bind(|| insta::assert_snapshot!(name, said));
}

/// A command of a job over the two hours.
fn over<'a>(command: &[&'a str], job: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    [command, &[job], &HOURS[..], rest].concat()
}

#[test]
fn from_a_job_file_to_a_backfill() {
    let project = project();
    let job = "jobs/hits.sql";
    says(&project, "validate", &["validate", job]);
    says(&project, "explain", &["explain", job]);
    says(&project, "status-before", &["status"]);
    says(&project, "offsets-before", &["offsets", "get", job]);
    says(&project, "run", &["run", job]);
    says(&project, "run-again", &["run", job]);
    says(&project, "run-take-over", &["run", job, "--take-over"]);
    says(&project, "diff-no-history", &over(&["diff"], job, &[]));
    says(&project, "archive", &["archive", job]);
    says(&project, "archive-again", &["archive", job]);
    says(&project, "archive-take-over", &["archive", job, "--take-over"]);
    says(&project, "archive-json", &["archive", job, "--json"]);
    says(&project, "offsets", &["offsets", "get", job]);
    says(&project, "offsets-archive", &["offsets", "get", "--archive", "raw.clicks"]);
    says(&project, "offsets-json", &["offsets", "get", job, "--json"]);
    says(&project, "status", &["status"]);
    says(&project, "status-json", &["status", job, "--json"]);
    says(&project, "status-no-catalog", &["status", job, "--set", "catalog.uri=sqlite:elsewhere.db"]);
    says(&project, "diff-equal", &over(&["diff"], job, &[]));
    // The job is mended: bots don't count.
    project.write(job, format!("{STREAM}{}", INSERT.replace("GROUP  BY", "WHERE  host <> 'bot'\nGROUP  BY")));
    says(&project, "diff-differs", &over(&["diff"], job, &[]));
    says(&project, "diff-json", &over(&["diff"], job, &["--json"]));
    says(&project, "diff-limit", &over(&["diff"], job, &["--limit", "1", "--drain"]));
    says(&project, "backfill-plan", &over(&["backfill", "plan"], job, &[]));
    says(&project, "backfill-plan-json", &over(&["backfill", "plan"], job, &["--json"]));
    says(&project, "backfill-run", &over(&["backfill", "run"], job, &[]));
    says(&project, "diff-after", &over(&["diff"], job, &[]));
    says(&project, "backfill-plan-include", &over(&["backfill", "plan"], job, &["--late", "include"]));
    says(&project, "backfill-run-include", &over(&["backfill", "run"], job, &["--late", "include", "--json"]));
    says(&project, "diff-included", &over(&["diff"], job, &[]));
    says(&project, "run-other-version", &["run", job]);
}

#[test]
fn from_a_narrow_declaration_to_a_wider_one() {
    let project = project();
    let job = "jobs/hits.sql";
    let narrow = STREAM.replace("bytes BIGINT, note TEXT, ", "bytes INT, ");
    let wide = STREAM.replace("note TEXT", "note TEXT FROM 'remark'");
    let kept =
        |stream: &str| stream.replace("FILE    'clicks.jsonl'", "FILE    'clicks.jsonl' WITH (keep_rest = true)");
    project.write("clicks.jsonl", CLICKS.replace(r#""bytes":16"#, r#""bytes":3000000000"#));
    project.write("jobs/streams/clicks.sql", &narrow);
    let included = format!("INCLUDE 'streams/clicks.sql';\n{INSERT}");
    project.write(job, &included);
    says(&project, "drift-validate", &["validate", job]);
    project.kappa(&["archive", job]).ok();
    project.write("jobs/streams/clicks.sql", &wide);
    says(&project, "drift-archive-narrower", &["archive", job]);
    says(&project, "drift-run-narrower", &["run", job]);
    says(&project, "drift-evolve-other", &["archive", job, "--evolve", "--stream", "klicks"]);
    project.write("jobs/streams/clicks.sql", wide.replace("host TEXT", "host TEXT NOT NULL"));
    says(&project, "drift-evolve-refused", &["archive", job, "--evolve"]);
    project.write("jobs/streams/clicks.sql", kept(&wide));
    says(&project, "drift-evolve", &["archive", job, "--evolve"]);
    says(&project, "drift-evolve-again", &["archive", job, "--evolve"]);
    says(&project, "drift-rejects", &["archive", job, "--rejects"]);
    says(&project, "drift-rejects-json", &["archive", job, "--rejects", "--json"]);
    says(&project, "drift-plan", &over(&["backfill", "plan"], job, &[]));
    // A column more: history kept what it is read from.
    project
        .write("jobs/streams/clicks.sql", kept(&wide).replace("bytes BIGINT,", "bytes BIGINT, again TEXT FROM 'a.b',"));
    says(&project, "drift-plan-rest", &over(&["backfill", "plan"], job, &["--json"]));
    project.write("jobs/streams/clicks.sql", "CREATE STREAM clicks (host TEKST) LIVE FROM FILE 'clicks.jsonl';");
    says(&project, "drift-wrong-stream", &["validate", job]);
}

#[test]
fn too_many_rejects_stop_a_run_before_it_publishes() {
    let project = project();
    let broken: String = (0..200).map(|number| format!("{{\"host\":{number}}}\n")).collect();
    project.write("clicks.jsonl", format!("{CLICKS}{broken}"));
    says(&project, "run-rejects-max", &["run", "jobs/hits.sql"]);
    let settings = std::fs::read_to_string(project.path().join("kappa.toml")).expect("the project has one");
    project.write("kappa.toml", format!("{settings}\n[run]\nrejects_max = \"100%\"\n"));
    says(&project, "run-rejects-allowed", &["run", "jobs/hits.sql"]);
}

#[test]
fn a_finished_job_is_upgraded() {
    let project = project();
    let job = "jobs/hits.sql";
    says(&project, "upgrade-before", &["run", job]);
    says(&project, "upgrade-archive", &["archive", job]);
    says(&project, "upgrade-nothing-to-upgrade", &["run", job, "--upgrade"]);
    // Bots don't count.
    project.write(job, format!("{STREAM}{}", INSERT.replace("GROUP  BY", "WHERE  host <> 'bot'\nGROUP  BY")));
    says(&project, "upgrade-changed", &["run", job]);
    says(&project, "upgrade", &["run", job, "--upgrade"]);
    let older = ["--from", "2026-01-01T00:00:00Z", "--to", "2026-01-01T03:00:00Z", "--drain"];
    says(&project, "upgrade-backfill", &[&["backfill", "run", job][..], &older].concat());
    says(&project, "upgrade-diff", &[&["diff", job][..], &older].concat());
}

#[test]
fn savepoints() {
    let project = project();
    let job = "jobs/hits.sql";
    says(&project, "savepoint-too-early", &["savepoint", "create", job, "first"]);
    project.kappa(&["run", job]).ok();
    says(&project, "savepoint-none", &["savepoint", "list", job]);
    says(&project, "savepoint-create", &["savepoint", "create", job, "first"]);
    says(&project, "savepoint-taken", &["savepoint", "create", job, "first"]);
    says(&project, "savepoint-name", &["savepoint", "create", job, "First"]);
    says(&project, "savepoint-list", &["savepoint", "list", job]);
    says(&project, "savepoint-show", &["savepoint", "show", job, "first"]);
    says(&project, "run-savepoint", &["run", job, "--savepoint", "first"]);
    says(&project, "run-no-savepoint", &["run", job, "--savepoint", "second"]);
    project.write(job, format!("{STREAM}{}", INSERT.replace("GROUP  BY", "WHERE  host <> 'bot'\nGROUP  BY")));
    says(&project, "run-savepoint-other-version", &["run", job, "--savepoint", "first"]);
    says(&project, "savepoint-delete", &["savepoint", "delete", job, "first"]);
}

#[test]
fn what_is_no_time() {
    let project = project();
    for (name, time) in [
        ("time-in-words", "yesterday"),
        ("time-not-on-the-calendar", "2026-02-30"),
        ("time-outside-the-years", "-91752400008"),
        ("time-in-microseconds", "1795248000123456"),
        ("time-without-a-unit", "now-7"),
    ] {
        let from = format!("--from={time}");
        says(&project, name, &["backfill", "plan", "jobs/hits.sql", &from, "--to", "2026-01-01T00:00:00Z"]);
    }
}

#[test]
fn refused_ranges() {
    let project = project();
    let job = "jobs/hits.sql";
    says(&project, "plan-no-history", &over(&["backfill", "plan"], job, &[]));
    project.kappa(&["archive", job]).ok();
    says(&project, "plan-no-result", &over(&["backfill", "plan"], job, &[]));
    says(&project, "diff-no-result", &over(&["diff"], job, &[]));
    let incomplete = ["--from", "2026-01-01", "--to", "2026-01-01T03:00:00Z"];
    says(&project, "plan-incomplete", &[&["backfill", "plan", job], &incomplete[..]].concat());
    says(&project, "run-incomplete", &[&["backfill", "run", job], &incomplete[..]].concat());
    let cut = ["--from", "2026-01-01T00:10:00Z", "--to", "2026-01-01T02:00:00Z"];
    says(&project, "plan-edges", &[&["backfill", "plan", job], &cut[..]].concat());
    says(&project, "plan-widen", &[&["backfill", "plan", job, "--widen", "--workers", "2"], &cut[..]].concat());
    says(&project, "plan-drain", &[&["backfill", "plan", job, "--drain"], &incomplete[..]].concat());
    let empty = ["--from", "2026-01-01T02:00:00Z", "--to", "2026-01-01T02:00:00Z"];
    says(&project, "plan-empty", &[&["backfill", "plan", job], &empty[..]].concat());
    project.kappa(&over(&["backfill", "run"], job, &[])).ok();
    says(&project, "run-widen", &[&["backfill", "run", job, "--widen"], &cut[..]].concat());
    project.write("jobs/thief.sql", format!("{STREAM}{INSERT}"));
    says(&project, "plan-other-owner", &over(&["backfill", "plan"], "jobs/thief.sql", &[]));
    project.write("jobs/hits.sql", format!("{STREAM}{}", INSERT.replace("AS hits", "AS clicks")));
    says(&project, "plan-layout", &over(&["backfill", "plan"], job, &[]));
    says(&project, "diff-layout", &over(&["diff"], job, &[]));
    project.write("jobs/hits.sql", format!("{STREAM}{INSERT}"));
    // As a live run leaves it that has sealed the first hour only.
    set(&project, &[("kappa.sealed_edge", "2026-01-01T01:00:00Z"), ("kappa.first_window", "beginning")]);
    says(&project, "plan-sealed-edge", &over(&["backfill", "plan"], job, &[]));
    says(&project, "run-sealed-edge", &over(&["backfill", "run"], job, &[]));
    // As a reset to the second hour leaves it.
    set(&project, &[("kappa.republish", "2026-01-01T01:00:00Z/2026-01-01T03:00:00Z")]);
    says(&project, "diff-published-again", &over(&["diff"], job, &[]));
    project.kappa(&["diff", job, "--from", "2026-01-01", "--to", "2026-01-01T01:00:00Z"]).ok();
    let other = STREAM.replace("host TEXT,", "host TEXT NOT NULL,");
    project.write("jobs/hits.sql", format!("{other}{INSERT}"));
    says(&project, "plan-declaration", &over(&["backfill", "plan"], job, &[]));
    says(&project, "archive-declaration", &["archive", job]);
    says(&project, "archive-no-stream", &["archive", job, "--stream", "klicks"]);
    says(&project, "offsets-no-table", &["offsets", "get", "--archive", "raw.klicks"]);
    says(&project, "offsets-no-archive", &["offsets", "get", "--archive", "marts.hits"]);
    project.write("jobs/wrong.sql", format!("{STREAM}{}", INSERT.replace("clicks, t", "klicks, t")));
    says(&project, "run-wrong-job", &["run", "jobs/wrong.sql"]);
    says(&project, "run-no-job", &["run", "jobs/none.sql"]);
    project.write("jobs/now.sql", format!("{}{INSERT}", STREAM.replace("HISTORY FROM ICEBERG 'raw.clicks'", "")));
    says(&project, "archive-no-history-clause", &["archive", "jobs/now.sql"]);
    let wider = STREAM.replace("note TEXT,", "note TEXT, referrer TEXT,");
    project.write("jobs/hits.sql", format!("{wider}{INSERT}"));
    says(&project, "archive-wider", &["archive", job]);
    says(&project, "archive-evolve", &["archive", job, "--evolve"]);
}

/// The catalog of a project, as another process opens it.
pub(super) async fn catalog_of(project: &Project) -> Catalog {
    let config = CatalogConfig {
        uri: "sqlite:.kappa/catalog.db".to_owned(),
        warehouse: ".kappa/warehouse".to_owned(),
        ..CatalogConfig::embedded()
    };
    Catalog::open(&config, project.path()).await.expect("the catalog is there")
}

/// Sets properties of the result table, as another process would.
fn set(project: &Project, properties: &[(&str, &str)]) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let catalog = catalog_of(project).await;
        let name = TableName::parse("marts.hits").expect("a name");
        let table = catalog.load(&name).await.expect("the catalog answers").expect("the table is there");
        let properties = properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let change = Change { properties, ..Change::nothing(&table) };
        catalog.commit(&change).await.expect("nothing stands against it");
    });
}
