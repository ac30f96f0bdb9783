"""Whether a run has the papers' size: the one decision that verdicts, captions and pages go by."""

from sibp.experiments.jobs import Job
from sibp.experiments.settings import Data

__all__ = ["has_papers_size", "reductions"]

SPLITS = {"train": "training", "validation": "validation", "test": "test"}
LENGTHS = {"epochs": "epochs", "steps": "steps", "max_seconds": "seconds"}


def has_papers_size(job: Job, full: Job) -> bool:
    """Return whether a job has the data, network, length and batch size of the same job at full scale.

    Seeds are left aside: fewer of them widen an interval, they do not move what is measured. So are options, measures and devices.

    Args:
        job: as it ran.
        full: as its experiment file says.

    Returns:
        True or False.
    """
    return _size(job) == _size(full)


def reductions(job: Job, full: Job) -> list[str]:
    """Return what of a job's size is not the full-scale job's, in words.

    Args:
        job: as it ran.
        full: as its experiment file says.

    Returns:
        Parts of a sentence; empty if and only if the job has the papers' size.
    """
    if has_papers_size(job, full):
        return []
    data, whole = job.experiment.data, full.experiment.data
    pairs = [
        *((getattr(data, key), getattr(whole, key), f"{split} samples") for key, split in SPLITS.items()),
        *((getattr(job.training, key), getattr(full.training, key), word) for key, word in LENGTHS.items()),
    ]
    parts = ["generated data"] * (_data(job).generated and not _data(full).generated)
    parts += [f"{ours:g} of {theirs:g} {word}" for ours, theirs, word in pairs if None not in (ours, theirs) and ours < theirs]
    for key in ("widths", "channels"):
        ours, theirs = getattr(job.network, key) or (), getattr(full.network, key) or ()
        if ours != theirs:
            parts.append(f"{key} {'-'.join(map(str, ours))} for {'-'.join(map(str, theirs))}")
    if job.training.batch_size != full.training.batch_size:
        parts.append(f"batches of {job.training.batch_size} for {full.training.batch_size}")
    if job.network.init != full.network.init:
        parts.append("another initial law")
    return parts or ["other settings"]


def _size(job: Job) -> tuple[object, ...]:
    lengths = [getattr(job.training, key) for key in LENGTHS]
    return _data(job), job.network, job.training.batch_size, *lengths


def _data(job: Job) -> Data:
    data = job.experiment.data
    return data.model_copy(update={"generated": data.generated and not data.is_chain})  # the chain's numbers are always drawn
