# snakemake --cores all               every table and figure, and the report
# snakemake --cores 2 j-table2        one exhibit, by its id
# snakemake --cores all --config scale=laptop     smaller settings; see workflow/config.yaml for all keys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.19")


configfile: "workflow/config.yaml"


report: "workflow/report/workflow.rst"


ROOT = Path(str(config["root"])).expanduser()
if "{" in str(ROOT):
    raise WorkflowError(f"config root: got {str(ROOT)!r}, need a folder without braces")
config["root"] = str(ROOT)  # as the notebooks read it


pathvars:
    results=str(ROOT / "results"),
    figures=str(ROOT / "figures"),
    paper=str(ROOT / "paper"),
    logs=str(ROOT / "logs"),


wildcard_constraints:
    exhibit=r"[A-Za-z0-9_.-]+",
    label=r"[A-Za-z0-9_.-]+",
    data=r"[a-z0-9-]+",


localrules:
    all,


rule all:
    default_target: True
    input:
        "<paper>/report.pdf",
        "<figures>/all.md",
        "<results>/provenance.csv",
        "<paper>/claims.md",


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/summary.smk"
include: "workflow/rules/exhibits.smk"
include: "workflow/rules/paper.smk"
include: "workflow/rules/checks.smk"
include: "workflow/rules/watch.smk"
