//! Which error of a driver ends a command how: the one place that knows.

use super::exit::Failure;
use crate::archive::ArchiveError;
use crate::backfill::BackfillError;
use crate::checkpoints::{CheckpointError, ProtocolError};
use crate::diff::DiffError;
use crate::engine::EngineError;
use crate::iceberg::{CommitError, IcebergError};
use crate::live::RunError;
use crate::maintain::MaintainError;
use crate::offsets::OffsetsError;
use crate::offsets::reset::ResetError;
use crate::ownership::NotWritable;
use crate::preflight::PreflightError;
use crate::recompute::{RangeError, RecomputeError};
use crate::reposition::RepositionError;
use crate::sinks::{PublishError, is_outage};
use crate::sources::{AnewError, SourceError};
use crate::store::failure_in;

impl From<RunError> for Failure {
    fn from(error: RunError) -> Failure {
        match error {
            RunError::Version { .. }
            | RunError::History(_)
            | RunError::AlreadyPublished { .. }
            | RunError::Start(_)
            | RunError::HandOver(_) => Failure::invalid(error),
            RunError::Source(error) => error.into(),
            RunError::Publish(error) => error.into(),
            RunError::FallBack(error) => error.into(),
            RunError::Engine(EngineError::WorkerDied { .. }) | RunError::TaskDied { .. } => Failure::running(error),
            RunError::TooManyRejects { .. } | RunError::Memory { .. } => Failure::Person(error.into()),
            RunError::Engine(_) => Failure::Person(error.into()),
            RunError::Iceberg(error) => error.into(),
            // The bytes are what was written, but they can't be read: they won't be by the next run either.
            RunError::State(_) => Failure::Person(error.into()),
        }
    }
}

impl From<ResetError> for Failure {
    fn from(error: ResetError) -> Failure {
        match error {
            ResetError::UnknownTopic { .. } => Failure::Usage(error.to_string()),
            ResetError::File { .. } | ResetError::Start(_) => Failure::invalid(error),
            ResetError::Checkpoint(error) => error.into(),
            ResetError::Source(error) => error.into(),
        }
    }
}

impl From<RepositionError> for Failure {
    fn from(error: RepositionError) -> Failure {
        match error {
            RepositionError::Version { .. }
            | RepositionError::SavepointVersion { .. }
            | RepositionError::Property { .. }
            | RepositionError::NotHeld { .. }
            | RepositionError::SavepointBetween { .. }
            | RepositionError::StreamUnknown { .. }
            | RepositionError::Start(_) => Failure::invalid(error),
            RepositionError::HeldRows { .. }
            | RepositionError::NoneGood { .. }
            | RepositionError::NoWayBack { .. }
            | RepositionError::Partly { .. } => Failure::Person(error.into()),
            RepositionError::Publish(error) => error.into(),
            RepositionError::Source(error) => error.into(),
            RepositionError::Iceberg(error) => error.into(),
        }
    }
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Failure {
        match error {
            ArchiveError::NoHistory { .. }
            | ArchiveError::Declaration { .. }
            | ArchiveError::NotWider { .. }
            | ArchiveError::TooMuchSeen { .. }
            | ArchiveError::Anew(AnewError::TooMuch { .. } | AnewError::Decoder(_))
            | ArchiveError::Disagreement(_)
            | ArchiveError::Start(_) => Failure::invalid(error),
            ArchiveError::Source(error) => error.into(),
            ArchiveError::Publish(error) => error.into(),
            ArchiveError::Checkpoint(error) => error.into(),
            ArchiveError::Memory { .. } => Failure::Person(error.into()),
            ArchiveError::TaskDied { .. } => Failure::running(error),
            ArchiveError::Iceberg(error) | ArchiveError::Anew(AnewError::Iceberg(error)) => error.into(),
        }
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Failure {
        match error {
            SourceError::OffsetOutOfRange { .. }
            | SourceError::TopicMadeAnew { .. }
            | SourceError::Refused { .. }
            | SourceError::NotAllowed { .. } => Failure::Person(error.into()),
            SourceError::TopicMissing { .. }
            | SourceError::PropertyOwned { .. }
            | SourceError::Configuration { .. }
            | SourceError::File { .. }
            | SourceError::Parquet { .. }
            | SourceError::Decoder { .. } => Failure::Invalid(format!("error: {:#}", anyhow::Error::from(error))),
            _ => Failure::running(error),
        }
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Failure {
        match error {
            PublishError::Checkpoint(error) => error.into(),
            // The state is gone but the tables know the job: which of them is right, a person must say.
            PublishError::Protocol(ProtocolError::StateLost { .. }) => Failure::invalid(error),
            PublishError::Protocol(_) => Failure::Person(error.into()),
            PublishError::Layout { .. } | PublishError::OtherOwner { .. } | PublishError::Property { .. } => {
                Failure::invalid(error)
            }
            PublishError::Staged { .. } | PublishError::StagedGone { .. } => Failure::Person(error.into()),
            PublishError::Iceberg(error) => error.into(),
            PublishError::Commit { ref source, .. } if source.is_refusal() => Failure::Person(error.into()),
            // Conflicts and lost answers pass; what the catalog rejects, it rejects again.
            PublishError::Commit { .. } if error.is_outage() => Failure::running(error),
            PublishError::Commit { .. } => Failure::Person(error.into()),
        }
    }
}

impl From<CheckpointError> for Failure {
    fn from(error: CheckpointError) -> Failure {
        match error {
            CheckpointError::Held { .. } => Failure::Unsafe(error.to_string()),
            CheckpointError::Fenced { .. }
            | CheckpointError::Damaged { .. }
            | CheckpointError::BadManifest { .. }
            | CheckpointError::Taken { .. }
            | CheckpointError::NotKept { .. }
            | CheckpointError::State { .. }
            | CheckpointError::Missing { .. } => Failure::Person(error.into()),
            CheckpointError::Location(_)
            | CheckpointError::StoreLost { .. }
            | CheckpointError::NoSuchManifest { .. }
            | CheckpointError::SavepointTaken { .. }
            | CheckpointError::NoSuchSavepoint { .. } => Failure::invalid(error),
            refused if refused.is_refusal() => Failure::Person(refused.into()),
            _ => Failure::running(error),
        }
    }
}

impl From<IcebergError> for Failure {
    fn from(error: IcebergError) -> Failure {
        match error {
            IcebergError::Config { .. }
            | IcebergError::Location(_)
            | IcebergError::Unsupported { .. }
            | IcebergError::Column { .. } => Failure::invalid(error),
            refused if refused.is_refusal() => Failure::Person(refused.into()),
            away if is_outage(&away) => Failure::running(away),
            lasting => Failure::Person(lasting.into()),
        }
    }
}

impl From<BackfillError> for Failure {
    fn from(error: BackfillError) -> Failure {
        match error {
            BackfillError::Range(error) => error.into(),
            BackfillError::NotWritable(error @ NotWritable::OtherJob { .. }) => Failure::invalid(error),
            BackfillError::NotWritable(error) => Failure::Unsafe(error.to_string()),
            BackfillError::Layout { .. } | BackfillError::Property { .. } => Failure::invalid(error),
            BackfillError::Recompute(error) => (*error).into(),
            BackfillError::Changed { .. } => Failure::Unsafe(error.to_string()),
            BackfillError::Iceberg(error) => error.into(),
            BackfillError::Commit { ref source, .. } if source.is_refusal() => Failure::Person(error.into()),
            BackfillError::Commit { .. } | BackfillError::Partly { .. } => Failure::running(error),
        }
    }
}

impl From<OffsetsError> for Failure {
    fn from(error: OffsetsError) -> Failure {
        match error {
            OffsetsError::Checkpoint(error) => error.into(),
            OffsetsError::Source(error) => error.into(),
        }
    }
}

impl From<DiffError> for Failure {
    fn from(error: DiffError) -> Failure {
        match error {
            DiffError::Range(error) => error.into(),
            DiffError::Recompute(error) => (*error).into(),
            DiffError::PublishedAgain { .. } => Failure::Unsafe(error.to_string()),
            DiffError::NothingPublished { .. } | DiffError::Layout { .. } | DiffError::Property { .. } => {
                Failure::invalid(error)
            }
            DiffError::Memory(_) => Failure::Person(error.into()),
            DiffError::Iceberg(error) => error.into(),
        }
    }
}

impl From<MaintainError> for Failure {
    fn from(error: MaintainError) -> Failure {
        match error {
            MaintainError::OtherState { .. } | MaintainError::Property { .. } => Failure::invalid(error),
            MaintainError::Staged { .. } | MaintainError::FilesMissing { .. } => Failure::Person(error.into()),
            MaintainError::Commit(ref source) if source.is_refusal() => Failure::Person(error.into()),
            MaintainError::Commit(CommitError::Table(error)) | MaintainError::Iceberg(error) => error.into(),
            MaintainError::Commit(_) => Failure::running(error),
            MaintainError::Checkpoint(error) => error.into(),
        }
    }
}

impl From<PreflightError> for Failure {
    fn from(error: PreflightError) -> Failure {
        match error {
            PreflightError::Source(error) => error.into(),
            PreflightError::Iceberg(error) => error.into(),
            PreflightError::Table(error) => error.into(),
            PreflightError::State(error) => error.into(),
            PreflightError::Slow { .. } => Failure::running(error),
            PreflightError::Files { .. } => match failure_in(&error) {
                Some(failure) if !failure.cause.is_lasting() => Failure::running(error),
                _ => Failure::Person(error.into()),
            },
            PreflightError::Start(_)
            | PreflightError::Rejects { .. }
            | PreflightError::History(_)
            | PreflightError::Lost(_)
            | PreflightError::Version { .. }
            | PreflightError::NoConditionalPut => Failure::invalid(error),
        }
    }
}

impl From<RangeError> for Failure {
    fn from(error: RangeError) -> Failure {
        match error {
            RangeError::Incomplete(_)
            | RangeError::Edges { .. }
            | RangeError::BehindLive { .. }
            | RangeError::NoPositions { .. }
            | RangeError::NotPublished { .. } => Failure::Unsafe(error.to_string()),
            RangeError::Iceberg(error) | RangeError::Anew(AnewError::Iceberg(error)) => error.into(),
            _ => Failure::invalid(error),
        }
    }
}

impl From<RecomputeError<IcebergError>> for Failure {
    fn from(error: RecomputeError<IcebergError>) -> Failure {
        match error {
            RecomputeError::Engine(EngineError::WorkerDied { .. }) => Failure::running(error),
            RecomputeError::Engine(_) | RecomputeError::Memory(_) => Failure::Person(error.into()),
            RecomputeError::CutOff { .. } | RecomputeError::StillOpen { .. } => Failure::Unsafe(error.to_string()),
            RecomputeError::Iceberg(error) => error.into(),
            RecomputeError::Taken(_) => Failure::running(error),
        }
    }
}
