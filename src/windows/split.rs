//! The rows of a batch, cut by where they belong: to a window, a pane, a part of one.

use std::collections::HashMap;

use arrow::array::UInt32Array;
use arrow::buffer::ScalarBuffer;

/// The rows of a batch, cut by their labels.
#[derive(Clone, Debug, PartialEq)]
pub enum Split {
    /// All rows have this label; the common case, in which nothing is copied.
    One(i64),
    /// Each label with the indices of its rows, ascending; labels ascending too. Empty for no rows.
    Several(Vec<(i64, UInt32Array)>),
}

/// Which rows have which label.
pub fn split(labels: &[i64]) -> Split {
    match labels.split_first() {
        None => Split::Several(Vec::new()),
        Some((&first, rest)) if rest.iter().all(|&label| label == first) => Split::One(first),
        Some(_) => counting_sort(labels),
    }
}

/// A counting sort: one list of indices for the batch, of which each label gets a slice.
fn counting_sort(labels: &[i64]) -> Split {
    let mut slots: HashMap<i64, u32> = HashMap::new();
    let mut counts: Vec<(i64, usize)> = Vec::new();
    let mut slot_of_row = Vec::with_capacity(labels.len());
    let mut previous: Option<(i64, u32)> = None;
    for &label in labels {
        let slot = match previous {
            Some((same, slot)) if same == label => slot,
            _ => *slots.entry(label).or_insert_with(|| {
                counts.push((label, 0));
                u32::try_from(counts.len() - 1).expect("a batch has fewer than 2^32 rows")
            }),
        };
        previous = Some((label, slot));
        counts[slot as usize].1 += 1;
        slot_of_row.push(slot);
    }
    let mut order: Vec<usize> = (0..counts.len()).collect();
    order.sort_unstable_by_key(|&slot| counts[slot].0);
    let mut next = vec![0; counts.len()];
    let mut position = 0;
    for &slot in &order {
        next[slot] = position;
        position += counts[slot].1;
    }
    let mut indices = vec![0_u32; labels.len()];
    for (row, &slot) in (0_u32..).zip(&slot_of_row) {
        indices[next[slot as usize]] = row;
        next[slot as usize] += 1;
    }
    let indices = ScalarBuffer::from(indices);
    let slice = |slot: &usize| {
        let (label, count) = counts[*slot];
        (label, UInt32Array::new(indices.slice(next[*slot] - count, count), None))
    };
    Split::Several(order.iter().map(slice).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_batch_of_one_label_is_not_copied() {
        assert_eq!(split(&[7, 7, 7]), Split::One(7));
        assert_eq!(split(&[]), Split::Several(Vec::new()));
    }

    #[test]
    fn a_batch_is_cut_in_order_of_labels_and_of_rows() {
        let expected = [(-60, vec![1, 4]), (0, vec![3]), (60, vec![0, 2])];
        let expected = expected.map(|(label, rows)| (label, UInt32Array::from(rows)));
        assert_eq!(split(&[60, -60, 60, 0, -60]), Split::Several(expected.to_vec()));
    }

    proptest! {
        #[test]
        fn every_row_is_in_the_part_of_its_label(labels in prop::collection::vec(-5i64..5, 0..200)) {
            match split(&labels) {
                Split::One(label) => prop_assert!(labels.iter().all(|&other| other == label)),
                Split::Several(parts) => {
                    prop_assert_eq!(parts.iter().map(|(_, rows)| rows.len()).sum::<usize>(), labels.len());
                    prop_assert!(parts.windows(2).all(|pair| pair[0].0 < pair[1].0));
                    for (label, rows) in &parts {
                        prop_assert!(rows.values().is_sorted());
                        prop_assert!(rows.values().iter().all(|&row| labels[row as usize] == *label));
                    }
                }
            }
        }
    }
}
