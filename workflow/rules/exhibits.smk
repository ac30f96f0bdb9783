# One rule for each exhibit, named by its id, so that `snakemake j-table2` makes just that one.
for exhibit in EXHIBITS:

    rule:
        name:
            exhibit
        input:
            drawn_from(exhibit, "workflow/scripts/draw.py"),
        output:
            *tables(exhibit),
            *figures(exhibit),
            "<paper>/exhibits/" f"{exhibit}.json",
        log:
            "<logs>/exhibits/" f"{exhibit}.log",
        conda:
            "../../envs/environment.yaml"
        params:
            exhibit=exhibit,
            title=EXPERIMENTS[exhibit].title,
            place=place(exhibit),
            root=config["root"],
            code=computed_by(exhibit),
        shell:
            "python -m workflow.scripts.forked workflow.scripts.draw {params.exhibit:q} --root {params.root:q} > {log:q} 2>&1"


rule notebook:
    """An exhibit as an executed notebook."""
    input:
        lambda wildcards: drawn_from(wildcards.exhibit, "workflow/scripts/notebook.py"),
    output:
        "<results>/notebooks/{exhibit}.ipynb",
    log:
        "<logs>/notebooks/{exhibit}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        root=config["root"],
        code=lambda wildcards: computed_by(wildcards.exhibit),
    shell:
        "python -m workflow.scripts.notebook {wildcards.exhibit:q} --root {params.root:q} --output {output:q} > {log:q} 2>&1"


rule notebooks:
    input:
        expand("<results>/notebooks/{exhibit}.ipynb", exhibit=EXHIBITS),
    localrule: True
