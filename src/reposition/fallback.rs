//! Going on from an older checkpoint, as files of the newest one are damaged or gone: what a return to a savepoint does,
//! with what the tables say of how the job stood ([`super::standing`]).
//! Invariant: where that isn't enough, it is refused, and what could still be restored is as it was.

use super::execute::{Before, held_rows, move_taken};
use super::{Destination, Moving, RepositionError, Repositioning};
use crate::checkpoints::{CheckpointError, ManifestId, Savepoint};
use crate::event::EventTime;
use crate::sinks::{PublishError, Taken};

/// A job that goes on from an older checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FellBack {
    /// The files that are damaged or gone, and how; none, if a start before has seen them and could not end.
    pub flaws: Vec<String>,
    /// The checkpoint that it has gone back to.
    pub to: ManifestId,
    /// What is published again.
    pub moves: Repositioning,
}

/// Goes back to the newest checkpoint that is good with all its state, and puts one that says what is published again: the
/// next run continues it. Ends the claim. `None`: the newest one is good, and knows all that its tables have.
///
/// # Errors
/// When no checkpoint is good, or it isn't certain that every row comes out right.
pub async fn fall_back(moving: &Moving<'_>, taken: Taken) -> Result<Option<FellBack>, RepositionError> {
    let heartbeat = taken.heartbeat().clone();
    let done = tokio::select! {
        done = fall_back_claimed(moving, taken) => done,
        newer = heartbeat.fenced() => Err(PublishError::from(newer).into()),
    };
    heartbeat.release().await;
    done
}

async fn fall_back_claimed(moving: &Moving<'_>, taken: Taken) -> Result<Option<FellBack>, RepositionError> {
    let mut flaws: Vec<String> = taken.damages().iter().map(CheckpointError::flaw).collect();
    let found = taken.good_with_state().await?;
    flaws.extend(found.damages.iter().map(CheckpointError::flaw));
    let Some(good) = found.manifest else {
        if taken.newest().is_behind() && flaws.is_empty() {
            flaws.push("they were left behind, as their files were damaged or gone".to_owned());
        }
        return match flaws.is_empty() {
            true => Ok(None),
            false => Err(RepositionError::NoneGood { job: moving.plan.name.clone(), flaws: flaws.join("; ") }),
        };
    };
    if !taken.newest().is_behind() && taken.newest().id() == Some(good.id) {
        return Ok(None);
    }
    let to = good.id;
    let name = format!("checkpoint-{}-{}", to.generation.0, to.number);
    let name = name.parse().expect("small letters and digits");
    let savepoint = Savepoint { name, created: EventTime::MIN, reason: String::new(), manifest: good };
    let destination = Destination::Savepoint(Box::new(savepoint.clone()));
    let moved = async {
        destination.check_windows(moving.plan)?;
        destination.check_held(moving.plan)?;
        // Before anything is left behind that could still be restored from a copy.
        for held in &savepoint.manifest.held {
            if let Some(table) = taken.tables().get(&held.table) {
                held_rows(&savepoint, held, table).await?;
            }
        }
        move_taken(moving, &destination, taken, Before::Nothing).await
    };
    match moved.await {
        Ok(moved) => Ok(Some(FellBack { flaws, to, moves: moved.moves })),
        Err(source) if source.is_refusal() => {
            Err(RepositionError::NoWayBack { to, flaws: flaws.join("; "), source: Box::new(source) })
        }
        Err(error) => Err(error),
    }
}
