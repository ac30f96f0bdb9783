"""What was found, question by question; every number comes from the verdicts and the exhibits."""

import re
from typing import Any

VERDICTS = ("reproduced", "partly", "not reproduced", "not run")
ENOUGH_SEEDS = 3  # with fewer, a verdict at the papers' size is provisional
SMALLER = "at a smaller size, where a verdict is a lead and the papers' numbers cannot be expected"
QUESTIONS = {  # what the papers' claims are about, in the order of the report
    "step sizes": "Does SIBP depend less on its step sizes?",
    "depth": "Does SIBP train deep nets where gradients vanish?",
    "speed": "Does SIBP train faster?",
    "accuracy": "Does SIBP reach a better accuracy?",
    "sparsity": "Does SIBP train sparse nets?",
    "ProxProp": "What does ProxProp give?",
    "theory": "Do the theorems hold?",
}
INTERVAL = re.compile(r" \[[^\]]*\]")


def counted(rows: list[dict[str, Any]]) -> str:
    """Return how many claims have which verdict, those judged at the papers' size first."""
    parts = []
    for kind, words in (("papers'", "at the papers' own size"), ("smaller", SMALLER), ("", "without runs")):
        own = [row for row in rows if row["size"] == kind]
        provisional = sum(row.get("provisional", False) for row in own)
        told = f"; {provisional} of them provisional, with fewer than {ENOUGH_SEEDS} seeds" if provisional else ""
        computed = sum(kind == "papers'" and not row["seeds"] for row in own)  # tests of theorems and properties
        untrained = f" ({computed} of them on theorems and properties, which are computed)" if computed else ""
        parts += [f"{len(own)} {words}{untrained}: {tally(own)}{told}"] if own else []
    return f"{len(rows)} claims. {'. '.join(part[:1].upper() + part[1:] for part in parts)}."


def page(claims: list[dict[str, Any]], exhibits: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the report's first page: a part for each question, with the claims that were judged at the papers' size, and ours.

    Args:
        claims: their rows, as `workflow.scripts.claims` writes them.
        exhibits: their pages; one may have a `finding` of its own.

    Returns:
        Parts, each with a `title`, which may be empty, a `text`, and `claims`: `verdict`, `says`, `place`, `paper`, `ours`.
    """
    parts: list[dict[str, Any]] = [{"title": "", "text": counted(claims), "claims": []}]
    for question, title in QUESTIONS.items():
        own = [claim for claim in claims if claim["question"] == question]
        judged = [claim for claim in own if claim["size"] == "papers'"]
        text = f"{len(judged)} of {len(own)} claims have runs of the papers' size{': ' if judged else ''}{tally(judged)}."
        parts += [{"title": title, "text": text, "claims": [_row(claim) for claim in judged]}] if own else []
    others = [exhibit for exhibit in exhibits if exhibit.get("finding")]
    return parts + [{"title": f"{exhibit['title']}.", "text": exhibit["finding"], "claims": []} for exhibit in others]


def tally(rows: list[dict[str, Any]]) -> str:
    """Return how many claims have which verdict: "8 reproduced, 1 partly"."""
    verdicts = [row["verdict"] for row in rows]
    return ", ".join(f"{verdicts.count(name)} {name}" for name in VERDICTS if name in verdicts)


def _row(claim: dict[str, Any]) -> dict[str, str]:
    """Return what the page shows of a claim; intervals stand in the table of claims."""
    provisional = ", provisional" if claim.get("provisional") else ""
    place = re.sub(r"^(\w) [\d.]+, ", r"\1, ", claim["place"]).replace(" ", "\N{NO-BREAK SPACE}", 2)  # without the section
    return {"verdict": claim["verdict"] + provisional, "place": place, "ours": INTERVAL.sub("", claim["ours"])} | {
        key: claim[key] for key in ("says", "paper")
    }
