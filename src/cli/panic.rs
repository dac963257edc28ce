//! What is said when the program itself is wrong.

use std::io::Write;
use std::panic::PanicHookInfo;

use super::redact;

/// Replaces the standard message of a panic by one that says whose fault it is and where to report it.
pub fn install_hook() {
    // Where nothing can be written, there is nobody to tell; `eprintln!` would panic again.
    std::panic::set_hook(Box::new(|panic| {
        drop(writeln!(std::io::stderr().lock(), "{}", redact::hide(&message(panic))));
    }));
}

fn message(panic: &PanicHookInfo<'_>) -> String {
    let payload = panic.payload();
    let what = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
    let version = env!("CARGO_PKG_VERSION");
    let mut message = format!(
        "bug: {what}\n  at {place}, thread {thread}, kappa {version}\n\
         This is a mistake in kappa, not in your job or data. What was published is whole: a restart goes on from the \
         last checkpoint.\nPlease report it with these lines and the command, as README.md says under \"Reporting a bug\"."
    );
    if std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
        message.push_str(&format!("\n{}", std::backtrace::Backtrace::force_capture()));
    } else {
        message.push_str(" RUST_BACKTRACE=1 adds the calls that led there.");
    }
    message
}
