"""The words of the command itself, and what stops a run that has begun."""

from __future__ import annotations

from tests.bad_input.case import Case, file
from tests.bad_input.runs import begun

SMALL = (
    "iterations=1 size=4 evaluate.benchmarks=[] evaluate.tasks=null train.steps=2 train.warmup_steps=0"
    " engine.batch_size=8 assess.read=distribution"
)

SUBMIT = "submit lamb --dir DIR/run"

CASES = [
    Case("command-unknown", "a command that there is not", "rnu lamb", "…No such command 'rnu'. Did you mean 'run'?"),
    Case(
        "option-unknown",
        "an option that there is not",
        "run lamb --dri DIR/run",
        "…No such option: --dri (Possible options: --dir)",
    ),
    Case("dir-not-given", "a run without its directory", "run lamb", "…Missing option '--dir'."),
    Case(
        "dir-without-value",
        "an option without its value",
        "run lamb --dir",
        "Error: Option '--dir' requires an argument.",
    ),
    Case("status-of-nothing", "status without a directory", "status", "…Missing argument 'DIR'."),
    Case("status-of-two", "status of two directories", "status DIR DIR", "…Got unexpected extra argument(s) (DIR)"),
    Case("compare-nothing", "a comparison of nothing", "compare", "…Missing argument 'DIR...'."),
    Case("eval-of-nothing", "an evaluation of nothing", "eval", "…Missing argument 'MODEL_OR_DIR'."),
    Case("ui-of-nothing", "a workbench over nothing", "ui", "…Missing argument 'DIR...'."),
    Case(
        "records-limit-zero",
        "at most no record",
        "records DIR/run --limit 0",
        "…Invalid value for '--limit': Input should be greater than or equal to 1",
        (begun(),),
    ),
    Case(
        "records-iteration-word",
        "an iteration that is a word",
        "records DIR/run --iteration last",
        ("…Invalid value for '--iteration': Input should be a valid integer, unable to parse string as an integer"),
        (begun(),),
    ),
    Case(
        "eval-limit-zero",
        "at most no item",
        "eval DIR/run --limit 0",
        "…Invalid value for '--limit': Input should be greater than or equal to 1",
        (begun(),),
    ),
    Case(
        "init-nobody-to-ask",
        "a recipe to be asked for where there is no terminal",
        "init --model lamb --seeds shipped",
        ("--hardware: is not given, and there is no terminal to ask at. Give it, or --yes to take what is proposed."),
    ),
    Case(
        "init-file-there",
        "a recipe to be written over a file that is there",
        "init --model lamb --seeds shipped --hardware cpu --to DIR/mine.yaml",
        "DIR/mine.yaml: is there already. Give another --to, or --force to replace it.",
        (file("mine.yaml", "extends: lamb\n"),),
    ),
    Case(
        "init-hardware",
        "hardware that nobody knows",
        "init --model lamb --seeds shipped --hardware h10",
        "--hardware: no data of a GPU `h10`. Give cpu, gpu or a GPU. Did you mean `h100`? Known are …",
    ),
    Case(
        "init-columns",
        "a recipe for a table whose columns say nothing",
        "init --model lamb --seeds DIR/mine.csv --hardware cpu",
        (
            "DIR/mine.csv: which column holds the instruction and which the output is not clear from its names. Say "
            "it with `--column instruction=NAME --column output=NAME`. Its columns are "
            '"left", "right".'
        ),
        (file("mine.csv", "left,right\nName a bird.,A lark.\n"),),
    ),
    Case(
        "sweep-jobs-zero",
        "a sweep by no process",
        "sweep lamb --dir DIR/sweep --seeds 2 --jobs 0",
        "…Invalid value for '--jobs': Input should be greater than or equal to 1",
    ),
    Case(
        "sweep-seeds-zero",
        "a sweep of no seed",
        "sweep lamb --dir DIR/sweep --seeds 0",
        "…Invalid value for '--seeds': Input should be greater than or equal to 1",
    ),
    Case(
        "estimate-unknown-gpu",
        "an estimate for a GPU that nobody knows",
        "estimate lamb --gpu h10",
        "--gpu: no data of a GPU `h10`. Did you mean `h100`? Known are …",
    ),
    Case(
        "estimate-gpus-of-no-kind",
        "an estimate for GPUs of no kind",
        "estimate lamb --gpus 8",
        "--gpus: of which kind is not said. Give --gpu, too, such as `--gpu h100`.",
    ),
    Case(
        "estimate-gpus-zero",
        "an estimate for no GPU",
        "estimate lamb --gpu h100 --gpus 0",
        "…Invalid value for '--gpus': Input should be greater than or equal to 1",
    ),
    Case(
        "estimate-hub-id-offline",
        "an estimate of a model on the hub, and no hub",
        "estimate lamb model.path=nobody/nothing",
        "model.path: there is no folder nobody/nothing, and the hub, which may have a model of this id, cannot be …",
    ),
    Case(
        "estimate-another-probe",
        "a probe of another recipe",
        "estimate lamb synthesize.shots=2 --probe DIR/run",
        (
            "DIR/run: is a run of another recipe (synthesize.shots: 3 -> 2). Give another --probe, or the "
            "settings of that run."
        ),
        (begun(finished=True),),
    ),
    Case(
        "submit-without-time",
        "a job whose time nobody knows",
        f"{SUBMIT}",
        (
            "--time: is missing, and how long the run takes cannot be told. Give the kind of its GPUs, as in "
            "`--gpu h100`, or a time at a stretch, as in `--time 12:00:00`."
        ),
    ),
    Case(
        "submit-time-words",
        "a job's time that is none",
        f"{SUBMIT} --time 12h",
        "--time: `12h` is no time. Write it like `12:00:00`, or `2-12:00:00` with days.",
    ),
    Case(
        "submit-time-short",
        "a job's time that is too short",
        f"{SUBMIT} --time 00:04:59",
        (
            "--time: `00:04:59` is too short for anything to be finished in it. Give at least 5 minutes; an hour or "
            "more is better."
        ),
    ),
    Case(
        "submit-nodes-in-vain",
        "machines that nothing works on",
        f"{SUBMIT} --time 12:00:00 --nodes 2",
        (
            "--nodes: nothing of this recipe works on more than one machine, and 2 would be paid for. Leave it out, or "
            "set `engine.workers` or `train.nodes`."
        ),
    ),
    Case(
        "submit-option-unknown",
        "an option of sbatch that can be none",
        f"{SUBMIT} --time 12:00:00 --option -p",
        "--option: `-p` is no option of sbatch. Write it like `--option constraint=h100`, by its long name.",
    ),
    Case(
        "submit-option-ours",
        "an option of sbatch that has one of ours",
        f"{SUBMIT} --time 12:00:00 --option time=10",
        "--option: `time` is said by isheep itself. Give it as --time.",
    ),
    Case(
        "submit-option-kept",
        "an option of sbatch on which coming back rests",
        f"{SUBMIT} --time 12:00:00 --option no-requeue",
        "--option: `no-requeue` is said by isheep itself. Leave it out: the job's coming back rests on it.",
    ),
    Case(
        "submit-option-lines",
        "an option of sbatch with a line break",
        f"{SUBMIT} --time 12:00:00 --option 'comment=a\nb'",
        "--comment: `a b` holds a character that Slurm cannot read. Take it out.",
    ),
    Case(
        "submit-dir-backslash",
        "a directory that Slurm would call otherwise",
        "submit lamb --dir 'DIR/a\\b' --time 12:00:00",
        "DIR/a\\b: has a backslash in it, which Slurm takes away. Give another --dir.",
    ),
    Case(
        "submit-without-slurm",
        "a machine that is of no cluster",
        f"{SUBMIT} --time 12:00:00",
        (
            "sbatch: there is none on this machine. Submit from a machine of the cluster; --dry-run prints the script "
            "anywhere."
        ),
        variables={"PATH": "DIR"},
    ),
    Case(
        "submit-without-ray",
        "a Ray cluster, and no Ray",
        f"{SUBMIT} --to ray",
        (
            "--to ray: Ray is not installed in this environment. Install isheep[ray]; --dry-run prints the script "
            "without it."
        ),
        absent="ray",
    ),
    Case("recipes-with-words", "a word where none belongs", "recipes lamb", "…Got unexpected extra argument(s) (lamb)"),
    Case(
        "show-unknown",
        "a recipe that does not ship",
        "show lambb",
        ("recipe lambb: there is no such recipe or file. Did you mean `lamb`? Or give a YAML file."),
    ),
    Case(
        "patience-runs-out",
        "requests that are not enough for what is wanted",
        f"run lamb {SMALL} synthesize.patience=0.001 rules.min_words=140 --dir DIR/run",
        (
            "…iteration 1: … of 4 instructions (… written; dropped: …). Lower `size`, add seed tasks, or "
            "raise `synthesize.patience`. The same command goes on from here."
        ),
        code=3,
        begins=True,
    ),
    Case(
        "nothing-kept",
        "a threshold that keeps nothing",
        f"run lamb {SMALL} select.threshold=9.99 --dir DIR/run",
        (
            "…iteration 1 kept nothing to train on (…). Choose `select.threshold` between the modes of "
            "the scores, and give the command the changed setting with --accept-changes to go on, or "
            "another --dir to start anew."
        ),
        code=3,
        begins=True,
    ),
]
