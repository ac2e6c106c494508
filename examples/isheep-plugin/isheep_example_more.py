"""A benchmark and an engine for isheep."""

from isheep.engines import Request
from isheep.engines.transformers import TransformersEngine
from isheep.evaluation.base import Measured, figure

QUESTIONS = ["Name a colour of the sky.", "What is the opposite of tall?", "Write a short poem about a river."]


class Ends:
    """Whether the model ends its answers by itself within 40 tokens."""

    formulaic = False

    def __init__(self, evaluate):
        self.questions = QUESTIONS[: evaluate.limit]

    def prepare(self):
        """Everything is here."""

    def protocol(self):
        return {"items": len(self.questions), "tokens": 40}

    def texts(self):
        return self.questions

    def measure(self, model, seed):
        stops = model.encoder.stop_ids
        requests = [Request(text, model.ask(text), max_new_tokens=40, stop_ids=stops) for text in self.questions]
        ended = {one.id: one.finish_reason == "stop" for one in model.engine.generate(requests)}
        rows = [
            {"doc_id": place, "filter": "none", "prompt": text, "responses": [], "target": None,
             "metrics": {"ended": ended[text]}, "doc": {"text": text}}
            for place, text in enumerate(self.questions)
        ]  # fmt: skip
        return Measured({"ends": {"ended": figure(list(ended.values()), seed)}}, {"ends": rows})


class Cooler(TransformersEngine):
    """The embedded engine, which says of every request that its temperature is half of what was asked for."""

    def __init__(self, folder, dtype, engine, encoder):
        size, window = engine.batch_size, engine.batch_size * engine.window
        super().__init__(folder, dtype, engine.device, size, engine.threads, encoder.pad_id, window)

    def generate(self, requests):
        return super().generate(self._cooled(one) for one in requests)

    @staticmethod
    def _cooled(one):
        cooler = one.temperature / 2
        return Request(one.id, one.prompt, one.max_new_tokens, one.stop_ids, cooler, one.top_p, one.seed)
