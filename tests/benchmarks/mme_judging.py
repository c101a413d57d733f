"""A judge of MME-Emotion behind a local address: what stage a request is of, and replies in the asked form."""

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mer_r1.commands import judge
from tests.benchmarks.mme_files import responses_of, write_questions
from tests.judge.endpoint import Reply, says

Body = dict[str, Any]
Text = Callable[[int, Body], str]


def text_of(body: Body) -> str:
    """The text of a request's first message, without its pictures."""
    content = body["messages"][0]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def pictures_of(body: Body) -> list[str]:
    """The addresses of a request's pictures."""
    content = body["messages"][0]["content"]
    return [] if isinstance(content, str) else [p["image_url"]["url"] for p in content if p["type"] == "image_url"]


def is_steps(body: Body) -> bool:
    """Whether a request is of stage 1."""
    return "<response>" in text_of(body)


def tagged(text: str, name: str) -> str:
    """What stands between the last pair of a prompt's own tags."""
    return str(re.findall(rf"<{name}>\n(.*?)\n</{name}>", text, re.DOTALL)[-1])


def in_form(number: int, body: Body) -> str:
    """Stage 1: the thought and the prediction. Stage 2: 1/1 for a smile, and the last step by comparison."""
    text = text_of(body)
    if is_steps(body):
        answer = tagged(text, "response")
        thought, _, said = answer.removeprefix("<think>").rpartition("</think>")
        lines = [thought, f"the prediction is {said}"] if thought else [said]
        return "<step>\n" + "\n".join(f"Step {n}: {line}" for n, line in enumerate(lines, start=1)) + "\n</step>"
    steps, labels = tagged(text, "steps").splitlines(), tagged(text, "label")
    several = re.search(r"There are ([0-9]+) right labels", text)
    whole = int(several[1]) if several else 1
    right = sum(label.strip() in steps[-1] for label in labels.split(",")) if several else int(labels in steps[-1])
    scores = ["1/1" if "smile" in step else "0/1" for step in steps[:-1]] + [f"{right}/{whole}"]
    return "<score>" + ", ".join(f"Step {n}: {score}" for n, score in enumerate(scores, start=1)) + "</score>"


def replies(text: Text = in_form) -> Callable[[int, Body], Reply]:
    """A server's script that says what `text` gives."""
    return lambda number, body: says(text(number, body))


def content_of(body: Body) -> str:
    """A request as one text, to compare it with others."""
    return json.dumps([body["model"], body["messages"]], sort_keys=True)


def judge_file(questions: Path, responses: Path, out: Path, url: str, **options: object) -> int:
    """The status of `mer-r1 judge mme-emotion`; an option is named as its argument. Its errors are raised."""
    parser = argparse.ArgumentParser()
    judge.add(parser.add_subparsers())
    arguments = {"questions": questions, "responses": responses, "out": out, "judge_url": url, "judge_model": "judge-1"}
    words = ["judge", "mme-emotion"]
    for name, value in (arguments | options).items():
        words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    parsed = parser.parse_args(words)
    status: int = parsed.command(parsed)
    return status


class Files:
    """Questions, responses and the folder of results."""

    def __init__(self, folder: Path) -> None:
        self.questions = write_questions(folder / "mme")
        self.responses = folder / "responses.json"
        self.out = folder / "out"
        self.respond(responses_of())

    def respond(self, rows: list[dict[str, Any]]) -> None:
        self.responses.write_text(json.dumps(rows))

    def judge(self, url: str, **options: object) -> int:
        return judge_file(self.questions, self.responses, self.out, url, **{"workers": 4, **options})

    def metrics(self) -> Any:
        return json.loads((self.out / "metrics.json").read_text())

    def rows(self) -> list[Any]:
        return [json.loads(line) for line in (self.out / "judged.jsonl").read_text().splitlines()]
