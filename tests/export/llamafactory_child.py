"""Runs in LLaMA-Factory's environment: `llamafactory_child.py FOLDER DATASET MODEL OUT`.

Prints, as JSON, the prompt and what is learned of each example that its loader makes of a dataset of the folder. It
imports torchaudio for sounds, which no text needs and whose builds follow other versions of torch; where it is missing
an empty module stands in.
"""

import json
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

if find_spec("torchaudio") is None:
    sys.modules["torchaudio"] = ModuleType("torchaudio")
    sys.modules["torchaudio"].__spec__ = ModuleSpec("torchaudio", None)

from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from llamafactory.hparams import get_train_args
from llamafactory.model import load_tokenizer

folder, name, model, out = sys.argv[1:]
settings = {
    "stage": "sft",
    "do_train": True,
    "model_name_or_path": model,
    "dataset": name,
    "dataset_dir": folder,
    "template": "default",
    "output_dir": out,
    "overwrite_cache": True,
    "finetuning_type": "lora",
    "use_cpu": True,
    "report_to": "none",
}
model_args, data_args, training_args, _, _ = get_train_args(settings)
tokenizer = load_tokenizer(model_args)["tokenizer"]
template = get_template_and_fix_tokenizer(tokenizer, data_args)
rows = get_dataset(template, model_args, data_args, training_args, "sft", tokenizer)["train_dataset"]
found = []
for row in rows:
    learned = [label for label in row["labels"] if label >= 0]
    asked = tokenizer.decode(row["input_ids"][: -len(learned)])
    found.append([asked.partition("<|endoftext|>")[0], tokenizer.decode(learned)])
print(json.dumps(found))
