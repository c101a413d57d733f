"""A generator that says what a test wants, piece by piece; run as a module, a server of the page around it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mer_r1.data.sample import Clip, MediaFacts, Mode, Prediction, Sample
from mer_r1.demo.model import DemoModel
from mer_r1.errors import InputError
from mer_r1.generation.generator import Show
from mer_r1.generation.stream import Wrote
from mer_r1.media import TINY_BUDGET, MediaBudget
from mer_r1.model_settings import ModelFacts
from mer_r1.prompting.response import parse_response
from mer_r1.prompting.templates import PROMPT_TEMPLATES, PromptTemplate

SLOW = "<think>She smiles, and her voice is calm.</think><answer>happy, calm</answer>"
FAST = "<think></think><answer>happy</answer>"
WRONG = InputError("the server is gone; start it again")
NO_CLIP = Clip(None, None, MediaFacts())
LOGS = {"w1": {"joy": -0.1, "sadness": -3.0}}


EVIL = """<img src=x onerror=alert(1)> **b** [l](javascript:alert(1)) ${alert(1)} {{#each value}} @children </script>"""


@dataclass
class Scripted:
    """Writes the text of each mode in pieces; waits for `go` before its last one, and keeps what it was asked.

    The words "hostile", "gone", "slowly" and "very slowly" of a visitor make it write EVIL, fail, and take its time.
    """

    texts: Mapping[Mode, str] = field(default_factory=lambda: {"fast": FAST, "slow": SLOW})
    go: threading.Event = field(default_factory=threading.Event)
    budget: MediaBudget = TINY_BUDGET
    template: PromptTemplate = PROMPT_TEMPLATES["full"]
    error: Exception | None = None
    asked: list[Sample] = field(default_factory=list)
    num_written: int = 0
    show: Show | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def settings(self) -> dict[str, Any]:
        return {}

    def generate(self, samples: Sequence[Sample], mode: Mode) -> Iterator[Prediction]:
        raise NotImplementedError

    def showing(self, show: Show) -> Scripted:
        self.show = show
        return self

    def stream(self, sample: Sample, modes: Sequence[Mode], wrote: Wrote) -> Iterator[Prediction]:
        self.asked.append(sample)
        try:
            if self.error is not None or sample.subtitle == "gone":
                raise self.error or WRONG
            for mode in modes:
                text = self.texts[mode].replace("calm.", EVIL if sample.subtitle == "hostile" else "calm.")
                for end in range(4, len(text), 4):
                    self.num_written += 1
                    wrote(mode, text[:end])
                    time.sleep({"slowly": 0.1, "very slowly": 1.0}.get(sample.subtitle or "", 0))
                assert self.go.wait(60)
                wrote(mode, text)
                yield self._prediction(sample, mode, text)
        finally:
            self.ended.set()

    def _prediction(self, sample: Sample, mode: Mode, text: str) -> Prediction:
        response = parse_response(text)
        facts = self.show(sample, NO_CLIP)[1].facts if self.show else None
        shares = dict.fromkeys(response.labels, 0.5)
        return Prediction(
            sample.id, mode, text, response.reasoning, response.labels, response.status, facts, shares, LOGS, LOGS
        )


def demo_model(generator: Scripted | None = None, facts: ModelFacts | None = None, **options: Any) -> DemoModel:
    """The model of a page; by default it is not waited for."""
    if generator is None:
        generator = Scripted()
        generator.go.set()
    return DemoModel(generator, facts or ModelFacts("runs/toy", "OmniModel", 1_400_000), "on this machine", **options)


def main() -> None:
    """Serve the page, say where, and end with standard input."""
    from mer_r1.demo.serve import serving

    with serving(demo_model()) as address:
        print(address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
