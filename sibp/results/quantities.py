"""One number for each seed of a label: what tables, figures and verdicts say of a run is one of these.

The rules stand in docs/measurements.md.

    Quantity("test_accuracy").per_seed(rows)                                     after training
    Quantity("train_accuracy", "epochs_to", 0.9).per_seed(rows)                  how long it takes
    Quantity("test_accuracy", where={"eta": (10,)}, over="min").per_seed(rows)   the worst of a seed's settings with eta = 10
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from sibp.core import messages

__all__ = ["DURATIONS", "LEVELS", "Quantity", "cuts", "diverged", "is_higher_better"]

Reading = Callable[[pd.DataFrame, str, float], float]  # of one member's curve, in the order of steps; a metric; a number
ROUNDING = 1e-9  # of epochs and, relative, of seconds


def is_higher_better(metric: str) -> bool:
    """Return whether more of a metric is better: of accuracies it is, of losses, norms and the rest it is not.

    Args:
        metric: its name.

    Returns:
        True for an accuracy.
    """
    return metric.endswith("accuracy")


def diverged(rows: pd.DataFrame) -> pd.Series:
    """Return whether each member diverged.

    Args:
        rows: all of a label's evaluations.

    Returns:
        A bool by the member's number.
    """
    return (rows["status"] == "diverged").groupby(rows["member"]).any()


def cuts(record: Mapping[str, Any]) -> pd.DataFrame:
    """Return what pruning left of each member as rows like a run's: the share that was cut takes the place of the step.

    Args:
        record: of a job whose `training.prune` names shares.

    Returns:
        One row per member and share: `member`, `seed`, its options, `share`, `step`, the metrics (NaN if it diverged) and `status`.
    """
    rows = pd.DataFrame(record["pruned"])
    lost = rows["member"].isin([member["member"] for member in record["diverged"]])
    rows.loc[lost, rows.columns.difference(["member", "share"])] = np.nan
    rows = rows.assign(step=rows["share"], status=np.where(lost, "diverged", "done"))
    return rows.merge(pd.DataFrame(record["members"]), on="member")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _last(values: pd.Series) -> float:
    return values.iloc[-1] if len(values) else math.nan


def _first(places: pd.Series) -> float:
    return places.iloc[0] if len(places) else math.inf


def _until(axis: str) -> Reading:
    return lambda curve, metric, level: _first(curve[axis][curve[metric] >= level])


def _best(curve: pd.DataFrame, metric: str, _: float) -> float:
    return curve[metric].max() if is_higher_better(metric) else curve[metric].min()


def _falls(curve: pd.DataFrame, metric: str, share: float) -> float:
    low = curve[metric] <= share * curve[metric].iloc[0]
    return _first(curve["step"][low & low.iloc[-1]])  # to dip and end above it is no fall


def _top(curve: pd.DataFrame, metric: str, _: float = 0) -> float:
    return curve["epoch"][curve[metric].idxmax()] if curve[metric].notna().any() else math.inf


def _settles(curve: pd.DataFrame, metric: str, share: float) -> float:
    return _first(curve["epoch"][(curve["epoch"] > _top(curve, metric)) & (curve[metric] <= share * curve[metric].max())])


def _pruned(curve: pd.DataFrame, metric: str, share: float) -> float:
    values = curve[metric][np.isclose(curve["share"], share)]
    if values.empty:
        raise LookupError(f"pruned: got {share:g}, need one of {', '.join(f'{cut:g}' for cut in curve['share'])}")
    return values.iloc[0]


LEVELS: dict[str, Reading] = {
    "first": lambda curve, metric, _: curve[metric].iloc[0],
    "last": lambda curve, metric, _: curve[metric].iloc[-1],
    "best": _best,
    "highest": lambda curve, metric, _: curve[metric].max(),
    "epoch": lambda curve, metric, epoch: _last(curve[metric][curve["epoch"] <= epoch + ROUNDING]),
    "within": lambda curve, metric, seconds: _last(curve[metric][curve["seconds"] <= seconds * (1 + ROUNDING)]),
    "pruned": _pruned,
}
DURATIONS: dict[str, Reading] = {
    "epochs_to": _until("epoch"),
    "steps_to": _until("step"),
    "seconds_to": _until("seconds"),
    "falls_to": _falls,
    "epochs_to_highest": _top,
    "epochs_to_settle": _settles,
}
AXES = {"epochs_to": "epoch", "steps_to": "step", "seconds_to": "seconds", "falls_to": "step"}  # else a duration is in epochs
FAILED = "failed"
TAKES = (*LEVELS, *DURATIONS, FAILED)
PLAIN = ("first", "last", "best", "highest", "epochs_to_highest")  # these need no number
OVER = ("min", "max", "mean", "range")


@dataclass(frozen=True)
class Quantity:
    """One number for each seed.

    A level (a key of `LEVELS`) is a value of the metric: after training (`last`), at the first evaluation, the best or the highest,
    at an epoch or `within` so many seconds (both: of the last evaluation up to there), or with a share of the weights cut
    (`pruned`). A duration (a key of `DURATIONS`) is how long a member takes: until the metric is at least a level, until it
    `falls_to` a share of its start (where it also ends at most there), until it is highest, or until it has settled at a share of
    its highest value; infinite if it never does. `failed` is 1 for a member that diverged or ended below a level, else 0.

    **A member that diverged has no level, whatever is taken of its curve, and an infinite duration.** Over several settings of a seed
    the best one is the best of those that did not diverge (`max` of an accuracy, `min` of a loss or of a duration); the worst, the
    mean and the range take all settings, so that one that diverged leaves no level, or an infinite duration.

    Args:
        metric: the column that it is read off.
        take: what is taken of each member's curve.
        at: the epoch, seconds, level or share that `take` needs.
        where: options and the values that a member must have of each.
        over: how the settings of a seed become one number: `min`, `max`, `mean` or `range`.

    Raises:
        ValueError: if `take` or `over` is unknown.
    """

    metric: str
    take: str = "last"
    at: float = 0.0
    where: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    over: str = "mean"

    def __post_init__(self) -> None:
        for key, allowed in (("take", TAKES), ("over", OVER)):
            if getattr(self, key) not in allowed:
                raise ValueError(f"quantity: {key}: {messages.need(getattr(self, key), allowed)}")

    @classmethod
    def parse(cls, mapping: Mapping[str, Any]) -> "Quantity":
        """Return the quantity that a file describes: `metric`, and if need be `where`, `over` and one of `TAKES`.

        Args:
            mapping: as in ``{metric: test_accuracy, epoch: 20, where: {eta: [1, 10]}, over: max}``; ``best: true`` where no number is
                needed; `last` if nothing is said.

        Returns:
            The quantity.

        Raises:
            ValueError: in one line, if a key is unknown or missing, or a number is.
        """
        rest = {key: value for key, value in mapping.items() if key not in ("metric", "where", "over")}
        if "metric" not in mapping:
            raise ValueError(f"quantity: metric: missing in {dict(mapping)}")
        if unknown := [key for key in rest if key not in TAKES]:
            raise ValueError(f"quantity: {messages.need(unknown[0], ('metric', 'where', 'over', *TAKES))}")
        if len(rest) > 1:
            raise ValueError(f"quantity: got {' and '.join(rest)}, need one of them")
        take, at = next(iter(rest.items()), ("last", True))
        if (at is not True) if take in PLAIN else not _is_number(at):
            raise ValueError(f"quantity: {take}: got {at!r}, need {'true' if take in PLAIN else 'a number'}")
        where = {
            name: tuple(values) if isinstance(values, Sequence) and not isinstance(values, str) else (values,)
            for name, values in mapping.get("where", {}).items()
        }
        if faults := [(name, value) for name, values in where.items() for value in values if not _is_number(value)]:
            raise ValueError(f"quantity: where: {faults[0][0]}: got {faults[0][1]!r}, need a number")
        return cls(mapping["metric"], take, 0.0 if at is True else at, where, mapping.get("over", "mean"))

    @property
    def is_duration(self) -> bool:
        """Whether it counts epochs, steps or seconds."""
        return self.take in DURATIONS

    @property
    def is_higher_better(self) -> bool:
        """Whether more of it is better."""
        return not self.is_duration and is_higher_better(self.metric)

    def of_member(self, curve: pd.DataFrame) -> float:
        """Return the number of one member.

        Args:
            curve: its evaluations in the order of steps.

        Returns:
            NaN if it diverged, unless its failure is what counts.
        """
        lost = bool((curve["status"] == "diverged").any())
        if self.take == FAILED:
            return float(lost or curve[self.metric].iloc[-1] < self.at)
        return math.nan if lost else float((LEVELS | DURATIONS)[self.take](curve, self.metric, self.at))

    def per_seed(self, rows: pd.DataFrame, lost: float = math.inf) -> pd.Series:
        """Return one number for each seed.

        Args:
            rows: all evaluations of all members of a label.
            lost: what a duration is for a seed that is lost by divergence; a test that asks for slowness takes NaN, since to diverge
                is not to be slow.

        Returns:
            Numbers by seed, NaN where there is none. If no member is as `where` says, a LookupError says what there is.
        """
        curves = self._select(rows).sort_values("step", kind="stable").groupby("member")
        members = pd.DataFrame([(curve["seed"].iloc[0], self.of_member(curve)) for _, curve in curves], columns=["seed", "value"])
        values = members.groupby("seed")["value"].agg(self._over)
        assert isinstance(values, pd.Series)
        return values.fillna(lost) if self.is_duration else values

    def pace(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return after how much training the number is there.

        Of a duration that is when it is over, infinite if it never is; of a value at an epoch that epoch; else the end of the training.
        Of several settings of a seed the one whose number counts, or their mean where it is of all of them.

        Args:
            rows: all evaluations of all members of a label.

        Returns:
            Columns `step` and `seconds`, by seed.
        """
        table = []
        for _, curve in self._select(rows).sort_values("step", kind="stable").groupby("member"):
            value = self.of_member(curve)
            table.append({"seed": curve["seed"].iloc[0], "value": value, **self._place(curve, value)})
        members = pd.DataFrame(table)
        if self.over in ("min", "max"):
            members = members.sort_values("value", ascending=self.over == "min", kind="stable", na_position="last")
            members = members.drop_duplicates("seed")
        return members.groupby("seed")[["step", "seconds"]].mean()

    def _place(self, curve: pd.DataFrame, value: float) -> dict[str, float]:
        if self.is_duration and not math.isfinite(value):
            return {"step": math.inf, "seconds": math.inf}
        reached = curve[curve[AXES.get(self.take, "epoch")] >= value] if self.is_duration else curve.tail(1)
        before = curve[curve["epoch"] <= self.at + ROUNDING].tail(1) if self.take == "epoch" else reached
        return before[["step", "seconds"]].iloc[0].to_dict()

    def _select(self, rows: pd.DataFrame) -> pd.DataFrame:
        for key, names in (("metric", [self.metric]), ("where", self.where)):
            if unknown := [name for name in names if name not in rows]:
                raise LookupError(f"{key}: {messages.need(unknown[0], rows.columns)}")
        for name, values in self.where.items():
            chosen = rows[np.isclose(rows[name].to_numpy(float)[:, None], np.array(values, float)).any(axis=1)]
            if chosen.empty:
                there = ", ".join(f"{value:g}" for value in sorted(rows[name].unique()))
                raise LookupError(
                    f"where: {name}: no member has {', '.join(f'{value:g}' for value in values)}, need one of {there}"
                )
            rows = chosen
        return rows

    def _over(self, values: pd.Series) -> float:
        """Return one number for the settings of a seed; NaN among them are those that diverged."""
        if self.over == ("max" if self.is_higher_better else "min") and self.take != FAILED:
            values = values.dropna()
        numbers = values.to_numpy(float)
        if not len(numbers):
            return math.nan
        with np.errstate(invalid="ignore"):  # never less never is no number
            return float({"min": np.min, "max": np.max, "mean": np.mean, "range": np.ptp}[self.over](numbers))
