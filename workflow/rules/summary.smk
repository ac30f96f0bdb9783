rule summary:
    """Mean, spread and 95 % interval over the seeds, and how many members diverged."""
    input:
        script=local("workflow/scripts/summarise.py"),
        runs=lambda wildcards: runs(wildcards.exhibit),
        measuring=[local(path) for path in MEASURING],
    output:
        "<results>/summary/{exhibit}.csv",
    log:
        "<logs>/summary/{exhibit}.log",
    conda:
        "../../envs/environment.yaml"
    shell:
        "python -m workflow.scripts.forked workflow.scripts.summarise {input.runs:q} --output {output:q} > {log:q} 2>&1"
