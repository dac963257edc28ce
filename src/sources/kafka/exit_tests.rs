//! The end of a process whose clients still work.
#![expect(unsafe_code, reason = "OpenSSL's exit handlers have no safe wrapper")]

use std::ffi::c_int;
use std::process::Command;

use super::client::consumer;

/// Tells the child, which is this program again, that it is one.
const CHILD: &str = "KAPPA_TEST_EXITS_WITH_A_CLIENT";
/// What the child ends with if OpenSSL cleans up.
const CLEANED_UP: i32 = 42;

unsafe extern "C" {
    fn OPENSSL_atexit(handler: extern "C" fn()) -> c_int;
}

extern "C" fn cleans_up() {
    // SAFETY: ends the process at once, from any thread.
    unsafe { libc::_exit(CLEANED_UP) }
}

#[test]
fn an_exit_leaves_clients_what_they_work_with() {
    if std::env::var_os(CHILD).is_some() {
        let properties = [("bootstrap.servers", "127.0.0.1:1"), ("security.protocol", "ssl")];
        let properties = properties.map(|(property, value)| (property.to_owned(), value.to_owned())).into();
        let client = consumer(&properties, "exits").map_err(|error| error.to_string()).expect("connects later");
        // SAFETY: the handler is a function for the whole life of the program.
        assert_eq!(unsafe { OPENSSL_atexit(cleans_up) }, 1);
        std::mem::forget(client);
        std::process::exit(0);
    }
    let test = "sources::kafka::exit_tests::an_exit_leaves_clients_what_they_work_with";
    let mut child = Command::new(std::env::current_exe().expect("is there"));
    let ended = child.args(["--exact", test]).env(CHILD, "1").output().expect("starts");
    assert_eq!(ended.status.code(), Some(0), "{CLEANED_UP} if OpenSSL freed what the client's threads use");
}
