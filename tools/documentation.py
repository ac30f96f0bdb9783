"""What mkdocs calls while it builds the site (mkdocs.yml): pages that are generated, and links that lead out of docs/.

Generated are the front page (README.md), the gallery and the claims (results/reference), and the reference, one page for each package of
`sibp` in the order of docs/architecture.md, from the names in its modules' `__all__`.
"""

import ast
import html
import json
import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "results/reference"
COPIED = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
LINK = re.compile(r"(?<!`)\[([^\[\]]*)\]\(([^()\s#]+)(#[^()\s]*)?\)")
FENCE = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)
SECTIONS = ("Args:", "Attributes:", "Returns:", "Raises:", "Yields:")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Name in the navigation the reference's pages, and last under "Changing it" what docs/ holds beside the pages named there."""
    sections = {title: pages for part in config.nav or () for title, pages in part.items()}
    named = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    sections["Changing it"] += [file.name for file in sorted((ROOT / "docs").glob("*.md")) if file.name not in named]
    sections["API reference"] += [f"api/{name}.md" for name in packages()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is generated."""
    pages = {name: (ROOT / source).read_text(encoding="utf-8") for name, source in COPIED.items()}
    pages |= {"gallery.md": gallery(), "claims.md": claims()}
    pages |= {f"api/{name}.md": reference(name, text) for name, text in packages().items()}
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    for picture in sorted((REFERENCE / "figures").glob("*.png")):
        files.append(File.generated(config, f"figures/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at the site's pages, and set lists and tables off from the text before them, as Python's Markdown wants it."""
    name = page.file.src_uri
    source = PurePosixPath(COPIED.get(name, f"docs/{name}"))
    parts = FENCE.split(markdown)
    parts[::2] = [set_off(LINK.sub(lambda match: relinked(match, source, name), part)) for part in parts[::2]]
    return "\n".join(part.strip("\n") if k % 2 else part for k, part in enumerate(parts))


def relinked(match: re.Match[str], source: PurePosixPath, page: str) -> str:
    """Return a link of a file of the repository as the page made from it needs it."""
    text, target, anchor = match[1], match[2], match[3] or ""
    path = os.path.normpath(source.parent / target)
    if ":" in target or not (ROOT / path).exists():
        return match[0]
    there = place_on_site(path, anchor)
    if there is None:
        return f"{text} (`{path}`)"
    return f"[{text}]({os.path.relpath(there, PurePosixPath(page).parent)})"


def place_on_site(path: str, anchor: str = "") -> str | None:
    """Return where a file of the repository is on the site, or None if it is not there."""
    names = {source: name for name, source in COPIED.items()}
    if path.startswith("docs/"):
        return path.removeprefix("docs/") + anchor
    if path in names:
        return names[path] + anchor
    if match := re.fullmatch(r"results/reference/(?:(claims\.md|figures/.*)|tables/(.*)\.md)", path):
        return match[1] or f"gallery.md#{match[2]}"
    return None


def set_off(text: str) -> str:
    """Return Markdown with an empty line before each list and table that follows on a line of text."""
    begins = r"(^(?! |[-*|>#]|\d+\. |<).*\S.*\n)(?=[-*] |\d+\. |\|)"
    return re.sub(begins, r"\1\n", text, flags=re.MULTILINE)


def packages() -> dict[str, str]:
    """Return the packages and modules of `sibp` in their order, each with what it holds."""
    listed = re.findall(r"^\d+\. `([a-z_]+)`: (.*)$", (ROOT / "docs/architecture.md").read_text(encoding="utf-8"), re.MULTILINE)
    return dict(listed)


def reference(package: str, text: str) -> str:
    """Return a package's page: each of its modules with its public names."""
    parts = [f"# sibp.{package}", f"{text[:1].upper()}{text[1:]}.".replace("](", "](../")]
    for file in sorted([ROOT / f"sibp/{package}.py", *(ROOT / "sibp" / package).rglob("*.py")]):
        names = public(file) if file.is_file() else []
        if names and file.name != "__init__.py":
            module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            parts.append(f"::: {module}\n    options: {{members: {json.dumps(names)}}}")
    return "\n\n".join(parts) + "\n"


def public(file: Path) -> list[str]:
    """Return the names in a module's `__all__`."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return ast.literal_eval(node.value)
    return []


def gallery() -> str:
    """Return the page of all exhibits, in the order of docs/exhibits.md."""
    every = {page["id"]: page for file in (REFERENCE / "exhibits").glob("*.json") if (page := json.loads(file.read_text("utf-8")))}
    order = re.findall(r"^\| `([\w-]+)` \|", (ROOT / "docs/exhibits.md").read_text(encoding="utf-8"), re.MULTILINE)
    shown = [every[name] for name in order if name in every]
    head = f"# Gallery\n\n{len(shown)} exhibits as `results/reference` keeps them. Each says at which size and on what it was made;"
    head += " what the numbers are stands in [measurements](measurements.md), the papers' claims and our verdicts in [claims](claims.md)."
    head += "".join(f"\n\nNot kept yet: `{name}`." for name in order if name not in every)
    cards = "\n".join(card(page) for page in shown)
    return "\n\n".join([head, f'<div class="cards">\n{cards}\n</div>', *(section(page) for page in shown)]) + "\n"


def card(page: dict[str, Any]) -> str:
    """Return an exhibit's place in the overview, a link to its part of the page."""
    name, place = page["id"], short(page["paper"])
    picture = f'<img src="figures/{name}.png" alt="">' if page["figure"] else "<i>table</i>"
    return f'<a href="#{name}">{picture}<small><b>{html.escape(place)}</b> {html.escape(page["title"])}</small></a>'


def short(paper: str) -> str:
    """Return where an exhibit is in its paper, without the section."""
    return re.sub(r", Section [\d.]+", "", paper)


def section(page: dict[str, Any]) -> str:
    """Return an exhibit's part of the page: picture, caption, numbers and the command that makes it."""
    name, table = page["id"], (REFERENCE / "tables" / f"{page['id']}.md").read_text(encoding="utf-8").strip()
    command = f"{page['paper']}. `snakemake --cores all {name}` makes it."
    parts = [f"## {page['title']} {{ #{name} }}", command]
    if page["figure"]:
        numbers = "\n".join(f"    {line}" if line else "" for line in table.splitlines())
        parts += [f"![{page['alt']}](figures/{name}.png){{ .exhibit }}", page["caption"], f'??? note "Numbers"\n\n{numbers}']
    else:
        parts.append(table)
    return "\n\n".join(parts)


def claims() -> str:
    """Return the page of the papers' claims, with lists that choose among them."""
    text = (REFERENCE / "claims.md").read_text(encoding="utf-8").partition("\n| claim ")[0]
    text = re.sub(r"docs/(\w+)\.md", r"[\1](\1.md)", text)
    rows = json.loads((REFERENCE / "claims.json").read_text(encoding="utf-8"))
    facts = [filters(row) for row in rows]
    lists = "".join(choice(key, [fact[key] for fact in facts]) for key in facts[0])
    words = '<input name="words" type="search" placeholder="words" aria-label="words">'
    head = "".join(f"<th>{name}</th>" for name in ("the paper says", "its value", "ours", "verdict", "size, seeds"))
    body = "\n".join(claim(row) for row in rows)
    table = f'<table class="claims"><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>'
    return f'---\nhide: [toc]\n---\n{text}\n<form class="claims" hidden>{lists}{words}<output></output></form>\n\n{table}\n'


def filters(row: dict[str, Any]) -> dict[str, str]:
    """Return what claims are chosen by."""
    return {"paper": row["place"][0], "about": row["question"], "verdict": row["verdict"], "size": row["size"]}


def choice(name: str, words: list[str]) -> str:
    """Return a list of words to choose from, each once, in their order."""
    options = "".join(f"<option>{html.escape(word)}</option>" for word in dict.fromkeys(words) if word)
    return f'<label>{name} <select name="{name}"><option value="">all</option>{options}</select></label>'


def claim(row: dict[str, Any]) -> str:
    """Return a claim's row of the table."""
    exhibit, kind = row["command"].split()[-1], row["verdict"].split()[0]
    place = f'<a href="gallery.html#{exhibit}">{html.escape(row["place"])}</a>, <code>{row["id"]}</code>'
    verdict = f'<span class="verdict {kind}">{row["verdict"]}</span>{" provisional" if row["provisional"] else ""}'
    seeds = f"{row['seeds']} seed{'s' * (row['seeds'] != 1)}"
    cells = {
        "": f"{html.escape(row['says'])}<small>{place}<br>criterion: {html.escape(row['criterion'])}</small>",
        "its value": html.escape(row["paper"]),
        "ours": html.escape(row["ours"]),
        "verdict": verdict,
        "size, seeds": f"<nobr>{row['size']}</nobr>, <nobr>{seeds}</nobr>" if row["size"] else "",
    }
    data = " ".join(f'data-{key}="{html.escape(word)}"' for key, word in filters(row).items())
    inside = "".join(f'<td data-head="{head}">{cell}</td>' if head else f"<td>{cell}</td>" for head, cell in cells.items())
    return f'<tr id="{row["id"]}" {data}>{inside}</tr>'


class Docstrings(griffe.Extension):
    """Docstrings as Markdown: an indented formula below a line of text becomes a block of its own, and attributes have their defaults."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        if cls.docstring is None:
            return
        before, section, text = cls.docstring.value.partition("Attributes:\n")
        for name, attribute in cls.attributes.items() if section else ():
            if attribute.value is not None and "class-attribute" in attribute.labels:
                described = rf"(?m)^(    {name}: (?:.*\n(?=        ))*.*?)\.?$"
                text = re.sub(described, lambda match, value=attribute.value: f"{match[1]}; `{value}` by default.", text)
        if cls.docstring and section:
            cls.docstring.value = before + section + text


def as_markdown(docstring: str) -> str:
    """Return a docstring with empty lines around the indented blocks that are not a section's."""
    lines: list[str] = []
    inside = False  # of a section
    for line in docstring.splitlines():
        before = lines[-1] if lines else ""
        indented = line.startswith("    ")
        inside = line.strip() in SECTIONS or (inside and (indented or not line.strip()))
        if not inside and line.strip() and before.strip() and indented != before.startswith("    "):
            lines.append("")
        lines.append(line)
    return "\n".join(lines)
