"""In which order jobs run, so that much is whole when the time is over."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

PARTS = ("J", "A", "I", "P", "extra", "search")  # the papers, what is beyond them, searches
Job = dict[str, Any]


def by_parts(jobs: Iterable[Job]) -> list[Job]:
    """Return jobs part by part, an exhibit's jobs together, short exhibits first."""
    jobs, seconds = list(jobs), {}
    for job in jobs:
        seconds[exhibit(job)] = seconds.get(exhibit(job), 0.0) + job["seconds"]
    return sorted(jobs, key=lambda job: (PARTS.index(job["part"]), seconds[exhibit(job)], job["name"]))


def as_named(jobs: Iterable[Job], names: Sequence[str]) -> list[Job]:
    """Return the jobs of parts, exhibits or single jobs in the order in which these are named; `all` is all but the searches.

    Raises:
        LookupError: if a name stands for none of the jobs and is no part.
    """
    chosen: dict[str, Job] = {}
    jobs = list(jobs)
    for name in names:
        matching = [job for job in jobs if name in keys(job)]
        if not matching and name not in (*PARTS, "all"):
            example = f" such as {jobs[0]['name']}" if jobs else ""
            raise LookupError(f"part: got {name!r}, need all, {', '.join(PARTS)}, or an exhibit or a job{example}")
        chosen |= {job["name"]: job for job in matching if job["name"] not in chosen}
    return list(chosen.values())


def ensembles(jobs: Iterable[Job]) -> list[Job]:
    """Return the ensembles of jobs, each a unit of work with a name, seconds and members of its own."""
    return [unit for job in jobs for unit in _split(job)]


def _split(job: Job) -> Iterator[Job]:
    count, members = len(job["ensembles"]), sum(job["ensembles"])
    for number, size in enumerate(job["ensembles"], 1):
        kinds = {name: seconds * size / members for name, seconds in job["kinds"].items()}
        own = {"name": f"{job['name']}.{number}of{count}", "job": job["name"], "ensemble": number, "members": size}
        yield job | own | {"seconds": job["seconds"] * size / members, "kinds": kinds}


def claims_on(units: Iterable[Job], claims: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return for each claim the ensembles that it needs: of each of its jobs so many that the verdict is final."""
    first: dict[str, list[str]] = {}
    for unit in units:
        first.setdefault(unit["job"], []).extend([unit["name"]] if unit["ensemble"] <= unit["enough"] else [])
    return {claim: [unit for name in names for unit in first.get(name, [name])] for claim, names in claims.items()}


def shared(units: Iterable[Job], plan: Iterable[Job], share: tuple[int, int]) -> list[Job]:
    """Return those of the units that are the k-th of n machines': every n-th of the plan, whatever is done and in which order."""
    k, n = share
    mine = {unit["name"] for unit in list(plan)[k - 1 :: n]}
    return [unit for unit in units if unit["name"] in mine]


def by_claims(jobs: Iterable[Job], claims: dict[str, list[str]], done: Iterable[str] = ()) -> list[Job]:
    """Return jobs so that claims become decidable as fast as can be: at each turn those of the claims with most per counted second.

    Args:
        jobs: with their `seconds`.
        claims: for each open claim the names of all jobs that it still needs; one that needs others is left out.
        done: names of jobs that are finished, and cost nothing.

    Returns:
        The jobs that a claim needs, then the others in the order given.
    """
    jobs, order, have = list(jobs), [], set(done)
    seconds = {job["name"]: job["seconds"] for job in jobs}
    needed = {claim: set(names) for claim, names in claims.items() if set(names) <= seconds.keys() | have}
    while candidates := {frozenset(names - have): None for names in needed.values() if names - have}:  # a dict keeps their order
        best = max(candidates, key=partial(_worth, have=have.copy(), needed=needed.values(), seconds=seconds))
        order += [job for job in jobs if job["name"] in best]
        have |= best
    return order + [job for job in jobs if job not in order]


def _worth(names: frozenset[str], have: set[str], needed: Iterable[set[str]], seconds: dict[str, float]) -> float:
    """Return how many claims these jobs complete, per second."""
    completed = sum(jobs <= names | have and not jobs <= have for jobs in needed)
    return completed / max(1e-9, sum(seconds[name] for name in names))


def keys(job: Job) -> set[str]:
    """Return the names that a job, or a job's ensemble, goes by: its own, its job's, its exhibit's, its part's, and `all` unless it is a
    search's."""
    return {job["name"], job.get("job", job["name"]), exhibit(job), job["part"]} | ({"all"} if job["part"] != "search" else set())


def exhibit(job: Job) -> str:
    return job["name"].partition("/")[0]
