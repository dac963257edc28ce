//! The broker's listeners with TLS and SASL, as properties of `[kafka]`; who may do what: `tests/servers/kafka/server`. The
//! other servers have the same certificates.

use super::from_environment;

/// A password of a user who may do everything.
pub const PASSWORD: &str = "kappa-secret";
/// The password of a user without rights.
pub const GUEST_PASSWORD: &str = "guest-secret";
/// The password of the client's key.
pub const KEY_PASSWORD: &str = "kappa-client";

/// Properties of `[kafka]`.
pub type Properties = Vec<(&'static str, String)>;

/// TLS with the server's certificate alone.
pub fn ssl() -> Properties {
    tls("KAPPA_TEST_KAFKA_SSL", "SSL")
}

/// TLS with a client certificate.
pub fn mutual() -> Properties {
    let mut properties = without_certificate();
    properties.push(("ssl.keystore.location", file("client.p12")));
    properties.push(("ssl.keystore.password", KEY_PASSWORD.to_owned()));
    properties
}

/// TLS with a client certificate, all of it as text in the properties, which comes from files.
pub fn inline() -> Properties {
    let mut properties = without_certificate();
    properties.retain(|(property, _)| *property != "ssl.ca.location");
    let texts = [("ssl.ca.pem", "ca.pem"), ("ssl.certificate.pem", "client.pem"), ("ssl.key.pem", "client-key.pem")];
    properties.extend(texts.map(|(property, name)| (property, format!("${{file:{}}}", file(name)))));
    properties
}

/// The listener that wants a client certificate, without one.
pub fn without_certificate() -> Properties {
    tls("KAPPA_TEST_KAFKA_MTLS", "SSL")
}

/// A user and a password without TLS.
pub fn sasl(mechanism: &str, user: &str, password: &str) -> Properties {
    let mut properties = vec![
        ("bootstrap.servers", from_environment("KAPPA_TEST_KAFKA_SASL")),
        ("security.protocol", "SASL_PLAINTEXT".to_owned()),
    ];
    properties.extend(login(mechanism, user, password));
    properties
}

/// A user and a password over TLS.
pub fn sasl_ssl(mechanism: &str, user: &str, password: &str) -> Properties {
    let mut properties = tls("KAPPA_TEST_KAFKA_SASL_SSL", "SASL_SSL");
    properties.extend(login(mechanism, user, password));
    properties
}

/// A file of the servers' certificates, such as `ca.pem`, which is that of their CA.
pub fn file(name: &str) -> String {
    format!("{}/{name}", from_environment("KAPPA_TEST_TLS"))
}

fn tls(address: &str, protocol: &str) -> Properties {
    vec![
        ("bootstrap.servers", from_environment(address)),
        ("security.protocol", protocol.to_owned()),
        ("ssl.ca.location", file("ca.pem")),
    ]
}

fn login(mechanism: &str, user: &str, password: &str) -> [(&'static str, String); 3] {
    [
        ("sasl.mechanism", mechanism.to_owned()),
        ("sasl.username", user.to_owned()),
        ("sasl.password", password.to_owned()),
    ]
}
