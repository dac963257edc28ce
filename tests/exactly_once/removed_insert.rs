//! Counterexample 30: an INSERT is taken out of the job file between the two commits of one checkpoint.

use sqlx::{Connection, SqliteConnection};

use crate::kafka::hours::{Hours, JOB, LIMIT};
use crate::support::project::Project;
use crate::support::python::{Table, sound_tables};

/// One INSERT into each of the tables.
fn job(hours: &Hours, tables: &[&str]) -> String {
    let insert = |table: &&str| {
        format!(
            "INSERT INTO ICEBERG '{}' PARTITIONED BY (hour(window_start))
             SELECT window_start, window_end, count(*) AS records FROM TUMBLE(events, t, INTERVAL '1 hour')
             GROUP BY window_start, window_end;\n",
            hours.table(table)
        )
    };
    format!(
        "CREATE STREAM events (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) LIVE FROM KAFKA '{}' FORMAT JSON;\n{}",
        hours.topic,
        tables.iter().map(insert).collect::<String>()
    )
}

/// Changes the catalog's own database.
fn execute(project: &Project, statement: &str) {
    let database = format!("sqlite:{}", project.path().join(".kappa/catalog.db").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut connection = SqliteConnection::connect(&database).await.expect("the catalog is there");
        sqlx::query("PRAGMA busy_timeout = 30000").execute(&mut connection).await.expect("a setting");
        sqlx::query(statement).execute(&mut connection).await.expect("the catalog takes it");
    });
}

fn rows(hours: &Hours, name: &str) -> Table {
    let [table] = sound_tables(&hours.project, [&hours.table(name)]);
    table
}

#[test]
fn counterexample_30_what_a_checkpoint_had_for_an_insert_that_is_gone_is_published_once() {
    let hours = Hours::new(1, &[], "WATERMARK FOR t AS t");
    hours.project.write(JOB, job(&hours, &["kept", "removed"]));
    let mut run = hours.run(&[]);
    hours.send(&[(0, "05:10"), (0, "05:20"), (0, "06:10")]);
    run.wait_until("05:00 is published", LIMIT, || ["kept", "removed"].iter().all(|table| hours.row_count(table) > 0));
    // From now on commits to one of the tables fail, as if the catalog were away: the other one gets what a checkpoint has
    // for it.
    let refuse = "CREATE TRIGGER refuse BEFORE UPDATE ON iceberg_tables WHEN NEW.table_name = 'removed' \
                  BEGIN SELECT RAISE(ABORT, 'away'); END";
    execute(&hours.project, refuse);
    hours.send(&[(0, "07:10")]);
    run.wait_until("the kept table has 06:00", LIMIT, || hours.row_count("kept") > 1);
    run.kill();
    execute(&hours.project, "DROP TRIGGER refuse");
    let checkpoint = rows(&hours, "kept").rows();
    assert_eq!(checkpoint.len(), 2, "05:00 and 06:00: {checkpoint:?}");
    assert_eq!(rows(&hours, "removed").rows(), checkpoint[..1], "it is between two commits");

    hours.project.write(JOB, job(&hours, &["kept"]));
    let refused = hours.kappa(&["run"], &["--until", "end"]).exits(3);
    assert!(refused.stderr.contains(&format!("- insert into {}", hours.table("removed"))), "{}", refused.stderr);
    assert_eq!(rows(&hours, "removed").rows(), checkpoint[..1], "a refused run leaves everything as it was");

    hours.kappa(&["run"], &["--upgrade", "--until", "end"]).ok();
    let removed = rows(&hours, "removed");
    assert_eq!(removed.rows(), checkpoint, "the checkpoint is whole in both tables");
    assert_eq!(rows(&hours, "kept").rows(), checkpoint, "the new version publishes nothing twice");
    // Given again, it finds nothing to finish.
    hours.kappa(&["run"], &["--until", "end"]).ok();
    assert_eq!(rows(&hours, "removed").rows(), checkpoint);
    assert_eq!(rows(&hours, "removed").snapshots.len(), removed.snapshots.len());
}
