"""A page that shows all exhibits: python -m workflow.scripts.gallery EXHIBIT.json... --output figures/README.md"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from sibp.core import atomic


def page(exhibits: list[dict[str, Any]], tables: Path, output: Path) -> str:
    """Return the gallery in Markdown; links are relative to `output`."""
    parts = ["# All exhibits\n\nMade by the workflow; a reduced scale is named in each.\n"]
    for exhibit in exhibits:
        table = tables / f"{exhibit['id']}.md"
        picture = f"![{exhibit['alt']}]({exhibit['id']}.png)\n\n{exhibit['caption']}\n\n" if exhibit["figure"] else ""
        link = f"[LaTeX and CSV]({os.path.relpath(tables, output.parent)})"
        parts.append(f"## {exhibit['title']} ({exhibit['paper']})\n\n{picture}{table.read_text(encoding='utf-8')}\n{link}\n")
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exhibits", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    exhibits = [json.loads(path.read_text(encoding="utf-8")) for path in arguments.exhibits]
    tables = arguments.exhibits[0].parent.parent / "tables"
    atomic.write(arguments.output, page(exhibits, tables, arguments.output))


if __name__ == "__main__":
    main()
