//! Stopping: the first SIGINT or SIGTERM asks for a last checkpoint, the second one ends the process at once. A file that may not
//! grow (`ulimit -f`) is no reason to stop: its write fails, as on a full disk.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::exit::{Exit, Failure};
use super::terminal::Terminal;

/// SIGXFSZ, on Linux and macOS, whose default is to end the process.
const FILE_TOO_LARGE: i32 = 25;

/// A token that the first SIGINT or SIGTERM cancels. A second signal exits 130, whatever still runs: everything durable
/// is so written that it may stop at any instant. Must be called inside a tokio runtime, once.
pub fn stop_token(terminal: Terminal) -> Result<CancellationToken, Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::running)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::running)?;
    // Caught from here on, though nobody listens.
    drop(signal(SignalKind::from_raw(FILE_TOO_LARGE)).map_err(Failure::running)?);
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        either(&mut interrupt, &mut terminate).await;
        terminal.note("stopping after a last checkpoint; a second signal stops at once");
        stop.cancel();
        either(&mut interrupt, &mut terminate).await;
        std::process::exit(Exit::Interrupted as i32);
    });
    Ok(token)
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
