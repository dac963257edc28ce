//! Aggregate functions of a query as physical ones over the record schema.

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion_common::{Column, DFSchemaRef, DataFusionError};
use datafusion_expr::expr::{AggregateFunction, NullTreatment, Sort};
use datafusion_expr::{Expr, ExprSchemable, lit};
use datafusion_physical_expr::aggregate::AggregateExprBuilder;
use datafusion_physical_expr::{PhysicalExpr, PhysicalSortExpr};

use datafusion_sql::sqlparser::tokenizer::Span;

use super::catalog::FUNCTIONS;
use super::error::problem;
use super::expression::{bind, coerce, over};
use super::types::sql_name;
use crate::event::{OFFSET, PARTITION, Stream};
use crate::functions::{DISTINCT, DISTINCT_IS_NOTHING, ORDERED};
use crate::job::Problems;
use crate::job::plan::Aggregate;

/// What the records of a query look like.
pub(super) struct Records<'a> {
    /// The stream.
    pub stream: &'a Stream,
    /// Its index among the job's.
    pub stream_index: usize,
    /// [`Stream::record_schema`].
    pub schema: SchemaRef,
    /// What the query sees of them, for DataFusion, without qualifiers.
    pub columns: DFSchemaRef,
    /// How that comes from the record, where it isn't the record itself.
    pub chosen: Option<Chosen>,
    /// Columns that the window adds.
    pub window_columns: &'static [&'static str],
    /// What windows are told apart by, as group keys are made.
    pub partition_by: Vec<Arc<dyn PhysicalExpr>>,
}

/// Columns that a window's input query makes of a record.
#[derive(Clone)]
pub(super) struct Chosen {
    /// What each column is, over the record.
    pub columns: Vec<Expr>,
    /// The record, without qualifiers.
    pub record: DFSchemaRef,
    /// Which columns put records in canonical order, in order.
    pub order: Vec<String>,
}

/// Why an aggregate can't be had.
pub(super) enum Refusal {
    /// DataFusion says so.
    DataFusion(DataFusionError),
    /// We say so: what is wrong, and the way out.
    Words(String, String),
}

impl From<DataFusionError> for Refusal {
    fn from(error: DataFusionError) -> Refusal {
        Refusal::DataFusion(error)
    }
}

impl Refusal {
    /// Adds it to `problems`.
    pub(super) fn tell(self, span: Span, problems: &mut Problems) {
        match self {
            Refusal::DataFusion(error) => problems.push(problem(&error, span)),
            Refusal::Words(message, help) => problems.add(span, message, help),
        }
    }
}

/// Whether the answer of the aggregate `name` depends on an order.
pub fn goes_by_order(name: &str) -> bool {
    ORDERED.contains(&name)
}

impl Records<'_> {
    /// The physical form of `call`, whose columns are unqualified and whose types are coerced, under `name`.
    pub(super) fn aggregate(&self, call: AggregateFunction, name: &str) -> Result<Aggregate, Refusal> {
        let function_name = call.func.name().to_owned();
        let parameters = call.params;
        let distinct = parameters.distinct && !DISTINCT_IS_NOTHING.contains(&function_name.as_str());
        if distinct && !DISTINCT.contains(&function_name.as_str()) {
            return Err(Refusal::Words(
                format!("{function_name}(DISTINCT …) isn't supported yet"),
                format!("DISTINCT is there for {}, min and max", DISTINCT.join(", ")),
            ));
        }
        let own = parameters.args.into_iter().map(|argument| self.bind(argument)).collect::<Result<Vec<_>, _>>()?;
        let (order, is_passed) = if goes_by_order(&function_name) {
            (self.canonical_order(parameters.order_by)?, true)
        } else if call.func.supports_within_group_clause() {
            // The value is an argument already; of the order only its direction matters.
            (self.order(parameters.order_by)?, false)
        } else {
            (Vec::new(), false)
        };
        let filter = parameters.filter.map(|filter| self.filter(*filter)).transpose()?;
        let passed = order.iter().filter(|_| is_passed).map(|sort| Arc::clone(&sort.expr));
        let arguments = own.iter().cloned().chain(passed).collect();
        let function = AggregateExprBuilder::new(call.func, own)
            .schema(Arc::clone(&self.schema))
            .alias(name)
            .order_by(order)
            .with_distinct(distinct)
            .with_ignore_nulls(parameters.null_treatment == Some(NullTreatment::IgnoreNulls))
            .build()?;
        // Functions decide about their types when they are made: better now than on the first record.
        if function.groups_accumulator_supported() {
            function.create_groups_accumulator().map(drop)?;
        } else {
            function.create_accumulator().map(drop)?;
        }
        Ok(Aggregate { function: Arc::new(function), arguments, filter })
    }

    /// How many records of a group there are, where equal ones are one group.
    pub(super) fn count_of_equals(&self) -> Result<Aggregate, Refusal> {
        let count = Arc::clone(&FUNCTIONS.aggregates["count"]);
        self.aggregate(AggregateFunction::new_udf(count, vec![lit(1_i64)], false, None, Vec::new(), None), "records")
    }

    /// `expression`, which names columns that the query sees, over the record.
    pub(super) fn bind(&self, expression: Expr) -> Result<Arc<dyn PhysicalExpr>, DataFusionError> {
        match &self.chosen {
            None => bind(expression, &self.columns),
            Some(chosen) => bind(over(expression, &self.columns, &chosen.columns)?, &chosen.record),
        }
    }

    /// FILTER; it must be a condition.
    fn filter(&self, filter: Expr) -> Result<Arc<dyn PhysicalExpr>, Refusal> {
        let filter = coerce(filter, &self.columns)?;
        match filter.get_type(&self.columns)? {
            DataType::Boolean => Ok(self.bind(filter)?),
            other => Err(Refusal::Words(
                format!("FILTER needs a condition, and this is {}", sql_name(&other)),
                "compare it with something: FILTER (WHERE x > 0)".to_owned(),
            )),
        }
    }

    fn order(&self, user: Vec<Sort>) -> Result<Vec<PhysicalSortExpr>, Refusal> {
        let bound = user.into_iter().map(|sort| {
            let options = SortOptions { descending: !sort.asc, nulls_first: sort.nulls_first };
            Ok(PhysicalSortExpr { expr: self.bind(sort.expr)?, options })
        });
        bound.collect()
    }

    /// The user's order, then the canonical one, so that no tie is left: event time, partition, offset.
    fn canonical_order(&self, user: Vec<Sort>) -> Result<Vec<PhysicalSortExpr>, Refusal> {
        let mut order = self.order(user)?;
        let time = self.stream.columns[self.stream.event_time].name.as_str();
        let of_record = || [time, PARTITION, OFFSET].map(str::to_owned).to_vec();
        let columns = self.chosen.as_ref().map_or_else(of_record, |chosen| chosen.order.clone());
        for column in columns {
            let expr = self.bind(Expr::Column(Column::new_unqualified(column)))?;
            order.push(PhysicalSortExpr { expr, options: SortOptions { descending: false, nulls_first: false } });
        }
        Ok(order)
    }
}
