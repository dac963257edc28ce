//! The `kappa` command.

fn main() -> std::process::ExitCode {
    kappa::cli::command::main()
}
