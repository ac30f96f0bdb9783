# One rule for each exhibit, named by its id, so that `snakemake j-table2` makes just that one.
for exhibit in [] if TOGETHER else EXHIBITS:

    rule:
        name:
            exhibit
        input:
            runs=runs(exhibit, "parquet"),
            records=runs(exhibit, "json"),
            costs=costs(exhibit),
            summary=summaries(exhibit),
            notebook=local(f"workflow/notebooks/{exhibit}.py"),
            shared=local(SHARED),
        output:
            *tables(exhibit),
            *figures(exhibit),
            "<paper>/exhibits/" f"{exhibit}.json",
        log:
            "<logs>/exhibits/" f"{exhibit}.log",
        conda:
            "../../envs/environment.yaml"
        params:
            root=config["root"],
        shell:
            "SIBP_ROOT={params.root:q} MPLBACKEND=agg python {input.notebook:q} > {log:q} 2>&1"


rule notebook:
    """An exhibit as an executed notebook."""
    input:
        lambda wildcards: [
            *runs(wildcards.exhibit, "parquet"),
            *runs(wildcards.exhibit, "json"),
            *costs(wildcards.exhibit),
            *summaries(wildcards.exhibit),
        ],
        local(SHARED),
        notebook=local("workflow/notebooks/{exhibit}.py"),
    output:
        "<results>/notebooks/{exhibit}.ipynb",
    log:
        "<logs>/notebooks/{exhibit}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        root=config["root"],
    shell:
        "SIBP_ROOT={params.root:q} jupytext --to ipynb --set-kernel python3 --execute --run-path workflow/notebooks"
        " --output {output:q} {input.notebook:q} > {log:q} 2>&1"


rule notebooks:
    input:
        expand("<results>/notebooks/{exhibit}.ipynb", exhibit=EXHIBITS),
    localrule: True
