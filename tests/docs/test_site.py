"""The site is whole: links lead somewhere, nothing is fetched, exhibits, claims, public names and terms are all there."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest

import sibp
from tests.workflow.conftest import EXHIBITS
from tools import documentation

ROOT = Path(__file__).parents[2]
KEPT = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in (ROOT / "results/reference/exhibits").glob("*.json")}
CLAIMS = json.loads((ROOT / "results/reference/claims.json").read_text(encoding="utf-8"))


class Reader(HTMLParser):
    """What a page names: its anchors, where its links lead, what it loads; and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.text = ""
        self.feed(text)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value for key, value in attrs if value}
        self.anchors |= {values[key] for key in ("id", "name") if key in values}
        if tag == "a":
            self.links |= {values[key] for key in ("href",) if key in values}
        else:
            self.loaded |= {values[key] for key in ("src", "href") if key in values}

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def pages(site) -> dict[str, Reader]:
    """Every page by its path."""
    return {path.relative_to(site).as_posix(): Reader(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_every_link_leads_to_a_page_or_file_and_its_anchor(pages, site):
    broken, seen = [], 0
    for name, page in pages.items():
        for link in page.links | page.loaded:
            parts = urlsplit(urljoin(f"http://site/{name}", link))
            if parts.netloc != "site" or name == "404.html":  # which is shown anywhere, and names its links from the root
                continue
            seen += 1
            path, anchor = unquote(parts.path).lstrip("/"), unquote(parts.fragment)
            whole = (site / path).is_file() and (not anchor or path not in pages or anchor in pages[path].anchors | {"__top"})
            broken += [] if whole else [f"{name}: {link}"]
    assert broken == []
    assert seen > 1000


def test_nothing_is_loaded_from_a_network(pages, site):
    assert [(name, link) for name, page in pages.items() for link in page.loaded if urlsplit(link).scheme not in ("", "data")] == []
    styles = "".join(file.read_text(encoding="utf-8") for file in site.rglob("*.css"))
    assert re.findall(r"url\(['\"]?(https?:[^)]*)", styles) == []


def test_the_gallery_shows_every_exhibit_with_its_caption(pages):
    gallery = pages["gallery.html"]
    assert len(KEPT) >= 29 and KEPT.keys() <= gallery.anchors
    assert all(name in KEPT or f"Not kept yet: {name}" in gallery.text for name in EXHIBITS)
    assert {f"figures/{name}.png" for name in KEPT if KEPT[name]["figure"]} <= gallery.loaded
    for name in KEPT:
        start = " ".join(re.split(r"[*_`<|]", KEPT[name]["caption"])[0].split())[:60]
        assert start in gallery.text, name


def test_every_claim_has_its_row(pages):
    assert {row["id"] for row in CLAIMS} <= pages["claims.html"].anchors
    assert all(" ".join(row["criterion"].split()) in pages["claims.html"].text for row in CLAIMS)


def test_the_reference_has_every_public_name_with_parameters_and_errors(pages):
    anchors = set().union(*(page.anchors for page in pages.values()))
    for name in sibp.__all__:
        value = getattr(sibp, name)
        assert f"{value.__module__}.{value.__qualname__}" in pages["api/sibp.html"].anchors, name
    for package in documentation.packages():
        assert f"api/{package}.html" in pages
    public = [
        f"{'.'.join(file.relative_to(ROOT).with_suffix('').parts)}.{name}"
        for file in sorted((ROOT / "sibp").rglob("*.py"))
        if file.name not in ("__init__.py", "version.py")
        for name in documentation.public(file)
        if re.search(rf"^(?:class|def) {name}\b", file.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert len(public) > 200 and [name for name in public if name not in anchors] == []
    assert "ValueError" in pages["api/sibp.html"].text and "[E, R, I]" in pages["api/solvers.html"].text
    assert "step size, > 0; 0.001 by default." in pages["api/methods.html"].text


def test_every_term_of_the_glossary_is_linked_where_it_is_used():
    glossary = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
    terms = [term.lower().replace(" ", "-") for term in re.findall(r"^## (.*)$", glossary, re.MULTILINE)]
    assert len(terms) >= 10 and terms == sorted(terms)
    others = "".join(
        file.read_text(encoding="utf-8")
        for file in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
        if file.name != "glossary.md"
    )
    assert [term for term in terms if f"glossary.md#{term})" not in others] == []


@pytest.mark.parametrize(
    ("link", "there"),
    [
        ("[a](../CONTRIBUTING.md#add-a-method)", "[a](contributing.md#add-a-method)"),
        ("[a](../results/reference/tables/j-fig4.md)", "[a](gallery.md#j-fig4)"),
        ("[a](measurements.md)", "[a](measurements.md)"),
        ("[a](../LICENSE)", "a (`LICENSE`)"),
        ("[a](https://example.org/x.md)", "[a](https://example.org/x.md)"),
        ("[a](no-such-page.md)", "[a](no-such-page.md)"),  # for mkdocs to complain of
    ],
)
def test_links_of_the_repository_become_the_site_s(link, there):
    here = documentation.PurePosixPath("docs/data.md")
    assert documentation.LINK.sub(lambda match: documentation.relinked(match, here, "data.md"), link) == there


def test_formulas_in_docstrings_become_blocks_and_sections_stay():
    text = "Minimises\n    1/2 ||x||^2,\nfor all.\n\nArgs:\n    x: what\n        it is.\n"
    assert documentation.as_markdown(text).splitlines() == [
        *["Minimises", "", "    1/2 ||x||^2,", "", "for all.", "", "Args:", "    x: what", "        it is."]
    ]


def test_lists_and_tables_are_set_off_from_the_text_before():
    assert (
        documentation.set_off("text\n- one\n- two\nmore\n\n1. a\n   b\n2. c\n")
        == "text\n\n- one\n- two\nmore\n\n1. a\n   b\n2. c\n"
    )
    assert documentation.set_off("text:\n| a | b |\n| --- | --- |\n") == "text:\n\n| a | b |\n| --- | --- |\n"
