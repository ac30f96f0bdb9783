rule summary:
    """Mean, spread and 95 % interval over the seeds, and how many members diverged."""
    input:
        runs=lambda wildcards: runs(wildcards.exhibit, "parquet"),
        script=local("workflow/scripts/summarise.py"),
    output:
        "<results>/summary/{exhibit}.csv",
    log:
        "<logs>/summary/{exhibit}.log",
    conda:
        "../../envs/environment.yaml"
    shell:
        "python {input.script:q} {input.runs:q} --output {output:q} > {log:q} 2>&1"
