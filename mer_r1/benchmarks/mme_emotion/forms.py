"""What the judge of MME-Emotion writes, read: `<step>` lines and `<score>` lists (MER-R1 Appendix B.2).

    <step>                                    <score>Step 1: 1/1, Step 2: 0/1</score>
    Step 1: what was noticed                  the last one of a task with K gold labels: Step 2: C/K
    Step 2: the prediction
    </step>

One parser each, for all tasks. Read as meant: capitals, white space anywhere, `</ step >`, Markdown's stars, "1 / 1",
"Step" left out, steps on one line, other text around the block; of several blocks the last one counts. Not read, and
None: no closed block, a step without text or out of order, another number of scores than steps, a score that is not 0/1
or 1/1, a last one whose K is not the number of gold labels or whose C is larger, anything but scores inside the block.
Every function takes time linear in the text.
"""

from __future__ import annotations

import re

MOST_STEPS = 100

_TAGS = {name: re.compile(rf"<\s*+(/?)\s*+{name}s?\s*+>", re.IGNORECASE) for name in ("step", "score")}
_NUMBER = r"([0-9]{1,3})[ \t*]*+(?:[:：)\]]|\.(?![0-9]))"
_LINE = re.compile(rf"^[ \t>*#\-]*+(?:step)?[ \t*#]*+{_NUMBER}", re.IGNORECASE | re.MULTILINE)
_INLINE = re.compile(rf"\bstep[ \t*#]*+{_NUMBER}", re.IGNORECASE)
_SCORE = re.compile(
    r"(?<![0-9])(?:(?:step[ \t*#]*+)?([0-9]{1,3})[ \t*]*+(?:[:：=)\]]|\.(?![0-9]))[ \t*]*+)?"
    r"([0-9]{1,3})[ \t]*+/[ \t]*+([0-9]{1,3})(?![0-9])",
    re.IGNORECASE,
)
_BETWEEN = " \t\r\n,;.|*-、，；。()[]"


def parse_steps(text: str) -> tuple[str, ...] | None:
    """The steps in order, each as one line without its number; None where the text holds none in this form."""
    body = _last_block(text, "step")
    if body is None:
        return None
    steps = _numbered(body, _LINE)
    if len(steps) < 2:
        steps = _numbered(body, _INLINE) or steps
    return steps if steps and len(steps) <= MOST_STEPS and all(steps) else None


def parse_scores(text: str, num_steps: int, num_labels: int) -> tuple[int, ...] | None:
    """What each step got: 0 or 1, the last one 0 to `num_labels`; None where the text does not say it in this form."""
    body = _last_block(text, "score")
    if body is None:
        return None
    found = list(_SCORE.finditer(body))
    if len(found) != num_steps or _SCORE.sub("", body).strip(_BETWEEN):
        return None
    scores: list[int] = []
    for index, score in enumerate(found, start=1):
        named, right, whole = (None if group is None else int(group) for group in score.groups())
        assert right is not None, "the pattern has them"
        if named not in (None, index) or whole != (num_labels if index == num_steps else 1) or right > whole:
            return None
        scores.append(right)
    return tuple(scores)


def _last_block(text: str, name: str) -> str | None:
    start, block = -1, None
    for tag in _TAGS[name].finditer(text):
        if not tag[1]:
            start = tag.end()
        elif start >= 0:
            block, start = (start, tag.start()), -1
    return None if block is None else text[slice(*block)]


def _numbered(body: str, mark: re.Pattern[str]) -> tuple[str, ...]:
    """The texts behind the marks 1, 2, 3, ...; nothing where a mark is out of turn."""
    spans: list[tuple[int, int]] = []
    for found in mark.finditer(body):
        if int(found[1]) != len(spans) + 1:
            return ()
        spans.append(found.span())
    ends = [start for start, _ in spans[1:]] + [len(body)]
    texts = [body[begin:end] for (_, begin), end in zip(spans, ends, strict=False)]  # without spans there is one end
    return tuple([" ".join(text.split()).strip("* ") for text in texts])
