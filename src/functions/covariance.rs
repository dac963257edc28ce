//! `covar`, `covar_pop`, `corr` and the `regr_…` family over pairs of DOUBLE: their names and types. The first argument
//! is y, the second x; see [`super::pairs`] for what is computed.

use arrow::datatypes::{DataType, FieldRef};
use datafusion_common::{Result, ScalarValue, not_impl_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::utils::AggregateOrderSensitivity;
use datafusion_expr::{Accumulator, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, Signature, Volatility};

use super::coercion;
use super::pairs::{Pairing, Pairs};
use super::single::Single;

/// One function over pairs.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct PairFunction {
    pairing: Pairing,
    aliases: Vec<String>,
    signature: Signature,
}

impl PairFunction {
    /// All of them.
    pub(super) fn all() -> impl Iterator<Item = PairFunction> {
        use Pairing::{
            AverageX, AverageY, Correlation, Count, CovariancePopulation, CovarianceSample, Determination,
            DeviationsXX, DeviationsXY, DeviationsYY, Intercept, Slope,
        };
        let all = [
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
        ];
        all.into_iter().map(|pairing| {
            let aliases = if pairing == CovarianceSample { vec!["covar".to_owned()] } else { Vec::new() };
            PairFunction { pairing, aliases, signature: Signature::user_defined(Volatility::Immutable) }
        })
    }
}

impl AggregateUDFImpl for PairFunction {
    fn name(&self) -> &'static str {
        match self.pairing {
            Pairing::CovarianceSample => "covar_samp",
            Pairing::CovariancePopulation => "covar_pop",
            Pairing::Correlation => "corr",
            Pairing::Slope => "regr_slope",
            Pairing::Intercept => "regr_intercept",
            Pairing::Determination => "regr_r2",
            Pairing::Count => "regr_count",
            Pairing::AverageX => "regr_avgx",
            Pairing::AverageY => "regr_avgy",
            Pairing::DeviationsXX => "regr_sxx",
            Pairing::DeviationsYY => "regr_syy",
            Pairing::DeviationsXY => "regr_sxy",
        }
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        coercion::pair(self.name(), arg_types)
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(if self.pairing == Pairing::Count { DataType::Int64 } else { DataType::Float64 })
    }

    fn is_nullable(&self) -> bool {
        self.pairing != Pairing::Count
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        if self.pairing == Pairing::Count { Ok(ScalarValue::Int64(Some(0))) } else { ScalarValue::try_from(data_type) }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(self.pairing.state_fields(args.name))
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        if args.is_distinct {
            return not_impl_err!("{}(DISTINCT …)", self.name());
        }
        Ok(Box::new(Pairs::new(self.pairing)))
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Single::over(self.create_groups_accumulator(args.clone())?, &args)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}
