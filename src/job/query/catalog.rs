//! What a query may name: its tables, and the functions whose results depend on the log alone.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, FieldRef, SchemaRef};
use datafusion_common::config::ConfigOptions;
use datafusion_common::{Result, TableReference, plan_err};
use datafusion_expr::logical_plan::builder::LogicalTableSource;
use datafusion_expr::planner::{ContextProvider, ExprPlanner, TypePlanner};
use datafusion_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, Volatility, WindowUDF};
use datafusion_functions_aggregate::grouping::grouping_udaf;
use datafusion_sql::planner::ParserOptions;
use datafusion_sql::sqlparser::ast;

use crate::event::timestamp_type;

/// `grouping(key)`: whether a row's grouping set lacks a key.
pub(super) const GROUPING: &str = "grouping";

/// The functions that a query may call. The same for every query.
pub(super) struct Functions {
    /// By name and alias.
    pub scalars: BTreeMap<String, Arc<ScalarUDF>>,
    /// By name and alias.
    pub aggregates: BTreeMap<String, Arc<AggregateUDF>>,
    /// Window functions (`… OVER (…)`), by name and alias.
    pub windows: BTreeMap<String, Arc<WindowUDF>>,
    /// Scalar functions that depend on a clock, on chance or on a session: known, so that they can be refused by name.
    pub volatile: Vec<String>,
}

/// All functions, built once.
pub(super) static FUNCTIONS: LazyLock<Functions> = LazyLock::new(|| {
    let mut functions = Functions {
        scalars: BTreeMap::new(),
        aggregates: BTreeMap::new(),
        windows: BTreeMap::new(),
        volatile: Vec::new(),
    };
    let arrays = datafusion_functions_nested::all_default_nested_functions();
    let arrays = arrays.into_iter().filter(|function| function.signature().volatility == Volatility::Immutable);
    for function in crate::functions::scalars().into_iter().chain(arrays) {
        let names = all_names(function.name(), function.aliases());
        functions.scalars.extend(names.map(|name| (name.to_owned(), Arc::clone(&function))));
    }
    for function in crate::functions::aggregates() {
        let names = all_names(function.name(), function.aliases());
        functions.aggregates.extend(names.map(|name| (name.to_owned(), Arc::clone(&function))));
    }
    for function in datafusion_functions_window::all_default_window_functions() {
        let names = all_names(function.name(), function.aliases());
        functions.windows.extend(names.map(|name| (name.to_owned(), Arc::clone(&function))));
    }
    for function in datafusion_functions::all_default_functions() {
        if !functions.scalars.contains_key(function.name()) {
            functions.volatile.extend(all_names(function.name(), function.aliases()).map(str::to_owned));
        }
    }
    functions
});

fn all_names<'n>(name: &'n str, aliases: &'n [String]) -> impl Iterator<Item = &'n str> {
    std::iter::once(name).chain(aliases.iter().map(String::as_str))
}

/// How SQL is read: spans kept, TEXT is Utf8 (the type of our columns).
pub(super) fn parser_options() -> ParserOptions {
    ParserOptions { collect_spans: true, map_string_types_to_utf8view: false, ..ParserOptions::new() }
}

/// Tables by name, and [`FUNCTIONS`].
pub(super) struct Catalog {
    tables: BTreeMap<String, Arc<dyn TableSource>>,
    options: ConfigOptions,
    planners: Vec<Arc<dyn ExprPlanner>>,
}

impl Catalog {
    pub(super) fn new<'n>(tables: impl IntoIterator<Item = (&'n str, SchemaRef)>) -> Catalog {
        let table = |(name, schema): (&str, SchemaRef)| {
            (name.to_owned(), Arc::new(LogicalTableSource::new(schema)) as Arc<dyn TableSource>)
        };
        Catalog::of(tables.into_iter().map(table).collect())
    }

    /// Tables of any kind, by name.
    pub(super) fn of(tables: BTreeMap<String, Arc<dyn TableSource>>) -> Catalog {
        Catalog {
            tables,
            options: ConfigOptions::default(),
            planners: vec![
                Arc::new(datafusion_functions::core::planner::CoreFunctionPlanner::default()),
                Arc::new(datafusion_functions::datetime::planner::DatetimeFunctionPlanner),
                Arc::new(datafusion_functions::unicode::planner::UnicodeFunctionPlanner),
                Arc::new(datafusion_functions_nested::planner::NestedFunctionPlanner),
                Arc::new(datafusion_functions_nested::planner::FieldAccessPlanner),
                Arc::new(datafusion_functions_aggregate::planner::AggregateFunctionPlanner),
                Arc::new(datafusion_functions_window::planner::WindowFunctionPlanner),
            ],
        }
    }
}

impl ContextProvider for Catalog {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        match self.tables.get(name.table()) {
            Some(table) => Ok(Arc::clone(table)),
            None => plan_err!("unknown table {}", name.table()),
        }
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(Types))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        FUNCTIONS.scalars.get(name).cloned()
    }

    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        // No aggregate, but it stands where one does; planning makes an expression of it.
        let grouping = || (name == GROUPING).then(grouping_udaf);
        FUNCTIONS.aggregates.get(name).cloned().or_else(grouping)
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        FUNCTIONS.windows.get(name).cloned()
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        FUNCTIONS.scalars.keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        FUNCTIONS.aggregates.keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        FUNCTIONS.windows.keys().cloned().collect()
    }
}

/// SQL types that mean here what they mean in CREATE STREAM; all others as DataFusion reads them.
#[derive(Debug)]
struct Types;

impl TypePlanner for Types {
    fn plan_type_field(&self, sql_type: &ast::DataType) -> Result<Option<FieldRef>> {
        let data_type = match sql_type {
            ast::DataType::Timestamp(..) | ast::DataType::TimestampNtz(..) | ast::DataType::Datetime(..) => {
                timestamp_type()
            }
            ast::DataType::Bytes(..) => DataType::Binary,
            _ => return Ok(None),
        };
        Ok(Some(Arc::new(Field::new("", data_type, true))))
    }
}
