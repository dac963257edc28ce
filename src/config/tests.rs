//! Layers as users meet them: which one wins, where a value came from, and what is said when something is wrong.

use std::path::{Path, PathBuf};

use super::{ConfigError, Listed, Overrides, Project};
use crate::job::Colour;

const FILE: &str = r#"[kafka]
"bootstrap.servers" = "file:1"
"client.id" = "from-file"
[run]
workers = 2
[profile.prod.kafka]
"bootstrap.servers" = "${BROKERS}"
"sasl.password" = "${file:secrets/password}"
[profile.prod.run]
workers = "${WORKERS}"
[profile.dev.run]
log = "json"
"#;

fn overrides(profile: Option<&str>, set: &[&str], variables: &[(&str, &str)]) -> Overrides {
    let set: Vec<String> = set.iter().map(|text| (*text).to_owned()).collect();
    let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
    Overrides::new(profile, &set, variables).expect("valid")
}

/// A project folder with a mounted secret.
fn folder(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("kappa.toml"), text).expect("a file");
    std::fs::create_dir(folder.path().join("secrets")).expect("a folder");
    std::fs::write(folder.path().join("secrets/password"), "canary-of-file\n").expect("a file");
    folder
}

fn find(project: &Project, path: &str) -> Listed {
    let found = project.list().into_iter().find(|listed| format!("{}.{}", listed.table, listed.key) == path);
    found.unwrap_or_else(|| panic!("{path} is set"))
}

fn shown(project: &Project, path: &str) -> String {
    let listed = find(project, path);
    format!("{} # {}", listed.value, listed.origin)
}

#[test]
fn the_upper_layer_wins_key_by_key_and_each_value_keeps_its_origin() {
    let folder = folder(FILE);
    let project = |overrides: &Overrides| Project::at(folder.path(), overrides).expect("valid");
    let plain = project(Overrides::none());
    assert_eq!(plain.kafka["bootstrap.servers"], "file:1");
    assert_eq!(shown(&plain, "kafka.bootstrap.servers"), r#""file:1" # kappa.toml:2"#);
    assert_eq!(shown(&plain, "catalog.type"), r#""sql" # default"#);

    let variables = [("BROKERS", "prod:1"), ("WORKERS", "3")];
    let prod = project(&overrides(Some("prod"), &[], &variables));
    assert_eq!((prod.kafka["bootstrap.servers"].as_str(), prod.run.workers), ("prod:1", 3));
    assert_eq!(prod.kafka["sasl.password"], "canary-of-file");
    assert_eq!(prod.kafka["client.id"], "from-file");
    assert_eq!(prod.profile.as_deref(), Some("prod"));
    assert_eq!(shown(&prod, "kafka.bootstrap.servers"), r#""prod:1" # kappa.toml:7, profile prod"#);
    assert_eq!(shown(&prod, "kafka.sasl.password"), r#""***" # kappa.toml:8, profile prod"#);

    let variables = [
        ("KAPPA_PROFILE", "prod"),
        ("KAPPA_KAFKA__BOOTSTRAP_SERVERS", "${not} put in:1"),
        ("KAPPA_RUN__WORKERS", "4"),
        ("KAPPA_TEST_KAFKA", "of no concern"),
    ];
    // What the environment replaces needs no variable of its own.
    let environment = project(&overrides(None, &[], &variables));
    assert_eq!((environment.kafka["bootstrap.servers"].as_str(), environment.run.workers), ("${not} put in:1", 4));
    assert_eq!(shown(&environment, "run.workers"), "4 # KAPPA_RUN__WORKERS");

    let set = overrides(
        None,
        &["run.workers=5", "run.workers=6", "kafka.client.id=$${x}-${BROKERS}"],
        &[("KAPPA_RUN__WORKERS", "4"), ("BROKERS", "b")],
    );
    let set = project(&set);
    assert_eq!((set.run.workers, set.kafka["client.id"].as_str()), (6, "${x}-b"));
    assert_eq!(shown(&set, "run.workers"), "6 # --set");
}

#[test]
fn secrets_are_hidden_wherever_a_project_is_printed() {
    let folder = folder(
        "[kafka]\n\"sasl.password\" = \"canary-1\"\n\"ssl.key.password\" = 12345678\n\"client.id\" = \"${file:secrets/password}\"\n\
         [catalog]\ntype = \"rest\"\nuri = \"http://user:canary-2@localhost:1/\"\ntoken = \"canary-3\"\n\
         credential = \"${CREDENTIAL}\"\nheader.authorization = \"Bearer canary-5\"\n",
    );
    let variables = [("CREDENTIAL", "id:canary-4")];
    let result = Project::at(folder.path(), &overrides(None, &[], &variables));
    // OAuth2 may not be there yet; whatever is said, it shows no secret.
    let (printed, listed) = match &result {
        Ok(project) => (format!("{project:?} {:?}", project.catalog), format!("{:?}", project.list())),
        Err(error) => (format!("{error} {}", error.render(Colour::Plain)), String::new()),
    };
    for output in [printed, listed] {
        assert!(!output.contains("canary") && !output.contains("12345678"), "{output}");
    }
}

fn refused(text: &str, overrides: &Overrides) -> String {
    let error = Project::at(folder(text).path(), overrides).expect_err("refused");
    let ConfigError::Invalid { text, problems, .. } = error else { panic!("{error}") };
    ConfigError::Invalid { path: PathBuf::from("kappa.toml"), text, problems }.render(Colour::Plain)
}

#[test]
fn all_layers_are_judged_at_once() {
    let set = overrides(
        Some("prd"),
        &["run.worker=1", "profile.prod.run.workers=1"],
        &[("KAPPA_RUN__CHECKPOINT_INTERVALL", "1s"), ("KAPPA_RUN__WORKERS", "many"), ("KAPPA_STAT__LOCATION", "x")],
    );
    let expected = "\
error: `kafka.client.id`: the environment variable `CLIENT` isn't set
 --> kappa.toml:2:15
  |
2 | \"client.id\" = \"${CLIENT}\"
  |               ^^^^^^^^^^^
  |
  = help: set CLIENT, or write $${ where the characters ${ are meant

error: [run] has no key `logg`
 --> kappa.toml:5:1
  |
5 | logg = \"json\"
  | ^^^^
  |
  = help: did you mean `log`?

error: `KAPPA_RUN__CHECKPOINT_INTERVALL`: [run] has no key `checkpoint_intervall`
--> environment variable KAPPA_RUN__CHECKPOINT_INTERVALL
 = help: did you mean `KAPPA_RUN__CHECKPOINT_INTERVAL`?

error: `KAPPA_STAT__LOCATION`: there is no table `stat`
--> environment variable KAPPA_STAT__LOCATION
 = help: did you mean `KAPPA_STATE__LOCATION`?

error: there is no profile `prd`
--> --profile prd
 = help: did you mean `prod`? The profiles are `dev` and `prod`

error: [run] has no key `worker`
--> --set run.worker
 = help: did you mean `workers`?

error: `profile.prod.run.workers` would change a profile
--> --set profile.prod.run.workers
 = help: choose a profile by `--profile NAME` or KAPPA_PROFILE, and set the key itself

error: `run.workers` can't be many
--> environment variable KAPPA_RUN__WORKERS
 = help: write a whole number from 1 to 256, or leave the line out: one for each core";
    let text = "[kafka]\n\"client.id\" = \"${CLIENT}\"\n[profile.prod.run]\nworkers = \"${NOBODY_ASKS}\"\nlogg = \"json\"\n[profile.dev]\n";
    assert_eq!(refused(text, &set), expected);
}

#[test]
fn what_stands_in_the_wrong_place_of_a_profile_is_refused() {
    let rendered =
        refused("[profile.prod]\nworkers = 2\n[profile]\ndev = 1\n[profile.a.profile.b]\n", Overrides::none());
    for expected in [
        "`workers` stands outside of a table",
        "write it below a line `[profile.prod.run]`",
        "the profile `dev` must be a table",
        "`profile` would change a profile",
    ] {
        assert!(rendered.contains(expected), "{expected}\n{rendered}");
    }
}

#[test]
fn a_chosen_profile_must_be_there() {
    let rendered = refused("", &overrides(None, &[], &[("KAPPA_PROFILE", "prod")]));
    let expected = "\
error: there is no profile `prod`
--> environment variable KAPPA_PROFILE
 = help: kappa.toml has none; write one below lines such as [profile.prod.kafka]";
    assert_eq!(rendered, expected);
}

#[test]
fn messages_and_the_lines_they_show_hold_no_secret() {
    for text in [
        "[kafka]\n\"sasl.password\" = \"canary-1",
        "[kafka]\n\"sasl.password\" = [\"canary-1\"]",
        "[catalog]\nuri = \"mysql://user:canary-1@host/db\"\n",
        "[catalog]\nuri = \"mysql://${file:secrets/password}\"\n",
        "[state]\nlocation = \"ftp://user:canary-1@host/x\"\n",
        "[run]\nlog = \"${file:secrets/password}\"\nworkers = \"${file:secrets/password}\"\n",
        "[kafka]\n\"ssl.key.pem\" = \"\"\"\ncanary-1\ncanary-2\n",
    ] {
        let rendered = refused(text, Overrides::none());
        assert!(!rendered.contains("canary"), "{text}\n{rendered}");
    }
    let set = overrides(None, &["catalog.uri=mysql://u:canary-1@h/d", "run.log=${file:secrets/password}"], &[]);
    let rendered = refused("", &set);
    assert!(!rendered.contains("canary"), "{rendered}");
}

#[test]
fn files_are_found_from_the_project_wherever_it_is_called_from() {
    let folder =
        folder("[kafka]\n\"client.id\" = \"${file:secrets/password}\"\n[profile.a.kafka]\nx = \"${file:none}\"\n");
    let job = folder.path().join("jobs/page_hits.sql");
    std::fs::create_dir(job.parent().unwrap_or(Path::new("/"))).expect("a folder");
    let project = Project::find(&job, Overrides::none()).expect("valid");
    assert_eq!(project.kafka["client.id"], "canary-of-file");
    let error = Project::find(&job, &overrides(Some("a"), &[], &[])).expect_err("refused");
    let rendered = error.render(Colour::Plain);
    assert!(rendered.contains("none can't be read: No such file"), "{rendered}");
    assert!(rendered.contains("relative one starts at the project's folder"), "{rendered}");
}

#[test]
fn everything_that_a_rest_catalog_takes_reaches_it() {
    let text = "[catalog]\ntype = \"rest\"\nuri = \"https://c/\"\nname = \"n\"\nwarehouse = \"w\"\ncredential = \"id:s\"\n\
                scope = \"catalog\"\naudience = \"a\"\nresource = \"r\"\noauth2-server-uri = \"https://o/\"\nprefix = \"p\"\n\
                header.x-tenant = \"t\"\n";
    let project = Project::at(folder(text).path(), Overrides::none()).expect("valid");
    let expected = [
        ("audience", "a"),
        ("credential", "id:s"),
        ("header.x-tenant", "t"),
        ("oauth2-server-uri", "https://o/"),
        ("prefix", "p"),
        ("resource", "r"),
        ("scope", "catalog"),
    ];
    assert_eq!(project.catalog.properties.iter().collect::<Vec<_>>(), expected);
    assert_eq!((project.catalog.name.as_str(), project.catalog.warehouse.as_deref()), ("n", Some("w")));
}
