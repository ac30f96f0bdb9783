# What the rules share: the experiments at the chosen scale, read once. No torch, no maths, no network.
import copy
import os
import shlex
import shutil
import subprocess
import sys

from snakemake.utils import update_config

sys.path.insert(0, str(workflow.basedir))
from sibp.experiments import schema, yaml_file
from workflow.scripts import fingerprint

# the Python that runs Snakemake also runs the jobs; an environment that a rule activates still comes first
os.environ.update(PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
# the jobs run this checkout's package: not that of another one which the environment may belong to, nor a module system's packages
os.environ.update(PYTHONPATH=str(workflow.basedir))
os.environ.pop("PYTHONSAFEPATH", None)  # the workflow's scripts import their neighbours


def has_cuda():
    """Tell whether torch can use a GPU, as `sibp doctor` does; torch, which takes seconds, is only asked where the driver lists one."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1") or not shutil.which("nvidia-smi"):
        return False
    listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
    if listing.returncode or "GPU" not in listing.stdout:
        return False
    asked = subprocess.run([sys.executable, "-m", "sibp.core.cuda"], capture_output=True, text=True)
    fault = asked.stdout or (asked.stderr.strip().splitlines() or ["cannot be imported"])[-1] * bool(asked.returncode)
    if fault:
        way_out = "going on with the CPU, as --config device=cpu does without asking"
        print(f"sibp: nvidia-smi lists a GPU, but {fault}: {way_out}", file=sys.stderr)
    return not fault


def one_of(key, allowed):
    """Return config[key], or stop with one line that says what is allowed."""
    if config[key] not in allowed:
        raise WorkflowError(f"config {key}: got {config[key]!r}, need one of {', '.join(allowed)}")
    return config[key]


def load(path, model=None):
    """Return what a YAML file holds, or stop with one line that names it; with a model, what that checks is right, too."""
    try:
        content = yaml_file.read(path)
        if model:
            schema.parse(model, content, str(path))
    except schema.SpecError as fault:
        raise WorkflowError(str(fault)) from None
    return content


def load_experiment(path):
    """Return what an experiment file holds."""
    experiment = load(path, schema.Experiment)
    if experiment["id"] != path.stem:
        raise WorkflowError(f"{path}: id: got {experiment['id']!r}, need {path.stem!r}, the file's name")
    return experiment


def at_scale(experiment, scale):
    """Return an experiment file's content with the scale's keys for it merged in, its limits beside it."""
    settings = copy.deepcopy(experiment)
    update_config(settings, scale.get("experiments", {}).get(experiment["id"], {}))
    return settings | {"limits": scale.get("limits", {}), "generated": scale.get("data") == "generated"}


WORKFLOW = Path(workflow.basedir) / "workflow"
SCALES = yaml_file.names(WORKFLOW / "scales")
DEVICE = {"auto": "cuda" if has_cuda() else "cpu"}.get(one_of("device", ["auto", "cpu", "cuda"]), config["device"])
if str(config["scale"]).endswith(".yaml"):  # a scale of one's own
    SCALE_OPTION, SCALE = config["scale"], Path(config["scale"]).stem
    SCALE_FILE = load(Path(SCALE_OPTION), schema.Scale)
else:
    SCALE = {"auto": "full" if DEVICE == "cuda" else "laptop"}.get(one_of("scale", ["auto", *SCALES]), config["scale"])
    SCALE_OPTION, SCALE_FILE = SCALE, load(WORKFLOW / f"scales/{SCALE}.yaml", schema.Scale)
JOB = {"auto": SCALE_FILE.get("job", "label")}.get(one_of("job", ["auto", "label", "experiment"]), config["job"])
REAL = load(Path(workflow.basedir) / "sibp/data/registry.yaml").keys()  # other data are drawn from a seed, not fetched
CHOSEN = load(WORKFLOW / "selection/chosen.yaml")  # what `selected` stands for in an experiment file
SEARCHES = [name for name in yaml_file.names(WORKFLOW / "selection") if name != "chosen"]
FILES = [
    *(WORKFLOW / f"experiments/{name}.yaml" for name in yaml_file.names(WORKFLOW / "experiments")),
    *(WORKFLOW / f"selection/{name}.yaml" for name in SEARCHES),
]
EXPERIMENTS = {path.stem: at_scale(load_experiment(path), SCALE_FILE) for path in FILES}
config |= {"device": DEVICE, "scale": SCALE}  # resolved, as the rules' commands and the captions read them
EXHIBITS = [name for name, content in EXPERIMENTS.items() if content.keys() & {"figure", "table", "notebook"}]
FIGURES = [name for name in EXHIBITS if "figure" in (*EXPERIMENTS[name], EXPERIMENTS[name].get("notebook"))]
TABLES = [name for name in EXHIBITS if name not in FIGURES]
DRAWING = ["workflow/papers.yaml", *(f"workflow/figures/{path.name}" for path in sorted((WORKFLOW / "figures").glob("*.py")))]


def sources(exhibit):
    """Return the ids of the experiments whose runs an exhibit is drawn from."""
    named = EXPERIMENTS[exhibit].get("runs", exhibit)
    return [named] if isinstance(named, str) else named


def labels(exhibit):
    return list(EXPERIMENTS[exhibit].get("methods", {}))


TRAINED = sorted({source for name in EXHIBITS for source in sources(name) if labels(source)})


def method(exhibit, label):
    """Return a label's settings, with what a search chose for it."""
    asked = EXPERIMENTS[exhibit]["methods"][label] or {}
    search, _, searched = asked.get("selected", "").partition(".")
    return asked | CHOSEN.get(search, {}).get("chosen", {}).get(searched or label, {})


def experiment_file(exhibit):
    return f"workflow/{'selection' if exhibit in SEARCHES else 'experiments'}/{exhibit}.yaml"


def settings(exhibit, label):
    """Return all that decides a label's training, and nothing else: a change here reruns the job, a touched file does not."""
    keys = ("id", "data", "network", "loss", "training", "seeds", "first_seed", "limits", "generated")
    return {key: EXPERIMENTS[exhibit].get(key) for key in keys} | {"method": method(exhibit, label)}


def code(exhibit, label):
    """Return the fingerprint of the modules that a label's method is made of."""
    return fingerprint.of_method(method(exhibit, label).get("method", label), Path(workflow.basedir) / "sibp")


def is_timed(exhibit):
    """Tell whether any of an experiment's labels counts its seconds."""
    trainings = [EXPERIMENTS[exhibit]["training"] | (method(exhibit, label).get("training") or {}) for label in labels(exhibit)]
    return any(training.get("mode") == "timed" for training in trainings)


def training_data(exhibit):
    experiment = EXPERIMENTS[exhibit]
    name = experiment["data"]["name"]
    return [] if experiment["generated"] or name not in REAL else [f"<results>/data/{name}.json"]


def runs(exhibit, suffix):
    return [f"<results>/runs/{source}/{label}.{suffix}" for source in sources(exhibit) for label in labels(source)]


def all_runs(suffix):
    return [file for exhibit in TRAINED for file in runs(exhibit, suffix)]


def costs(exhibit):
    return [f"<results>/costs/{exhibit}/{label}.json" for label in EXPERIMENTS[exhibit].get("bench", {})]


def bench_options(exhibit, label):
    """Return a set of measurements as options of `sibp bench`."""
    asked = EXPERIMENTS[exhibit]["bench"][label]
    cases = ["--cases", *asked["cases"]] if asked.get("cases") else []
    numbers = [word for key in ("threads", "seconds") if key in asked for word in (f"--{key}", str(asked[key]))]
    return [*numbers, *(["--quick"] if asked.get("quick") else []), *cases, "--scale", SCALE]


def drawn_from(exhibit):
    """Return all that an exhibit's numbers and looks come from."""
    notebook = f"workflow/notebooks/{exhibit}.py"
    files = [experiment_file(source) for source in {exhibit: None} | dict.fromkeys(sources(exhibit))]
    files += [notebook] if "notebook" in EXPERIMENTS[exhibit] else []
    numbers = [*runs(exhibit, "parquet"), *runs(exhibit, "json"), *costs(exhibit), *summaries(exhibit)]
    return [*numbers, *map(local, [*files, *DRAWING])]


def summaries(exhibit):
    return [f"<results>/summary/{source}.csv" for source in sources(exhibit) if labels(source)]


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
    paper = EXPERIMENTS[exhibit].get("paper")
    return f"{paper['source']}, {paper['exhibit']}" if paper else "beyond the papers"


def in_report(path, exhibit, category):
    """Mark a file for `snakemake --report`, with its caption and labels."""
    labels = {"exhibit": exhibit, "paper": place(exhibit), "scale": SCALE}
    return report(path, caption="../report/exhibit.rst", category=category, labels=labels)
