//! What a version of a job is, as lines that a checkpoint keeps, and how two versions differ.

use super::explain;
use crate::job::Plan;

/// Deepest indentation of a line: headings have none, their facts two, columns and continued facts four.
const INDENT_MAX: usize = 4;

/// What `plan` does, as lines that don't depend on how wide its columns are shown: a heading for each stream and INSERT,
/// what belongs to it behind it, indented.
pub fn describe(plan: &Plan) -> Vec<String> {
    let text = explain(plan).to_string();
    let is_heading = |line: &&str| line.starts_with("stream ") || line.starts_with("insert ");
    text.lines().skip_while(|line| !is_heading(line)).filter(|line| !line.is_empty()).map(plain).collect()
}

fn plain(line: &str) -> String {
    let indent = line.len() - line.trim_start().len();
    let words: Vec<&str> = line.split_whitespace().collect();
    format!("{:indent$}{}", "", words.join(" "), indent = indent.min(INDENT_MAX))
}

/// How the lines of two descriptions differ: `-` before those that are gone, `+` before those that have come, under the
/// headings that they belong to. Empty if they are the same.
pub fn difference(before: &[String], after: &[String]) -> Vec<String> {
    let common = common(before, after);
    let mut shown = Vec::new();
    let mut heading: Option<&String> = None;
    let (mut old, mut new) = (0, 0);
    for (old_end, new_end) in common.into_iter().chain([(before.len(), after.len())]) {
        let mut show = |sign: char, line: &str, is_heading: bool| {
            // A heading that is itself gone or new says it all.
            if let Some(heading) = heading.take().filter(|_| !is_heading) {
                shown.push(format!("  {heading}"));
            }
            shown.push(format!("{sign} {line}"));
        };
        before[old..old_end].iter().for_each(|line| show('-', line, !line.starts_with(' ')));
        after[new..new_end].iter().for_each(|line| show('+', line, !line.starts_with(' ')));
        if let Some(line) = before.get(old_end).filter(|line| !line.starts_with(' ')) {
            heading = Some(line);
        }
        (old, new) = (old_end + 1, new_end + 1);
    }
    shown
}

/// The places of a longest common subsequence. Descriptions have some ten to some hundred lines.
fn common(before: &[String], after: &[String]) -> Vec<(usize, usize)> {
    let width = after.len() + 1;
    let mut lengths = vec![0_u32; (before.len() + 1) * width];
    for old in (0..before.len()).rev() {
        for new in (0..after.len()).rev() {
            lengths[old * width + new] = match before[old] == after[new] {
                true => lengths[(old + 1) * width + new + 1] + 1,
                false => lengths[(old + 1) * width + new].max(lengths[old * width + new + 1]),
            };
        }
    }
    let (mut old, mut new, mut places) = (0, 0, Vec::new());
    while old < before.len() && new < after.len() {
        if before[old] == after[new] {
            places.push((old, new));
            (old, new) = (old + 1, new + 1);
        } else if lengths[(old + 1) * width + new] >= lengths[old * width + new + 1] {
            old += 1;
        } else {
            new += 1;
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::compile;

    const JOB: &str = "CREATE STREAM clicks (host TEXT, t TIMESTAMP NOT NULL, WATERMARK FOR t)
          LIVE FROM KAFKA 'clicks' FORMAT JSON;
        INSERT INTO ICEBERG 'marts.hits' SELECT window_start, count(*) AS hits
          FROM TUMBLE(clicks, t, INTERVAL '1 minute') GROUP BY window_start;";

    fn described(text: &str) -> Vec<String> {
        describe(&compile("job", text).unwrap_or_else(|errors| panic!("{errors}")))
    }

    #[test]
    fn a_change_stands_under_the_heading_that_it_belongs_to() {
        let wider = JOB.replace("host TEXT,", "host TEXT, a_rather_long_name INT,").replace("AS hits", "AS clicks");
        assert_eq!(
            difference(&described(JOB), &described(&wider)),
            [
                "  stream clicks",
                "+     a_rather_long_name INT",
                "  insert into marts.hits",
                "-   sorted by window_start, hits",
                "+   sorted by window_start, clicks",
                "-     hits BIGINT count(*)",
                "+     clicks BIGINT count(*)",
            ]
        );
    }

    #[test]
    fn the_same_has_no_difference_and_a_new_insert_is_shown_whole() {
        let before = described(JOB);
        assert!(difference(&before, &described(JOB)).is_empty());
        let second = JOB.split(';').nth(1).expect("the INSERT").replace("marts.hits", "marts.more");
        let shown = difference(&before, &described(&format!("{JOB}{second}")));
        assert_eq!(shown[0], "+ insert into marts.more");
        assert!(shown.len() > 5 && shown.iter().all(|line| line.starts_with('+')), "{shown:#?}");
        assert_eq!(difference(&[], &before).len(), before.len());
    }
}
