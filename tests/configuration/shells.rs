//! What `kappa` writes for shells and for `man`.

use std::collections::BTreeSet;
use std::process::Command;

use super::kappa;
use crate::support::project::Project;

#[test]
fn bash_understands_its_completions_and_finds_every_command_in_them() {
    let project = Project::embedded();
    let script = kappa(&project, &["completions", "bash"], &[]).ok().stdout;
    let path = project.write("kappa.bash", &script);
    let checked = Command::new("bash").arg("-n").arg(&path).output().expect("bash is there");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    // What bash itself completes, by the script's own function.
    let completed = |words: &[&str]| {
        let typed = words.join(" ");
        let ask = format!(
            "source {}; COMP_WORDS=({typed} ''); COMP_CWORD={}; _kappa kappa '' {}; echo \"${{COMPREPLY[@]}}\"",
            path.display(),
            words.len(),
            words.last().expect("there is a word")
        );
        let output = Command::new("bash").arg("-c").arg(ask).output().expect("bash is there");
        String::from_utf8(output.stdout).expect("words are text")
    };
    let commands = completed(&["kappa"]);
    for command in kappa::cli::command::tree().get_subcommands() {
        assert!(
            commands.split_whitespace().any(|word| word == command.get_name()),
            "{}: {commands}",
            command.get_name()
        );
    }
    assert!(completed(&["kappa", "run"]).split_whitespace().any(|word| word == "--start"));
}

#[test]
fn every_shell_gets_a_script() {
    let project = Project::embedded();
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        let script = kappa(&project, &["completions", shell], &[]).ok().stdout;
        assert!(script.contains("checkpoint"), "{shell}: {script}");
    }
    let refused = kappa(&project, &["completions", "csh"], &[]).exits(2);
    assert!(refused.stderr.contains("possible values: bash"), "{}", refused.stderr);
}

#[test]
fn every_command_has_a_manual_page() {
    let project = Project::embedded();
    let said = kappa(&project, &["man", "man/man1"], &[]).ok();
    assert_eq!(said.stdout, "");
    let written: BTreeSet<String> = std::fs::read_dir(project.path().join("man/man1"))
        .expect("the folder was made")
        .map(|page| page.expect("it can be listed").file_name().into_string().expect("names are ASCII"))
        .collect();
    let mut expected = BTreeSet::new();
    name_pages(&kappa::cli::command::tree(), "kappa", &mut expected);
    assert_eq!(written, expected);
    assert!(said.stderr.contains(&format!("{} manual pages written", written.len())), "{}", said.stderr);
    let page = std::fs::read_to_string(project.path().join("man/man1/kappa-backfill-plan.1")).expect("it is there");
    assert!(
        page.starts_with(".ie") || page.starts_with(".TH") || page.contains("\n.TH kappa-backfill-plan 1"),
        "{page}"
    );
    assert!(page.contains("\\-\\-from") && page.contains(".SH \"EXAMPLES\"\n.nf\n\\&kappa backfill plan"), "{page}");
    let top = std::fs::read_to_string(project.path().join("man/man1/kappa.1")).expect("it is there");
    for section in ["EXIT STATUS", "ENVIRONMENT", "EXAMPLES"] {
        assert!(top.contains(&format!(".SH \"{section}\"\n")), "{section}: {top}");
    }
    project.write("file", "");
    let refused = kappa(&project, &["man", "file"], &[]).exits(1);
    assert!(refused.stderr.contains("manual pages can't be written to file"), "{}", refused.stderr);
}

fn name_pages(command: &clap::Command, name: &str, pages: &mut BTreeSet<String>) {
    pages.insert(format!("{name}.1"));
    for child in command.get_subcommands() {
        name_pages(child, &format!("{name}-{}", child.get_name()), pages);
    }
}
