rule provenance:
    """What ran where, from which commit, at what cost: a row a training job."""
    input:
        runs=all_runs(),
        code=code_of("workflow/scripts/provenance.py"),
    output:
        "<results>/provenance.csv",
    log:
        "<logs>/provenance.log",
    conda:
        "../../envs/environment.yaml"
    shell:
        "python -m workflow.scripts.provenance {input.runs:q} --output {output:q} > {log:q} 2>&1"
