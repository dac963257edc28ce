//! A Kafka broker of a test's own, which it may kill.

use std::process::{Command, Output};

use tempfile::TempDir;

use super::kafka;

/// A running broker; killed when dropped.
pub struct Broker {
    folder: TempDir,
    address: String,
}

impl Broker {
    /// Starts one on a new folder.
    pub fn start() -> Broker {
        let folder = tempfile::Builder::new().prefix("kappa-broker-").tempdir().expect("temporary folder");
        let mut broker = Broker { folder, address: String::new() };
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
