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
found = all_statements()
data = pd.DataFrame(found).assign(holds=[one.holds for one in found])
data

# %% The table: one group for each statement's place
groups = [
    [
        [
            cell(one.source),
            cell(one.statement),
            cell(one.quantity),
            cell(f"{one.value:.2g}"),
            cell(f"{one.relation} {one.limit:g}"),
            cell("yes" if one.holds else "no", bold=not one.holds),
        ]
        for one in found
        if one.source == source
    ]
    for source in dict.fromkeys(one.source for one in found)
]
failed = [f"{one.source} ({one.statement})" for one in found if not one.holds]
caption = exhibit.caption(
    "What the papers prove, measured on small random networks in float64. "
    + (f"Not as stated: {'; '.join(failed)}." if failed else "All as stated.")
)
table = Table(["place", "statement", "measured", "value", "asked", "holds"], caption, groups)
exhibit.save(caption, table, data)
print(table.markdown())
