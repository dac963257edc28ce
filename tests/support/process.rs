//! The `kappa` binary as a process of its own: started, waited for, terminated, killed.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Between two looks at a process or at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A process that has ended.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Data.
    pub stdout: String,
    /// Progress and notes.
    pub stderr: String,
}

impl Finished {
    /// Asserts exit code 0 and answers itself, so that it can stand behind a call.
    #[track_caller]
    pub fn ok(self) -> Finished {
        self.exits(0)
    }

    /// Asserts an exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Finished {
        let Finished { code: actual, stdout, stderr, .. } = &self;
        assert_eq!(*actual, Some(code), "exit code\n--- stdout\n{stdout}\n--- stderr\n{stderr}");
        self
    }
}

/// A running `kappa`; killed when dropped.
pub struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    command: String,
}

impl Running {
    /// Starts the binary. Its output goes to files, so that it never waits for a reader.
    pub fn start(arguments: &[&str], folder: &Path, environment: &[(&str, &str)], outputs: &Path) -> Running {
        let name = super::unique("output");
        let stdout = outputs.join(format!("{name}.stdout"));
        let stderr = outputs.join(format!("{name}.stderr"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_kappa"));
        command.args(arguments).current_dir(folder).envs(environment.iter().copied()).stdin(Stdio::null());
        command.stdout(File::create(&stdout).expect("folder takes files"));
        command.stderr(File::create(&stderr).expect("folder takes files"));
        let child = command.spawn().expect("kappa is built and can be started");
        Running { child, stdout, stderr, command: format!("kappa {}", arguments.join(" ")) }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to stderr so far.
    pub fn stderr(&self) -> String {
        read_text(&self.stderr)
    }

    /// The file that stderr goes to, for conditions to wait on.
    pub fn stderr_path(&self) -> &Path {
        &self.stderr
    }

    /// Whether it runs still.
    pub fn is_running(&mut self) -> bool {
        self.status().is_none()
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// SIGINT.
    pub fn interrupt(&self) {
        self.signal("INT");
    }

    /// SIGSTOP: it stands still, and signals wait for it.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Lets no file that it writes grow beyond so many bytes, or lets them grow again.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let limit = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
        let arguments = [format!("--pid={}", self.child.id()), format!("--fsize={limit}:unlimited")];
        let set = Command::new("prlimit").args(arguments).status().expect("prlimit is there");
        assert!(set.success(), "limiting the files of {}", self.command);
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(mut self) -> Finished {
        self.child.kill().expect("process is ours");
        let status = self.child.wait().expect("process is ours");
        self.finished(status)
    }

    /// Waits for the end; panics with the output so far after `limit`.
    #[track_caller]
    pub fn wait(self, limit: Duration) -> Finished {
        self.wait_and(limit, || ())
    }

    /// As [`Running::wait`], and does something at each look.
    #[track_caller]
    pub fn wait_and(mut self, limit: Duration, mut meanwhile: impl FnMut()) -> Finished {
        let started = now();
        loop {
            if let Some(status) = self.status() {
                return self.finished(status);
            }
            meanwhile();
            let stderr = self.stderr();
            assert!(started.elapsed() < limit, "{} runs for more than {limit:?}\n--- stderr\n{stderr}", self.command);
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits until `holds`; panics after `limit`, or when the process ends before.
    #[track_caller]
    pub fn wait_until(&mut self, what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
        let started = now();
        while !holds() {
            let status = self.status();
            let stderr = self.stderr();
            assert!(status.is_none(), "{} ended ({status:?}) before {what}\n--- stderr\n{stderr}", self.command);
            assert!(started.elapsed() < limit, "not within {limit:?}: {what}\n--- stderr\n{stderr}");
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits until `text` stands in stderr; panics after `limit`, or when the process ends before.
    #[track_caller]
    pub fn wait_for_stderr(&mut self, text: &str, limit: Duration) {
        let stderr = self.stderr.clone();
        self.wait_until(text, limit, || read_text(&stderr).contains(text));
    }

    fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("process is ours")
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([format!("-{name}"), id]).status().expect("kill is there");
        assert!(sent.success(), "SIG{name} to {}", self.command);
    }

    fn finished(&self, status: ExitStatus) -> Finished {
        let (stdout, stderr) = (read_text(&self.stdout), read_text(&self.stderr));
        Finished { code: status.code(), signal: status.signal(), stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_running() {
            self.child.kill().expect("process is ours");
            self.child.wait().expect("process is ours");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a limit on waiting decides no result")]
fn now() -> Instant {
    Instant::now()
}

fn read_text(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).expect("output file is there")).into_owned()
}
