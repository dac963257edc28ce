//! Queries of several layers: as SQL, and what a plain reading of them gives over the model's windows.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::case::Case;
use super::random::Random;
use crate::model::{self, Cut, Query, SECOND, Value};

/// What is asked of the windows of a case. Groups are those of its keys, with how many records they have (`c`) and the sum of
/// their `n` (`s`); the numbers are how many of each window are wanted.
#[derive(Clone, Copy, Debug)]
pub enum Layers {
    /// Records by themselves.
    Records,
    /// The records with the greatest `n`, by ROW_NUMBER.
    GreatestRecords(usize),
    /// The largest groups, by ROW_NUMBER, with their places.
    Largest(usize),
    /// The largest groups and those as large, by QUALIFY and RANK.
    Ranked(usize),
    /// The largest groups, by ORDER BY and LIMIT.
    First(usize),
    /// Sizes of groups, each once.
    Sizes,
    /// A second aggregate over the groups of a window.
    Again,
    /// A second aggregate by the first key, of more than one group.
    AgainByKey,
    /// The groups with the sum of sizes so far, and the size before.
    Running,
    /// Records beside the number of records of their window: two readings of the stream, joined.
    Joined,
    /// The records that have no other of their key `k` in their window: an anti join.
    Alone,
    /// Windows of the records twice, by UNION ALL below them: how many there are.
    Doubled,
    /// How many rows, and records, the groups of a window and the window itself have, by UNION ALL above them.
    United,
    /// Windows of 20 minutes over the windows.
    Above,
}

/// Length of [`Layers::Above`].
const ABOVE: i64 = 20 * 60 * SECOND;

/// A row on its way: start, end, keys, `c`, `s`.
struct Group {
    window: (i64, i64),
    keys: Vec<Value>,
    size: i64,
    sum: Value,
}

const WINDOW: &str = "window_start, window_end";

impl Layers {
    /// What can be asked of the windows of `query`.
    pub(super) fn draw(random: &mut Random, query: &Query) -> Layers {
        loop {
            let layers = Layers::draw_any(random);
            if layers.fit(query) {
                return layers;
            }
        }
    }

    /// Whether they can be had: where the data makes windows, not everything can.
    fn fit(self, query: &Query) -> bool {
        match (self, query.cut) {
            // Windows of several keys may begin and end together.
            (Layers::First(_), Cut::Session) => query.partition_by.is_empty(),
            (Layers::Records | Layers::GreatestRecords(_) | Layers::Joined | Layers::Alone, Cut::Sliding) => false,
            (Layers::First(_), Cut::Sliding) => false,
            // What doesn't say of which key it is, or counts one record twice.
            (Layers::First(_) | Layers::Doubled, Cut::Counting { .. }) => false,
            // Its windows can't be joined.
            (Layers::Joined | Layers::Alone | Layers::United, Cut::Counting { .. }) => false,
            (Layers::GreatestRecords(_) | Layers::Sizes, Cut::Counting { .. }) => query.partition_by.is_empty(),
            _ => true,
        }
    }

    fn draw_any(random: &mut Random) -> Layers {
        let most = random.below(3) + 1;
        match random.below(14) {
            0 => Layers::Records,
            1 => Layers::GreatestRecords(most),
            2 => Layers::Largest(most),
            3 => Layers::Ranked(most),
            4 => Layers::First(most),
            5 => Layers::Sizes,
            6 => Layers::Again,
            7 => Layers::AgainByKey,
            8 => Layers::Joined,
            9 => Layers::Alone,
            10 => Layers::Doubled,
            11 => Layers::Above,
            12 => Layers::United,
            _ => Layers::Running,
        }
    }

    /// The query.
    pub(super) fn sql(self, case: &Case) -> String {
        let (from, by) = (
            case.windows_sql(),
            [WINDOW].into_iter().chain(case.query.keys.iter().map(String::as_str)).collect::<Vec<_>>().join(", "),
        );
        let groups = format!("SELECT {by}, count(*) AS c, sum(n) AS s FROM {from} GROUP BY {by}");
        let keys = &case.query.keys;
        let listed: String = keys.iter().map(|key| format!("{key}, ")).collect();
        let behind: String = keys.iter().map(|key| format!(", {key}")).collect();
        let records = format!("SELECT {WINDOW}, _partition AS p, _offset AS o, k FROM {from}");
        // Each key has windows of its own, which may begin and end as another's.
        let of_keys: String = case.query.partition_by.iter().map(|key| format!(", {key}")).collect();
        let counts = |from: &str| {
            let grouped = |by: &str| format!("SELECT {by}, count(*) AS c FROM {from} GROUP BY {by}");
            let window = format!("{WINDOW}, window_time");
            match of_keys.as_str() {
                "" => grouped(&window),
                keys => format!(
                    "SELECT {window}, sum(c) AS c FROM ({}) GROUP BY {window}",
                    grouped(&format!("{window}{keys}"))
                ),
            }
        };
        let same = "a.window_start = b.window_start AND a.window_end = b.window_end";
        // Windows of COUNT_WINDOW that begin and end together close when each has its records.
        let inside = if is_counted(&case.query) { format!("{WINDOW}{of_keys}") } else { WINDOW.to_owned() };
        let over = |order: &str| format!("OVER (PARTITION BY {inside} ORDER BY {order}{behind})");
        match self {
            Layers::Records => format!("SELECT {WINDOW}, _partition AS p, _offset AS o, t, k FROM {from}"),
            Layers::GreatestRecords(most) => format!(
                "SELECT {WINDOW}, p, o, place FROM (SELECT {WINDOW}, _partition AS p, _offset AS o,
                   ROW_NUMBER() OVER (PARTITION BY {WINDOW} ORDER BY n DESC NULLS LAST, _partition, _offset) AS place
                 FROM {from}) WHERE place <= {most}"
            ),
            Layers::Largest(most) => format!(
                "SELECT {by}, c, s, place FROM (SELECT *, ROW_NUMBER() {} AS place FROM ({groups})) WHERE place <= {most}",
                over("c DESC")
            ),
            Layers::Ranked(most) => format!(
                "WITH g AS ({groups}) SELECT {by}, c FROM g
                 QUALIFY RANK() OVER (PARTITION BY {inside} ORDER BY c DESC) <= {most}"
            ),
            Layers::First(most) => format!("SELECT {WINDOW}, {listed}c FROM ({groups}) ORDER BY c DESC{behind} LIMIT {most}"),
            Layers::Sizes => format!("SELECT DISTINCT {WINDOW}, c FROM ({groups})"),
            Layers::Again => format!(
                "WITH g AS ({groups}), again AS (SELECT {WINDOW}, count(*) AS groups, sum(c) AS records, max(c) AS most, min(s) AS least
                   FROM g GROUP BY {inside})
                 SELECT * FROM again WHERE records > 1"
            ),
            Layers::AgainByKey => {
                let key = keys.first().map_or("c", String::as_str);
                format!(
                    "SELECT {WINDOW}, {key} AS key, count(*) AS groups, sum(c) AS records FROM ({groups})
                     GROUP BY {inside}, {key} HAVING count(*) > 1"
                )
            }
            Layers::Joined => format!(
                "SELECT a.window_start, a.window_end, a.p, a.o, b.c FROM ({records}) AS a JOIN ({}) AS b ON {same}",
                counts(&from)
            ),
            Layers::Alone => format!(
                "SELECT a.window_start, a.window_end, a.p, a.o FROM ({records}) AS a
                 LEFT ANTI JOIN ({records}) AS b ON {same} AND a.k = b.k AND (a.p <> b.p OR a.o <> b.o)"
            ),
            Layers::Doubled => {
                let twice = from.replacen("(s", "((SELECT * FROM s UNION ALL SELECT * FROM s)", 1);
                assert_ne!(twice, from, "a window begins with its stream");
                format!("SELECT {WINDOW}, c FROM ({})", counts(&twice))
            }
            Layers::Above => {
                let windows = format!("{WINDOW}, window_time{of_keys}");
                format!(
                    "SELECT {WINDOW}, count(*) AS windows, sum(c) AS c
                     FROM TUMBLE((SELECT {windows}, count(*) AS c FROM {from} GROUP BY {windows}), window_time,
                                 INTERVAL '20 minutes')
                     GROUP BY {WINDOW}"
                )
            }
            Layers::United => format!(
                "SELECT {WINDOW}, count(*) AS n, sum(c) AS c
                 FROM (SELECT {WINDOW}, c FROM ({groups}) UNION ALL SELECT {WINDOW}, c FROM ({})) GROUP BY {WINDOW}",
                counts(&from)
            ),
            Layers::Running => format!(
                "SELECT {by}, c, sum(c) {} AS so_far, LAG(c) {} AS before FROM ({groups})",
                over("c").replace(')', " ROWS UNBOUNDED PRECEDING)"),
                over("c")
            ),
        }
    }

    /// How the rows of the table differ from those that it must hold, a line each.
    pub(super) fn differences(self, case: &Case, judged: &[model::Judged], rows: &[Vec<Value>]) -> Vec<String> {
        let (mut expected, mut found) = (self.rows(case, judged), rows.to_vec());
        expected.sort();
        found.sort();
        let mut lines = Vec::new();
        let (mut expected, mut found) = (expected.into_iter().peekable(), found.into_iter().peekable());
        loop {
            let order = match (expected.peek(), found.peek()) {
                (None, None) => return lines,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(expected), Some(found)) => expected.cmp(found),
            };
            if order.is_le()
                && let Some(row) = expected.next()
                && order.is_lt()
            {
                lines.push(format!("missing: {row:?}"));
            }
            if order.is_ge()
                && let Some(row) = found.next()
                && order.is_gt()
            {
                lines.push(format!("extra: {row:?}"));
            }
        }
    }

    fn rows(self, case: &Case, judged: &[model::Judged]) -> Vec<Vec<Value>> {
        match self {
            Layers::Records | Layers::GreatestRecords(_) | Layers::Joined | Layers::Alone => self.of_records(judged),
            Layers::Above => above(case, judged),
            _ => by_window(case, judged).into_iter().flat_map(|groups| self.of_groups(groups)).collect(),
        }
    }

    fn of_records(self, judged: &[model::Judged]) -> Vec<Vec<Value>> {
        let mut windows: BTreeMap<(i64, i64), Vec<&model::Judged>> = BTreeMap::new();
        for record in judged {
            record.windows.iter().for_each(|window| windows.entry(*window).or_default().push(record));
        }
        let mut rows = Vec::new();
        for (window, mut records) in windows {
            let most = match self {
                Layers::GreatestRecords(most) => most,
                _ => records.len(),
            };
            // The log is walked by partition and offset, and sorting keeps the order of equal ones.
            if let Layers::GreatestRecords(_) = self {
                records.sort_by_key(|record| std::cmp::Reverse(record.fields["n"].clone()));
            }
            let count = Value::Integer(i64::try_from(records.len()).expect("is small"));
            if let Layers::Alone = self {
                let all = records.clone();
                let has_other = |record: &&model::Judged| {
                    let key = &record.fields["k"];
                    !key.is_null() && all.iter().filter(|other| other.fields["k"] == *key).count() > 1
                };
                records.retain(|record| !has_other(record));
            }
            for (place, record) in (1..).zip(records).take(most) {
                let position = [Value::Integer(record.partition.into()), Value::Integer(record.offset)];
                let rest = match self {
                    Layers::Records => vec![record.fields["t"].clone(), record.fields["k"].clone()],
                    Layers::Joined => vec![count.clone()],
                    Layers::Alone => Vec::new(),
                    _ => vec![Value::Integer(place)],
                };
                rows.push(edges(window).into_iter().chain(position).chain(rest).collect());
            }
        }
        rows
    }

    /// The rows of one window.
    fn of_groups(self, mut groups: Vec<Group>) -> Vec<Vec<Value>> {
        let window = edges(groups[0].window);
        let row = |group: &Group, more: Vec<Value>| -> Vec<Value> {
            window.iter().cloned().chain(group.keys.clone()).chain([Value::Integer(group.size)]).chain(more).collect()
        };
        match self {
            Layers::Largest(most) => {
                groups.sort_by(|left, right| right.size.cmp(&left.size).then_with(|| nulls_last(left, right)));
                let places = (1..).zip(&groups).take(most);
                places.map(|(place, group)| row(group, vec![group.sum.clone(), Value::Integer(place)])).collect()
            }
            Layers::Ranked(most) => {
                let larger = |group: &Group| groups.iter().filter(|other| other.size > group.size).count();
                groups.iter().filter(|group| larger(group) < most).map(|group| row(group, Vec::new())).collect()
            }
            Layers::First(most) => {
                groups.sort_by(|left, right| right.size.cmp(&left.size).then_with(|| nulls_last(left, right)));
                groups.iter().take(most).map(|group| row(group, Vec::new())).collect()
            }
            Layers::Sizes => {
                let mut sizes: Vec<i64> = groups.iter().map(|group| group.size).collect();
                sizes.sort_unstable();
                sizes.dedup();
                sizes.into_iter().map(|size| [window.clone(), vec![Value::Integer(size)]].concat()).collect()
            }
            Layers::Again => {
                let records = groups.iter().map(|group| group.size).sum();
                let most = groups.iter().map(|group| group.size).max().expect("a window has a group");
                let sums = groups.iter().map(|group| group.sum.clone()).filter(|sum| !sum.is_null());
                let numbers =
                    [count(&groups), Value::Integer(records), Value::Integer(most), sums.min().unwrap_or(Value::Null)];
                if records > 1 { vec![window.into_iter().chain(numbers).collect()] } else { Vec::new() }
            }
            Layers::AgainByKey => {
                let mut by_key: BTreeMap<Value, Vec<Group>> = BTreeMap::new();
                for group in groups {
                    let key = group.keys.first().cloned().unwrap_or(Value::Integer(group.size));
                    by_key.entry(key).or_default().push(group);
                }
                by_key.retain(|_, groups| groups.len() > 1);
                let row = |(key, groups): (Value, Vec<Group>)| {
                    let records = groups.iter().map(|group| group.size).sum();
                    window.iter().cloned().chain([key, count(&groups), Value::Integer(records)]).collect()
                };
                by_key.into_iter().map(row).collect()
            }
            Layers::Running => {
                groups.sort_by(|left, right| left.size.cmp(&right.size).then_with(|| nulls_last(left, right)));
                let (mut so_far, mut before) = (0, Value::Null);
                let mut running = |group: &Group| {
                    so_far += group.size;
                    row(group, vec![Value::Integer(so_far), std::mem::replace(&mut before, Value::Integer(group.size))])
                };
                groups.iter().map(&mut running).collect()
            }
            Layers::United => {
                let records: i64 = groups.iter().map(|group| group.size).sum();
                let rows = i64::try_from(groups.len()).expect("is small") + 1;
                vec![window.into_iter().chain([rows, 2 * records].map(Value::Integer)).collect()]
            }
            Layers::Doubled => {
                let records: i64 = groups.iter().map(|group| group.size).sum();
                vec![window.into_iter().chain([Value::Integer(2 * records)]).collect()]
            }
            Layers::Records | Layers::GreatestRecords(_) | Layers::Joined | Layers::Alone | Layers::Above => {
                unreachable!("they are not made of the groups of one window")
            }
        }
    }
}

/// The rows of windows over the windows.
fn above(case: &Case, judged: &[model::Judged]) -> Vec<Vec<Value>> {
    let mut windows: BTreeMap<Named, i64> = BTreeMap::new();
    for record in judged {
        for &window in &record.windows {
            let keys = case.query.partition_by.iter().map(|key| model::grouped(&record.fields, key)).collect();
            *windows.entry((window, record.ordinal, keys)).or_default() += 1;
        }
    }
    let mut above: BTreeMap<i64, [i64; 2]> = BTreeMap::new();
    for (((_, end), ..), records) in windows {
        let counts = above.entry((end - 1).div_euclid(ABOVE) * ABOVE).or_default();
        *counts = [counts[0] + 1, counts[1] + records];
    }
    let row = |(start, counts): (i64, [i64; 2])| {
        edges((start, start + ABOVE)).into_iter().chain(counts.map(Value::Integer)).collect()
    };
    above.into_iter().map(row).collect()
}

fn edges((start, end): (i64, i64)) -> Vec<Value> {
    vec![Value::Timestamp(start), Value::Timestamp(end)]
}

fn count(groups: &[Group]) -> Value {
    Value::Integer(i64::try_from(groups.len()).expect("is small"))
}

/// By keys, then by sums, as ORDER BY has them.
fn nulls_last(left: &Group, right: &Group) -> Ordering {
    let values = |group: &Group| -> Vec<(bool, Value)> {
        // Count windows of one key that begin and end together differ in their sums only.
        group.keys.iter().chain([&group.sum]).map(|value| (value.is_null(), value.clone())).collect()
    };
    values(left).cmp(&values(right))
}

/// Start, end and ordinal of a window, and the keys of a group in it.
type Named = ((i64, i64), usize, Vec<Value>);

/// Whether windows close when they have their records.
fn is_counted(query: &Query) -> bool {
    matches!(query.cut, Cut::Counting { .. })
}

fn groups(case: &Case, judged: &[model::Judged]) -> Vec<Group> {
    let mut groups: BTreeMap<Named, (i64, Value)> = BTreeMap::new();
    for record in judged {
        for &window in &record.windows {
            let keys = case.query.keys.iter().map(|key| model::grouped(&record.fields, key)).collect();
            let (size, sum) = groups.entry((window, record.ordinal, keys)).or_insert((0, Value::Null));
            *size += 1;
            *sum = match (&*sum, &record.fields["n"]) {
                (Value::Integer(sum), Value::Integer(n)) => Value::Integer(sum + n),
                (Value::Null, n) => n.clone(),
                (sum, _) => sum.clone(),
            };
        }
    }
    groups.into_iter().map(|((window, _, keys), (size, sum))| Group { window, keys, size, sum }).collect()
}

/// The groups that stand together: those of a window, or of one key's windows that begin and end together.
fn by_window(case: &Case, judged: &[model::Judged]) -> Vec<Vec<Group>> {
    let own_keys = if is_counted(&case.query) { case.query.partition_by.len() } else { 0 };
    let mut windows: BTreeMap<Named, Vec<Group>> = BTreeMap::new();
    for group in groups(case, judged) {
        // The keys begin with those of PARTITION BY.
        windows.entry((group.window, 0, group.keys[..own_keys].to_vec())).or_default().push(group);
    }
    windows.into_values().collect()
}
