"""The groups of settings that a recipe holds, each with its defaults, which are the paper's."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]

Alarm = Literal[
    "nothing_kept",
    "everything_kept",
    "near_twins",
    "twins_within",
    "short_responses",
    "endless_responses",
    "unparsed",
    "flat_quality",
    "flat_following",
]
"""What `health.alarms` may raise."""
FilePath = Annotated[str, Field(min_length=1)]
"""Empty text would mean the folder in which the command happens to run."""

ServerUrl = Annotated[str, Field(pattern="^[^@?#]*$")]
"""What could hold a key does not get into a recipe, which is written into the run."""
Variable = Annotated[str, Field(pattern="^[A-Z][A-Z0-9_]*$")]

Question = Literal["quality", "following"]
QUESTIONS: tuple[Question, ...] = ("quality", "following")
"""The two scores of the self-assessment."""

Reader = Literal["generate", "distribution"]
"""How a score is had from a model."""

Filter = Literal["threshold", "perplexity", "density", "random", "top", "cap"]
EngineName = Literal["transformers", "vllm", "openai"]
OWN_BENCHMARKS = ("humaneval", "humaneval_plus", "mbpp", "mbpp_plus", "mt_bench", "alpaca_eval")
"""Benchmarks that are ours, and no task of lm-eval's."""

PluginName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", description="the name of a plug-in")]
"""What an installed package brings under this name; see docs/plugins.md."""
PLUGIN_PREFIX = "plugin:"
"""Before the name where a folder could stand, too."""

Tracker = Literal["tensorboard", "wandb", "mlflow", "trackio"]


class Settings(BaseModel):
    """What every group of settings has in common: frozen, no key that nobody reads, no value made into another type."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True, protected_namespaces=()
    )


class ModelSettings(Settings):
    """The base model."""

    path: str
    """A local directory, `package:...`, or a hub id (fetched once: no pickle, no code)."""
    template: str = "chatml"
    """How a trained model is spoken to: `chatml`, `carried` (the tokenizer's own) or a Jinja file."""
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """Of the weights while they answer and are trained."""


class ColumnSettings(Settings):
    """Which column of a table of seeds is what; None: guessed from its name, and `isheep check` says how."""

    instruction: str | None = None
    """The column of what is to be done."""
    input: str | None = None
    """Of what it is done to; empty: there is none."""
    output: str | None = None
    """Of the answer that people wrote."""


class SeedSettings(Settings):
    """The tasks that people wrote."""

    path: str = "package:seeds/general.jsonl"
    """JSON lines, JSON, CSV, TSV, Parquet, the folder of a data set, or `hf:owner/name[:split]`; see docs/seeds.md."""
    columns: ColumnSettings = ColumnSettings()


class SynthesizeSettings(Settings):
    """Instruction generation (paper section 3.1): sampled seeds as examples, the model continues the list."""

    prompt: str = "package:prompts/synthesize.txt"
    """A prompt file with the field `examples`."""
    shots: Count = 5
    """Examples in a request."""
    shots_from: Literal["seeds", "mixed"] = "seeds"
    """Mixed: the seeds and what earlier iterations kept."""
    shots_drawn: Literal["uniform", "inverse_perplexity", "clusters"] = "uniform"
    """All alike; the likelier to the model, the more often; or one out of each of as many clusters as shots."""
    temperature: Annotated[float, Field(ge=0)] = 1.0
    """0 is greedy."""
    top_p: Share = 0.95
    """Tokens are sampled from the likeliest that have this share of the probability."""
    max_new_tokens: Count = 1000
    """Of a request, which may write several tasks."""
    patience: Annotated[float, Field(gt=0)] = 2
    """Give up when more requests than this for each instruction wanted were sent."""


class RuleSettings(Settings):
    """The heuristic rules on instructions and responses (paper section 3.1, after Self-Instruct)."""

    language: str = "package:filters/english.yaml"
    """The word lists and scripts of the target language."""
    min_words: Annotated[int, Field(ge=0)] = 4
    """Of an instruction; fewer drop it (`too_short`)."""
    max_words: Count = 150
    """Of an instruction; more drop it (`too_long`)."""
    off: list[str] = []
    """Names of rules that drop nothing (all of them: `select.threshold` -1)."""


class NoveltySettings(Settings):
    """ROUGE-L against every seed and every kept instruction of this and all earlier iterations."""

    limit: Share = 0.7
    """An instruction whose F-measure with any of them is greater than this is dropped."""
    compare: Literal["instruction", "task"] = "instruction"
    """Hold the instruction alone against the others, or together with its input."""
    tokenizer: Literal["rouge", "words"] = "rouge"
    """What is compared: the reference's tokens, which see Latin letters and digits alone, or words of any script."""


class RespondSettings(Settings):
    """Zero-shot responses: the bare instruction for the base model, the template for every later one."""

    principles: str | None = None
    """A prompt file around the task while the model answers, and not in what is trained (the Dromedary baseline)."""
    temperature: Annotated[float, Field(ge=0)] = 1.0
    """0 is greedy."""
    top_p: Share = 0.95
    """As in `synthesize.top_p`."""
    max_new_tokens: Count = 1000
    """Of a response."""
    draws: Count = 1
    """Responses to a kept instruction (the paper: one). The further ones are judged like the first and trained on by
    nobody: a preference set is made of them."""


class AssessSettings(Settings):
    """Self-assessment (paper section 3.2): quality and instruction following, 1 to 10 each."""

    variant: Literal["simple", "combined", "icl"] = "combined"
    """The standard that the prompts state: right or wrong alone, the paper's main one, or three scored examples."""
    quality_prompt: FilePath | None = None
    """A prompt file of one's own for the quality score, instead of the variant's."""
    following_prompt: FilePath | None = None
    """The same for the score of instruction following."""
    level: Literal["none", "quality", "following", "both"] = "both"
    """Which scores are asked for; a score that is not asked for stays empty, and no filter looks at it."""
    assessor: Literal["current", "base", "random"] | FilePath = "current"
    """Who judges: the iteration's own model (the paper), the base (the authors' scripts), chance (a control that spoils
    a run), the model in this folder, or a plug-in (`plugin:NAME`)."""
    read: Reader = "generate"
    """Parse a written score, or take the expected score over the probabilities of the ten."""
    max_new_tokens: Count = 64
    """Of a written score with its explanation."""
    temperature: Annotated[float, Field(ge=0)] = 0.0
    """0 is greedy; a score that does not parse is asked for once more, sampled."""

    @property
    def questions(self) -> tuple[Question, ...]:
        """The scores that the level asks for."""
        return tuple(question for question in QUESTIONS if self.level in (question, "both"))

    @property
    def other_model(self) -> str | None:
        """The folder of the model that judges where it is not the run's own; None otherwise."""
        own = self.assessor in ("current", "base", "random") or self.plugin is not None
        return None if own else self.assessor

    @property
    def plugin(self) -> str | None:
        """The name of the plug-in that judges; None where a model or chance does."""
        name = self.assessor.removeprefix(PLUGIN_PREFIX)
        return name if name != self.assessor else None


class PerplexitySettings(Settings):
    """The perplexity filter: what the iteration's own model finds unlikely is dropped."""

    limit: Annotated[float, Field(gt=1)] = 50
    """A greater perplexity drops the pair."""
    of: Literal["response", "pair", "both"] = "both"
    """Of the response given its prompt, of instruction, input and response as one text, or either of the two."""


class DensitySettings(Settings):
    """The density filter: the vectors of the pairs in clusters, one pair out of each."""

    clusters: Count = 3000
    """Of k-means; so many pairs are left."""
    keep: Literal["random", "lowest_perplexity"] = "random"
    """Which one: any, or the one of the lowest perplexity (`select.perplexity.of`; of both, the greater counts)."""


class SelectSettings(Settings):
    """Which assessed pairs are trained on (paper section 3.3)."""

    filters: list[Filter | PluginName] = ["threshold", "cap"]
    """In the order in which they work; each at most once. Others than these are plug-ins."""
    threshold: Annotated[float, Field(ge=-1, lt=10)] = 8
    """Keep when both scores are greater; 0: no score filter (the Self-Instruct baseline); -1: nor any rule."""
    perplexity: PerplexitySettings = PerplexitySettings()
    density: DensitySettings = DensitySettings()
    random: Count | Annotated[list[Count], Field(min_length=1)] | None = None
    """This many at random (a number, or one per iteration): the control of equal size."""
    top: Count | None = None
    """This many, those of the highest lower score first."""
    cap: Count = 3000
    """At most this many, drawn at random from what is left."""


class LoraSettings(Settings):
    """The adapter."""

    rank: Count = 8
    """Of the matrices that are learned."""
    alpha: Count = 16
    """What they learned counts alpha / rank times."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of their inputs left out while training."""


CHECKPOINTING_FROM = 500_000_000
"""Parameters of a base from which activations are computed twice rather than kept: memory is dearer than time."""


class TrainSettings(Settings):
    """Supervised fine-tuning of the base on the selected pairs (paper section 4.1)."""

    lora: LoraSettings = LoraSettings()
    method: Literal["lora", "full", "qlora"] = "lora"
    """An adapter (the paper), every weight, or an adapter on a base that is read in 4 bits while it trains."""
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    """At its highest, after the warm-up."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How it falls from there to the last step."""
    warmup_steps: Annotated[int, Field(ge=0)] = 20
    """Optimizer steps in which it rises from 0."""
    epochs: Annotated[float, Field(gt=0)] = 2
    """How often each pair is trained on."""
    steps: Count | None = None
    """A fixed number of optimizer steps in every iteration, instead of epochs."""
    batch_size: Count = 16
    """Pairs per optimizer step."""
    micro_batch_size: Count = 1
    """Of them at once; halved where memory does not suffice."""
    gradient_checkpointing: bool | None = None
    """Compute activations twice rather than keep them; None: from half a billion parameters on."""
    cutoff: Count = 1024
    """Tokens per pair; a longer pair is cut from the end of its response."""
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the pairs kept aside for the evaluation loss, by which the best checkpoint is chosen."""
    evaluate_every: Count = 100
    """Optimizer steps between evaluations and checkpoints."""
    track: list[Tracker] = []
    """Who is told how the training goes; see docs/trackers.md."""
    launch: Literal["local", "ddp", "fsdp", "deepspeed"] = "local"
    """The run's own process, or several by accelerate: each with the whole model, or with a part of it (FSDP, DeepSpeed
    ZeRO-3); see docs/training.md."""
    processes: Count | None = None
    """So many on each machine; None: one for each GPU in sight."""
    nodes: Count = 1
    """Machines; more than one within an allocation of Slurm."""


class HealthSettings(Settings):
    """What counts as unhealthy."""

    twin: Share = 0.7
    """Two instructions whose ROUGE-L is greater are near-twins."""
    vectors: Annotated[int, Field(ge=0)] | None = None
    """So many kept pairs of each iteration are drawn as points, by the base model's vectors; 0: none.
    null: 200 on the embedded engine, none on others, of which vLLM has to start anew for it."""


class JudgeSettings(Settings):
    """Who rates answers (MT-Bench, AlpacaEval): a server of the OpenAI kind, or a model on this machine."""

    url: ServerUrl | None = None
    """Of the server; None: the judge is a model on this machine, on an engine like the run's."""
    model: FilePath | None = None
    """The server's name for the judge; without a server the folder or hub id of a chat model."""
    key_variable: Variable = "OPENAI_API_KEY"
    """The environment variable with the server's key, which may be unset."""
    max_new_tokens: Count = 2048
    """Of a judgement."""
    connections: Count = 16
    """Requests that are with the server at once, at most."""
    timeout: Annotated[float, Field(gt=0)] = 600
    """Seconds for a judgement."""
    retries: Annotated[int, Field(ge=0)] = 8
    """Further tries of a request that failed."""


class EvaluateSettings(Settings):
    """What is measured on every iteration's model, the untouched base (iteration 0) included, by the same path."""

    benchmarks: list[str] = []
    """lm-eval's tasks, groups and tags (evalplus grades humaneval and mbpp), `mt_bench`, `alpaca_eval`, plug-ins."""
    tasks: str | None = None
    """A folder with lm-eval task files of one's own."""
    trust_tasks: bool = False
    """Functions that these files name are run, with all your rights; said on the command line alone."""
    data_dir: str | None = None
    """A folder with the benchmarks' data as files in the hub's schema; None: they come from the hub."""
    limit: Count | None = None
    """At most this many items of each benchmark."""
    prompts: Literal["as_trained", "as_written"] = "as_trained"
    """Zero-shot questions are asked as the loop asks (a trained model in its template), or as lm-eval writes them."""
    ppl: bool = True
    """Multiple choice is also read as in the paper: the choice whose filled prompt has the lowest mean loss."""
    contamination: Literal["drop", "report", "ignore"] = "drop"
    """Pairs that hold a question of these benchmarks are not trained on; or only counted; or not looked for."""
    judge: JudgeSettings = JudgeSettings()
    evalplus: str | None = None
    """A Python that has evalplus (code benchmarks), in an environment of its own; None: this one."""
    alpaca_eval: str | None = None
    """A Python that has alpaca_eval, in an environment of its own; None: this one."""
    sandbox: bool = True
    """Generated code runs without a network and with rights taken away, or not at all; False lets it do as it likes."""


class StopSettings(Settings):
    """When the loop ends before its last iteration (paper section 4.3: when the benchmark stagnates or falls)."""

    metric: str | None = None
    """`BENCHMARK/METRIC`, by which the loop stops and the best iteration is named; None: the first of all."""
    patience: Count | None = 2
    """Stop after so many measured iterations in a row without a gain over the best before them; None: never. The paper
    names no number; two, since a single measurement without a gain is too often noise."""
    min_gain: Annotated[float, Field(ge=0)] | None = None
    """A gain is more than this, in the metric's own units; None: a value above the 95% interval of the best before."""
    on_alarms: bool | list[Alarm] = False
    """Stop after an iteration with any alarm, or with one of these. No: an alarm asks for a look, it proves nothing."""


class WatchSettings(Settings):
    """When a command that makes no progress is ended and started again from the last part."""

    patience: Annotated[float, Field(gt=0)] = 1800
    """Seconds without a token, a training step or an answer, starting a model included."""
    restarts: Annotated[int, Field(ge=0)] = 3
    """How often at most; then the command fails."""


class VllmSettings(Settings):
    """What vLLM is started with; the other engines do not read it."""

    memory: Share | None = None
    """Share of the GPU's memory that it takes; None: its own default."""
    context: Count | None = None
    """Tokens that a prompt and its completion may have together; None: as many as the model has positions."""
    tensor_parallel: Count = 1
    """GPUs that share one copy of the model."""


class RaySettings(Settings):
    """The cluster on which the `engine.workers` are, and what each of them takes of it; without any nobody reads it."""

    address: ServerUrl | None = None
    """As `ray start --head` prints it, `HOST:6379`; `auto`: the cluster that this machine belongs to; None: what the
    variable RAY_ADDRESS says, else one of its own on this machine, for the time of the command."""
    cpus: Annotated[float, Field(gt=0)] | None = None
    """None: as many as engine.threads, else one."""
    gpus: Annotated[float, Field(ge=0)] | None = None
    """None: as many as share a copy of the model in vLLM, one otherwise; none where the cluster has none."""
    memory: Annotated[float, Field(gt=0)] | None = None
    """GiB of the machine's memory; None: one, and the weights where they do not lie on a GPU."""


class ServerSettings(Settings):
    """A server of the OpenAI kind (vLLM, SGLang, llama.cpp, a hosted one), where `engine.name` is `openai`."""

    url: ServerUrl = "http://127.0.0.1:8000/v1"
    """Of its API, with the version behind it."""
    model: FilePath | None = None
    """The name under which the server serves `model.path`; None: the only one that it serves."""
    key_variable: Variable = "OPENAI_API_KEY"
    """The environment variable with the key, which may be unset; a key itself never belongs into a recipe."""
    connections: Count = 64
    """Requests that are with the server at once, at most; fewer when it says that they are too many."""
    timeout: Annotated[float, Field(gt=0)] = 600
    """Seconds for an answer."""
    retries: Annotated[int, Field(ge=0)] = 8
    """Further tries of a request that failed."""


class EngineSettings(Settings):
    """What runs the model."""

    name: EngineName | PluginName = "transformers"
    """Another than these is a plug-in."""
    device: str = "auto"
    """`auto`: a GPU where there is one; else `cpu`, `cuda`, `cuda:1` and what else torch knows."""
    batch_size: Count = 32
    """Requests that are worked on at once."""
    window: Count = 4
    """Batches whose requests take each other's places as they end, longest prompts first (transformers). Records are
    written window by window, so this is also what an interruption costs."""
    threads: Count | None = None
    """CPU threads; None leaves it to the library."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Copies of the engine on a Ray cluster, which share the work; 0: one, without Ray."""
    ray: RaySettings = RaySettings()
    vllm: VllmSettings = VllmSettings()
    server: ServerSettings = ServerSettings()
