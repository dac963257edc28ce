//! A case as a job file.

use std::fmt::Write as _;

use super::case::{Case, Names};
use super::message::COLUMNS;
use crate::model::{
    Aggregate, By, Comparison, Condition, Cut, Function, HOUR, Pairing, Quantile, SECOND, Value, Which,
};

impl Case {
    /// The job file.
    pub fn sql(&self, names: &Names<'_>) -> String {
        let Names { topic, namespace, result, history } = names;
        let mut sql = String::from("CREATE STREAM s (\n  t TIMESTAMP NOT NULL,\n");
        for (name, column_type, required) in COLUMNS {
            let required = if required { " NOT NULL" } else { "" };
            writeln!(sql, "  {name} {column_type}{required},").expect("text takes text");
        }
        let future = self.max_future_clause;
        writeln!(sql, "  WATERMARK FOR t{}{}{future}\n)", self.bound_sql(), self.when_sql()).expect("text takes text");
        let history = history.map(|history| format!("\nHISTORY FROM ICEBERG '{namespace}.{history}'"));
        let history = history.unwrap_or_default();
        writeln!(sql, "LIVE FROM KAFKA '{topic}' FORMAT JSON{history};\n").expect("text takes text");
        let partition = if self.query.size >= HOUR { "day" } else { "hour" };
        let by = if self.by_end { "window_end" } else { "window_start" };
        writeln!(sql, "INSERT INTO ICEBERG '{namespace}.{result}' PARTITIONED BY ({partition}({by}))")
            .expect("text takes text");
        let query = match self.layers {
            Some(layers) => layers.sql(self),
            None => self.groups_sql(),
        };
        let allowed = match self.query.allowed {
            0 => String::new(),
            allowed => format!("\nALLOW LATENESS {}", interval(allowed)),
        };
        let clauses = format!("{}{allowed}", self.publish_clause);
        write!(sql, "{query}\nLATE INTO ICEBERG '{namespace}.{result}_late'{clauses};\n").expect("text takes text");
        sql
    }

    fn bound_sql(&self) -> String {
        match self.stream.bound {
            0 if self.seed.is_multiple_of(2) => String::new(),
            bound => format!(" AS t - {}", interval(bound)),
        }
    }

    fn when_sql(&self) -> String {
        self.stream.when.as_ref().map_or_else(String::new, |when| format!(" WHEN {}", condition_sql(when)))
    }

    fn groups_sql(&self) -> String {
        let keys = self.group_by();
        let aggregates = self.query.aggregates.iter().enumerate();
        let aggregates: Vec<String> =
            aggregates.map(|(at, aggregate)| format!("{} AS a{at}", aggregate_sql(aggregate))).collect();
        format!("SELECT {keys}, {}\nFROM {}\nGROUP BY {keys}", aggregates.join(", "), self.windows_sql())
    }

    /// The window's columns, then the keys.
    pub(super) fn group_by(&self) -> String {
        let reason = matches!(self.query.cut, Cut::Counting { .. }).then_some("window_reason");
        let window = ["window_start", "window_end"].into_iter().chain(reason).map(str::to_owned);
        window.chain(self.query.keys.clone()).collect::<Vec<_>>().join(", ")
    }

    /// The window, and WHERE.
    pub(super) fn windows_sql(&self) -> String {
        let filter = self.query.filter.as_ref();
        let filter = filter.map_or_else(String::new, |filter| format!("\nWHERE {}", condition_sql(filter)));
        format!("{}{filter}", self.window_sql())
    }

    fn window_sql(&self) -> String {
        let size = interval(self.query.size);
        let offset = if self.query.offset == 0 { String::new() } else { format!(", {}", interval(self.query.offset)) };
        let stream = match self.query.partition_by.as_slice() {
            [] => "s".to_owned(),
            columns => format!("s PARTITION BY {}", columns.join(", ")),
        };
        let berlin = "TIME ZONE 'Europe/Berlin'";
        match self.query.cut {
            Cut::Tumble => format!("TUMBLE(s, t, {size}{offset})"),
            Cut::Hop { slide } => format!("HOP(s, t, {}, {size}{offset})", interval(slide)),
            Cut::Cumulate { step } => format!("CUMULATE(s, t, {}, {size}{offset})", interval(step)),
            Cut::Months { count } => format!("TUMBLE(s, t, INTERVAL '{count} months')"),
            Cut::BerlinMonths { count } => format!("TUMBLE(s, t, INTERVAL '{count} months', {berlin})"),
            Cut::BerlinDays { count } => {
                let offset = match self.query.offset / (24 * HOUR) {
                    0 => String::new(),
                    days => format!(", INTERVAL '{days} days'"),
                };
                format!("TUMBLE(s, t, INTERVAL '{count} days'{offset}, {berlin})")
            }
            Cut::Session => format!("SESSION({stream}, t, {size})"),
            Cut::Sliding => format!("SLIDING({stream}, t, {size})"),
            Cut::Counting { count } => format!("COUNT_WINDOW({stream}, t, {count}, TIMEOUT {size})"),
        }
    }
}

fn aggregate_sql(aggregate: &Aggregate) -> String {
    let call = match &aggregate.function {
        Function::CountAll => "count(*)".to_owned(),
        Function::Count(column) => format!("count({column})"),
        Function::CountDistinct(column) => format!("count(DISTINCT {column})"),
        Function::Sum(column) => format!("sum({column})"),
        Function::SumDistinct(column) => format!("sum(DISTINCT {column})"),
        Function::Average(column) => format!("avg({column})"),
        Function::AverageDistinct(column) => format!("avg(DISTINCT {column})"),
        Function::Minimum(column) => format!("min({column})"),
        Function::Maximum(column) => format!("max({column})"),
        Function::All(column) => format!("bool_and({column})"),
        Function::Any(column) => format!("bool_or({column})"),
        Function::BitAnd(column) => format!("bit_and({column})"),
        Function::BitOr(column) => format!("bit_or({column})"),
        Function::BitXor(column) => format!("bit_xor({column})"),
        Function::ApproxDistinct(column) => format!("approx_distinct({column})"),
        Function::Variance(column) => format!("var_samp({column})"),
        Function::Deviation(column) => format!("stddev_pop({column})"),
        Function::Listed(which, column, order) => listed_sql(*which, column, order.as_ref()),
        Function::Quantile(quantile, column) => quantile_sql(*quantile, column),
        Function::Paired(pairing, y, x) => format!("{}({y}, {x})", pairing_sql(*pairing)),
    };
    let filter = aggregate.filter.as_ref();
    let filter = filter.map_or_else(String::new, |filter| format!(" FILTER (WHERE {})", condition_sql(filter)));
    let nulls = matches!(aggregate.function, Function::Listed(Which::FirstNotNull, ..)).then_some(" IGNORE NULLS");
    format!("{call}{filter}{}", nulls.unwrap_or_default())
}

fn listed_sql(which: Which, column: &str, order: Option<&By>) -> String {
    let order = order.map_or_else(String::new, |By { column, descending }| {
        format!(" ORDER BY {column}{}", if *descending { " DESC" } else { "" })
    });
    match which {
        Which::First => format!("first_value({column}{order})"),
        Which::Last => format!("last_value({column}{order})"),
        Which::Nth(n) => format!("nth_value({column}, {n}{order})"),
        Which::FirstNotNull => format!("first_value({column}{order})"),
        Which::All => format!("array_agg({column}{order})"),
        Which::Distinct => format!("array_agg(DISTINCT {column}{order})"),
        Which::Joined => format!("string_agg({column}, '|'{order})"),
        Which::JoinedDistinct => format!("string_agg(DISTINCT {column}, '|'{order})"),
    }
}

fn quantile_sql(quantile: Quantile, column: &str) -> String {
    let share = |percent: u32| format!("0.{percent:02}");
    match quantile {
        Quantile::Median => format!("median({column})"),
        Quantile::MedianDistinct => format!("median(DISTINCT {column})"),
        Quantile::Between(percent) => format!("percentile_cont({column}, {})", share(percent)),
        Quantile::Approximately(percent) => format!("approx_quantile({column}, {})", share(percent)),
    }
}

fn pairing_sql(pairing: Pairing) -> &'static str {
    match pairing {
        Pairing::CovarianceSample => "covar_samp",
        Pairing::CovariancePopulation => "covar_pop",
        Pairing::Correlation => "corr",
        Pairing::Slope => "regr_slope",
        Pairing::Intercept => "regr_intercept",
        Pairing::Determination => "regr_r2",
        Pairing::Count => "regr_count",
        Pairing::AverageX => "regr_avgx",
        Pairing::DeviationsXX => "regr_sxx",
        Pairing::DeviationsYY => "regr_syy",
        Pairing::DeviationsXY => "regr_sxy",
    }
}

fn condition_sql(condition: &Condition) -> String {
    match condition {
        Condition::IsNull(column) => format!("{column} IS NULL"),
        Condition::Compare(column, comparison, value) => {
            let operator = match comparison {
                Comparison::Equal => "=",
                Comparison::Less => "<",
                Comparison::AtLeast => ">=",
            };
            format!("{column} {operator} {}", literal_sql(value))
        }
        Condition::And(left, right) => format!("({} AND {})", condition_sql(left), condition_sql(right)),
        Condition::Or(left, right) => format!("({} OR {})", condition_sql(left), condition_sql(right)),
        Condition::Not(inner) => format!("NOT ({})", condition_sql(inner)),
        Condition::Product(column, factor) => format!("{column} * {factor} > 0"),
    }
}

fn literal_sql(value: &Value) -> String {
    match value {
        Value::Integer(number) => number.to_string(),
        Value::Double(number) => format!("{number:?}"),
        Value::Text(text) => format!("'{text}'"),
        other => panic!("no generated condition compares with {other:?}"),
    }
}

/// Microseconds as an interval, in whole seconds where it can.
fn interval(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let (seconds, rest) = (micros.abs() / SECOND, micros.abs() % SECOND);
    match rest {
        0 if seconds % 60 == 0 && seconds > 0 => format!("INTERVAL '{sign}{} minutes'", seconds / 60),
        0 => format!("INTERVAL '{sign}{seconds} seconds'"),
        _ => format!("INTERVAL '{sign}{seconds}.{rest:06}' SECOND"),
    }
}
