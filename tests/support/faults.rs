//! A server that fails now and then: a proxy on loopback between a client and a server of HTTP, whose faults come from a seed.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

/// Far longer than an answer takes, so that a test fails rather than hangs.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Of so many requests one after the other, some meet each fault.
const SPAN: usize = 50;
/// How many.
const FAULTS_A_SPAN: usize = 2;
/// The longest delay of a request that comes through.
const DELAY_MAX: Duration = Duration::from_millis(60);

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It comes through late.
    Delay,
    /// It is refused with 503, as by a server that is overloaded.
    Unavailable,
    /// It is refused with 429, as by a server that limits its clients.
    TooMany,
    /// It is carried out, and its answer is lost.
    LostAnswer,
    /// It is carried out, and its answer breaks off in the middle.
    CutAnswer,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 5] = [Fault::Delay, Fault::Unavailable, Fault::TooMany, Fault::LostAnswer, Fault::CutAnswer];
}

/// The proxy; it ends when dropped.
pub struct FaultyServer {
    address: String,
    shared: Arc<Shared>,
}

struct Shared {
    /// `host:port` of the server.
    server: String,
    random: Mutex<StdRng>,
    /// What the rest of the requests of this span meet.
    rest: Mutex<Vec<Option<Fault>>>,
    met: Mutex<BTreeMap<Fault, usize>>,
    stopped: AtomicBool,
}

impl FaultyServer {
    /// In front of `server` (`http://host:port`).
    pub fn before(server: &str, seed: u64) -> FaultyServer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let shared = Arc::new(Shared {
            server: server.strip_prefix("http://").expect("plain HTTP").trim_end_matches('/').to_owned(),
            random: Mutex::new(StdRng::seed_from_u64(seed)),
            rest: Mutex::default(),
            met: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if accepting.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (shared, client) = (accepting.clone(), client.expect("a connection"));
                // A client that goes away is no failure.
                std::thread::spawn(move || shared.serve(client).ok());
            }
        });
        FaultyServer { address, shared }
    }

    /// `http://host:port`.
    pub fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests have met each fault.
    pub fn met(&self) -> BTreeMap<Fault, usize> {
        self.shared.met.lock().expect("nobody panics with it").clone()
    }
}

impl Drop for FaultyServer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // It looks when somebody comes.
        drop(TcpStream::connect(&self.address));
    }
}

impl Shared {
    /// One request of a connection.
    fn serve(&self, mut client: TcpStream) -> std::io::Result<()> {
        client.set_read_timeout(Some(TIMEOUT))?;
        let Some(request) = read_message(&mut client, |_| true)? else { return Ok(()) };
        let fault = self.draw();
        let refused = match fault {
            Some(Fault::Unavailable) => Some("503 Service Unavailable"),
            Some(Fault::TooMany) => Some("429 Too Many Requests"),
            _ => None,
        };
        let answer = match refused {
            Some(status) => format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into_bytes(),
            None => {
                if fault == Some(Fault::Delay) {
                    std::thread::sleep(self.delay());
                }
                self.forward(&request)?
            }
        };
        let end = match fault {
            Some(Fault::LostAnswer) => 0,
            Some(Fault::CutAnswer) => answer.len() / 2,
            _ => answer.len(),
        };
        client.write_all(&answer[..end])?;
        client.shutdown(Shutdown::Both)
    }

    fn forward(&self, request: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut server = TcpStream::connect(&self.server)?;
        server.set_read_timeout(Some(TIMEOUT))?;
        server.write_all(request)?;
        let is_head = request.starts_with(b"HEAD ");
        let answer = read_message(&mut server, |head| !is_head && !head.contains(" 204 ") && !head.contains(" 304 "))?;
        let mut answer = answer.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        // Of the client's connection.
        let end = find(&answer, b"\r\n").expect("a status line");
        answer.splice(end..end, *b"\r\nConnection: close");
        Ok(answer)
    }

    fn draw(&self) -> Option<Fault> {
        let mut rest = self.rest.lock().expect("nobody panics with it");
        if rest.is_empty() {
            rest.extend(Fault::ALL.repeat(FAULTS_A_SPAN).into_iter().map(Some));
            rest.resize(SPAN, None);
            rest.shuffle(&mut self.random.lock().expect("nobody panics with it"));
        }
        let fault = rest.pop().expect("it was filled")?;
        *self.met.lock().expect("nobody panics with it").entry(fault).or_default() += 1;
        Some(fault)
    }

    fn delay(&self) -> Duration {
        DELAY_MAX.mul_f64(self.random.lock().expect("nobody panics with it").random())
    }
}

/// The bytes of a request or an answer; `None` if there is none, or not all of it. Its head, in small letters, tells whether it
/// has a body.
fn read_message(from: &mut TcpStream, has_body: impl Fn(&str) -> bool) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let mut read_more = |bytes: &mut Vec<u8>| -> std::io::Result<bool> {
        let mut buffer = [0; 64 << 10];
        let count = from.read(&mut buffer)?;
        bytes.extend_from_slice(&buffer[..count]);
        Ok(count > 0)
    };
    let head_end = loop {
        if let Some(end) = find(&bytes, b"\r\n\r\n") {
            break end;
        }
        if !read_more(&mut bytes)? {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.map_or(0, |length| length.trim().parse().expect("a length"));
    let is_chunked = head.contains("transfer-encoding: chunked");
    let body = head_end + 4;
    let is_whole = |bytes: &[u8]| match is_chunked {
        true => bytes[body..].ends_with(b"0\r\n\r\n"),
        false => bytes.len() >= body + length,
    };
    while has_body(&head) && !is_whole(&bytes) {
        if !read_more(&mut bytes)? {
            return Ok(None);
        }
    }
    Ok(Some(bytes))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
