//! Settings as users meet them: where a value comes from, what `kappa config` shows of it, and that no secret is ever shown.

mod canary;
mod connect;
mod shells;

use std::path::Path;
use std::time::Duration;

use crate::support::process::Finished;
use crate::support::project::Project;

const LIMIT: Duration = Duration::from_secs(120);

const CONFIG: &str = r#"[kafka]
"bootstrap.servers" = "localhost:1"
"security.protocol" = "SASL_SSL"
"sasl.username" = "kappa"
"sasl.password" = "${file:secrets/password}"
linger.ms = 5

[run]
workers = 3
log = "json"

[profile.prod.kafka]
"bootstrap.servers" = "${BROKERS}"

[profile.prod.catalog]
type = "rest"
uri = "http://reader:canary-of-uri@catalog.internal:8181"
token = "canary-of-token"
header.x-tenant = "canary-of-header"
"#;

fn project() -> Project {
    let project = Project::embedded();
    project.write("kappa.toml", CONFIG);
    project.write("secrets/password", "canary-of-file\n");
    project
}

fn kappa(project: &Project, arguments: &[&str], environment: &[(&str, &str)]) -> Finished {
    project.start_with(arguments, environment).wait(LIMIT)
}

/// Compares what a command says with its snapshot.
#[track_caller]
fn says(name: &str, project: &Project, arguments: &[&str], environment: &[(&str, &str)]) {
    let finished = kappa(project, arguments, environment);
    let variables = environment.iter().map(|(name, value)| format!("{name}={value} "));
    let code = finished.code.expect("no signal ends it");
    let mut said = format!("$ {}kappa {}\n{}", variables.collect::<String>(), arguments.join(" "), finished.stdout);
    if !finished.stderr.is_empty() {
        said += &format!("--- stderr\n{}", finished.stderr);
    }
    said += &format!("--- exit {code}\n");
    let root = project.path().canonicalize().expect("a folder");
    let said = said.replace(&root.display().to_string(), "[PROJECT]");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(Path::new("../messages/configuration"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, said));
}

#[test]
fn config_shows_what_holds_and_where_it_was_set() {
    let project = project();
    let prod = [("BROKERS", "b1:9092,b2:9092"), ("KAPPA_PROFILE", "prod"), ("KAPPA_KAFKA__SASL_USERNAME", "prod")];
    says("config", &project, &["config"], &[("KAPPA_RUN__CHECKPOINT_INTERVAL", "1s")]);
    says("config-profile", &project, &["config", "--set", "run.workers=8"], &prod);
    says("config-json", &project, &["config", "--json", "--profile", "prod"], &prod[..1]);
    says("config-missing-variable", &project, &["config", "--profile", "prod"], &[]);
    says("config-unknown-profile", &project, &["config", "--profile", "pord"], &[]);
    let wrong = [("KAPPA_RUN__WORKER", "2"), ("KAPPA_KAFKAA__SASL_PASSWORD", "canary")];
    says("config-wrong-names", &project, &["config", "--set", "run.lock=json"], &wrong);
    says("config-no-value", &project, &["config", "--set", "kafka.sasl.password:canary"], &[]);
}

#[test]
fn a_folder_without_a_file_has_the_defaults() {
    let project = Project::embedded();
    std::fs::remove_file(project.path().join("kappa.toml")).expect("it was written");
    says("config-no-file", &project, &["config"], &[("KAPPA_RUN__WORKERS", "2")]);
}

#[test]
fn what_is_set_outside_holds_for_jobs_too() {
    let project = Project::embedded();
    project.write("jobs/a.sql", "CREATE STREAM");
    let refused = |arguments: &[&str], environment: &[(&str, &str)]| {
        kappa(&project, &[&["validate", "jobs/a.sql"], arguments].concat(), environment).exits(3).stderr
    };
    assert!(refused(&["--set", "run.workers=0"], &[]).contains("`run.workers` can't be 0\n--> --set run.workers"));
    assert!(refused(&["--profile", "x"], &[]).contains("there is no profile `x`"));
    let by_variable = refused(&[], &[("KAPPA_STATE__LOCATION", "")]);
    assert!(
        by_variable.contains("`state.location` is empty\n--> environment variable KAPPA_STATE__LOCATION"),
        "{by_variable}"
    );
    // What belongs to others isn't judged.
    let others = refused(&[], &[("KAPPA_TEST", "1"), ("KAPPA_PROFILE", "")]);
    assert!(!others.contains("KAPPA"), "{others}");
}
