# With `jobs: together`, the jobs of train.smk, summary.smk and exhibits.smk as three, each a process that forks once for every job.
# At smoke scale a job works for a second or two and would import libraries for longer.
JOBS = [(exhibit, label) for exhibit in TRAINED for label in labels(exhibit)]
OPTIONS = ("--scale", SCALE_OPTION, "--device", DEVICE)


def command(program, *words):
    """Return a program's command line, a text for `together.py`; its words may hold spaces."""
    return f"{program} {shlex.join(map(str, words))}"


ruleorder: train_together > train
ruleorder: summary_together > summary


rule train_together:
    """All members of all methods of all experiments."""
    input:
        data=sorted({file for exhibit in TRAINED for file in training_data(exhibit)}),
        script=local("workflow/scripts/together.py"),
    output:
        tables=all_runs("parquet"),
        records=all_runs("json"),
    log:
        "<logs>/train.log",
    conda:
        "../../envs/environment.yaml"
    threads: workflow.cores
    resources:
        gpu=int(DEVICE == "cuda"),
    params:
        settings=[settings(*job) for job in JOBS],
        code=[code(*job) for job in JOBS],
        commands=[
            command("-m sibp run", experiment_file(exhibit), *OPTIONS, "--threads", 1, "--out", ROOT / "results/runs")
            for exhibit in TRAINED
        ],
    shell:
        "python {input.script:q} --processes {threads} --imports sibp.cli,sibp.training.runs {params.commands:q} > {log:q} 2>&1"


rule summary_together:
    """The summaries of all experiments."""
    input:
        runs=all_runs("parquet"),
        together=local("workflow/scripts/together.py"),
        script=local("workflow/scripts/summarise.py"),
    output:
        expand("<results>/summary/{exhibit}.csv", exhibit=TRAINED),
    log:
        "<logs>/summary.log",
    conda:
        "../../envs/environment.yaml"
    threads: workflow.cores
    params:
        commands=[
            command(
                "workflow/scripts/summarise.py",
                *(ROOT / f"results/runs/{exhibit}/{label}.parquet" for label in labels(exhibit)),
                "--output",
                ROOT / f"results/summary/{exhibit}.csv",
            )
            for exhibit in TRAINED
        ],
    shell:
        "python {input.together:q} --processes {threads} --imports pandas,pyarrow,scipy.special {params.commands:q} > {log:q} 2>&1"


rule exhibits_together:
    """All exhibits."""
    input:
        runs=all_runs("parquet"),
        records=all_runs("json"),
        costs=[file for exhibit in EXHIBITS for file in costs(exhibit)],
        summary=expand("<results>/summary/{exhibit}.csv", exhibit=TRAINED),
        notebooks=local(expand("workflow/notebooks/{exhibit}.py", exhibit=EXHIBITS)),
        shared=local(SHARED),
        together=local("workflow/scripts/together.py"),
    output:
        [file for exhibit in EXHIBITS for file in [*tables(exhibit), *figures(exhibit)]],
        expand("<paper>/exhibits/{exhibit}.json", exhibit=EXHIBITS),
    log:
        "<logs>/exhibits.log",
    conda:
        "../../envs/environment.yaml"
    threads: workflow.cores
    params:
        root=config["root"],
    shell:
        "SIBP_ROOT={params.root:q} MPLBACKEND=agg python {input.together:q} --processes {threads}"
        " --imports pandas,pyarrow,yaml,seaborn,matplotlib.pyplot {input.notebooks:q} > {log:q} 2>&1"
