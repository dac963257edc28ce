//! The three pages, on a port that is open for as long as the process runs.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::{Board, judge, judge_ready};
use crate::metrics;

/// Why the port can't be opened.
#[derive(Debug, Error)]
pub enum ServeError {
    /// Another process has it.
    #[error(
        "[run] listen: {listen} is taken by another process; give each its own port, or 0 for any that is free, or leave \
         the line out"
    )]
    Taken {
        /// The address.
        listen: String,
    },
    /// The address isn't one of this machine, or may not be used.
    #[error("[run] listen: {listen} can't be opened: {source}; write \"127.0.0.1:8090\", or leave the line out")]
    Open {
        /// The address.
        listen: String,
        /// What the system says.
        source: std::io::Error,
    },
}

/// A port that answers until it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

impl Server {
    /// Opens `listen` (`host:port`; port 0: one that is free) and answers with what is on the board.
    pub async fn open(listen: &str, board: Arc<Board>) -> Result<Server, ServeError> {
        let opened = async {
            let listener = TcpListener::bind(listen).await?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) = opened.await.map_err(|source: std::io::Error| match source.kind() {
            std::io::ErrorKind::AddrInUse => ServeError::Taken { listen: listen.to_owned() },
            _ => ServeError::Open { listen: listen.to_owned(), source },
        })?;
        let pages = Router::new()
            .route("/metrics", get(metrics_page))
            .route("/healthz", get(health_page))
            .route("/readyz", get(ready_page))
            .with_state(board);
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, pages).await {
                tracing::error!(%error, "metrics and health are not shown any more");
            }
        });
        Ok(Server { address, _task: AbortOnDropHandle::new(task) })
    }

    /// The address that was opened.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn metrics_page(State(board): State<Arc<Board>>) -> impl IntoResponse {
    let standings = board.look().into_iter().map(|place| place.standing).collect();
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::text(standings))
}

async fn health_page(State(board): State<Arc<Board>>) -> (StatusCode, String) {
    page(&judge(&board.look()), "alive")
}

async fn ready_page(State(board): State<Arc<Board>>) -> (StatusCode, String) {
    page(&judge_ready(&board.look()), "ready")
}

/// 200 and a word, or 503 and what stands against it, a line each.
fn page(against: &[String], word: &str) -> (StatusCode, String) {
    match against {
        [] => (StatusCode::OK, format!("{word}\n")),
        against => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", against.join("\n"))),
    }
}
