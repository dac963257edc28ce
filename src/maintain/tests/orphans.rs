//! Which files go.

use super::super::orphans::may_go;
use super::*;
use crate::checkpoints::{HeldFile, TableChange};
use crate::iceberg::{Folder, FoundFile};

fn found(below: &str, modified: i64) -> FoundFile {
    let (path, below, modified) = (format!("t/{below}"), below.to_owned(), EventTime(modified));
    FoundFile { path, below, bytes: 1, modified, cut_off: None }
}

#[test]
fn only_old_files_of_the_kinds_that_tables_are_made_of_may_go() {
    let goes = |folder, below: &str| may_go(folder, &found(below, 4), EventTime(5));
    for below in ["a.parquet", "t_hour=1970-01-01-00/a.parquet", "0110/1/_x=a/a.avro", "a.puffin", "x/a.parquet#12"] {
        assert!(goes(Folder::Data, below), "{below}");
        assert!(!may_go(Folder::Data, &found(below, 5), EventTime(5)), "{below} is young");
    }
    for below in [
        "a.parquet.crc",
        "_SUCCESS",
        "_temporary/0/a.parquet",
        ".a.parquet",
        "readme.txt",
        "readme.txt#1",
        "a.parquet#x",
        "data/a.parquet",
        "metadata/a.avro",
        "data/x/a.parquet",
    ] {
        assert!(!goes(Folder::Data, below), "{below}");
    }
    for below in ["00001-x.metadata.json", "snap-1.avro", "x-m0.avro", "a.stats", "a.metadata.json.gz"] {
        assert!(goes(Folder::Metadata, below), "{below}");
    }
    for below in ["version-hint.text", "sub/snap-1.avro", "metadata/v1.metadata.json", "_x.avro", "a.json", "a.parquet"]
    {
        assert!(!goes(Folder::Metadata, below), "{below}");
    }
}

#[tokio::test]
async fn what_anything_refers_to_stays_and_the_rest_goes() {
    let world = World::new(&[]).await;
    world.append(0, &[1, 2]).await;
    world.append(1, &[3]).await;
    let needed = world.files();
    let [waiting, staged, lost] = [world.stage(2, &[4]).await, world.stage(3, &[5]).await, world.stage(4, &[6]).await];
    let named = |files: &[StagedFile]| serde_json::to_value(&files[0]).expect("it becomes JSON");
    let mut checkpoint = checkpoint(1);
    checkpoint.held = vec![HeldFile {
        table: world.name.clone(),
        partition: String::new(),
        complete_at: EventTime::MAX,
        file: named(&waiting),
    }];
    checkpoint.tables = vec![TableChange {
        table: world.name.clone(),
        uuid: world.table().await.uuid(),
        schema_id: 0,
        spec_id: 0,
        add: vec![named(&staged)],
        remove: Vec::new(),
        operation: crate::checkpoints::Operation::Append,
        properties: BTreeMap::new(),
        remove_properties: Vec::new(),
        summary: BTreeMap::new(),
    }];
    let mut held = Held::default();
    held.take(&checkpoint).expect("staged files are understood");
    let orphans = [
        "data/a.parquet",
        "data/t_hour=1970-01-01-09/b.parquet",
        "metadata/00000-0.metadata.json",
        "metadata/x-m0.avro",
        // Of puts that were cut off.
        "data/t_hour=1970-01-01-09/c.parquet#1",
        "metadata/00001-0.metadata.json#12",
        "metadata/in-use/00000000000000000012-a.mark#1",
    ];
    let others =
        ["data/notes.txt", "metadata/version-hint.text", "elsewhere/a.parquet", "data/data/x/a.parquet", "a.avro"];
    orphans.iter().chain(&others).for_each(|path| world.put(path));
    let options = MaintainOptions { retain_last: Some(9), ..later(true) };
    let done = super::super::orphans::remove(&world.table().await, &BTreeSet::new(), &held, &options, None).await;
    let done = done.expect("removed");
    assert_eq!((done.count, done.examples.len()), (8, 3));
    let left = world.files();
    assert!(left.is_superset(&needed) && others.iter().all(|path| left.contains(*path)), "{left:#?}");
    let name = |files: &[StagedFile]| format!("data/{}", files[0].path.split_once("/data/").expect("a data file").1);
    assert!(
        left.contains(&name(&waiting)) && left.contains(&name(&staged)) && !left.contains(&name(&lost)),
        "{left:#?}"
    );
    assert_eq!(left.len(), needed.len() + others.len() + 2, "{left:#?}");
    checkpoint.held[0].file = serde_json::json!({ "place": 7 });
    let unknown = held.take(&checkpoint).expect_err("nobody knows which file that is");
    insta::assert_snapshot!(
        unknown,
        @"checkpoint 1/1 of archive-marts.hits names staged files of marts.hits in an unknown way (unknown field `place`, expected one of `path`, `spec_id`, `partition`, `record_count`, `bytes`, `times`, `data_file`); use the version of kappa that wrote it"
    );
    assert_eq!(world.values().await, [1, 2, 3]);
}

#[tokio::test]
async fn nothing_is_an_orphan_before_a_day_whatever_is_asked_for() {
    let world = World::new(&[]).await;
    world.append(0, &[1]).await;
    world.put("data/a.parquet");
    let early = EventTime(later(true).now.0 - DAY - HOUR);
    let options = MaintainOptions { now: early, orphan_age: std::time::Duration::ZERO, ..later(true) };
    assert_eq!(world.done(&options).await.orphans.count, 0);
    assert_eq!(world.done(&later(true)).await.orphans.count, 1);
}

#[tokio::test]
async fn nothing_is_removed_where_the_tables_own_files_are_not_found() {
    let world = World::new(&[]).await;
    world.append(0, &[1]).await;
    world.append(1, &[2]).await;
    let own = world.files().into_iter().find(|file| file.ends_with(".parquet")).expect("a data file");
    std::fs::remove_file(world.place().join(own)).expect("removed");
    world.put("data/a.parquet");
    let refused = world.maintain(&Held::default(), &later(true)).await.expect_err("a file is missing");
    let folder = world.folder.path().canonicalize().expect("it is there");
    insta::assert_snapshot!(
        refused.to_string().replace(folder.to_str().expect("UTF-8"), "FOLDER"),
        @"1 of the data files of marts.hits aren't in its folder file://FOLDER/warehouse/marts/hits/data as it is listed, so nothing was removed from there: the paths may be spelt in another way, or the files are gone; `kappa diff` or a query over the whole table tells which"
    );
    assert!(world.files().contains("data/a.parquet"));
}
