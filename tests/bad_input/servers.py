"""Servers of the OpenAI kind that run the model: their addresses, keys, and what they cannot."""

from __future__ import annotations

from tests.bad_input.case import Case, Lay, Place
from tests.data import LAMB
from tests.engines.served import Manners, serve


def measured(
    name: str,
    input_: str,
    settings: str,
    says: str,
    *lay: Lay,
    key: str | None = None,
    absent: str | None = None,
) -> Case:
    variables = {"OPENAI_API_KEY": key} if key else {}
    return Case(name, input_, f"run lamb {settings} --dir DIR/run", says, lay, variables=variables, absent=absent)


def served(manners: Manners) -> Lay:
    """A server of the OpenAI kind with lamb behind it, at `URL`."""

    def lay(place: Place) -> None:
        place.stands_for["URL"] = place.stack.enter_context(serve(LAMB, manners)).url

    return lay


OPENAI = "engine.name=openai engine.server.url=URL"

CASES = [
    measured(
        "key-variable-name",
        "a key where the variable's name belongs",
        "engine.server.key_variable=sk-secret",
        (
            "recipe lamb, engine.server.key_variable: is not the name of an environment variable. It may hold a key, so"
            " it is not shown. Put the key into an environment variable, and name that in `key_variable`."
        ),
    ),
    measured(
        "key-with-a-line-break",
        "a key with a line break in it",
        OPENAI,
        ("environment variable OPENAI_API_KEY: holds characters that no key has. Set it to the key alone."),
        served(Manners()),
        key="sk-a\nsk-b",
    ),
    measured(
        "url-with-password",
        "a server's url with a password",
        "engine.name=openai engine.server.url=http://me:secret@127.0.0.1:9/v1",
        (
            "recipe lamb, engine.server.url: is not an address without a user name, a password or a query. It may hold "
            "a key, so it is not shown. Put the key into an environment variable, and name that in `key_variable`."
        ),
    ),
    measured(
        "url-not-http",
        "a url that is not http",
        "engine.name=openai engine.server.url=ftp://127.0.0.1/v1",
        ("engine.server.url: ftp://127.0.0.1/v1 is no http or https address. Give one like http://127.0.0.1:8000/v1."),
    ),
    measured(
        "url-no-address",
        "a url that is no address",
        "engine.name=openai 'engine.server.url=\"http://[::1\"'",
        "engine.server.url: is no address. Give one like http://127.0.0.1:8000/v1.",
    ),
    measured(
        "server-unreachable",
        "a server that is not there",
        "engine.name=openai engine.server.url=http://127.0.0.1:9",
        (
            "engine.server.url http://127.0.0.1:9/v1: cannot be reached: the connection failed (Cannot "
            "connect to host 127.0.0.1:9 ssl:default [Connect call failed ('127.0.0.1', 9)]). Start the "
            "server, or mend engine.server.url."
        ),
    ),
    measured(
        "server-key-wrong",
        "a server that wants another key",
        OPENAI,
        (
            "URL: takes no request without a valid key (status 401: Incorrect API key provided: (the "
            "key)). Put a key of this server into the environment variable OPENAI_API_KEY."
        ),
        served(Manners(key="sk-right")),
        key="sk-wrong",
    ),
    measured(
        "server-model-unknown",
        "a model that the server does not have",
        f"{OPENAI} engine.server.model=other",
        ("engine.server.model: is other, and URL serves served. Give the name of the one whose folder model.path is."),
        served(Manners()),
    ),
    measured(
        "server-models-several",
        "a server of several models, none chosen",
        OPENAI,
        (
            "engine.server.model: is not given, and URL serves a, b. Give the name of the one whose "
            "folder model.path is."
        ),
        served(Manners(models=("a", "b"))),
    ),
    measured(
        "server-lists-nothing",
        "a server that does not list its models",
        f"{OPENAI} engine.server.model=null",
        (
            "URL: does not list its models (status 404: 404: Not Found). Give engine.server.model, the "
            "server's name for the model."
        ),
        served(Manners(lists=False)),
    ),
    measured(
        "server-no-adapters",
        "a server that does not load adapters",
        OPENAI,
        (
            "engine.server: URL does not load adapters, so the trained models cannot be asked there. "
            "Start it so: VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve MODEL --enable-lora "
            "--max-lora-rank RANK"
        ),
        served(Manners(loader=None)),
    ),
    measured(
        "server-short",
        "a server of too short a context",
        OPENAI,
        (
            "synthesize.max_new_tokens: 140 leaves no room for a prompt in the server's 100 tokens. Give "
            "less than 100, or start it with more."
        ),
        served(Manners(max_model_len=100)),
    ),
    measured(
        "server-no-log-probabilities",
        "perplexities of a server that tells no log-probabilities",
        f"{OPENAI} 'select.filters=[threshold, perplexity]'",
        (
            "select.filters: names `perplexity`, which needs log-probabilities, which the server URL does"
            " not give. Leave it out, or serve the model with vLLM."
        ),
        served(Manners(logprobs=False)),
    ),
    measured(
        "server-no-shots-by-perplexity",
        "shots by perplexity of a server that tells no log-probabilities",
        f"{OPENAI} synthesize.shots_drawn=inverse_perplexity",
        (
            "synthesize.shots_drawn: is inverse_perplexity, which needs log-probabilities, which the "
            "server URL does not give. Leave it out, or serve the model with vLLM."
        ),
        served(Manners(logprobs=False)),
    ),
]
