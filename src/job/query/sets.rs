//! GROUPING SETS, ROLLUP and CUBE: by which of the group expressions there are groups.
//!
//! A record counts once in each set, with null in the place of what the set lacks and the set's number as one more key. So
//! panes know nothing of sets, and an aggregate whose coarse results can't be made of finer ones works like all others.

use arrow::datatypes::{DataType, Field};
use datafusion_common::{Column, Result, ScalarValue, plan_err};
use datafusion_expr::Expr;
use datafusion_expr::expr::GroupingSet as Written;
use datafusion_expr::logical_plan::Aggregate;
use datafusion_expr::utils::grouping_set_to_exprlist;
use datafusion_physical_expr::expressions;

use super::expression::cast;
use crate::job::plan::{GroupingSet, Key};

/// Expressions in all sets together: a set's number has a bit for each, and more for sets that stand there twice.
const EXPRESSIONS_MAX: usize = 40;

/// The sets of a GROUP BY.
pub(in crate::job) struct Sets {
    /// For each set which of the distinct group expressions it holds.
    holds: Vec<Vec<bool>>,
    /// Type of the column that tells sets apart, as DataFusion has it.
    id_type: DataType,
}

impl Sets {
    /// The sets of `aggregate`; `None` where all group expressions are the only one.
    pub(in crate::job) fn of(aggregate: &Aggregate) -> Result<Option<Sets>> {
        let [Expr::GroupingSet(written)] = aggregate.group_expr.as_slice() else { return Ok(None) };
        let expressions = grouping_set_to_exprlist(&aggregate.group_expr)?;
        if expressions.len() > EXPRESSIONS_MAX {
            return plan_err!("more than {EXPRESSIONS_MAX} expressions in the grouping sets of one GROUP BY");
        }
        let has = |set: &[Expr]| expressions.iter().map(|expression| set.contains(expression)).collect();
        let holds = match written {
            Written::GroupingSets(sets) => sets.iter().map(|set| has(set)).collect(),
            Written::Rollup(all) => (0..=all.len()).rev().map(|count| has(&all[..count])).collect(),
            Written::Cube(all) => (0..1_usize << all.len())
                .map(|left_out| (0..all.len()).map(|place| left_out >> place & 1 == 0).collect())
                .collect(),
        };
        let id_type = aggregate.schema.field(expressions.len()).data_type().clone();
        Ok(Some(Sets { holds, id_type }))
    }

    /// For each set which of the distinct group expressions it holds.
    pub(in crate::job) fn holds(&self) -> &[Vec<bool>] {
        &self.holds
    }

    /// The key that tells the sets apart, under a name: its value stands in [`GroupingSet::id`]; its field; and DataFusion's
    /// own column over it.
    pub(super) fn key(&self, name: String) -> (Key, Field, Expr) {
        let field = Field::new(&name, DataType::Int64, true);
        let meaning = cast(Expr::Column(Column::new_unqualified(&name)), &self.id_type);
        (Key { name, expression: expressions::lit(ScalarValue::Int64(Some(0))) }, field, meaning)
    }

    /// The sets of keys; `of_key` says which group expression each key is.
    pub(super) fn of_keys(&self, of_key: &[usize]) -> Vec<GroupingSet> {
        let sets = self.holds.iter().enumerate();
        sets.map(|(index, holds)| GroupingSet {
            holds: of_key.iter().map(|expression| holds[*expression]).collect(),
            id: self.id(index),
        })
        .collect()
    }

    /// A set's number, as DataFusion's `__grouping_id`: a bit for each expression that it lacks, and above them how often the
    /// same set stands before it.
    fn id(&self, index: usize) -> i64 {
        let holds = &self.holds[index];
        let lacks = holds.iter().fold(0, |id, holds| id << 1 | i64::from(!holds));
        let before = self.holds[..index].iter().filter(|other| *other == holds).count();
        lacks | i64::try_from(before).expect("a query is short") << holds.len()
    }
}
