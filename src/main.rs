//! The `kappa` command.

fn main() -> std::process::ExitCode {
    let _armed = kappa::kill_point::armed();
    kappa::cli::command::main()
}
