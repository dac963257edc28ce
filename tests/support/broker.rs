//! A Kafka broker of a test's own, which it may kill.

use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

use super::kafka;

/// A running broker; killed when dropped.
pub struct Broker {
    folder: TempDir,
    address: String,
    /// The folder of the one that it has joined.
    joined: Option<PathBuf>,
}

impl Broker {
    /// Starts one on a new folder: node 1 of its cluster.
    pub fn start() -> Broker {
        Broker::start_beside(None)
    }

    /// Starts a second one in the cluster of this one: node 2.
    pub fn start_second(&self) -> Broker {
        Broker::start_beside(Some(self.folder.path().to_owned()))
    }

    fn start_beside(joined: Option<PathBuf>) -> Broker {
        let folder = tempfile::Builder::new().prefix("kappa-broker-").tempdir().expect("temporary folder");
        let mut broker = Broker { folder, address: String::new(), joined };
        broker.start_again();
        broker
    }

    /// Its plain bootstrap address, the same after a restart.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// SIGKILL; acknowledged records survive.
    pub fn kill(&self) {
        self.server("kill");
    }

    /// Starts it on the same data and ports, and waits until it is up.
    pub fn start_again(&mut self) {
        let output = self.server("start");
        self.address = String::from_utf8(output.stdout).expect("an address").trim().to_owned();
    }

    fn server(&self, action: &str) -> Output {
        let mut command = Command::new(kafka::server());
        // It has little to do, and other brokers run beside it.
        command.arg(action).arg(self.folder.path()).env("KAPPA_TEST_KAFKA_HEAP", "256m");
        if let Some(joined) = &self.joined {
            command.env("KAFKA_JOIN", joined);
        }
        let output = command.output().expect("the script can be started");
        assert!(output.status.success(), "{action}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}
