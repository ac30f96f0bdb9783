"""What was found, in prose whose every number comes from the verdicts and the exhibits."""

import re
from typing import Any

VERDICTS = ("reproduced", "partly", "not reproduced", "not run")
ENOUGH_SEEDS = 3  # with fewer, a verdict at the papers' size is provisional
SMALLER = "at a smaller size, where a verdict is a lead and the papers' numbers cannot be expected"
PAPERS = {"J": "J, the journal version", "A": "A, the preprint", "I": "I, the first version", "P": "P, ProxProp"}
INTERVAL = re.compile(r" \[[^\]]*\]")
INTRODUCED = {"reproduced": "Reproduced", "partly": "Partly reproduced", "not reproduced": "Not reproduced"}


def counted(rows: list[dict[str, Any]]) -> str:
    """Return how many claims have which verdict, those judged at the papers' size first."""
    parts = []
    for kind, words in (("papers'", "at the papers' own size"), ("smaller", SMALLER), ("", "without runs")):
        verdicts = [row["verdict"] for row in rows if row["size"] == kind]
        named = ", ".join(f"{verdicts.count(name)} {name}" for name in VERDICTS if name in verdicts)
        provisional = sum(row["size"] == kind and row.get("provisional", False) for row in rows)
        named += f"; {provisional} of them provisional, with fewer than {ENOUGH_SEEDS} seeds" if provisional else ""
        parts += [f"{len(verdicts)} {words}: {named}"] if verdicts else []
    return f"{len(rows)} claims. {'. '.join(part[:1].upper() + part[1:] for part in parts)}."


def page(claims: list[dict[str, Any]], exhibits: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Return the report's first page, a paragraph for each paper, J first: each claim that was judged at the papers' size, and ours.

    Args:
        claims: their rows, as `workflow.scripts.claims` writes them.
        exhibits: their pages; one may have a `finding` of its own.

    Returns:
        Paragraphs, each with a `title` and a `lead`, which may be empty, and a `text`.
    """
    paragraphs = [{"title": "", "lead": "", "text": counted(claims)}]
    for paper, title in PAPERS.items():
        own = [claim for claim in claims if claim["place"].startswith(f"{paper} ")]
        paragraphs += [{"title": title if not i else "", **part} for i, part in enumerate(_of_one_paper(own))]
    others = [exhibit for exhibit in exhibits if exhibit.get("finding")]
    return paragraphs + [{"title": exhibit["title"], "lead": "", "text": exhibit["finding"]} for exhibit in others]


def _of_one_paper(claims: list[dict[str, Any]]) -> list[dict[str, str]]:
    judged = [claim for claim in claims if claim["size"] == "papers'"]
    parts = []
    for verdict, lead in INTRODUCED.items():
        if sentences := [_sentence(claim) for claim in judged if claim["verdict"] == verdict]:
            parts.append({"lead": lead, "text": f"{'; '.join(sentences)}."})
    if waiting := len(claims) - len(judged):
        parts.append({"lead": "Open", "text": f"{waiting} of {len(claims)} claims wait for runs of the papers' size."})
    return parts


def _sentence(claim: dict[str, Any]) -> str:
    """Return a claim with the paper's value and ours, without intervals, which stand in the table of claims."""
    place = claim["place"].partition(", ")[2] or claim["place"].partition(" ")[2]
    provisional = ", provisional" if claim.get("provisional") else ""
    return f"{claim['says']} ({place}: {claim['paper']}, ours {INTERVAL.sub('', claim['ours'])}{provisional})"
