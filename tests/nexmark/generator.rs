//! Nexmark's events, after the generator of its Java form: the same shares of persons, auctions and bids, the same hot items
//! and people, from a seed, and by whole numbers alone, so that they are the same on every machine.

use std::collections::BTreeMap;

use kappa::sources::{MemoryPartitions, MemoryRecord};
use serde_json::{Value, json};

use crate::replay::Random;

/// Of fifty events in a row the first is a person, the next three are auctions, the others bids.
const PERSONS: i64 = 1;
const AUCTIONS: i64 = 3;
const EVENTS: i64 = 50;
/// Ids begin here.
const FIRST_ID: i64 = 1_000;
/// Persons who sell and bid: the newest so many.
const ACTIVE_PERSONS: i64 = 1_000;
/// Auctions that are bid for: the newest so many.
const AUCTIONS_IN_FLIGHT: i64 = 100;
/// Ids that are used a little before their event comes.
const AHEAD: i64 = 10;
/// Every so manyth auction and person is a hot one while it is the newest such.
const HOT_EACH: i64 = 100;
/// Milliseconds between two events as they are sent.
const GAP_MS: i64 = 10;
/// An event happened by less than this before it is sent; the bound of `streams.sql`.
const DISORDER_MS: i64 = 2_000;
/// 2015-07-14T23:58:20Z: queries by day see two of them.
const FIRST_SENT_MS: i64 = 1_436_918_300_000;
/// Names of channels beside the hot ones.
const CHANNELS: usize = 100;

/// The streams of `streams.sql`, with the partitions of their topics.
pub const STREAMS: [(&str, usize); 3] = [("person", 2), ("auction", 3), ("bid", 4)];

/// The events of the three streams.
pub struct Events {
    streams: BTreeMap<String, MemoryPartitions>,
}

impl Events {
    /// So many events. The same seed gives the same ones.
    pub fn generate(seed: u64, count: i64) -> Events {
        let partitions = |count: usize| (0..).zip(vec![Vec::new(); count]).collect();
        let streams = STREAMS.iter().map(|&(stream, count)| (stream.to_owned(), partitions(count))).collect();
        let mut events = Events { streams };
        let mut random = Random::new(seed);
        for number in 0..count {
            let (stream, event) = Event { number, random: &mut random }.generate();
            let partitions = events.streams.get_mut(stream).expect("it is one of the three");
            let partition = i32::try_from(random.below(partitions.len())).expect("is small");
            let records = partitions.get_mut(&partition).expect("all are there");
            records.push(MemoryRecord {
                timestamp: Some(sent_ms(number) * 1_000),
                value: Some(event.to_string().into_bytes()),
                ..MemoryRecord::default()
            });
        }
        events
    }

    /// As the logs of the streams.
    pub fn logs(&self) -> BTreeMap<String, MemoryPartitions> {
        self.streams.clone()
    }

    /// All messages of a stream, one a line.
    pub fn lines(&self, stream: &str) -> Vec<u8> {
        let records = self.streams[stream].values().flatten();
        let lines = records.map(|record| record.value.as_deref().expect("none is a tombstone"));
        lines.flat_map(|line| [line, b"\n".as_slice()].concat()).collect()
    }
}

fn sent_ms(number: i64) -> i64 {
    FIRST_SENT_MS + number * GAP_MS
}

/// One event in the making.
struct Event<'a> {
    /// Its place among all.
    number: i64,
    random: &'a mut Random,
}

impl Event<'_> {
    /// Its stream and its message.
    fn generate(&mut self) -> (&'static str, Value) {
        let place = self.number % EVENTS;
        let happened = sent_ms(self.number) - self.random.between(0, DISORDER_MS);
        if place < PERSONS {
            ("person", self.person(happened))
        } else if place < PERSONS + AUCTIONS {
            ("auction", self.auction(happened))
        } else {
            ("bid", self.bid(happened))
        }
    }

    fn person(&mut self, happened: i64) -> Value {
        let first = self.random.pick(&["Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah"]);
        let last = self.random.pick(&["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones"]);
        let (city, state) = self.random.pick(&[
            ("Phoenix", "AZ"),
            ("Palo Alto", "CA"),
            ("Boise", "ID"),
            ("Bend", "OR"),
            ("Kent", "WA"),
        ]);
        json!({
            "id": FIRST_ID + self.newest_person(), "name": format!("{first} {last}"),
            "emailAddress": format!("{}@{}.com", self.letters(7), self.letters(5)),
            "creditCard": format!("{:016}", self.random.between(0, 10_000_000_000_000_000)),
            "city": city, "state": state, "dateTime": happened, "extra": self.letters(20),
        })
    }

    fn auction(&mut self, happened: i64) -> Value {
        let initial = self.price();
        let reserve = initial + self.price();
        let hot = self.random.percent(75);
        let seller = if hot { self.newest_person() / HOT_EACH * HOT_EACH } else { self.any_person() };
        json!({
            "id": FIRST_ID + self.newest_auction(), "itemName": self.letters(10), "description": self.letters(40),
            "initialBid": initial, "reserve": reserve, "dateTime": happened,
            "expires": happened + self.random.between(1, 20_000), "seller": FIRST_ID + seller,
            "category": self.random.between(10, 15), "extra": self.letters(20),
        })
    }

    fn bid(&mut self, happened: i64) -> Value {
        let hot = self.random.percent(50);
        let auction = if hot { self.newest_auction() / HOT_EACH * HOT_EACH } else { self.any_auction() };
        let hot = self.random.percent(75);
        let bidder = if hot { self.newest_person() / HOT_EACH * HOT_EACH + 1 } else { self.any_person() };
        let channel = if self.random.percent(50) {
            self.random.pick(&["Google", "Facebook", "Baidu", "Apple"]).to_owned()
        } else {
            format!("channel-{}", self.random.below(CHANNELS))
        };
        let folders = format!("{}/{}/{}", self.letters(4), self.letters(4), self.letters(4));
        json!({
            "auction": FIRST_ID + auction, "bidder": FIRST_ID + bidder, "price": self.price(), "channel": channel,
            "url": format!("https://www.nexmark.com/{folders}/item.htm?query=1"), "dateTime": happened,
            "extra": self.letters(20),
        })
    }

    /// The newest person up to this event, from 0.
    fn newest_person(&self) -> i64 {
        self.number / EVENTS
    }

    /// The newest auction up to this event, from 0; where there is none yet, the first.
    fn newest_auction(&self) -> i64 {
        let behind = (self.number % EVENTS - PERSONS).clamp(-1, AUCTIONS - 1);
        (self.number / EVENTS * AUCTIONS + behind).max(0)
    }

    fn any_person(&mut self) -> i64 {
        let persons = self.newest_person() + 1;
        let active = persons.min(ACTIVE_PERSONS);
        persons - active + self.random.between(0, active + AHEAD)
    }

    fn any_auction(&mut self) -> i64 {
        let newest = self.newest_auction();
        self.random.between((newest - AUCTIONS_IN_FLIGHT).max(0), newest + 1 + AHEAD)
    }

    /// From 1 to 1,000,000 dollars in cents; as many below 10 as from 100,000 on.
    fn price(&mut self) -> i64 {
        let tens = 10_i64.pow(u32::try_from(self.random.between(2, 8)).expect("is small"));
        self.random.between(tens, tens * 10)
    }

    fn letters(&mut self, most: usize) -> String {
        let count = self.random.below(most) + 1;
        (0..count).map(|_| char::from(b'a' + u8::try_from(self.random.below(26)).expect("is small"))).collect()
    }
}
