# %% [markdown]
# # J, Table 1: which property BP, ProxBP, BCD and SIBP have
# The paper's ticks beside ours; ours are the outcomes of numerical tests, see `sibp.theory.properties`.

# %%
import pandas as pd

from sibp.theory import property_matrix
from workflow.figures.exhibit import Exhibit
from workflow.figures.layout import Table, cell

exhibit = Exhibit("j-table1")
properties = property_matrix()
claimed = exhibit.paper["ticks"]
data = pd.DataFrame(properties).assign(
    holds=[item.holds for item in properties], paper=[claimed[item.statement][item.source] for item in properties]
)
data

# %% The table: two lines for each property
methods = list(dict.fromkeys(item.source for item in properties))
groups = []
for name, rows in data.groupby("statement", sort=False):
    ours = rows.set_index("source")
    tick = {True: "yes", False: "no"}
    groups.append(
        [
            [cell(name), cell("paper"), *(cell(tick[bool(ours.loc[m, "paper"])]) for m in methods)],
            [
                cell(""),
                cell("ours"),
                *(cell(tick[bool(ours.loc[m, "holds"])], bold=bool(ours.loc[m, "holds"] != ours.loc[m, "paper"])) for m in methods),
            ],
            [cell(""), cell(rows["quantity"].iloc[0]), *(cell(f"{ours.loc[m, 'value']:.2g}") for m in methods)],
        ]
    )
agree = int((data["holds"] == data["paper"]).sum())
caption = exhibit.caption(
    f"Properties of the four methods: the paper's, ours, and the number that decides ours ({agree} of {len(data)} agree; "
    "those that do not are in bold)."
)
table = Table(["", "", *methods], caption, groups)
exhibit.save(caption, table, data)
print(table.markdown())
