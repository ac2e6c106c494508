"""Model folders, assessors and hub ids."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from safetensors.torch import load_file, save_file

from tests.bad_input.case import Case, Lay, Place, file, folder
from tests.data import LAMB

RUN = "run lamb model.path=DIR/model --dir DIR/run"


def lamb(name: str = "model", without: tuple[str, ...] = (), **config: Any) -> Lay:
    """The embedded model's folder, without some files, and with other entries of config.json (None takes one out)."""

    def lay(place: Place) -> None:
        for one in LAMB.iterdir():
            if one.name not in (*without, "config.json"):
                place.path(f"{name}/{one.name}").symlink_to(one)
        if "config.json" not in without:
            entries = json.loads((LAMB / "config.json").read_text(encoding="utf-8")) | config
            entries = {key: value for key, value in entries.items() if value is not None}
            place.path(f"{name}/config.json").write_text(json.dumps(entries))

    return lay


def _weights(change: Callable[[bytes], bytes]) -> Lay:
    return lambda place: place.path("model/model.safetensors").write_bytes(
        change((LAMB / "model.safetensors").read_bytes())
    )


def _without_a_layer(place: Place) -> None:
    tensors: Mapping[str, Any] = load_file(LAMB / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if "layers.1." not in name}
    save_file(kept, place.path("model/model.safetensors"))


def on_model(name: str, input_: str, says: str, *lay: Lay, begins: bool = False) -> Case:
    return Case(name, input_, RUN, says, lay, begins=begins)


WEIGHTS = ("model.safetensors",)
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4\n"

CASES = [
    on_model(
        "model-folder-missing",
        "no such folder",
        (
            "model.path: there is no folder DIR/model. Give a local folder with the model, or a hub id "
            "such as `Qwen/Qwen3-0.6B-Base`."
        ),
    ),
    Case(
        "model-name-too-long",
        "a name that no disk can hold",
        f"check lamb model.path=/{'n' * 300}",
        "/…: cannot be used (File name too long). Mend the path, or its rights.",
    ),
    on_model(
        "model-file",
        "a file instead of a folder",
        (
            "model.path: DIR/model is a file, not a folder. Give a local folder with the model, or a hub "
            "id such as `Qwen/Qwen3-0.6B-Base`."
        ),
        file("model"),
    ),
    on_model(
        "model-empty",
        "an empty folder",
        ("DIR/model/config.json: is missing. Give a folder with config.json, safetensors and a tokenizer."),
        folder("model"),
    ),
    Case(
        "model-not-in-package",
        "no such model in the package",
        "check lamb model.path=package:lamb/none",
        ("model.path: the package holds no package:lamb/none. Install isheep anew, or give a local folder."),
    ),
    on_model(
        "model-adapter",
        "an adapter instead of a model",
        "DIR/model: holds an adapter, not a model. Give the folder of its base model.",
        file("model/adapter_config.json", "{}"),
    ),
    on_model(
        "config-not-json",
        "a config.json that is no JSON",
        (
            "DIR/model/config.json: does not read as JSON (Expecting property name enclosed in double "
            "quotes: line 1 column 2 (char 1)). Give a folder with config.json, safetensors and a "
            "tokenizer."
        ),
        lamb(without=("config.json",)),
        file("model/config.json", "{"),
    ),
    on_model(
        "config-list",
        "a config.json that is a list",
        ("DIR/model/config.json: is no JSON object. Give a folder with config.json, safetensors and a tokenizer."),
        lamb(without=("config.json",)),
        file("model/config.json", "[]"),
    ),
    on_model(
        "config-no-type",
        "a config.json without a model_type",
        "DIR/model/config.json: names no model_type. Give the model's own config.json.",
        lamb(model_type=None),
    ),
    on_model(
        "config-unknown-type",
        "an architecture that transformers does not know",
        (
            "DIR/model/config.json: the installed transformers knows no model_type `lambda`. Update "
            "transformers, or choose another model."
        ),
        lamb(model_type="lambda"),
    ),
    on_model(
        "config-remote-code",
        "a model that only code of its own can load",
        (
            "DIR/model/config.json: the installed transformers knows no model_type `lambda`. Update "
            "transformers, or choose another model."
        ),
        lamb(model_type="lambda", auto_map={"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}),
        file("model/evil.py", "open('DIR/pwned', 'w')\n"),
    ),
    on_model(
        "config-encoder-decoder",
        "an encoder-decoder",
        "DIR/model/config.json: describes an encoder-decoder (t5). Give a causal language model.",
        lamb(model_type="t5", is_encoder_decoder=True),
    ),
    on_model(
        "config-other-vocabulary",
        "a config.json of another vocabulary",
        (
            "DIR/model/config.json: says vocab_size 7, but the weights embed 550 tokens. Take both files "
            "from the same model."
        ),
        lamb(vocab_size=7),
    ),
    on_model(
        "config-word-for-number",
        "a config.json with a word for a number",
        (
            "DIR/model: its tokenizer does not load (Validation error for field 'num_hidden_layers': "
            "TypeError: Field 'num_hidden_layers' expected int, got str (value: 'two')). Mend or replace "
            "the folder."
        ),
        lamb(num_hidden_layers="two"),
    ),
    on_model(
        "config-other-size",
        "a config.json of a wider model",
        (
            "…DIR/model: does not load as a model (You set `ignore_mismatched_sizes` to `False`, thus "
            "raising an error. For details look at the above report!). Give a folder with config.json and"
            " safetensors."
        ),
        lamb(hidden_size=1024),
        begins=True,
    ),
    on_model(
        "weights-missing",
        "no weights",
        (
            "DIR/model: holds no weights. Give a folder with model.safetensors or "
            "model.safetensors.index.json and its parts."
        ),
        lamb(without=WEIGHTS),
    ),
    on_model(
        "weights-pickle",
        "weights as a pickle alone",
        (
            "DIR/model/pytorch_model.bin: is a pickle, which can run any code when it is read; isheep "
            "reads no pickle. Save the model as safetensors."
        ),
        lamb(without=WEIGHTS),
        file("model/pytorch_model.bin", "x"),
    ),
    on_model(
        "weights-cut",
        "weights that are cut off",
        ("DIR/model/model.safetensors: has 4,226,268 bytes of 4,226,368: cut off or damaged. Copy it again."),
        lamb(without=WEIGHTS),
        _weights(lambda data: data[:-100]),
    ),
    on_model(
        "weights-garbage",
        "weights that are no safetensors",
        ("DIR/model/model.safetensors: is not a safetensors file, or cut off in its header. Copy it again."),
        lamb(without=WEIGHTS),
        _weights(lambda data: b"no" * 99),
    ),
    on_model(
        "weights-lfs",
        "a Git LFS pointer instead of weights",
        ("DIR/model/model.safetensors: is a Git LFS pointer, not the weights. Run `git lfs pull` beside it."),
        lamb(without=WEIGHTS),
        file("model/model.safetensors", LFS),
    ),
    on_model(
        "weights-empty",
        "an empty file of weights",
        ("DIR/model/model.safetensors: is not a safetensors file, or cut off in its header. Copy it again."),
        lamb(without=WEIGHTS),
        file("model/model.safetensors"),
    ),
    on_model(
        "weights-part-missing",
        "an index that names a part that is not there",
        ("DIR/model/model-1.safetensors: is missing, though model.safetensors.index.json names it. Copy it again."),
        lamb(without=WEIGHTS),
        file("model/model.safetensors.index.json", '{"weight_map": {"a": "model-1.safetensors"}}'),
    ),
    on_model(
        "weights-without-a-layer",
        "weights that lack a layer",
        (
            "…DIR/model: does not hold all weights that its config.json asks for "
            "(model.layers.1.input_layernorm.weight, 9 in all). Take both from the same model, or copy it"
            " again."
        ),
        lamb(without=WEIGHTS),
        _without_a_layer,
        begins=True,
    ),
    Case(
        "hub-id-offline",
        "a hub id, and no hub",
        "run lamb model.path=nobody/nothing --dir DIR/run",
        (
            "model.path: there is no folder nobody/nothing, and the hub, which may have a model of this "
            "id, cannot be reached. Give a local folder, or connect (HF_HUB_OFFLINE has to be unset)."
        ),
    ),
    Case(
        "context-answer",
        "an answer as long as the model's context",
        "run lamb respond.max_new_tokens=384 --dir DIR/run",
        ("respond.max_new_tokens: 384 leaves no room for a prompt in the model's 384 tokens. Give less than 384."),
    ),
    Case(
        "context-assessment",
        "an assessment as long as the model's context",
        "run lamb assess.read=generate assess.max_new_tokens=500 --dir DIR/run",
        ("assess.max_new_tokens: 500 leaves no room for a prompt in the model's 384 tokens. Give less than 384."),
    ),
    Case(
        "assessor-unknown",
        "a misspelt assessor",
        "run lamb assess.assessor=curent --dir DIR/run",
        (
            "assess.assessor: there is no folder curent. Did you mean `current`? Give current, base, "
            "random, a local folder with the model, or a hub id such as `Qwen/Qwen3-0.6B-Base`."
        ),
    ),
    Case(
        "assessor-missing",
        "an assessor that is not there",
        "run lamb assess.assessor=DIR/judge --dir DIR/run",
        (
            "assess.assessor: there is no folder DIR/judge. Give current, base, random, a local folder "
            "with the model, or a hub id such as `Qwen/Qwen3-0.6B-Base`."
        ),
    ),
    Case(
        "assessor-pickle",
        "an assessor whose weights are a pickle",
        "run lamb assess.assessor=DIR/judge --dir DIR/run",
        (
            "DIR/judge/pytorch_model.bin: is a pickle, which can run any code when it is read; isheep "
            "reads no pickle. Save the model as safetensors."
        ),
        (lamb("judge", WEIGHTS), file("judge/pytorch_model.bin", "x")),
    ),
]
