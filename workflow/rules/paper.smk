EXHIBIT_FILES = expand("<paper>/exhibits/{exhibit}.json", exhibit=EXHIBITS)


rule report:
    """The report as PDF; all numbers in it come from files."""
    input:
        exhibits=EXHIBIT_FILES,
        figures=expand("<paper>/figures/{exhibit}.pdf", exhibit=FIGURES),
        provenance="<results>/provenance.csv",
        claims="<results>/claims.json",
        deviations=local("docs/deviations.md"),
        citation=local("CITATION.cff"),
        source=local("paper/report.typ"),
        code=code_of("workflow/scripts/typeset.py"),
    output:
        "<paper>/report.pdf",
    log:
        "<logs>/report.log",
    conda:
        "../../envs/environment.yaml"
    shell:
        "python -m workflow.scripts.typeset {input.source:q} {output:q} --provenance {input.provenance:q} --claims {input.claims:q}"
        " --deviations {input.deviations:q} --citation {input.citation:q} --exhibits {input.exhibits:q} > {log:q} 2>&1"


rule gallery:
    """All figures and tables on one page, for people who browse the folder."""
    input:
        exhibits=EXHIBIT_FILES,
        figures=expand("<figures>/{exhibit}.png", exhibit=FIGURES),
        tables=expand("<paper>/tables/{exhibit}.md", exhibit=EXHIBITS),
        code=code_of("workflow/scripts/gallery.py"),
    output:
        "<figures>/all.md",
    log:
        "<logs>/gallery.log",
    conda:
        "../../envs/environment.yaml"
    shell:
        "python -m workflow.scripts.gallery {input.exhibits:q} --output {output:q} > {log:q} 2>&1"


rule claims:
    """A verdict on every claim of the papers, by criteria written down before the runs."""
    input:
        runs=all_runs(),
        exhibits=[f"<paper>/tables/{exhibit}.csv" for exhibit in EXHIBITS if isinstance(EXPERIMENTS[exhibit], Computed)],
        claims=local("workflow/claims.yaml"),
        papers=local(PAPERS),
        experiments=[local(experiment_file(exhibit)) for exhibit in TRAINED],
        code=code_of("workflow/scripts/claims.py"),
    output:
        page="<paper>/claims.md",
        table="<results>/claims.json",
    log:
        "<logs>/claims.log",
    conda:
        "../../envs/environment.yaml"
    params:
        results=lambda wildcards, output: Path(output.table).parent,
        tables=lambda wildcards, output: Path(output.page).parent / "tables",
    shell:
        "python -m workflow.scripts.claims {params.results:q} --tables {params.tables:q} --claims {input.claims:q} --output {output.page:q}"
        " --json {output.table:q} > {log:q} 2>&1"
