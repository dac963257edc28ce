//! What a bucket's answer means, and what to do about it.
//! Invariant: of an answer only its code and its own message are kept. The rest may quote the request, whose headers hold
//! credentials.

use std::error::Error as StdError;
use std::fmt;

use object_store::path::Path;
use thiserror::Error;

use crate::secret::without_password;

/// What rustls says of bytes that are no TLS.
pub const NO_TLS: &str = "InvalidContentType";
/// Longest text of a server that a message shows.
const DETAIL_CHARS_MAX: usize = 300;

/// A call that a bucket refused or didn't answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("bucket `{bucket}`{}: {cause}", key_text(.key))]
pub struct StoreFailure {
    /// The bucket.
    pub bucket: String,
    /// Object or prefix; empty for the bucket as a whole.
    pub key: String,
    /// Why, and the way out.
    pub cause: Cause,
}

fn key_text(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!(", key `{key}`") }
}

/// Why a bucket failed a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nobody answers there.
    Unreachable {
        /// The endpoint.
        endpoint: String,
        /// What the network says.
        detail: String,
    },
    /// The endpoint's certificate isn't trusted.
    Certificate {
        /// The endpoint.
        endpoint: String,
        /// What is wrong with it.
        detail: String,
    },
    /// Something answers at the endpoint, but not with TLS.
    NoTls {
        /// The endpoint.
        endpoint: String,
    },
    /// No keys are configured, and the machine has no role to get them by.
    NoCredentials,
    /// The store doesn't know the access key, or the secret key isn't that one's.
    WrongKey {
        /// The store's code.
        code: String,
    },
    /// Temporary keys have run out.
    Expired,
    /// The clocks of this machine and the store differ too much for signatures.
    Clock,
    /// The keys are good but don't allow this.
    NoRight,
    /// There is no such bucket.
    NoBucket {
        /// Where it was looked for.
        endpoint: String,
    },
    /// The bucket is in another region.
    WrongRegion {
        /// What the store says about it.
        detail: String,
    },
    /// Anything else.
    Other(String),
}

impl Cause {
    /// Whether it stays so until a person acts. Others may pass.
    pub fn is_lasting(&self) -> bool {
        match self {
            Cause::Unreachable { .. } | Cause::Other(_) => false,
            Cause::Certificate { .. }
            | Cause::NoTls { .. }
            | Cause::NoCredentials
            | Cause::WrongKey { .. }
            | Cause::Expired
            | Cause::Clock
            | Cause::NoRight
            | Cause::NoBucket { .. }
            | Cause::WrongRegion { .. } => true,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Unreachable { endpoint, detail } => {
                write!(f, "no answer from {endpoint}: {detail}; check aws_endpoint in [store], and the network")
            }
            Cause::Certificate { endpoint, detail } => write!(
                f,
                "the certificate of {endpoint} isn't trusted: {detail}; name the file of its CA as aws_ca_bundle in \
                 [store], or add it to the system's"
            ),
            Cause::NoTls { endpoint } => write!(
                f,
                "{endpoint} doesn't speak TLS; if plain http is meant, write http:// and set aws_allow_http = true in [store]"
            ),
            Cause::NoCredentials => f.write_str(
                "no credentials; set aws_access_key_id and aws_secret_access_key in [store], or the environment's AWS_…, \
                 or give the machine a role",
            ),
            Cause::WrongKey { code } if code == "SignatureDoesNotMatch" => f.write_str(
                "the secret key isn't the access key's (SignatureDoesNotMatch); check aws_secret_access_key in [store]",
            ),
            Cause::WrongKey { code } => write!(
                f,
                "the store doesn't accept the key ({code}); check aws_access_key_id, aws_secret_access_key and \
                 aws_session_token in [store]"
            ),
            Cause::Expired => f.write_str("the session token has expired; get new keys and set them in [store]"),
            Cause::Clock => f.write_str("this machine's clock is wrong by minutes (RequestTimeTooSkewed); set it"),
            Cause::NoRight => f.write_str(
                "the key doesn't allow this; grant it s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject and \
                 s3:DeleteObject below the prefix",
            ),
            Cause::NoBucket { endpoint } => {
                write!(f, "{endpoint} has no such bucket; create it, or correct the location")
            }
            Cause::WrongRegion { detail } => write!(f, "the bucket is in another region{detail}; set aws_region in [store]"),
            Cause::Other(detail) => f.write_str(detail),
        }
    }
}

/// The failure of a bucket that an error was caused by, if it was.
pub fn failure_in<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a StoreFailure> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(failure) = error.downcast_ref::<StoreFailure>() {
            return Some(failure);
        }
        if let Some(CallError(inner)) = error.downcast_ref::<CallError>() {
            return failure_in(inner);
        }
        next = error.source();
    }
    None
}

/// An error of a store as it is shown: with its causes, each said once.
#[derive(Debug)]
pub struct CallError(object_store::Error);

impl From<object_store::Error> for CallError {
    fn from(error: object_store::Error) -> CallError {
        CallError(error)
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match failure_in(&self.0) {
            Some(failure) => failure.fmt(f),
            // Its text has its causes' in it.
            None => self.0.fmt(f),
        }
    }
}

/// No source: the causes are in the text.
impl StdError for CallError {}

/// Where calls go, as messages name it.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    pub(super) name: String,
    pub(super) endpoint: String,
}

impl Bucket {
    /// Replaces what an error says by what it means; that something isn't there, or is there already, stays as it is,
    /// but for the server's text.
    pub(super) fn explain(&self, key: &Path, error: object_store::Error) -> object_store::Error {
        use object_store::Error;
        let cause = self.cause(&error);
        let path = key.to_string();
        let source = Box::new(StoreFailure { bucket: self.name.clone(), key: path.clone(), cause: cause.clone() });
        match error {
            Error::NotFound { .. } if !cause.is_lasting() => Error::NotFound { path, source },
            Error::AlreadyExists { .. } => Error::AlreadyExists { path, source },
            Error::Precondition { .. } => Error::Precondition { path, source },
            Error::NotModified { .. } => Error::NotModified { path, source },
            _ => Error::Generic { store: "S3", source },
        }
    }

    pub(super) fn cause(&self, error: &object_store::Error) -> Cause {
        let texts = texts(error);
        let has = |part: &str| texts.iter().any(|text| text.contains(part));
        let code = texts.iter().find_map(|text| element(text, "Code"));
        let message = texts.iter().find_map(|text| element(text, "Message")).unwrap_or_default();
        let endpoint = || without_password(&self.endpoint);
        match code.as_deref() {
            Some("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "InvalidSecurity") => {
                return Cause::WrongKey { code: code.unwrap_or_default() };
            }
            Some("ExpiredToken" | "TokenRefreshRequired") => return Cause::Expired,
            Some("RequestTimeTooSkewed") => return Cause::Clock,
            Some("AccessDenied" | "AllAccessDisabled" | "AccountProblem") => return Cause::NoRight,
            Some("NoSuchBucket") => return Cause::NoBucket { endpoint: endpoint() },
            Some("AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException") => {
                let detail = region_text(texts.iter().find_map(|text| element(text, "Region")).as_deref());
                return Cause::WrongRegion { detail };
            }
            Some(code) => return Cause::Other(clipped(&format!("{code}: {message}"))),
            None => {}
        }
        if has("169.254.") || has("/latest/api/token") || has("/latest/meta-data") {
            return Cause::NoCredentials;
        }
        if has("redirect without LOCATION") {
            return Cause::WrongRegion { detail: String::new() };
        }
        if has("403 Forbidden") || has("401 Unauthorized") {
            // An answer without a body, as to HEAD: it isn't said which of the two it is.
            return Cause::WrongKey { code: "403 Forbidden".to_owned() };
        }
        let deepest = texts.last().map(|text| clipped(text)).unwrap_or_default();
        if has("invalid peer certificate") || has("certificate") {
            return Cause::Certificate { endpoint: endpoint(), detail: deepest };
        }
        if has(NO_TLS) {
            return Cause::NoTls { endpoint: endpoint() };
        }
        let away =
            ["error trying to connect", "tcp connect error", "dns error", "operation timed out", "Connection refused"];
        if away.into_iter().any(has) {
            return Cause::Unreachable { endpoint: endpoint(), detail: deepest };
        }
        Cause::Other(deepest)
    }
}

fn region_text(region: Option<&str>) -> String {
    region.map(|region| format!(", `{region}`")).unwrap_or_default()
}

/// What an error and its causes say, outermost first.
fn texts(error: &object_store::Error) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    let mut next = StdError::source(error);
    while let Some(cause) = next {
        texts.push(cause.to_string());
        next = cause.source();
    }
    texts
}

/// The content of an element in a store's XML answer.
fn element(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0.to_owned())
}

/// Without what follows a tag: XML or HTML of a server, which may quote the request.
fn clipped(text: &str) -> String {
    let text = text.split('<').next().unwrap_or_default().trim().trim_end_matches(':');
    text.chars().take(DETAIL_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket() -> Bucket {
        Bucket { name: "lake".to_owned(), endpoint: "https://s3.internal:9000".to_owned() }
    }

    fn answered(status: &str, body: &str) -> object_store::Error {
        let source = format!("Server returned non-2xx status code: {status}: {body}").into();
        object_store::Error::PermissionDenied { path: "a".to_owned(), source }
    }

    fn explained(error: object_store::Error) -> String {
        let error = bucket().explain(&Path::from("state/a"), error);
        failure_in(&error).expect("a failure of the bucket").to_string()
    }

    #[test]
    fn each_answer_is_said_as_cause_and_way_out_and_without_the_request() {
        let body = |code: &str| {
            format!(
                "<Error><Code>{code}</Code><Message>m</Message><CanonicalRequest>x-amz-security-token:hunter2</CanonicalRequest></Error>"
            )
        };
        let messages: Vec<String> = [
            answered("403 Forbidden", &body("SignatureDoesNotMatch")),
            answered("403 Forbidden", &body("InvalidAccessKeyId")),
            answered("403 Forbidden", &body("AccessDenied")),
            answered("403 Forbidden", ""),
            answered("404 Not Found", &body("NoSuchBucket")),
            answered(
                "400 Bad Request",
                "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-central-1</Region></Error>",
            ),
            answered("400 Bad Request", &body("ExpiredToken")),
            answered("403 Forbidden", &body("RequestTimeTooSkewed")),
            answered("418 Teapot", "<html>x-amz-security-token:hunter2</html>"),
            answered("400 Bad Request", &body("EntityTooLarge")),
        ]
        .into_iter()
        .map(explained)
        .collect();
        insta::assert_snapshot!(messages.join("\n"));
    }

    #[test]
    fn what_is_missing_or_there_already_stays_so() {
        use object_store::Error;
        let missing = Error::NotFound { path: "a".to_owned(), source: "404 Not Found: <Code>NoSuchKey</Code>".into() };
        assert!(matches!(bucket().explain(&Path::from("a"), missing), Error::NotFound { .. }));
        let no_bucket = Error::NotFound { path: "a".to_owned(), source: "<Code>NoSuchBucket</Code>".into() };
        let no_bucket = bucket().explain(&Path::from("a"), no_bucket);
        assert!(failure_in(&no_bucket).is_some_and(|failure| failure.cause.is_lasting()));
        assert!(!matches!(no_bucket, Error::NotFound { .. }));
        let taken = Error::AlreadyExists { path: "a".to_owned(), source: "412".into() };
        assert!(matches!(bucket().explain(&Path::from("a"), taken), Error::AlreadyExists { .. }));
    }
}
