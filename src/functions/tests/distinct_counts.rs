//! HyperLogLog: its error, and that it is a function of the set; hashes: that they are fixed.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int32Array,
    Int64Array, LargeStringArray, ListArray, StringArray, StringViewArray, StructArray, TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int32Type};
use proptest::prelude::*;

use super::super::hashes::hashes;
use super::super::hyperloglog::HyperLogLog;

fn sketch(values: impl Iterator<Item = i64>) -> HyperLogLog {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(values));
    let mut sketch = HyperLogLog::default();
    hashes(&column).expect("integers").into_iter().for_each(|hash| sketch.insert(hash));
    sketch
}

/// Relative error of the estimate of `count` values, each there twice; `trial` chooses which values.
fn error(count: i64, trial: i64) -> f64 {
    let values = (0..count).map(|value| value * 7 + (trial << 40));
    let sketch = sketch(values.clone().chain(values));
    (sketch.estimate() as f64 - count as f64) / count as f64
}

#[test]
fn few_values_are_counted_exactly() {
    for trial in 0..20 {
        assert_eq!((error(0, trial).is_nan(), error(1, trial), error(10, trial)), (true, 0.0, 0.0));
        assert_eq!(error(1_000, trial), 0.0);
    }
}

#[test]
fn the_error_is_what_the_docs_say() {
    const STANDARD_ERROR: f64 = 0.0081;
    for (count, trials) in [(4_000, 40), (20_000, 40), (100_000, 30), (1_000_000, 6)] {
        let errors: Vec<f64> = (0..trials).map(|trial| error(count, trial)).collect();
        let mean_square = errors.iter().map(|error| error * error).sum::<f64>() / trials as f64;
        // Of so few trials the root itself is uncertain: by a ninth of 40, by three tenths of 6.
        assert!(mean_square.sqrt() < STANDARD_ERROR * 1.6, "{count}: {}", mean_square.sqrt());
        let largest = errors.iter().fold(0.0_f64, |largest, error| largest.max(error.abs()));
        assert!(largest < STANDARD_ERROR * 4.0, "{count}: {largest}");
    }
}

#[test]
fn an_error_of_the_estimate_has_no_side() {
    let errors: Vec<f64> = (0..60).map(|trial| error(50_000, trial)).collect();
    let mean = errors.iter().sum::<f64>() / 60.0;
    assert!(mean.abs() < 0.0081 * 4.0 / 60.0_f64.sqrt(), "{mean}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn pieces_and_their_order_leave_no_trace(
        // Below, about and above the size at which a sketch becomes dense.
        values in prop_oneof![
            prop::collection::vec(any::<i64>(), 0..200),
            prop::collection::vec(any::<i64>(), 3_000..3_200),
            prop::collection::vec(any::<i64>(), 3_072..3_074),
            prop::collection::vec(0i64..9_000, 6_000..7_000),
        ],
        cuts in prop::collection::vec(0usize..7_000, 0..6),
    ) {
        let whole = sketch(values.iter().copied());
        let backwards = sketch(values.iter().rev().copied());
        prop_assert_eq!(whole.to_bytes(), backwards.to_bytes());
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(values.len())).collect();
        cuts.extend([0, values.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|pair| sketch(values[pair[0]..pair[1]].iter().copied()));
        let mut merged = HyperLogLog::default();
        for piece in pieces.rev() {
            merged.merge(&piece.to_bytes()).expect("own bytes");
        }
        prop_assert_eq!(merged.to_bytes(), whole.to_bytes());
        prop_assert_eq!(merged.estimate(), whole.estimate());
    }
}

#[test]
fn a_sketch_becomes_dense_after_3072_values_and_never_holds_more_than_16_kib() {
    let (mut sketch, mut largest) = (HyperLogLog::default(), 0);
    for value in 0_i64..5_000 {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![value]));
        sketch.insert(hashes(&column).expect("an integer")[0]);
        largest = largest.max(sketch.heap_bytes());
        if value + 1 == 3_072 {
            assert!(matches!(sketch, HyperLogLog::Sparse { .. }));
            assert_eq!(sketch.estimate(), 3_072);
        }
    }
    assert!(matches!(sketch, HyperLogLog::Dense(_)));
    assert_eq!(largest, 16_384);
}

#[test]
fn bytes_that_no_sketch_writes_are_not_read() {
    let merge = |bytes: &[u8]| HyperLogLog::default().merge(bytes);
    assert!(merge(&[]).is_some());
    assert!(merge(&[1, 0, 0, 0]).is_some());
    assert!(merge(&[1, 0, 0]).is_none(), "a part of an entry");
    assert!(merge(&[0, 0, 0, 0]).is_none(), "a rank of zero");
    assert!(merge(&[40, 0, 0, 0]).is_none(), "a rank beyond all bits");
    assert!(merge(&[1; 16_384]).is_some());
    assert!(merge(&[52; 16_384]).is_none(), "a register beyond all bits");
    assert!(merge(&[1; 16_388]).is_none(), "too many entries");
}

#[test]
fn hashes_are_fixed() {
    let column = |array: &dyn Array| hashes(&arrow::array::make_array(array.to_data())).expect("a known type");
    // As they stand in checkpoints; XXH3 of eight zero bytes, and so on, by its specification.
    assert_eq!(
        column(&Int64Array::from(vec![0, 1, -1])),
        [0xc77b_3abb_6f87_acd9, 0x2fbc_5935_64db_792e, 0x5111_c7e4_7d78_4413]
    );
    assert_eq!(column(&StringArray::from(vec!["", "kappa"])), [0x2d06_8005_38d3_94c2, 0xdc16_7c83_4740_d55f]);
}

#[test]
fn equal_values_have_equal_hashes_however_they_are_kept() {
    let column = |array: ArrayRef| hashes(&array).expect("a known type");
    let same = |left: ArrayRef, right: ArrayRef| assert_eq!(column(left.clone()), column(right), "{left:?}");
    same(Arc::new(Int32Array::from(vec![-1, 7])), Arc::new(Int64Array::from(vec![-1, 7])));
    same(Arc::new(Float32Array::from(vec![0.5, -0.0])), Arc::new(Float64Array::from(vec![0.5, 0.0])));
    same(Arc::new(Float64Array::from(vec![f64::NAN])), Arc::new(Float64Array::from(vec![-f64::NAN])));
    let texts = vec![Some("a"), None, Some("a text that is longer than a view holds")];
    let plain: ArrayRef = Arc::new(StringArray::from(texts.clone()));
    same(plain.clone(), Arc::new(LargeStringArray::from(texts.clone())));
    same(plain.clone(), Arc::new(StringViewArray::from(texts)));
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    same(plain.clone(), cast(&plain, &dictionary).expect("a dictionary of texts"));
    // A part of an array is what it would be by itself.
    same(plain.slice(2, 1), Arc::new(StringArray::from(vec!["a text that is longer than a view holds"])));
    let decimals = Decimal128Array::from(vec![1, 2, 3]).with_precision_and_scale(10, 2).expect("ten digits");
    let decimals: ArrayRef = Arc::new(decimals);
    let two = Decimal128Array::from(vec![2]).with_precision_and_scale(38, 2).expect("38 digits");
    same(decimals.slice(1, 1), Arc::new(two));
}

#[test]
fn values_of_every_type_have_hashes_that_differ() {
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), Some(2), None, Some(3)]));
    let list = |values: Vec<Option<Vec<Option<i32>>>>| ListArray::from_iter_primitive::<Int32Type, _, _>(values);
    let field = |name: &str, data_type| Arc::new(Field::new(name, data_type, true));
    let structs = StructArray::from(vec![
        (field("a", DataType::Int32), Arc::new(Int32Array::from(vec![1, 1, 2, 2])) as ArrayRef),
        (field("b", DataType::Int32), Arc::new(Int32Array::from(vec![1, 2, 1, 2])) as ArrayRef),
    ]);
    let columns: Vec<ArrayRef> = vec![
        numbers,
        Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
        Arc::new(Date32Array::from(vec![1, 2, -1])),
        Arc::new(TimestampMicrosecondArray::from(vec![1, 2, -1])),
        Arc::new(BinaryArray::from_vec(vec![b"", b"a", b"ab"])),
        Arc::new(list(vec![
            Some(vec![]),
            Some(vec![Some(1)]),
            Some(vec![Some(1), Some(2)]),
            Some(vec![Some(2), Some(1)]),
            Some(vec![None]),
            Some(vec![None, None]),
            None,
        ])),
        Arc::new(structs),
    ];
    for column in columns {
        let mut hashes = hashes(&column).expect("a known type");
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), column.len(), "{column:?}");
    }
}
