//! Whether a log keeps its records in a way that results can be repeated from.

use super::{LogNature, StartError};
use crate::event::{LiveFace, Micros, Stream};

/// Something about a log that a user should know, though a run may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// One sentence, with the way out.
    pub text: String,
}

/// Looks at the log of a stream before it is read.
///
/// # Errors
/// [`StartError::Compacted`], unless the stream accepts that.
pub fn admit(stream: &Stream, nature: LogNature) -> Result<Option<Advice>, StartError> {
    let LiveFace::Kafka { topic, .. } = &stream.live else { return Ok(None) };
    if nature.compacted && !stream.accepts_compacted {
        return Err(StartError::Compacted { stream: stream.name.clone(), topic: topic.clone() });
    }
    let (Some(ahead), Some(max_future)) = (nature.ahead_max, stream.max_future) else { return Ok(None) };
    if ahead <= max_future {
        return Ok(None);
    }
    Ok(Some(Advice { text: far_ahead(topic, &stream.name, ahead, max_future) }))
}

fn far_ahead(topic: &str, stream: &str, ahead: Micros, max_future: Micros) -> String {
    let milliseconds = max_future.0 / 1_000;
    format!(
        "topic {topic} takes timestamps of producers {}, further than MAX FUTURE of {stream}: a device whose clock is ahead \
         stamps record and event alike, so its events count and drive the watermark; set \
         message.timestamp.after.max.ms={milliseconds} on the topic",
        match ahead {
            Micros(i64::MAX) => "however far ahead of the clock".to_owned(),
            Micros(micros) => format!("up to {} s ahead of the clock", micros / 1_000_000),
        }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Format, FormatKind};

    const HOUR: Micros = Micros::from_seconds(3_600);

    fn stream(accepts_compacted: bool, max_future: Option<Micros>) -> Stream {
        let format = Format { kind: FormatKind::Json, timestamp_unit: None, keep_rest: false };
        Stream {
            name: "clicks".into(),
            columns: vec![],
            event_time: 0,
            bound: Micros(0),
            marker: None,
            idle_after: None,
            max_future,
            live: LiveFace::Kafka { topic: "raw-clicks".into(), format },
            accepts_compacted,
            history: None,
        }
    }

    #[test]
    fn a_compacted_topic_must_be_accepted() {
        let compacted = LogNature { compacted: true, ..LogNature::default() };
        let refused = admit(&stream(false, Some(HOUR)), compacted).expect_err("it forgets records");
        assert!(refused.to_string().contains("WITH (compacted = 'accept')"), "{refused}");
        assert_eq!(admit(&stream(true, Some(HOUR)), compacted), Ok(None));
    }

    #[test]
    fn timestamps_further_ahead_than_max_future_are_told() {
        let ahead = |micros| LogNature { ahead_max: Some(Micros(micros)), ..LogNature::default() };
        assert_eq!(admit(&stream(false, Some(HOUR)), ahead(HOUR.0)), Ok(None));
        assert_eq!(admit(&stream(false, None), ahead(i64::MAX)), Ok(None));
        let told = |micros| admit(&stream(false, Some(HOUR)), ahead(micros)).expect("runs").expect("is told").text;
        assert!(told(2 * HOUR.0).contains("up to 7200 s ahead"), "{}", told(2 * HOUR.0));
        assert!(told(i64::MAX).contains("however far ahead"), "{}", told(i64::MAX));
        assert!(told(i64::MAX).ends_with("message.timestamp.after.max.ms=3600000 on the topic"));
    }
}
