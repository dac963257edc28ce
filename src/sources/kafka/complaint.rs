//! What a client complains about in the background, so that a request that gets no answer can say why.
//!
//! librdkafka connects by itself and answers a request without a broker with nothing but a time-out: the cause (a refused
//! connection, a wrong password, a certificate) comes as an event of the client. Invariant: pure; a complaint is text and code
//! as librdkafka gave them, less what changes from one time to the next.

use rdkafka::types::RDKafkaErrorCode;

use crate::sources::SourceError;

/// The last thing that kept a client from a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    code: RDKafkaErrorCode,
    reason: String,
}

impl Complaint {
    /// A complaint as an event brings it; `None` if it says nothing of a cause.
    pub(super) fn new(code: RDKafkaErrorCode, reason: &str) -> Option<Complaint> {
        // It only counts the brokers that others complain of.
        if code == RDKafkaErrorCode::AllBrokersDown {
            return None;
        }
        // TLS 1.3: a broker that refuses our certificate, or misses one, breaks a connection that was made.
        let is_alert = reason.contains("SSL routines") && reason.contains("alert");
        let code = if is_alert { RDKafkaErrorCode::SSL } else { code };
        Some(Complaint { code, reason: lasting_part(reason).to_owned() })
    }

    /// Whether it is a missing right on the group, which only requests to the group's coordinator need.
    pub(super) fn is_about_group(&self) -> bool {
        self.code == RDKafkaErrorCode::GroupAuthorizationFailed
    }

    /// Whether it will be the same the next time: the broker is there and doesn't let us in, or isn't who it should be.
    pub(super) fn is_lasting(&self) -> bool {
        matches!(
            self.code,
            RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed | RDKafkaErrorCode::SSL
        )
    }

    /// The error of a request that had no answer because of it.
    pub(super) fn into_error(self, brokers: &str) -> SourceError {
        let (brokers, way_out) = (brokers.to_owned(), self.way_out());
        match self.is_lasting() {
            true => SourceError::Refused { brokers, reason: self.reason, way_out },
            false => SourceError::Unreachable { brokers, reason: self.reason, way_out },
        }
    }

    fn way_out(&self) -> &'static str {
        match self.code {
            RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => {
                "check [kafka] sasl.mechanism, sasl.username and sasl.password"
            }
            RDKafkaErrorCode::SSL => {
                "check [kafka] ssl.ca.location, the host name in the broker's certificate, and ssl.keystore.location or \
                 ssl.certificate.location if the broker wants a certificate of ours"
            }
            RDKafkaErrorCode::Resolve => {
                "check the host names in [kafka] bootstrap.servers and in the brokers' advertised.listeners"
            }
            _ => "check [kafka] bootstrap.servers and security.protocol, and that the broker is up",
        }
    }
}

/// A reason without how long it took and how often it came: `… (after 3ms in state CONNECT, 2 identical error(s)
/// suppressed)`.
fn lasting_part(reason: &str) -> &str {
    match reason.rfind(" (after ") {
        Some(at) if reason.ends_with(')') => &reason[..at],
        _ => reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(code: RDKafkaErrorCode) -> Complaint {
        Complaint::new(code, "ssl://kafka:9093/bootstrap: so it is (after 3ms in state CONNECT)").expect("a cause")
    }

    #[test]
    fn a_password_or_certificate_is_worth_no_restart_and_a_broker_that_is_away_is() {
        for code in [RDKafkaErrorCode::Authentication, RDKafkaErrorCode::SSL] {
            assert!(matches!(complaint(code).into_error("kafka:9093"), SourceError::Refused { .. }), "{code:?}");
        }
        for code in [RDKafkaErrorCode::BrokerTransportFailure, RDKafkaErrorCode::Resolve] {
            assert!(matches!(complaint(code).into_error("kafka:9093"), SourceError::Unreachable { .. }), "{code:?}");
        }
    }

    #[test]
    fn an_alert_of_the_other_side_is_about_certificates() {
        let reason = "ssl://b/bootstrap: Receive failed: error:0A000412:SSL routines::ssl/tls alert bad certificate";
        let complaint = Complaint::new(RDKafkaErrorCode::BrokerTransportFailure, reason).expect("a cause");
        assert!(complaint.is_lasting());
    }

    #[test]
    fn a_complaint_says_the_same_every_time() {
        let again =
            "ssl://kafka:9093/bootstrap: so it is (after 7ms in state CONNECT, 2 identical error(s) suppressed)";
        let code = RDKafkaErrorCode::Resolve;
        assert_eq!(Complaint::new(code, again), Some(complaint(code)));
        assert_eq!(Complaint::new(RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down"), None);
    }
}
