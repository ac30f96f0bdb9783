rule provenance:
    """What ran where, from which commit, at what cost: a row a training job."""
    input:
        records=all_runs("json"),
        script=local("workflow/scripts/provenance.py"),
    output:
        "<results>/provenance.csv",
    log:
        "<logs>/provenance.log",
    conda:
        "../../envs/environment.yaml"
    shell:
        "python -m workflow.scripts.provenance {input.records:q} --output {output:q} > {log:q} 2>&1"
