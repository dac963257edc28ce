//! Buckets of S3 and of what speaks its protocol.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredentialProvider, S3ConditionalPut};
use object_store::{BackoffConfig, Certificate, ClientConfigKey, ClientOptions, ObjectStore, RetryConfig};

use super::ca::read_ca;
use super::explained::Explained;
use super::failure::Bucket;
use crate::secret::Properties;

/// Until a connection stands. A store that is there answers within milliseconds; twice this and the retries between
/// still end within the 15 s in which a start has to say what is wrong.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For one request with its body, of at most a few MiB up; a longer answer is asked for again from where it broke off.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// No new attempt later than this after the first: what lasts longer is an outage, which the callers wait out.
const RETRY_TIMEOUT: Duration = Duration::from_secs(8);
/// As many attempts as fit in there with the pauses below.
const RETRIES_MAX: usize = 8;
/// Pauses between attempts grow to this.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(2);

/// Key of `[store]` for a file of CAs that are trusted beside the system's. `object_store` has no name for it; as a
/// variable of the environment, AWS_CA_BUNDLE, other clients of S3 know it too.
pub const CA_BUNDLE: &str = "aws_ca_bundle";

/// Keys of `[store]`, as `object_store` names them, and [`CA_BUNDLE`]. Not among them: the bucket, which stands in the
/// location, and what would switch off the conditional puts that checkpoints are built on.
pub const KEYS: [&str; 36] = [
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "aws_region",
    "aws_endpoint",
    "aws_allow_http",
    "aws_virtual_hosted_style_request",
    "aws_default_region",
    "aws_endpoint_url",
    "aws_endpoint_url_s3",
    "aws_endpoint_url_sts",
    "aws_token",
    "aws_imdsv1_fallback",
    "aws_s3_express",
    "aws_metadata_endpoint",
    "aws_unsigned_payload",
    "aws_checksum_algorithm",
    "aws_container_credentials_relative_uri",
    "aws_container_credentials_full_uri",
    "aws_container_authorization_token_file",
    "aws_web_identity_token_file",
    "aws_role_arn",
    "aws_role_session_name",
    "aws_skip_signature",
    "aws_disable_tagging",
    "aws_request_payer",
    "aws_server_side_encryption",
    "aws_sse_kms_key_id",
    "aws_sse_bucket_key_enabled",
    "aws_sse_customer_key_base64",
    "allow_http",
    "allow_invalid_certificates",
    "proxy_url",
    "proxy_ca_certificate",
    "proxy_excludes",
    CA_BUNDLE,
];

/// Settings of the environment that are one set of credentials: with any of them in `[store]`, the environment's don't
/// count, as parts of two sets are none.
const CREDENTIALS: [&str; 3] = ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"];

/// Opens a bucket. Connects to nothing.
///
/// # Errors
/// What is wrong with the settings, with the way out.
pub(super) fn open(
    name: &str,
    settings: &Properties,
    credentials: Option<AwsCredentialProvider>,
) -> Result<Arc<dyn ObjectStore>, String> {
    let mut builder = from_environment(settings)?;
    for (key, value) in settings.iter().filter(|(key, _)| *key != CA_BUNDLE) {
        let parsed = key.parse::<AmazonS3ConfigKey>().map_err(|_| format!("[store] has no key `{key}`"))?;
        builder = builder.with_config(parsed, value);
    }
    if let Some(credentials) = credentials {
        builder = builder.with_credentials(credentials);
    }
    let bucket = Bucket { name: name.to_owned(), endpoint: endpoint(&builder) };
    let allows_http = AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp);
    if bucket.endpoint.starts_with("http://") && builder.get_config_value(&allows_http).as_deref() != Some("true") {
        return Err(format!(
            "{} is plain http, which lets everyone on the way read along; set aws_allow_http = true in [store] if that is \
             meant",
            bucket.endpoint
        ));
    }
    let backoff = BackoffConfig { max_backoff: RETRY_PAUSE_MAX, ..BackoffConfig::default() };
    let store = builder
        .with_bucket_name(name)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_retry(RetryConfig { backoff, max_retries: RETRIES_MAX, retry_timeout: RETRY_TIMEOUT })
        .build()
        .map_err(|error| format!("[store]: {}", innermost(&error)))?;
    Ok(Arc::new(Explained { store, bucket }))
}

/// What the environment's `AWS_…` say, without its credentials if the settings have some.
fn from_environment(settings: &Properties) -> Result<AmazonS3Builder, String> {
    let has_credentials = CREDENTIALS.iter().any(|key| settings.get(key).is_some());
    let bounds = ClientOptions::new().with_connect_timeout(CONNECT_TIMEOUT).with_timeout(REQUEST_TIMEOUT);
    let mut builder = AmazonS3Builder::new().with_client_options(trusting(bounds, settings)?);
    for (name, value) in std::env::vars() {
        let key = name.to_ascii_lowercase();
        if !KEYS.contains(&key.as_str()) || !key.starts_with("aws_") {
            continue;
        }
        if has_credentials && (CREDENTIALS.contains(&key.as_str()) || key == "aws_token") {
            continue;
        }
        if let Ok(key) = key.parse::<AmazonS3ConfigKey>() {
            builder = builder.with_config(key, value);
        }
    }
    Ok(builder)
}

/// With the CAs that settings, or else the environment, name.
fn trusting(options: ClientOptions, settings: &Properties) -> Result<ClientOptions, String> {
    let of_environment = || std::env::var(CA_BUNDLE.to_ascii_uppercase()).ok().filter(|path| !path.is_empty());
    let Some(path) = settings.get(CA_BUNDLE).map(str::to_owned).or_else(of_environment) else { return Ok(options) };
    let refuse = |detail: String| format!("{CA_BUNDLE} in [store]: {detail}");
    let pem = read_ca(Path::new(&path)).map_err(refuse)?;
    let certificates = Certificate::from_pem_bundle(&pem);
    let certificates = certificates.map_err(|error| refuse(format!("{path}: {}", innermost(&error))))?;
    Ok(certificates.into_iter().fold(options, ClientOptions::with_root_certificate))
}

/// Where requests go, as messages name it.
fn endpoint(builder: &AmazonS3Builder) -> String {
    let set = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint];
    let set = set.iter().find_map(|key| builder.get_config_value(key));
    set.unwrap_or_else(|| {
        let region = builder.get_config_value(&AmazonS3ConfigKey::Region);
        format!("https://s3.{}.amazonaws.com", region.as_deref().unwrap_or("us-east-1"))
    })
}

fn innermost(error: &object_store::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Properties {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_key_is_one_of_object_store() {
        for key in KEYS.iter().filter(|key| **key != CA_BUNDLE) {
            assert!(key.parse::<AmazonS3ConfigKey>().is_ok(), "{key}");
        }
    }

    #[test]
    fn settings_that_can_not_work_say_so() {
        let refused = |pairs: &[(&str, &str)]| open("lake", &settings(pairs), None).expect_err("refused");
        assert_eq!(
            refused(&[("aws_endpoint", "http://minio:9000")]),
            "http://minio:9000 is plain http, which lets everyone on the way read along; set aws_allow_http = true in \
             [store] if that is meant"
        );
        assert_eq!(refused(&[("aws_access_key_id", "k")]), "[store]: Missing SecretAccessKey");
        assert!(refused(&[("aws_s3_express", "perhaps")]).contains("perhaps"));
        let no_ca = refused(&[("aws_ca_bundle", "/no/such/ca.pem")]);
        assert!(no_ca.starts_with("aws_ca_bundle in [store]: /no/such/ca.pem can't be read: "), "{no_ca}");
    }

    #[test]
    fn a_store_shows_no_secret() {
        let store = open(
            "lake",
            &settings(&[
                ("aws_access_key_id", "k"),
                ("aws_secret_access_key", "hunter2"),
                ("aws_session_token", "hunter2"),
            ]),
            None,
        );
        let store = store.expect("opens without connecting");
        assert!(!format!("{store:?} {store}").contains("hunter2"));
    }
}
