"""Who is asked, as the command line says it: a checkpoint here, or a model behind an address."""

from __future__ import annotations

from mer_r1.asking.record import Asker
from mer_r1.errors import InputError
from mer_r1.prompts import PromptStyle

DEFAULT_MODEL = "runs/quickstart/mer_r1"


def make_asker(
    model: str,
    *,
    url: str | None = None,
    key_env: str | None = None,
    max_new_tokens: int = 1024,
    style: PromptStyle | None = None,
) -> Asker:
    """The asker of `model`: a run, a checkpoint's folder or a Hub id; with `url` a model's name at that address.

    `style` is the question; None is the model's own. Raises InputError for options that do not go together and for a
    model that cannot be loaded.
    """
    if max_new_tokens < 1:
        raise InputError(f"--max-new-tokens {max_new_tokens}: give 1 or more")
    if url is not None:
        from mer_r1.asking.endpoint import EndpointAsker

        return EndpointAsker(url, model, key_env=key_env, style=style, max_new_tokens=max_new_tokens)
    if key_env is not None:
        raise InputError("--key-env goes with --url; give the address, or leave it out")
    from mer_r1.asking.local import LocalAsker

    return LocalAsker(model, max_new_tokens, style)
