//! Sums over pairs of numbers: count, both sums, and sums of products, all exact, so that a large common offset costs no
//! digits and order plays no part.
//!
//! A product of two doubles is a product of two 53-bit integers: 106 bits, exact. What is made of the sums, such as
//! `n * sum(xy) - sum(x) * sum(y)`, is exact too. So only the numerator, the denominator, their quotient and a root are
//! rounded: at most 3 units in the last place. A pair with a null counts as none.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type};
use datafusion_common::Result;
use datafusion_expr::{EmitTo, GroupsAccumulator};

use super::doubles::{SUM_COLUMNS, average, emitted, merge_columns, sum_columns, sum_fields};
use super::exact::{Sums, decompose};
use super::limbs::Limbs;
use super::products::{PRODUCT_COLUMNS, merge_products, product_columns};
use super::rows::for_each;

/// What is made of pairs (y, x): the first argument is y, as in SQL's `regr_…` functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Pairing {
    CovarianceSample,
    CovariancePopulation,
    Correlation,
    Slope,
    Intercept,
    Determination,
    Count,
    AverageX,
    AverageY,
    DeviationsXX,
    DeviationsYY,
    DeviationsXY,
}

/// Which values are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Product {
    XY,
    XX,
    YY,
}

impl Pairing {
    /// The products whose sums it needs.
    fn products(self) -> &'static [Product] {
        match self {
            Pairing::CovarianceSample | Pairing::CovariancePopulation | Pairing::DeviationsXY => &[Product::XY],
            Pairing::Correlation | Pairing::Determination => &[Product::XY, Product::XX, Product::YY],
            Pairing::Slope | Pairing::Intercept => &[Product::XY, Product::XX],
            Pairing::Count | Pairing::AverageX | Pairing::AverageY => &[],
            Pairing::DeviationsXX => &[Product::XX],
            Pairing::DeviationsYY => &[Product::YY],
        }
    }

    /// The layout of partial states: two sums, the count, and a long integer for each product.
    pub(super) fn state_fields(self, prefix: &str) -> Vec<FieldRef> {
        let field = |name: String, data_type| Arc::new(Field::new(format!("{prefix}[{name}]"), data_type, true));
        let mut fields = sum_fields(&format!("{prefix}[y]"));
        fields.extend(sum_fields(&format!("{prefix}[x]")));
        fields.push(field("count".to_owned(), DataType::Int64));
        for product in self.products() {
            fields.push(field(format!("{product:?}"), DataType::Binary));
            fields.push(field(format!("{product:?}_exponent"), DataType::Int32));
        }
        fields
    }
}

/// The sums of each group.
pub(super) struct Pairs {
    pairing: Pairing,
    y: Sums,
    x: Sums,
    counts: Vec<i64>,
    /// Of the pairs in which both factors are finite; in the order of [`Pairing::products`].
    products: Vec<(Product, Vec<Limbs>)>,
}

impl Pairs {
    pub(super) fn new(pairing: Pairing) -> Pairs {
        let products = pairing.products().iter().map(|product| (*product, Vec::new())).collect();
        Pairs { pairing, y: Sums::default(), x: Sums::default(), counts: Vec::new(), products }
    }

    fn resize(&mut self, groups: usize) {
        self.y.resize(groups);
        self.x.resize(groups);
        self.counts.resize(groups, 0);
        for (_, sums) in &mut self.products {
            sums.resize(groups, Limbs::default());
        }
    }

    fn add(&mut self, group: usize, y: f64, x: f64) {
        self.y.add(group, y);
        self.x.add(group, x);
        self.counts[group] += 1;
        for (product, sums) in &mut self.products {
            let (a, b) = match product {
                Product::XY => (x, y),
                Product::XX => (x, x),
                Product::YY => (y, y),
            };
            // What isn't finite in the other column is none of a square's business.
            if a.is_finite() && b.is_finite() {
                let ((a, a_exponent), (b, b_exponent)) = (decompose(a), decompose(b));
                let magnitude = u128::from(a.unsigned_abs()) * u128::from(b.unsigned_abs());
                sums[group].add((a < 0) != (b < 0), magnitude, a_exponent + b_exponent);
            }
        }
    }

    fn product(&self, group: usize, wanted: Product) -> &Limbs {
        let found = self.products.iter().find(|(product, _)| *product == wanted);
        &found.expect("a pairing names the products that it needs").1[group]
    }

    /// `n` times the sum of products of deviations from the means. `None` if one of the values isn't finite: its
    /// deviation is not a number.
    fn deviations(&self, group: usize, product: Product) -> Option<Limbs> {
        let (left, right) = match product {
            Product::XY => (self.x.exact(group)?, self.y.exact(group)?),
            Product::XX => (self.x.exact(group)?, self.x.exact(group)?),
            Product::YY => (self.y.exact(group)?, self.y.exact(group)?),
        };
        Some(self.product(group, product).times(&self.count(group)).minus(&left.times(&right)))
    }

    fn count(&self, group: usize) -> Limbs {
        let mut count = Limbs::default();
        count.add_signed(i128::from(self.counts[group]), 0);
        count
    }

    fn result(&self, group: usize) -> Option<f64> {
        let count = self.counts[group];
        if count == 0 {
            return None;
        }
        match self.pairing {
            Pairing::AverageX => average(&self.x, group, count),
            Pairing::AverageY => average(&self.y, group, count),
            Pairing::CovarianceSample => {
                (count > 1).then(|| self.deviations_over(group, Product::XY, [count, count - 1]))
            }
            Pairing::CovariancePopulation => Some(self.deviations_over(group, Product::XY, [count, count])),
            Pairing::DeviationsXY => Some(self.deviations_over(group, Product::XY, [count, 1])),
            Pairing::DeviationsXX => Some(self.deviations_over(group, Product::XX, [count, 1])),
            Pairing::DeviationsYY => Some(self.deviations_over(group, Product::YY, [count, 1])),
            Pairing::Slope | Pairing::Intercept => self.line(group),
            Pairing::Correlation | Pairing::Determination => self.likeness(group),
            Pairing::Count => unreachable!("a count has a type of its own"),
        }
    }

    fn deviations_over(&self, group: usize, product: Product, divisors: [i64; 2]) -> f64 {
        let Some(deviations) = self.deviations(group, product) else { return f64::NAN };
        let [first, second] = divisors;
        deviations.scaled().divided_by(first as f64).divided_by(second as f64).value()
    }

    /// Slope or intercept of the line of least squares; `None` if all x are the same.
    fn line(&self, group: usize) -> Option<f64> {
        let (Some(xy), Some(xx)) = (self.deviations(group, Product::XY), self.deviations(group, Product::XX)) else {
            return Some(f64::NAN);
        };
        if xx.is_zero() {
            return None;
        }
        let numerator = if self.pairing == Pairing::Slope {
            xy
        } else {
            let (sum_y, sum_x) = (self.y.exact(group)?, self.x.exact(group)?);
            let (products, squares) = (self.product(group, Product::XY), self.product(group, Product::XX));
            sum_y.times(squares).minus(&sum_x.times(products))
        };
        Some(numerator.scaled().over(xx.scaled()).value())
    }

    /// Correlation or its square; `None` if all x, or for the correlation all y, are the same.
    fn likeness(&self, group: usize) -> Option<f64> {
        let deviations = |product| self.deviations(group, product);
        let (Some(xy), Some(xx), Some(yy)) =
            (deviations(Product::XY), deviations(Product::XX), deviations(Product::YY))
        else {
            return Some(f64::NAN);
        };
        let is_square = self.pairing == Pairing::Determination;
        if xx.is_zero() || (yy.is_zero() && !is_square) {
            return None;
        }
        if yy.is_zero() {
            // A level line fits exactly: SQL's standard says so.
            return Some(1.0);
        }
        let (square, product) = (xy.times(&xy), xx.times(&yy));
        let (numerator, denominator) = (xy.scaled(), product.scaled());
        if square.clone().minus(&product).is_zero() {
            // All points stand on one line: no rounding may say otherwise.
            return Some(if is_square { 1.0 } else { numerator.fraction.signum() });
        }
        // Rounding must not lead beyond what a correlation can be.
        Some(if is_square {
            square.scaled().over(denominator).value().min(1.0)
        } else {
            numerator.over(denominator.square_root()).value().clamp(-1.0, 1.0)
        })
    }

    fn drop_first(&mut self, count: usize) {
        self.y.drop_first(count);
        self.x.drop_first(count);
        self.counts.drain(..count);
        for (_, sums) in &mut self.products {
            sums.drain(..count);
        }
    }
}

impl GroupsAccumulator for Pairs {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.resize(total_num_groups);
        let (y, x) = (values[0].as_primitive::<Float64Type>(), values[1].as_primitive::<Float64Type>());
        let nulls = NullBuffer::union(y.nulls(), x.nulls());
        let (y, x) = (y.values(), x.values());
        for_each(group_indices, nulls.as_ref(), opt_filter, |row, group| self.add(group, y[row], x[row]));
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let count = emitted(emit_to, self.counts.len());
        let results: ArrayRef = if self.pairing == Pairing::Count {
            Arc::new(Int64Array::from(self.counts[..count].to_vec()))
        } else {
            // A result too small for any double is zero, which has no sign.
            Arc::new((0..count).map(|group| Some(self.result(group)? + 0.0)).collect::<Float64Array>())
        };
        self.drop_first(count);
        Ok(results)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let count = emitted(emit_to, self.counts.len());
        let mut columns = sum_columns(&self.y, count);
        columns.extend(sum_columns(&self.x, count));
        columns.push(Arc::new(Int64Array::from(self.counts[..count].to_vec())));
        for (_, sums) in &self.products {
            columns.extend(product_columns(&sums[..count]));
        }
        self.drop_first(count);
        Ok(columns)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        _opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.resize(total_num_groups);
        merge_columns(&mut self.y, &values[..SUM_COLUMNS], group_indices)?;
        merge_columns(&mut self.x, &values[SUM_COLUMNS..2 * SUM_COLUMNS], group_indices)?;
        let (counts, products) = values[2 * SUM_COLUMNS..].split_first().expect("the state has a count");
        let counts = counts.as_primitive::<Int64Type>().values();
        for (&count, &group) in counts.iter().zip(group_indices) {
            self.counts[group] += count;
        }
        for ((_, sums), columns) in self.products.iter_mut().zip(products.chunks_exact(PRODUCT_COLUMNS)) {
            merge_products(sums, columns, group_indices)?;
        }
        Ok(())
    }

    fn size(&self) -> usize {
        let products = self.products.iter().map(|(_, sums)| {
            let words: usize = sums.iter().map(Limbs::bytes).sum();
            words + sums.capacity() * size_of::<Limbs>()
        });
        self.y.bytes() + self.x.bytes() + self.counts.capacity() * size_of::<i64>() + products.sum::<usize>()
    }
}
