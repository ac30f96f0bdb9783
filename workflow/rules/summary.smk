rule summary:
    """Mean, spread and 95 % interval over the seeds, and how many members diverged."""
    input:
        runs=lambda wildcards: runs(wildcards.exhibit),
        code=code_of("workflow/scripts/summarise.py"),
    output:
        "<results>/summary/{exhibit}.csv",
    log:
        "<logs>/summary/{exhibit}.log",
    conda:
        "../../envs/environment.yaml"
    shell:
        "python -m workflow.scripts.forked workflow.scripts.summarise {input.runs:q} --output {output:q} > {log:q} 2>&1"
