# %% [markdown]
# # The theorems and propositions, measured
# Each statement of the papers gives a number and a bound. A number within its bound is no proof; one outside refutes the
# statement as we read it.

# %%
import pandas as pd

from sibp.theory import all_statements
from workflow.figures.exhibit import Exhibit
from workflow.figures.layout import Table, cell

exhibit = Exhibit("theory")
statements = all_statements()
data = pd.DataFrame(statements).assign(holds=[statement.holds for statement in statements])
data

# %% The table: one group for each statement's place
groups = [
    [
        [
            cell(statement.source),
            cell(statement.statement),
            cell(statement.quantity),
            cell(f"{statement.value:.2g}"),
            cell(f"{statement.relation} {statement.limit:g}"),
            cell("yes" if statement.holds else "no", bold=not statement.holds),
        ]
        for statement in statements
        if statement.source == source
    ]
    for source in dict.fromkeys(statement.source for statement in statements)
]
failed = [f"{statement.source} ({statement.statement})" for statement in statements if not statement.holds]
caption = exhibit.caption(
    "What the papers prove, measured on small random networks in float64. "
    + (f"Not as stated: {'; '.join(failed)}." if failed else "All as stated.")
)
table = Table(["place", "statement", "measured", "value", "asked", "holds"], caption, groups)
exhibit.save(caption, table, data)
print(table.markdown())
