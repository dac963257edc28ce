//! DDSketch: its error, and that it is a function of the values, joined buckets or not.

use proptest::prelude::*;

use super::super::ddsketch::{BUCKETS_MAX, DdSketch, Direction};

fn sketch(values: &[f64]) -> DdSketch {
    let mut sketch = DdSketch::default();
    values.iter().for_each(|value| sketch.insert(*value));
    sketch
}

fn quantile(values: &[f64], share: f64) -> f64 {
    sketch(values).quantile(share, Direction::Ascending).expect("there are values")
}

/// The value that `share` stands for, by sorting.
fn exact(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((share * values.len() as f64).ceil() as usize).max(1) - 1]
}

fn finite() -> impl Strategy<Value = f64> {
    any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |value| value.is_finite())
}

/// Values that fill far more buckets than a sketch has: over all exponents, or over a few decimal orders.
fn many() -> impl Strategy<Value = Vec<f64>> {
    prop_oneof![
        2 => prop::collection::vec(finite(), 2_000..4_500),
        1 => prop::collection::vec((-30.0..30.0).prop_map(|power| 10_f64.powf(power)), 2_500..4_000),
        1 => prop::collection::vec(prop_oneof![finite(), Just(0.0), Just(f64::NAN), Just(f64::INFINITY)], 1..300),
    ]
}

proptest! {
    #[test]
    fn any_value_is_within_one_percent_of_itself(value in finite(), other in finite()) {
        // Three values, so that neither the least nor the greatest one is asked for.
        let values = [value, value, value, other, -other, f64::MAX, f64::MIN];
        for share in [0.2, 0.35, 0.5, 0.65, 0.8] {
            let (found, expected) = (quantile(&values, share), exact(&values, share));
            prop_assert!((found - expected).abs() <= expected.abs() * 0.01, "{} {}", found, expected);
        }
    }

    #[test]
    fn quantiles_are_within_one_percent(
        values in prop::collection::vec(prop_oneof![-1e6..1e6, 0.0..1e-3, Just(0.0)], 1..400),
        share in 0.0..=1.0,
    ) {
        let (found, expected) = (quantile(&values, share), exact(&values, share));
        prop_assert!((found - expected).abs() <= expected.abs() * 0.01, "{} {}", found, expected);
        let backwards: Vec<f64> = values.iter().map(|value| -value).collect();
        let mirrored = sketch(&backwards).quantile(share, Direction::Descending).expect("there are values");
        prop_assert_eq!(mirrored, -found);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn pieces_and_their_order_leave_no_trace(
        values in many().prop_shuffle(),
        cuts in prop::collection::vec(0usize..4_500, 0..6),
        turn in 0usize..4_500,
    ) {
        let whole = sketch(&values);
        prop_assert!(whole.parts().keys.len() <= BUCKETS_MAX);
        let mut turned = values.clone();
        turned.rotate_left(turn % values.len());
        turned.reverse();
        prop_assert_eq!(&sketch(&turned), &whole);
        turned.sort_by(f64::total_cmp);
        prop_assert_eq!(&sketch(&turned), &whole);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(values.len())).collect();
        cuts.extend([0, values.len()]);
        cuts.sort_unstable();
        let pieces: Vec<DdSketch> = cuts.windows(2).map(|pair| sketch(&values[pair[0]..pair[1]])).collect();
        for order in [0, 1] {
            let mut merged = DdSketch::default();
            let mut pieces: Vec<&DdSketch> = pieces.iter().collect();
            if order == 1 {
                pieces.reverse();
            }
            for piece in pieces {
                merged.merge(piece.parts()).expect("own parts");
            }
            prop_assert_eq!(&merged, &whole);
        }
    }
}

#[test]
fn joined_buckets_cost_a_known_error() {
    // 62 octaves: 2,170 buckets, more than a sketch has, so they are joined once.
    let values: Vec<f64> = (0..20_000).map(|index| 2_f64.powf(f64::from(index) * 62.0 / 20_000.0)).collect();
    let sketch = sketch(&values);
    assert_eq!(sketch.parts().level, 1);
    for percent in 1..100 {
        let share = f64::from(percent) / 100.0;
        let (found, expected) = (sketch.quantile(share, Direction::Ascending).expect("values"), exact(&values, share));
        assert!((found - expected).abs() <= expected * 0.02_f64.tanh(), "{percent} %: {found} for {expected}");
    }
}

#[test]
fn what_has_no_size_has_a_place() {
    let infinity = f64::INFINITY;
    let values = [f64::NAN, infinity, 3.0, 0.0, -0.0, -3.0, -infinity, -f64::NAN];
    let found: Vec<f64> = (1..=8).map(|place| quantile(&values, f64::from(place) / 8.0)).collect();
    assert_eq!(found[..6], [-infinity, -3.0, 0.0, 0.0, 3.0, infinity]);
    assert!(found[6..].iter().all(|value| value.to_bits() == f64::NAN.to_bits()));
    assert_eq!(quantile(&[-0.0], 0.5).to_bits(), 0, "zero has no sign");
    assert!(quantile(&[f64::NAN], 0.0).is_nan());
    assert_eq!(quantile(&[-infinity, -infinity], 1.0), -infinity);
    assert_eq!(DdSketch::default().quantile(0.5, Direction::Ascending), None);
}

#[test]
fn the_least_the_greatest_and_the_only_value_are_exact() {
    assert_eq!(quantile(&[1234.5], 0.5), 1234.5);
    assert_eq!(quantile(&[7.7, 7.7, 7.7], 0.99), 7.7);
    let values = [0.1, 0.2, 0.3, 1e300, 5e-324, -f64::MAX];
    assert_eq!((quantile(&values, 0.0), quantile(&values, 1.0)), (-f64::MAX, 1e300));
    assert_eq!(sketch(&values).quantile(0.0, Direction::Descending), Some(1e300));
}

#[test]
fn parts_that_no_sketch_has_are_not_read() {
    use super::super::ddsketch::Parts;
    let merge = |level, keys: &[i32], counts: &[i64]| {
        DdSketch::default().merge(Parts { level, keys, counts, extremes: Some((1.0, 2.0)) })
    };
    assert!(merge(0, &[1, 2], &[1, 1]).is_some());
    assert!(merge(0, &[2, 1], &[1, 1]).is_none(), "not sorted");
    assert!(merge(0, &[1, 2], &[1]).is_none(), "a count is missing");
    assert!(merge(0, &[1], &[0]).is_none(), "an empty bucket");
    assert!(merge(8, &[1], &[1]).is_none(), "joined more often than ever needed");
}
