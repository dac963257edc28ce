//! The events: 60 minutes of them, 70 bytes each, a pure function of their number.

use std::io::Write;

/// Bytes of an event.
pub const EVENT_BYTES: usize = 70;
/// Different keys, all of the same frequency.
pub const KEYS: u64 = 10_000;
/// Partitions of the topic; a key stays in one.
pub const PARTITIONS: u64 = 4;
/// First instant of the hour, in milliseconds: 2026-01-01T10:00:00Z.
pub const HOUR_START_MS: i64 = 1_767_261_600_000;
/// The hour, as `--from` and `--to` take it.
pub const HOUR: [&str; 2] = ["2026-01-01T10:00:00Z", "2026-01-01T11:00:00Z"];
/// Where the first window of an hour begins that holds an event.
pub const HOUR_BEFORE: &str = "2026-01-01T09:00:00Z";
/// By when a session is over that holds an event.
pub const HOUR_AFTER: &str = "2026-01-01T12:00:00Z";

const HOUR_MS: u64 = 3_600_000;
/// How far an event may come behind one that happened later; well inside the job's bound.
const DISORDER_MS: u64 = 1_000;

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it happened, in milliseconds.
    pub ts: i64,
    /// Number of its key.
    pub key: u64,
    /// What is summed up.
    pub value: u64,
    /// What no column takes.
    unused: [u64; 2],
}

impl Event {
    /// Event `number` of `count`.
    pub fn new(number: u64, count: u64) -> Event {
        let random = mix(number);
        let instant = (u128::from(number) * u128::from(HOUR_MS) / u128::from(count)) as u64;
        let instant = instant.saturating_sub(random % DISORDER_MS);
        let random = mix(random);
        Event {
            ts: HOUR_START_MS + instant as i64,
            key: random % KEYS,
            value: 10_000 + (random >> 16) % 90_000,
            unused: [100_000 + (random >> 34) % 900_000, 1_000 + (random >> 50) % 9_000],
        }
    }

    /// The partition that it goes to.
    pub fn partition(&self) -> i32 {
        (self.key % PARTITIONS) as i32
    }

    /// Writes it as JSON over what `text` holds.
    pub fn write(&self, text: &mut Vec<u8>) {
        let Event { ts, key, value, unused: [user, code] } = self;
        text.clear();
        write!(text, r#"{{"ts":{ts},"key":"k{key:04}","value":{value},"u":"{user}","x":{code}}}"#)
            .expect("memory takes every byte");
        assert_eq!(text.len(), EVENT_BYTES, "every event has the same length");
    }

    /// The text of its key.
    pub fn key_text(&self) -> String {
        format!("k{:04}", self.key)
    }
}

/// One step of SplitMix64.
fn mix(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
