# What the rules share: the experiments at the chosen scale, read once. No torch, no maths, no network.
import os
import subprocess
import sys

sys.path.insert(0, str(workflow.basedir))
from sibp.core import gpu_driver, messages
from sibp.experiments import code, specs, yaml_file
from sibp.experiments.jobs import Job, jobs
from sibp.experiments.schema import Computed
from workflow.scripts import forked

# the Python that runs Snakemake also runs the jobs; an environment that a rule activates still comes first
os.environ.update(PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
# the jobs run this checkout's package: not that of another one which the environment may belong to, nor a module system's packages
os.environ.update(PYTHONPATH=str(workflow.basedir))
os.environ.pop(forked.SERVERS, None)  # those of another machine's workflow, whose job this one is
os.environ.pop("PYTHONSAFEPATH", None)  # the workflow's scripts import their neighbours


def has_cuda():
    """Tell whether torch can use a GPU, as `sibp doctor` does; torch, which takes seconds, is only asked where the driver lists one."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1") or not gpu_driver.lists_a_gpu():
        return False
    answer = subprocess.run([sys.executable, "-m", "sibp.core.cuda"], capture_output=True, text=True)
    fault = answer.stdout
    if answer.returncode:
        fault = (answer.stderr.splitlines() or ["torch cannot be imported"])[-1]
    if fault:
        way_out = "going on with the CPU, as --config device=cpu does without asking"
        print(f"sibp: the driver lists a GPU, but {fault}: {way_out}", file=sys.stderr)
    return not fault


def one_of(key, allowed, automatic):
    """Return config[key], or what `automatic` finds where it is auto; stop with one line where it is neither."""
    if config[key] == "auto":
        return automatic()
    if config[key] not in allowed:
        raise WorkflowError(f"config {key}: {messages.need(config[key], ['auto', *allowed])}")
    return config[key]


def checked(read, *arguments, **options):
    """Return what a file holds, or stop with one line that names the file and the fault."""
    try:
        return read(*arguments, **options)
    except specs.SpecError as fault:
        raise WorkflowError(str(fault)) from None


def experiment_at_scale(path):
    """Return an experiment as it runs at the chosen scale."""
    return checked(specs.resolve, checked(specs.load_experiment, path, shallow=True), SCALE_FILE, shallow=True)


WORKFLOW = Path(workflow.basedir) / "workflow"
SETTINGS = yaml_file.read(WORKFLOW / "config.yaml")
if unknown := config.keys() - SETTINGS.keys():
    raise WorkflowError(f"config: {messages.need(min(map(str, unknown)), SETTINGS)}")
DEVICE = one_of("device", ["cpu", "cuda"], lambda: "cuda" if has_cuda() else "cpu")
SCALE_OPTION = specs.automatic_scale(DEVICE) if config["scale"] == "auto" else str(config["scale"])  # a name or the path of a file
SCALE_FILE = checked(specs.load_scale, SCALE_OPTION, WORKFLOW / "scales", also=["auto"])
SCALE = SCALE_FILE.name
JOB = one_of("job", ["label", "experiment"], lambda: SCALE_FILE.job)
SEARCHES = [name for name in yaml_file.names(WORKFLOW / "selection") if name != "chosen"]
FILES = [
    *(WORKFLOW / f"experiments/{name}.yaml" for name in yaml_file.names(WORKFLOW / "experiments")),
    *(WORKFLOW / f"selection/{name}.yaml" for name in SEARCHES),
]
EXPERIMENTS = {path.stem: experiment_at_scale(path) for path in FILES}
config |= {"device": DEVICE, "scale": SCALE}  # resolved, as the rules' commands and the captions read them
EXHIBITS = [name for name, content in EXPERIMENTS.items() if content.shows]
FIGURES = [name for name in EXHIBITS if EXPERIMENTS[name].shows == "figure"]
TABLES = [name for name in EXHIBITS if name not in FIGURES]
MEASURING = ("sibp.experiments.size", "sibp.results")  # what the package itself does to runs
PAPERS = "workflow/papers.yaml"
# Started by one job after another, each importing the same for seconds. Training on a GPU takes longer than that and forks badly.
SERVED = ["workflow.scripts.draw", "workflow.scripts.summarise", *["sibp.cli"] * (DEVICE == "cpu")]


def labels(exhibit):
    return EXPERIMENTS[exhibit].labels


TRAINED = sorted({source for name in EXHIBITS for source in EXPERIMENTS[name].sources if labels(source)})


def experiment_file(exhibit):
    return f"workflow/{'selection' if exhibit in SEARCHES else 'experiments'}/{exhibit}.yaml"


def is_timed(exhibit):
    """Tell whether any of an experiment's labels counts its seconds; on generated data they mean nothing."""
    experiment = EXPERIMENTS[exhibit]
    return any(job.training.is_timed and not experiment.data.generated for job in jobs(experiment))


# What one process trains. Where training takes longer than starting Python, one label: an edit then reruns no more than it changes, and a
# cluster shares an experiment. Where it does not, all labels of an experiment. The scale says which (`job`).
TRAINABLE = [exhibit for exhibit in EXPERIMENTS if labels(exhibit)]
if JOB == "experiment":
    TRAIN = {f"train_{exhibit}": ([exhibit], labels(exhibit)) for exhibit in TRAINABLE}
else:
    TIMED = [exhibit for exhibit in TRAINABLE if is_timed(exhibit)]
    TRAIN = {
        "train": ([exhibit for exhibit in TRAINABLE if exhibit not in TIMED], ["{label}"]),
        "train_timed": (TIMED, ["{label}"]),
    }


def trained_by(wildcards):
    """Return the jobs that a process trains: a change of its digest or its code trains it anew, a touched file does not."""
    experiment = EXPERIMENTS[wildcards.exhibit]
    return [Job(experiment, wildcards.label)] if JOB == "label" else list(jobs(experiment))


def training_data(exhibit):
    data = EXPERIMENTS[exhibit].data
    return [f"<results>/data/{data.name}.json"] if data.is_real else []


def runs(exhibit):
    return [f"<results>/runs/{source}/{label}.parquet" for source in EXPERIMENTS[exhibit].sources for label in labels(source)]


def all_runs():
    return [file for exhibit in TRAINED for file in runs(exhibit)]


def costs(exhibit):
    return [f"<results>/costs/{exhibit}/{label}.json" for label in EXPERIMENTS[exhibit].measurements]


def fits(exhibit):
    return [f"<results>/fits/{exhibit}/{label}.json" for label in EXPERIMENTS[exhibit].fitted]


def bench_options(exhibit, label):
    """Return a set of measurements as options of `sibp bench`."""
    measured = EXPERIMENTS[exhibit].bench[label]
    threads = ["--threads", measured.threads] if measured.threads else []
    cases = ["--cases", *measured.cases] if measured.cases else []
    quick = ["--quick"] if measured.quick else []
    return [*threads, "--seconds", f"{measured.seconds:g}", *quick, *cases, "--scale", SCALE]


def code_of(*scripts):
    """Return the files of scripts with all that they import of the workflow and of what measures runs: an edit there runs them again."""
    root = Path(workflow.basedir)
    files = code.sources([root / script for script in scripts], root, ("workflow", *MEASURING))
    return [local(file.relative_to(root).as_posix()) for file in files]


def notebook_of(exhibit):
    return [f"workflow/notebooks/{exhibit}.py"] if EXPERIMENTS[exhibit].notebook else []


def computed_by(exhibit):
    """Return fingerprints of what an exhibit's notebook itself computes with: `sibp.theory`, and every method that it tries."""
    root = Path(workflow.basedir)
    entries = {name for file in notebook_of(exhibit) for name in code.imported(root / file, root, ("sibp",))}
    return [code.fingerprint("every method", entry=entry) for entry in sorted(entries)]


def drawn_from(exhibit, script):
    """Return all that an exhibit's numbers and looks come from, drawn by a script."""
    files = [experiment_file(source) for source in {exhibit: None} | dict.fromkeys(EXPERIMENTS[exhibit].sources)]
    files += ["workflow/selection/chosen.yaml"] if exhibit == "x-search" else []  # all that it shows
    numbers = [*runs(exhibit), *costs(exhibit), *fits(exhibit), *summaries(exhibit)]
    return [*numbers, *map(local, [*files, PAPERS]), *code_of(script, *notebook_of(exhibit))]


def summaries(exhibit):
    return [f"<results>/summary/{source}.csv" for source in EXPERIMENTS[exhibit].sources if labels(source)]


def tables(exhibit):
    forms = [f"<paper>/tables/{exhibit}.{form}" for form in ("tex", "md", "csv")]
    return forms if exhibit in FIGURES else [*forms[:2], in_report(forms[2], exhibit, "Tables")]


def figures(exhibit):
    if exhibit in TABLES:
        return []
    picture = in_report(f"<figures>/{exhibit}.svg", exhibit, "Figures")
    return [f"<paper>/figures/{exhibit}.pdf", f"<figures>/{exhibit}.png", picture]


def place(exhibit):
    """Return where an exhibit stands in the papers."""
    paper = EXPERIMENTS[exhibit].paper
    return f"{paper.source}, {paper.exhibit}" if paper else "beyond the papers"


def in_report(path, exhibit, category):
    """Mark a file for `snakemake --report`, with its caption and labels."""
    labels = {"exhibit": exhibit, "paper": place(exhibit), "scale": SCALE}
    return report(path, caption="../report/exhibit.rst", category=category, labels=labels)
