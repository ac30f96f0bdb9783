# A timed job has the machine to itself, so these come last, one right after another: what is drawn from them waits until no more are due.
# Every job computes with one thread: its seconds then mean the same on machines with other numbers of cores, and processes with several
# threads each would crawl beside each other.
for name, (exhibits, files) in TRAIN.items():

    rule:
        name:
            name
        input:
            data=lambda wildcards: training_data(wildcards.exhibit),
        output:
            [f"<results>/runs/{{exhibit}}/{file}.parquet" for file in files],
        log:
            "<logs>/train/{exhibit}/{label}.log" if JOB == "label" else "<logs>/train/{exhibit}.log",
        wildcard_constraints:
            exhibit="|".join(exhibits) or "none",
        priority: 1 if any(map(is_timed, exhibits)) else 2
        conda:
            "../../envs/environment.yaml"
        threads: lambda wildcards: workflow.cores if is_timed(wildcards.exhibit) else 1
        resources:
            gpu=int(DEVICE == "cuda"),
            device=DEVICE,
        params:
            scale=SCALE_OPTION,
            settings=lambda wildcards: [job.digest for job in trained_by(wildcards)],
            code=lambda wildcards: [job.code for job in trained_by(wildcards)],
            experiment=lambda wildcards: experiment_file(wildcards.exhibit),
            method=lambda wildcards: f"--method {wildcards.label}" if JOB == "label" else "",
            out=lambda wildcards, output: Path(output[0]).parent.parent,
        shell:
            "python -m workflow.scripts.forked sibp.cli run {params.experiment:q} {params.method} --scale {params.scale:q} --device {resources.device}"
            " --threads 1 --out {params.out:q} > {log:q} 2>&1"


rule cost:
    """What steps cost, timed side by side while nothing else runs."""
    output:
        "<results>/costs/{exhibit}/{label}.json",
    log:
        "<logs>/costs/{exhibit}/{label}.log",
    conda:
        "../../envs/environment.yaml"
    threads: lambda wildcards: 1 if EXPERIMENTS[wildcards.exhibit].bench[wildcards.label].quick else workflow.cores
    resources:
        gpu=int(DEVICE == "cuda"),
        device=DEVICE,
    params:
        options=lambda wildcards: bench_options(wildcards.exhibit, wildcards.label),
        code=lambda wildcards: code.fingerprint("every method"),
    shell:
        "python -m sibp bench {params.options:q} --device {resources.device} --json {output:q} > {log:q} 2>&1"


# Networks beyond the papers' kinds, trained by the public optimizers. Their seconds are the processor's, so they need not run alone.
for exhibit in (exhibit for exhibit in EXPERIMENTS if EXPERIMENTS[exhibit].fitted):

    rule:
        name:
            f"fit_{exhibit}"
        input:
            data=sorted(
                {f"<results>/data/{fit.data.name}.json" for fit in EXPERIMENTS[exhibit].fits.networks.values() if fit.data.is_real}
            ),
        output:
            fits(exhibit) if JOB == "experiment" else f"<results>/fits/{exhibit}/{{label}}.json",
        log:
            f"<logs>/fits/{exhibit}.log" if JOB == "experiment" else f"<logs>/fits/{exhibit}/{{label}}.log",
        wildcard_constraints:
            label="|".join(EXPERIMENTS[exhibit].fitted),
        conda:
            "../../envs/environment.yaml"
        resources:
            gpu=int(DEVICE == "cuda"),
            device=DEVICE,
        params:
            scale=SCALE_OPTION,
            settings=EXPERIMENTS[exhibit].fits.model_dump(mode="json"),
            code=code.fingerprint("every method", entry="sibp.bench.fits.study"),
            experiment=experiment_file(exhibit),
            label=lambda wildcards: wildcards.get("label", ""),
            out=lambda wildcards, output: Path(output[0]).parent.parent,
        shell:
            "python -m sibp fit {params.experiment:q} {params.label} --scale {params.scale:q} --device {resources.device}"
            " --threads 1 --out {params.out:q} > {log:q} 2>&1"


rule selection:
    """The searches for what the papers leave unsaid, and their choices; `make selection` puts them in workflow/selection/chosen.yaml."""
    input:
        runs=[file for search in SEARCHES for file in runs(search)],
        code=code_of("workflow/scripts/choose.py"),
    output:
        "<results>/selection.yaml",
    log:
        "<logs>/selection.log",
    conda:
        "../../envs/environment.yaml"
    params:
        folders=lambda wildcards, input: sorted({str(Path(file).parent) for file in input.runs}),
    shell:
        "python -m workflow.scripts.choose {params.folders:q} --output {output:q} > {log:q} 2>&1"
