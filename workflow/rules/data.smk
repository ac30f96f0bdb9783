rule data:
    """One data set, fetched and checked; the mark holds its hashes, so the same data from elsewhere reruns nothing."""
    output:
        "<results>/data/{data}.json",
    log:
        "<logs>/data/{data}.log",
    retries: 2
    conda:
        "../../envs/environment.yaml"
    shell:
        "python -m sibp data {wildcards.data:q} --json {output:q} > {log:q} 2>&1"
