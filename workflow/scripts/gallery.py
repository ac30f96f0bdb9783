"""A page that shows all exhibits: python -m workflow.scripts.gallery EXHIBIT.json... --output figures/all.md"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from sibp.core import atomic
from workflow.figures import papers


def sections(exhibits: list[dict[str, Any]], tables: Path, figures: Path, output: Path) -> str:
    """Return pictures and tables in Markdown, a section each, in the papers' order; links are relative to the page `output`.

    Args:
        exhibits: their pages.
        tables, figures: folders of the exhibits' tables and pictures.
        output: the page that the sections are for.
    """
    parts, pictures = [], Path(os.path.relpath(figures, output.parent))
    for exhibit in sorted(exhibits, key=lambda exhibit: papers.place(exhibit["id"])):
        name, picture = exhibit["id"], ""
        if exhibit["figure"]:
            picture = f"![{exhibit['alt']}]({(pictures / name).as_posix()}.png)\n\n{exhibit['caption']}\n\n"
        link = f"[Its numbers]({os.path.relpath(tables / name, output.parent)}.csv)"
        table = (tables / f"{name}.md").read_text(encoding="utf-8")
        parts.append(f"## {exhibit['title']} ({exhibit['paper']})\n\n{picture}{table}\n{link}\n")
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exhibits", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    exhibits = [json.loads(path.read_text(encoding="utf-8")) for path in arguments.exhibits]
    tables = arguments.exhibits[0].parent.parent / "tables"
    head = "# All exhibits\n\nMade by the workflow; a reduced scale is named in each.\n\n"
    atomic.write(arguments.output, head + sections(exhibits, tables, arguments.output.parent, arguments.output))


if __name__ == "__main__":
    main()
