//! A broker of two dies under a running job, and comes back: the other one leads its partitions meanwhile, and the job goes on.

use std::collections::BTreeSet;

use super::deployed::Deployed;
use super::hours::LIMIT;
use crate::support::broker::Broker;
use crate::support::kafka::partition_nodes;

#[test]
fn a_job_goes_on_when_partitions_get_another_leader() {
    let first = Broker::start();
    let mut second = first.start_second();
    let deployed = Deployed::on(&first, 2);
    let leaders = || -> BTreeSet<i32> {
        partition_nodes(first.address(), &deployed.topic).into_values().map(|(leader, _)| leader).collect()
    };
    assert_eq!(leaders(), BTreeSet::from([1, 2]), "both lead some");
    let [before, meanwhile, after] = deployed.parts();
    deployed.send(&before);
    let mut run = deployed.start();
    run.wait_until("windows are published", LIMIT, || deployed.rows() > 0);

    second.kill();
    run.wait_until("the first leads all", LIMIT, || leaders() == BTreeSet::from([1]));
    let published = deployed.rows();
    deployed.send(&meanwhile);
    run.wait_until("it reads on", LIMIT, || deployed.rows() > published);
    second.start_again();
    deployed.send(&after);
    let expected = deployed.expected().len() as u64;
    run.wait_until("all is published", LIMIT, || deployed.rows() >= expected);
    assert!(!run.stderr().contains("starting again"), "one attempt reads on:\n{}", run.stderr());
    run.terminate();
    run.wait(LIMIT).ok();
    deployed.audit();
}
