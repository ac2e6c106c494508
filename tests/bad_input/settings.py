"""Settings that are each wrong, or together wrong."""

from __future__ import annotations

from tests.bad_input.case import Case


def on_lamb(name: str, input_: str, settings: str, says: str) -> Case:
    return Case(name, input_, f"run lamb {settings} --dir DIR/run", says)


OPENAI = "engine.name=openai engine.server.url=http://127.0.0.1:9"
QUANTITIES = "select.filters=[threshold,top,cap]"

CASES = [
    on_lamb(
        "setting-unknown", "an unknown setting", "sizes=20", "recipe lamb, sizes: unknown setting. Did you mean `size`?"
    ),
    on_lamb(
        "setting-of-another-group",
        "a setting that stands in another group",
        "train.rank=4",
        "recipe lamb, train.rank: unknown setting. Did you mean `train.lora.rank`?",
    ),
    on_lamb(
        "setting-unknown-far",
        "a setting like no other",
        "select.zzzz=1",
        ("recipe lamb, select.zzzz: unknown setting. Settings of `select` are filters, threshold, …."),
    ),
    on_lamb(
        "setting-below-a-setting",
        "a key below what is one setting",
        "size.most=3",
        "`size.most=3`: `size` is one setting, not a group of them. Set `size` itself.",
    ),
    on_lamb(
        "setting-whole-group",
        "a group given one value",
        "train=3",
        (
            "recipe lamb, train: is a group of settings, so it cannot be 3. Set what is in it, as in "
            "`train.lora.rank=...`."
        ),
    ),
    on_lamb(
        "setting-group-for-one",
        "a group where one value belongs",
        "'size={most: 3}'",
        ("recipe lamb, size: is one setting, not a group of them. Give a whole number of at least 1."),
    ),
    on_lamb(
        "setting-draws-alike",
        "several responses to an instruction that cannot differ",
        "respond.draws=2 respond.temperature=0",
        (
            "respond.draws: 2 responses to an instruction would all be the same at respond.temperature 0. Give 1, or a "
            "temperature above 0."
        ),
    ),
    on_lamb(
        "setting-draws-unscored",
        "several responses to an instruction, and no scores",
        "respond.draws=2 assess.level=none select.threshold=0",
        (
            "respond.draws: 2 responses to an instruction would have no scores to choose by, since assess.level none "
            "asks for none. Give 1, or set assess.level to both."
        ),
    ),
    on_lamb(
        "setting-word-for-number",
        "a word for a number",
        "size=many",
        "recipe lamb, size: cannot be 'many', which is text. Give a whole number of at least 1.",
    ),
    on_lamb(
        "setting-quoted-number",
        "a number in quotes",
        """'size="20"'""",
        ("recipe lamb, size: cannot be '20', which is text. Give a whole number of at least 1, without quotes."),
    ),
    on_lamb(
        "setting-fraction",
        "a fraction for a whole number",
        "size=2.5",
        "recipe lamb, size: cannot be 2.5. Give a whole number of at least 1.",
    ),
    on_lamb(
        "setting-number-for-text",
        "a number for text",
        "model.path=3",
        "recipe lamb, model.path: cannot be 3. Give text, in quotes.",
    ),
    on_lamb(
        "setting-not-a-number",
        "`nan` for a number",
        "train.learning_rate=.nan",
        "recipe lamb, train.learning_rate: cannot be nan. Give a number greater than 0.",
    ),
    on_lamb(
        "setting-too-small",
        "a number below the range",
        "size=0",
        "recipe lamb, size: cannot be 0. Give a whole number of at least 1.",
    ),
    on_lamb(
        "setting-too-large",
        "a number above the range",
        "select.threshold=10",
        ("recipe lamb, select.threshold: cannot be 10. Give a number of at least -1 and less than 10."),
    ),
    on_lamb(
        "setting-of-no-choice",
        "a word that is no choice",
        "train.method=lorra",
        "recipe lamb, train.method: cannot be 'lorra'. Give `lora`, `full` or `qlora`.",
    ),
    on_lamb(
        "setting-choice-in-list",
        "a filter that there is not",
        "'select.filters=[threshold, capp]'",
        (
            "recipe lamb, select.filters: there is no filter `capp`, of ours or of an installed package. Did you mean "
            "`cap`?"
        ),
    ),
    on_lamb(
        "setting-empty",
        "no value where a number belongs",
        "size=",
        "recipe lamb, size: cannot be null. Give a whole number of at least 1.",
    ),
    on_lamb(
        "setting-empty-path",
        "an empty path",
        """'assess.assessor=""'""",
        ("recipe lamb, assess.assessor: cannot be ''. Give `current`, `base` or `random`, or text."),
    ),
    on_lamb(
        "setting-not-yaml",
        "a value that is no YAML",
        "'model.path=[a'",
        (
            "`model.path=[a`: the value does not read as YAML: expected ',' or ']', but got '<stream "
            "end>', line 1. Put the value in quotes, as in `'model.path=\"...\"'`."
        ),
    ),
    on_lamb(
        "setting-two-wrong",
        "two settings wrong at once",
        "size=0 seed=-1",
        (
            "recipe lamb: 2 settings are wrong: size: cannot be 0. Give a whole number of at least 1. "
            "seed: cannot be -1. Give a whole number of at least 0. Mend each of them."
        ),
    ),
    Case(
        "word-no-setting",
        "a word among the settings that is none",
        "run lamb size=3 seed --dir DIR/run",
        "`seed`: is not KEY=VALUE. Write it like `select.threshold=7`.",
    ),
    on_lamb(
        "iterations-too-many",
        "a billion iterations",
        "iterations=1000000000",
        ("recipe lamb, iterations: cannot be 1000000000. Give a whole number of at least 1 and at most 1000."),
    ),
    on_lamb(
        "direct-with-iterations",
        "`direct` with more than one iteration",
        "setting=direct",
        (
            "setting: direct is one iteration of the base, but iterations is 4. Set iterations to 1 (and "
            "size to what it shall make), or setting to one_base."
        ),
    ),
    on_lamb(
        "filter-twice",
        "a filter named twice",
        "'select.filters=[cap, cap]'",
        "select.filters: names `cap` twice. Name each filter once, where it has to work.",
    ),
    on_lamb(
        "filter-without-number",
        "`top` in the list, and nothing says how many",
        QUANTITIES,
        (
            "select.filters: names `top`, but select.top does not say how many. Give select.top a number,"
            " or take `top` out of the list."
        ),
    ),
    on_lamb(
        "filter-idle",
        "a number for a filter that the list lacks",
        "select.random=20",
        (
            "select.random: is 20, but select.filters does not name `random`. Put `random` into the list "
            "where it has to work, or take this out."
        ),
    ),
    on_lamb(
        "filter-clusters",
        "more clusters than pairs",
        "select.filters=[density] select.density.clusters=5000",
        (
            "select.density.clusters: 5000 clusters of at most 800 pairs (size) cannot be. Give at most "
            "800, or raise size."
        ),
    ),
    on_lamb(
        "filter-top-unasked",
        "`top` where no score is asked for",
        f"{QUANTITIES} select.top=9 select.threshold=0 assess.level=none",
        (
            "select.filters: names `top`, but assess.level none asks for no score to go by. Take `top` "
            "out of the list, or set assess.level to both."
        ),
    ),
    on_lamb(
        "threshold-between",
        "a threshold between no rules and no filter",
        "select.threshold=-0.5",
        (
            "select.threshold: -0.5 is neither -1 (no rules) nor a score. Give -1, 0 (rules, and no score"
            " filter) or more."
        ),
    ),
    on_lamb(
        "threshold-unasked",
        "a threshold where no score is asked for",
        "assess.level=none",
        (
            "assess.level: none asks for no score, so that select.threshold 6.4 would drop every pair. "
            "Set select.threshold to 0, or assess.level to both."
        ),
    ),
    on_lamb(
        "micro-batch",
        "a part of a batch that does not divide it",
        "train.micro_batch_size=3",
        "train.micro_batch_size: 3 does not divide train.batch_size 16. Give a divisor of it.",
    ),
    on_lamb(
        "launch-uneven",
        "pairs of a step that the processes cannot share",
        "train.launch=ddp train.processes=3",
        (
            "train.batch_size: 16 pairs of a step are not the same number for each of 3 processes. Give a "
            "multiple of 3, or another train.processes."
        ),
    ),
    on_lamb(
        "launch-uncounted",
        "several processes on a CPU, and nothing says how many",
        "train.launch=fsdp",
        (
            "train.processes: null means a process for each GPU, and the training has none "
            "(engine.device). Give a number, such as 2."
        ),
    ),
    on_lamb(
        "launch-in-four-bits",
        "4 bits to put in parts",
        "train.launch=fsdp train.processes=2 train.method=qlora",
        (
            "train.launch: fsdp would leave the base in 4 bits whole in each process, since it parts only "
            "numbers with a point. Give ddp, or train.method=lora."
        ),
    ),
    on_lamb(
        "launch-on-one-device",
        "several processes on one GPU",
        "train.launch=ddp train.processes=2 engine.device=cuda:1",
        (
            "train.launch: ddp gives each process a device of its own, but engine.device is cuda:1. Set "
            "engine.device to auto, cpu or cuda, or train.launch to local."
        ),
    ),
    on_lamb(
        "launch-without-a-cluster",
        "several machines outside of a cluster",
        "train.launch=ddp train.processes=2 train.nodes=2",
        (
            "train.nodes: 2 machines are started by Slurm's srun, and this is no allocation of Slurm. Start "
            "the run by sbatch or within salloc, or give 1."
        ),
    ),
    Case(
        "deepspeed-missing",
        "DeepSpeed, where it is not installed",
        "run lamb train.launch=deepspeed train.processes=2 --dir DIR/run",
        (
            "train.launch: DeepSpeed is not installed. Install it with `pip install "
            '"isheep[deepspeed]"`, or give fsdp, which does the same by torch alone.'
        ),
        absent="deepspeed",
    ),
    on_lamb(
        "warmup",
        "a warmup as long as the training",
        "train.warmup_steps=100",
        (
            "train.warmup_steps: 100 leaves nothing of train.steps 100: the learning rate would only "
            "rise. Give less than 100."
        ),
    ),
    on_lamb(
        "held-out-of-nothing",
        "a held out share that is no pair",
        "train.held_out=0.1 select.cap=5",
        (
            "train.held_out: 0.1 of at most 5 pairs is none to evaluate on. Give 0 to hold nothing out, "
            "or raise it or one of size, select.cap."
        ),
    ),
    on_lamb(
        "min-gain-unwaited",
        "a gain that nothing waits for",
        "stop.min_gain=0.1",
        (
            "stop.min_gain: 0.1 says what a gain is, but stop.patience null waits for none. Give "
            "stop.patience a number, or take stop.min_gain out."
        ),
    ),
    on_lamb(
        "metric-unmeasured",
        "a metric to stop by, and nothing measured",
        "stop.metric=a/b evaluate.benchmarks=[]",
        (
            "stop.metric: a/b is not measured: evaluate.benchmarks is empty. Name its benchmark in "
            "evaluate.benchmarks, or take stop.metric out."
        ),
    ),
    on_lamb(
        "metric-unknown",
        "a metric that the benchmark lacks",
        "stop.metric=lamb/prompt_level_acc",
        (
            "stop.metric: no benchmark of evaluate.benchmarks has `lamb/prompt_level_acc`. Did you mean "
            "`lamb/prompt_level_loose_acc`? Write it as BENCHMARK/METRIC."
        ),
    ),
    on_lamb(
        "metric-falling",
        "a metric of which less is better",
        "evaluate.benchmarks=[mt_bench] stop.metric=mt_bench/unparsed",
        (
            "stop.metric: of mt_bench/unparsed a lower value is better, and the loop takes the highest "
            "for the best. Name another metric, of a benchmark of evaluate.benchmarks."
        ),
    ),
    on_lamb(
        "qlora-device",
        "training in 4 bits on a device that cannot",
        "train.method=qlora engine.device=mps",
        ("train.method: qlora does not run on engine.device mps. Give lora, or a device of cpu, cuda or xpu."),
    ),
    on_lamb(
        "full-on-a-server",
        "training all weights of a server's model",
        f"{OPENAI} train.method=full",
        (
            "train.method: is full, but a server goes on with its own weights, and adapters on them "
            "(engine.name openai). Give lora or qlora, or choose another engine.name."
        ),
    ),
    on_lamb(
        "density-on-a-server",
        "vectors of a server's model",
        f"{OPENAI} select.filters=[density] select.density.clusters=5",
        (
            "select.filters: names `density`, whose vectors no server gives (engine.name openai). Leave "
            "it out, or choose another engine.name."
        ),
    ),
    on_lamb(
        "clusters-on-a-server",
        "shots by clusters of a server's model",
        f"{OPENAI} synthesize.shots_drawn=clusters",
        (
            "synthesize.shots_drawn: is clusters, whose vectors no server gives (engine.name openai). "
            "Leave it out, or choose another engine.name."
        ),
    ),
    on_lamb(
        "assessor-on-a-server",
        "another judge than the server's model",
        f"{OPENAI} assess.assessor=DIR",
        (
            "assess.assessor: is DIR, but the server serves model.path alone (engine.name openai). Give "
            "current or base, or choose another engine.name."
        ),
    ),
    Case(
        "vllm-missing",
        "vLLM, where it is not installed",
        "run lamb engine=vllm --dir DIR/run",
        (
            "engine.name=vllm: vLLM is not installed in this environment. Install isheep[vllm], or give "
            "engine.name=transformers."
        ),
        absent="vllm",
    ),
    Case(
        "ray-missing",
        "workers, where Ray is not installed",
        "run lamb engine.workers=2 --dir DIR/run",
        (
            "engine.workers: Ray, which runs them, is not installed in this environment. Install isheep[ray], or give "
            "engine.workers=0."
        ),
        absent="ray",
    ),
    Case(
        "workers-of-a-server",
        "workers that would all ask one server",
        f"run lamb {OPENAI} engine.workers=4 --dir DIR/run",
        (
            "engine.workers: 4 workers would all ask the same server. Give 0, and as many engine.server.connections as "
            "it can take."
        ),
    ),
    on_lamb(
        "ray-address",
        "the address of a Ray cluster where nobody listens",
        "engine.workers=2 engine.ray.address=127.0.0.1:9",
        (
            "engine.ray.address: no Ray cluster answers at 127.0.0.1:9 (…). Start one with `ray start --head`, mend "
            "the address, or leave it out for one on this machine."
        ),
    ),
    on_lamb(
        "device-unknown",
        "a device that torch does not know",
        "engine.device=cdua",
        "engine.device: `cdua` cannot be used (…). Give auto, cpu or cuda.",
    ),
    on_lamb(
        "device-absent",
        "a GPU that is not there",
        "engine.device=cuda:99",
        "engine.device: `cuda:99` cannot be used (…). Give auto, cpu or cuda.",
    ),
    on_lamb(
        "device-meta",
        "a device that holds no numbers",
        "engine.device=meta",
        "engine.device: `meta` cannot be used (…). Give auto, cpu or cuda.",
    ),
    on_lamb(
        "disk-too-small",
        "more than the disk holds",
        "size=900000000000",
        (
            "DIR/run: too little disk: … are free at DIR, the run may write …. Make room, give another "
            "--dir, or lower size or iterations."
        ),
    ),
]
