//! Pages of a local server, in the plainest way.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Far longer than a page takes, so that a test fails rather than hangs.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A page: its status, its head as it came, and its body.
#[derive(Clone, Debug)]
pub struct Page {
    /// Such as 200.
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    /// What follows.
    pub body: String,
}

/// Gets `path` from `address` (`host:port`); `None` if nobody listens.
pub fn get(address: &str, path: &str) -> Option<Page> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(TIMEOUT)).expect("a socket takes a timeout");
    // Version 1.0: the body comes as it is and ends with the connection.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Some(Page { status, head: head.to_owned(), body: body.to_owned() })
}
