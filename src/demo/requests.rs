//! Two days of web requests as a topic of four partitions would hold them: out of order, some late, some broken, some of
//! bots. Invariant: always the same bytes, so that whoever runs the demo sees the same figures. Pure: no clock, no I/O.

use std::fmt::Write;

use crate::event::EventTime;

/// Partitions of the topic.
pub const PARTITIONS: i32 = 4;
/// First instant of the first day: 2026-11-18T00:00:00Z.
pub const FIRST_DAY: EventTime = EventTime(1_794_960_000_000_000);
/// Length of a day in microseconds.
pub const DAY_US: i64 = 86_400_000_000;

/// Requests of people and well-behaved bots; with the others, a partition stays below the 5 MiB of an embedded broker.
const ORDINARY: usize = 56_000;
/// Requests of the crawler that runs wild in the first night.
const BURST: usize = 2_500;
/// Messages that can't be read.
const BROKEN: usize = 60;
const SECOND_US: i64 = 1_000_000;
const HOUR_US: i64 = 3_600 * SECOND_US;
const CRAWLER: &str = "HarvestBot/0.9 (+https://harvest.example/bot)";

/// Share of a day's requests in each hour, UTC: quiet nights, busy evenings.
const HOURS: [u32; 24] = [2, 1, 1, 1, 1, 2, 4, 7, 10, 11, 11, 10, 9, 10, 10, 9, 9, 10, 12, 14, 15, 13, 8, 4];
const HOSTS: [(&str, u32); 4] = [("shop.example", 5), ("blog.example", 3), ("docs.example", 3), ("api.example", 1)];
const PATHS: [&str; 8] = ["", "search", "about", "prices", "login", "cart", "posts/replay", "guide/windows"];
const REFERRERS: [&str; 4] = ["", "https://search.example/", "https://news.example/", "https://shop.example/"];
const AGENTS: [(&str, u32); 6] = [
    ("Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/145.0", 6),
    ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/142.0 Safari/537.36", 10),
    ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) Safari/604.1", 8),
    ("curl/8.11.0", 1),
    ("SearchBot/2.1 (+https://search.example/bot)", 2),
    ("NewsBot/1.4 (+https://news.example/bot)", 1),
];

/// One message of the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Partition that it belongs to, from 0.
    pub partition: i32,
    /// When it reached the log, in milliseconds since the epoch: never before it happened, often later.
    pub timestamp_ms: i64,
    /// The visitor's address.
    pub key: String,
    /// A JSON object, unless it is broken.
    pub value: Vec<u8>,
}

/// The whole topic, and what is in it.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Messages in the order in which they reach the log; so those of a partition are in the order of their offsets.
    pub messages: Vec<Message>,
    /// Requests of bots.
    pub bots: usize,
    /// Requests that reached the log minutes after they happened.
    pub delayed: usize,
    /// Messages that can't be read.
    pub broken: usize,
}

/// Writes the topic.
pub fn topic() -> Topic {
    let mut random = Random(0x6b61_7070_6121);
    let mut topic = Topic { messages: Vec::new(), bots: 0, delayed: 0, broken: 0 };
    for _ in 0..ORDINARY {
        let time = FIRST_DAY.0 + ordinary_time(&mut random);
        let agent = random.weighted(&AGENTS);
        let visitor = if is_bot(agent) { 900 + random.below(6) } else { random.below(700) };
        let host = random.weighted(&HOSTS);
        topic.request(&mut random, time, visitor, host, agent);
    }
    for _ in 0..BURST {
        let time = FIRST_DAY.0 + 3 * HOUR_US + random.time_below(HOUR_US);
        let visitor = 990 + random.below(4);
        topic.request(&mut random, time, visitor, "shop.example", CRAWLER);
    }
    for number in 0..BROKEN {
        let time = FIRST_DAY.0 + ordinary_time(&mut random);
        topic.broken(&mut random, time, number);
    }
    // A stable sort: messages of one millisecond stay in the order in which they were made.
    topic.messages.sort_by_key(|message| message.timestamp_ms);
    topic
}

impl Topic {
    fn request(&mut self, random: &mut Random, time: i64, visitor: u64, host: &str, agent: &str) {
        let delay = delay(random);
        self.bots += usize::from(is_bot(agent));
        self.delayed += usize::from(delay >= 120 * SECOND_US);
        let value = request(random, time, visitor, host, agent);
        self.push(time + delay, visitor, value.into_bytes());
    }

    /// One of the ways in which messages are broken, in turn.
    fn broken(&mut self, random: &mut Random, time: i64, number: usize) {
        let visitor = random.below(700);
        let good = request(random, time, visitor, "shop.example", AGENTS[0].0);
        let value = match number % 6 {
            0 => good.as_bytes()[..good.len() / 2].to_vec(),
            1 => Vec::new(),
            2 => br#"{"url":"/","host":"shop.example","ip":"203.0.113.9"}"#.to_vec(),
            3 => br#"{"url":"/","host":"shop.example","event_time":"yesterday, about noon"}"#.to_vec(),
            4 => b"{\"url\":\"/caf\xe9\",\"event_time\":1794960000}".to_vec(),
            _ => br#"{"url":"/","host":"shop.example","event_time":"2062-11-18T00:00:00Z"}"#.to_vec(),
        };
        self.broken += 1;
        self.push(time, visitor, value);
    }

    fn push(&mut self, time: i64, visitor: u64, value: Vec<u8>) {
        let partition = (visitor % PARTITIONS as u64) as i32;
        self.messages.push(Message { partition, timestamp_ms: time.div_euclid(1_000), key: address(visitor), value });
    }
}

fn is_bot(agent: &str) -> bool {
    agent.contains("Bot")
}

/// An instant of the two days, after the first, by the hours' shares.
fn ordinary_time(random: &mut Random) -> i64 {
    let hours: [(i64, u32); 24] = std::array::from_fn(|hour| (hour as i64, HOURS[hour]));
    let day = random.below(2) as i64;
    day * DAY_US + random.weighted(&hours) * HOUR_US + random.time_below(HOUR_US)
}

/// How long a request takes to reach the log: mostly below the job's bound of 15 seconds, sometimes minutes beyond it.
fn delay(random: &mut Random) -> i64 {
    match random.below(1_000) {
        0..850 => random.time_below(3 * SECOND_US),
        850..994 => random.time_below(12 * SECOND_US),
        _ => 120 * SECOND_US + random.time_below(28 * 60 * SECOND_US),
    }
}

fn request(random: &mut Random, time: i64, visitor: u64, host: &str, agent: &str) -> String {
    let path = PATHS[random.below(PATHS.len() as u64) as usize];
    let referrer = REFERRERS[random.below(REFERRERS.len() as u64) as usize];
    let mut json = String::with_capacity(240);
    let fields = [("url", format!("/{path}")), ("host", host.to_owned()), ("ip", address(visitor))];
    for (name, value) in &fields {
        let before = if json.is_empty() { '{' } else { ',' };
        write!(json, "{before}\"{name}\":\"{value}\"").expect("a string takes all");
    }
    if !referrer.is_empty() {
        write!(json, ",\"referrer\":\"{referrer}\"").expect("a string takes all");
    }
    let time = EventTime(time.div_euclid(1_000) * 1_000);
    write!(json, ",\"user_agent\":\"{agent}\",\"event_time\":\"{time}\"}}").expect("a string takes all");
    json
}

/// An address of the ranges that are kept for documentation.
fn address(visitor: u64) -> String {
    let network = ["203.0.113", "198.51.100", "192.0.2"][(visitor / 250 % 3) as usize];
    format!("{network}.{}", visitor % 250 + 1 + visitor / 750)
}

/// SplitMix64: small, and the same everywhere for ever.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`, which is positive and so small that the bias doesn't show.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn time_below(&mut self, end: i64) -> i64 {
        self.below(end as u64) as i64
    }

    fn weighted<T: Copy>(&mut self, choices: &[(T, u32)]) -> T {
        let total: u32 = choices.iter().map(|(_, weight)| weight).sum();
        let mut rest = self.below(u64::from(total)) as u32;
        for (choice, weight) in choices {
            if rest < *weight {
                return *choice;
            }
            rest -= weight;
        }
        unreachable!("the weights were summed")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Event time of a message that can be read and has a sane one.
    fn event_time(message: &Message) -> Option<i64> {
        let value: serde_json::Value = serde_json::from_slice(&message.value).ok()?;
        let time = chrono::DateTime::parse_from_rfc3339(value.get("event_time")?.as_str()?).ok()?;
        Some(time.timestamp_micros()).filter(|time| *time < FIRST_DAY.0 + 3 * DAY_US)
    }

    #[test]
    fn it_is_always_the_same_topic() {
        let (one, two) = (topic(), topic());
        assert_eq!(one.messages, two.messages);
        let bytes = one.messages.iter().flat_map(|message| message.value.iter().copied()).collect::<Vec<u8>>();
        assert_eq!(
            xxhash_rust::xxh3::xxh3_64(&bytes),
            GOLDEN,
            "the figures in README and in the demo's text change too"
        );
    }

    /// Hash of all values in order.
    const GOLDEN: u64 = 14_697_412_191_336_240_334;

    #[test]
    fn every_partition_fits_an_embedded_broker() {
        let mut bytes: BTreeMap<i32, usize> = BTreeMap::new();
        for message in &topic().messages {
            // A record's frame in a batch is far below 100 bytes.
            *bytes.entry(message.partition).or_default() += message.key.len() + message.value.len() + 100;
        }
        assert_eq!(bytes.len(), PARTITIONS as usize);
        assert!(bytes.values().all(|size| *size < 5 << 20), "{bytes:?}");
        assert!(bytes.values().all(|size| *size > 2 << 20), "{bytes:?}");
    }

    #[test]
    fn it_holds_disorder_late_broken_and_bot_records() {
        let topic = topic();
        let mut seen: BTreeMap<i32, i64> = BTreeMap::new();
        let (mut behind, mut late, mut unreadable) = (0, 0, 0);
        for message in &topic.messages {
            let Some(time) = event_time(message) else {
                unreadable += 1;
                continue;
            };
            let greatest = seen.entry(message.partition).or_insert(time);
            let window_end = time.div_euclid(60 * SECOND_US) * 60 * SECOND_US + 60 * SECOND_US;
            behind += usize::from(time < *greatest);
            late += usize::from(window_end <= *greatest - 15 * SECOND_US);
            *greatest = time.max(*greatest);
        }
        assert_eq!((topic.messages.len(), unreadable), (ORDINARY + BURST + BROKEN, BROKEN));
        assert!(behind > 2_000, "{behind} records behind another");
        assert!((200..topic.delayed + 50).contains(&late), "{late} late of {} delayed", topic.delayed);
        assert!(topic.bots > 5_000, "{} bots", topic.bots);
    }

    #[test]
    fn no_record_is_in_the_log_before_it_happened() {
        for message in &topic().messages {
            if let Some(time) = event_time(message) {
                assert!(time / 1_000 <= message.timestamp_ms, "{message:?}");
            }
        }
    }
}
