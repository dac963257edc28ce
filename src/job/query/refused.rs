//! Aggregates that other systems have and a job hasn't: why not, and what to write instead.

use std::collections::BTreeSet;

use super::catalog::FUNCTIONS;

/// By name: why it isn't there, and the way out.
const REFUSED: [(&str, &str, &str); 14] = [
    ("any_value", ANY, "write min(x), max(x), or first_value(x), the first by event time, partition and offset"),
    ("approx_count_distinct", RENAMED, "write approx_distinct(x)"),
    ("approx_median", DIGEST, "write approx_quantile(x, 0.5), which is within 1 %, or median(x), which is exact"),
    ("approx_percentile", DIGEST, "write approx_quantile(x, 0.95), which is within 1 %"),
    (
        "approx_percentile_cont_with_weight",
        DIGEST,
        "write approx_quantile(x, 0.95) over records that come as often as they weigh",
    ),
    ("group_concat", RENAMED, "write string_agg(x, ', ')"),
    (
        "grouping",
        "it tells grouping sets apart, and this query has none",
        "group by GROUPING SETS, ROLLUP or CUBE, or leave it out",
    ),
    ("listagg", RENAMED, "write string_agg(x, ', ')"),
    (
        "mode",
        "which of several equally frequent values it takes isn't said",
        "count each value in an INSERT of its own: GROUP BY window_start, x",
    ),
    ("percentile", RENAMED, "write percentile_cont(x, 0.95), which is exact, or approx_quantile(x, 0.95), within 1 %"),
    ("percentile_approx", DIGEST, "write approx_quantile(x, 0.95), which is within 1 %"),
    ("percentile_disc", NEARLY, "write approx_quantile(x, 0.95), which is within 1 % of it"),
    ("quantile", RENAMED, "write percentile_cont(x, 0.95), which is exact, or approx_quantile(x, 0.95), within 1 %"),
    ("quantile_disc", NEARLY, "write approx_quantile(x, 0.95), which is within 1 % of it"),
];

const ANY: &str = "which value it takes depends on the order in which records come";
const DIGEST: &str = "a t-digest's answer depends on the order in which records come";
const NEARLY: &str = "an exact one isn't there yet";
const RENAMED: &str = "it has another name here";

/// What to say of an aggregate by that name, and the way out; `None` if no system that we know has one.
pub(super) fn refused_aggregate(name: &str) -> Option<(String, String)> {
    if let Some((_, why, help)) = REFUSED.iter().find(|(refused, _, _)| *refused == name) {
        return Some((format!("the aggregate `{name}` isn't there: {why}"), (*help).to_owned()));
    }
    let stock = datafusion_functions_aggregate::all_default_aggregate_functions();
    let known =
        stock.iter().any(|function| function.name() == name || function.aliases().iter().any(|alias| alias == name));
    known.then(|| {
        let offered: BTreeSet<&str> = FUNCTIONS.aggregates.values().map(|function| function.name()).collect();
        let offered: Vec<&str> = offered.into_iter().collect();
        (format!("the aggregate `{name}` isn't supported yet"), format!("aggregates are {}", offered.join(", ")))
    })
}
