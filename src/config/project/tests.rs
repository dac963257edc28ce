//! What a `kappa.toml` means, and how it is refused.

use super::*;

fn parse(text: &str) -> Result<Project, Vec<ConfigProblem>> {
    Project::parse(PathBuf::from("/project"), text)
}

fn refused(text: &str) -> Vec<(Option<String>, String, String)> {
    let place = |problem: &ConfigProblem| problem.place.span().map(|span| text[span].to_owned());
    let problems = parse(text).expect_err("refused");
    problems.into_iter().map(|problem| (place(&problem), problem.message, problem.help)).collect()
}

#[test]
fn an_empty_file_means_the_embedded_defaults() {
    let project = parse("").expect("valid");
    assert_eq!(project.kafka, BTreeMap::from([("bootstrap.servers".to_owned(), "localhost:9092".to_owned())]));
    assert_eq!(project.catalog.kind, CatalogKind::Sql);
    assert_eq!(project.catalog.uri, "sqlite:/project/.kappa/catalog.db");
    assert_eq!(project.catalog.warehouse.as_deref(), Some("/project/.kappa/warehouse"));
    assert_eq!(project.state.location, "/project/.kappa/state");
    assert_eq!(project.run.checkpoint_interval_run(), Duration::from_secs(10));
    assert_eq!(project.run.checkpoint_interval_archive(), Duration::from_secs(60));
    assert_eq!(project.run.rejects_max.to_string(), "5%");
    assert!(project.run.workers >= 1);
}

#[test]
fn dotted_quoted_and_nested_keys_are_the_same() {
    let expected = Some("broker:9092");
    for text in [
        "[kafka]\n\"bootstrap.servers\" = \"broker:9092\"",
        "[kafka]\nbootstrap.servers = \"broker:9092\"",
        "[kafka.bootstrap]\nservers = \"broker:9092\"",
    ] {
        let project = parse(text).expect("valid");
        assert_eq!(project.kafka.get("bootstrap.servers").map(String::as_str), expected, "{text}");
    }
}

#[test]
fn other_keys_of_kafka_and_catalog_are_passed_on_as_text() {
    let text = "[kafka]\nlinger.ms = 5\n\"enable.idempotence\" = true\n[catalog]\ntype = \"rest\"\n\
                uri = \"http://localhost:1/\"\ntoken = \"t\"\nheader.x-tenant = \"a\"";
    let project = parse(text).expect("valid");
    assert_eq!(project.kafka.get("linger.ms").map(String::as_str), Some("5"));
    assert_eq!(project.kafka.get("enable.idempotence").map(String::as_str), Some("true"));
    assert_eq!(project.catalog.warehouse, None);
    let properties = [("header.x-tenant", "a"), ("token", "t")].map(|(key, value)| (key.into(), value.into()));
    assert_eq!(project.catalog.properties, Properties::from_iter(properties));
}

#[test]
fn a_project_on_buckets_and_postgres_keeps_its_locations_and_hides_its_secrets() {
    let text = "[catalog]\nuri = \"postgres://kappa:hunter2@db/catalog\"\nwarehouse = \"s3://lake/w/\"\n\
                [state]\nlocation = \"s3://lake/state\"\n\
                [store]\naws_access_key_id = \"k\"\naws_secret_access_key = \"hunter2\"\naws_allow_http = true";
    let project = parse(text).expect("valid");
    assert_eq!(project.catalog.uri, "postgres://kappa:hunter2@db/catalog");
    assert_eq!(project.catalog.warehouse.as_deref(), Some("s3://lake/w"));
    assert_eq!(project.state.location, "s3://lake/state");
    assert_eq!(project.store.get("aws_allow_http"), Some("true"));
    assert_eq!(project.store.get("aws_secret_access_key"), Some("hunter2"));
    assert!(!format!("{project:?}").contains("hunter2"));
}

#[test]
fn files_of_certificates_are_below_the_project() {
    let text = "[catalog]\ntype = \"rest\"\nuri = \"https://catalog\"\nca = \"certificates/ca.pem\"\n\
                [store]\naws_ca_bundle = \"/etc/ca.pem\"\n";
    let project = parse(text).expect("valid");
    assert_eq!(project.catalog.properties.get("ca"), Some("/project/certificates/ca.pem"));
    assert_eq!(project.store.get("aws_ca_bundle"), Some("/etc/ca.pem"));
}

#[test]
fn keys_of_stores_and_catalogs_are_held_against_what_there_is() {
    let text = "[store]\naws_acces_key_id = \"k\"\naws_bucket = \"b\"\n\
                [catalog]\ncredentials = \"a:b\"\n\"s3.endpoint\" = \"http://x\"\n";
    let helps: Vec<_> = refused(text).into_iter().map(|(_, _, help)| help).collect();
    assert_eq!(helps[0], "did you mean `aws_access_key_id`?");
    assert!(helps[1].starts_with("the keys are `aws_access_key_id`"), "{}", helps[1]);
    assert_eq!(helps[2], "did you mean `credential`?");
    assert_eq!(helps[3], "settings of object stores stand in [store]");
}

#[test]
fn an_interval_that_is_set_holds_for_runs_and_archives() {
    let project = parse("[run]\ncheckpoint_interval = \"1 second\"").expect("valid");
    assert_eq!(project.run.checkpoint_interval_run(), Duration::from_secs(1));
    assert_eq!(project.run.checkpoint_interval_archive(), Duration::from_secs(1));
}

#[test]
fn a_share_is_exceeded_only_by_more() {
    let share = Share::parse("0.5%").expect("a share");
    assert!(!share.is_exceeded_by(5, 1_000));
    assert!(share.is_exceeded_by(6, 1_000));
    assert!(!share.is_exceeded_by(0, 0));
    assert!(!Share::parse("100%").expect("a share").is_exceeded_by(7, 7));
    assert_eq!(Share::parse("5"), None);
    assert_eq!(Share::parse("101%"), None);
    assert_eq!(Share::parse("NaN%"), None);
}

#[test]
fn unknown_names_are_refused_where_they_stand_with_the_nearest_one() {
    let text = "[run]\nworker = 2\n[stat]\nlocation = \"x\"\n[catalog]\nwarehouze = \"w\"\n[bogus]\n";
    let problems = refused(text);
    let places: Vec<_> = problems.iter().map(|(place, _, _)| place.clone()).collect();
    let helps: Vec<_> = problems.into_iter().map(|(_, _, help)| help).collect();
    assert_eq!(places, ["worker", "stat", "warehouze", "bogus"].map(|place| Some(place.to_owned())));
    assert_eq!(helps[0], "did you mean `workers`?");
    assert_eq!(helps[1], "did you mean `state`?");
    assert_eq!(helps[2], "did you mean `warehouse`?");
    assert_eq!(helps[3], "the tables are `kafka`, `catalog`, `store`, `state` and `run`");
}

#[test]
fn wrong_values_are_all_refused_at_once() {
    let text = "[catalog]\ntype = \"hive\"\nuri = \"mysql://u:hunter2@h/db\"\n[state]\nlocation = \"gs://b/p\"\n\
                [run]\nworkers = 0\ncheckpoint_interval = \"10\"\nrejects_max = 5\nlog = \"xml\"\n";
    let messages: Vec<String> = refused(text).into_iter().map(|(_, message, _)| message).collect();
    assert_eq!(messages.len(), 7, "{messages:#?}");
    assert_eq!(messages[1], "`mysql://u:***@h/db` isn't the address of a SQL catalog");
    assert_eq!(messages[2], "`state.location` can't be gs://b/p");
    assert!(messages[4].contains("has no unit"));
    assert!(messages[5].contains("must be text"));
}

#[test]
fn a_rest_catalog_without_an_address_is_refused() {
    let problems = refused("[catalog]\ntype = \"rest\"\n");
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].0.as_deref(), Some("\"rest\""));
    assert!(problems[0].1.contains("needs `catalog.uri`"));
}

#[test]
fn broken_notation_is_shown_where_it_breaks() {
    let problems = refused("[run\nworkers = 2\n");
    assert!(problems[0].0.is_some(), "{problems:?}");
}

#[test]
fn the_nearest_folder_upwards_is_the_project() {
    let outer = tempfile::tempdir().expect("a folder");
    let jobs = outer.path().join("project/jobs/deep");
    std::fs::create_dir_all(&jobs).expect("folders");
    std::fs::write(outer.path().join("project/kappa.toml"), "[run]\nworkers = 3\n").expect("a file");
    let project = Project::find(&jobs.join("page_hits.sql"), Overrides::none()).expect("a project");
    assert_eq!(project.run.workers, 3);
    assert_eq!(project.root, outer.path().join("project").canonicalize().expect("a folder"));
}
