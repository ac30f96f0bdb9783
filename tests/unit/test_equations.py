"""docs/equations.md and docs/deviations.md against the code, both ways."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHORT = {"Thm.": "Theorem", "Prop.": "Proposition"}
ITEM = r"(?:(?:eq\.|Algorithm|Propositions?|Prop\.|Theorems?|Thm\.|Remark|Fig\.|Table|Assumption) )?\d+(?:\.\d+)?\b"
LIST = re.compile(rf"\b([JPA]),? ({ITEM}(?:(?:, | and |-){ITEM})*)")


def tags(text):
    """Return the ids of a text, `J 4.1`, `P eq. 11`, `J Theorem 4.1`, with kinds spelt out.

    "J Theorems 4.1 and 4.2" are two theorems, "J 4.1-4.2" two numbers; after a comma a singular kind is over: "J Remark 4.1, 5.5".
    """
    found = set()
    for paper, items in LIST.findall(text):
        kind = ""
        for link, item in re.findall(rf"(^|, | and |-)({ITEM})", items):
            *own, number = item.split()
            kind = own[0] if own else "" if link == ", " and not kind.endswith("s") else kind
            found.add(" ".join(filter(None, [paper, SHORT.get(kind, kind.removesuffix("s")), number])))
    return found


def rows(name):
    lines = [line.strip("|").split("|") for line in (ROOT / "docs" / name).read_text().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line] for line in lines]
    return [row for row in cells if row[0] not in ("id", "---")]


EQUATIONS = {row[0]: row for row in rows("equations.md")}
DEVIATIONS = rows("deviations.md")
SOURCES = {path: path.read_text() for path in (ROOT / "sibp").rglob("*.py")}


def resolve(name):
    """Return the module and the object of `sibp.module.Name`."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = module = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return module, found
    raise AssertionError(f"{name} does not exist")


def test_every_tag_in_the_code_has_a_row():
    missing = {tag: path.name for path, text in SOURCES.items() for tag in tags(text) if tag not in EQUATIONS}
    assert missing == {}


@pytest.mark.parametrize("tag", EQUATIONS)
def test_every_row_stands_in_the_code_and_in_a_test(tag):
    _, _, code, test = EQUATIONS[tag]
    module, _ = resolve(code.strip("`"))
    assert tag in tags(Path(module.__file__).read_text()), f"{module.__name__} does not mention {tag}"
    file, _, function = test.strip("`").partition("::")
    assert f"def {function}" in (ROOT / file).read_text()


def test_tags_are_read_in_every_spelling():
    spellings = {
        "J 4.1-4.2, Algorithm 1": {"J 4.1", "J 4.2", "J Algorithm 1"},
        "J Theorems 4.1 and 4.2": {"J Theorem 4.1", "J Theorem 4.2"},
        "P Propositions 1, 2 and 5": {"P Proposition 1", "P Proposition 2", "P Proposition 5"},
        "I and A, Proposition 1": {"A Proposition 1"},
        "J Remark 4.1, 5.5": {"J Remark 4.1", "J 5.5"},
        "P Prop. 5; J Thm. 4.1": {"P Proposition 5", "J Theorem 4.1"},
        "P eq. 11, for the last": {"P eq. 11"},
        "J's 3 layers": set(),
    }
    assert {text: tags(text) for text in spellings} == spellings


def test_rows_have_as_many_cells_as_their_heads():
    assert {len(row) for row in EQUATIONS.values()} == {4}
    assert {len(row) for row in DEVIATIONS} == {5}


def test_deviations_are_numbered_in_order():
    assert [row[0] for row in DEVIATIONS] == [f"D-{number:02d}" for number in range(1, len(DEVIATIONS) + 1)]


@pytest.mark.parametrize("row", DEVIATIONS, ids=lambda row: row[0])
def test_every_deviation_names_code_that_exists(row):
    names = re.findall(r"`(sibp(?:\.\w+)+)`", row[-1])
    assert names
    for name in names:
        resolve(name)


def test_every_module_that_cites_the_deviations_has_one():
    cited = {resolve(name)[0].__file__ for row in DEVIATIONS for name in re.findall(r"`(sibp(?:\.\w+)+)`", row[-1])}
    citing = {str(path) for path, text in SOURCES.items() if "docs/deviations.md" in text}
    assert citing <= cited
