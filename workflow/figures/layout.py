"""A table once, in every form it is printed in: Markdown, LaTeX (booktabs) and the structure that the report typesets."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

MISSING = "–"  # the papers' sign for a method that failed


@dataclass(frozen=True)
class Text:
    """A piece of a cell."""

    text: str
    bold: bool = False


Cell = Sequence[Text]


def cell(text: object, bold: bool = False) -> Cell:
    return (Text(str(text), bold),)


@dataclass
class Table:
    """A head, groups of lines that belong together (a rule is drawn between groups), and a caption."""

    head: Sequence[str]
    caption: str
    groups: Sequence[Sequence[Sequence[Cell]]] = ()

    def structure(self) -> dict[str, object]:
        """Return lists and strings only: the head, groups of lines of cells, each a list of [text, is bold], and the caption."""
        groups = [[[[[part.text, part.bold] for part in parts] for parts in line] for line in group] for group in self.groups]
        return {"head": list(self.head), "groups": groups, "caption": self.caption}

    def markdown(self) -> str:
        """Return the table as GitHub shows it, the caption above."""
        lines = [self.head, ["---"] * len(self.head)]
        for group in self.groups:
            lines += [["".join(f"**{p.text}**" if p.bold else p.text for p in parts) for parts in line] for line in group]
        escaped = ([text.replace("|", r"\|") for text in line] for line in lines)
        return f"{self.caption}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in escaped)

    def latex(self, label: str) -> str:
        r"""Return a `table` environment; it needs \usepackage{booktabs} and nothing else."""
        body = "\n\\midrule\n".join("\n".join(_latex_line(line) for line in group) for group in self.groups)
        head = " & ".join(_escape(text) for text in self.head)
        return (
            f"\\begin{{table}}\n\\centering\n\\small\n\\begin{{tabular}}{{l{'c' * (len(self.head) - 1)}}}\n\\toprule\n{head} \\\\\n"
            f"\\midrule\n{body}\n\\bottomrule\n\\end{{tabular}}\n\\caption{{{_escape(self.caption)}}}\n"
            f"\\label{{tab:{label}}}\n\\end{{table}}\n"
        )


def decimal(value: float | None) -> str:
    """Return a fraction as the papers print it, the dash where there is none."""
    return MISSING if value is None or math.isnan(value) else f"{value:.4f}"


def spread(value: float | None) -> str:
    """Return a fraction's standard deviation, nothing where there is none."""
    return "" if value is None or math.isnan(value) else f"± {value:.4f}"


def number(value: float) -> str:
    """Return a hyper-parameter without needless zeros: 0.1, 10, 1e-05."""
    return f"{value:g}"


def _latex_line(line: Sequence[Cell]) -> str:
    cells = ["".join(f"\\textbf{{{_escape(p.text)}}}" if p.bold else _escape(p.text) for p in parts) for parts in line]
    return " & ".join(cells) + r" \\"


def _escape(text: str) -> str:
    signs = {
        "–": "--",
        "±": r"$\pm$",
        "η": r"$\eta$",
        "λ": r"$\lambda$",
        "α": r"$\alpha$",
        "ρ": r"$\rho$",
        "γ": r"$\gamma$",
        "τ": r"$\tau$",
        "∂": r"$\partial$",
        "₁": "$_1$",
        "×": r"$\times$",
        "≤": r"$\le$",
        "≥": r"$\ge$",
        "−": "$-$",
    }
    signs |= {character: f"\\{character}" for character in "&%#_$"} | {
        "∞": r"$\infty$",
        "²": "$^2$",
        "⁷": "$^7$",
        "′": "$'$",
    }
    return "".join(signs.get(character, character) for character in text)
