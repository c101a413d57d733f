"""The forms in which chat models write a list of words, made plain for the parser of labels.py.

    ```json ["happy", "sad"] ```         {"emotions": ["happy", "sad"], "reason": "She smiles."}      {"happy": 0.8}
    Emotions: happy, sad                 The emotions are happy and sad.                              happy (80%), sad
    1) happy 2) sad                      **Happy**: she smiles at somebody.                           \\boxed{happy}

`plain(answer)` is a text of the same length in which all that is no word of the answer is commas, so a word's place is
that in the answer. Convention: of several boxes or fenced blocks the last with a word in it is the answer, and of a
text behind `</think>` that text. A heading ("Emotions:", "The answer is", a line that ends in a colon) is no word, nor
are scores, list numbers, and remarks in parentheses behind a word. A word with the score 0 or false is not named. Of
"word: remark" the remark goes where it has more than three words, or is a degree ("high"); what stands under a heading
of another kind ("reason", "confidence") goes with it. A piece of more than five words is prose, and goes where a
shorter one stands beside it. The time is linear in the text, whatever it is.
"""

from __future__ import annotations

import re

_FORM = re.compile(
    r"[\d:：={}()（）\[\]【】`*\\|&+•●▪■◦‣→\t\"“”「」『』«»<>$?!]|[.。]\s*\S|\s[-–—]+\s|[态感绪情案和及]"
    r"|[\u2460-\u2473\u2600-\u27bf\U0001f300-\U0001faff]"
    r"|[^\s,;/]\s+[^\s,;/]+\s+[^\s,;/]|['’]\s{1,3}['‘]|\s#\w|\b[Aa][Nn][Dd]/[Oo][Rr]\b|\b[Nn]/[Aa]\b"
)
"""What a text holds that is not plain words between separators."""

_PROSE = 5  # words; the longest phrases of the wheels have as many
_REMARK = 3
_BOX = re.compile(r"\\boxed\s{0,9}\{", re.IGNORECASE)
_FENCE = re.compile(
    r"```[^\S\n]{0,9}(?:(?:json|text|txt|plain|plaintext|python|yaml|csv|markdown|md|xml|html|javascript|list)(?=\s))?",
    re.IGNORECASE,
)
_THOUGHT = re.compile("</think>", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]")
_MARKUP = re.compile(
    r"\\(?:text\w{0,6}|math\w{0,6}|emph|quad|qquad)\b|\\n(?![a-z])|\\[,;()\[\]\"']|</?[a-zA-Z]\w{0,15}\s?/?>"
    r"|<\|[^|<>\s]{1,30}\|>|['’]\s{1,3}['‘]|&(?:quot|apos|amp|lt|gt|nbsp|#39);|[-=]{1,3}>|(?<=\s)#(?=\w)"
    r"|\band/or\b|\bn/a\b",
    re.IGNORECASE,
)
_ZERO = re.compile(
    r"[^\W\d][\w’' -]{0,40}[\"'”’*_`]{0,3}\s{0,3}(?:[:：=(（|]|\s[-–—])\s{0,3}[\"']?(?:0(?:\.0+)?\s?%?|false|no)[\"']?"
    r"(?![\w.%])",
    re.IGNORECASE,
)
_NOTE = re.compile(
    r"(?<=[^\W\d_])[\"'”’*_`]{0,3}[^\S\n]?(?:\([^()\n]{0,200}\)|（[^（）\n]{0,200}）|\[[\d.,%/ ]{1,20}\])"
)
_SCORE = re.compile(
    r"(?<![\w.])[-+~≈]?(?:\d{1,9}(?:\.\d{1,9})?\s?%|\d{0,9}\.\d{1,9}|(?<![^\s:(,=|-])\d{1,9}\s?/\s?\d{1,9}(?=[\s,;.)|]|$))"
    r"(?![\w.]\w)"
)
_NUMBER = re.compile(
    r"(?<![\w.])(?<!\d,)\(?\d{1,3}(?:[.)、．](?!\d)|[)）])|[\u2460-\u2473]|(?<![\w.])(?<!\d,)\(?[A-Ha-h]\)(?=\s)"
    r"|(?:^|(?<=\n)|(?<=: ))(?:[A-Ha-h]\.(?=\s)|\(?[ivxIVX]{1,4}[.)](?=\s))"
)
_COMMAS = str.maketrans(
    dict.fromkeys(';；，、/|&+•●○▪■◦‣→\t"“”「」『』«»{}()（）[]【】*`$?!？！。…', ",") | {"：": ":", "=": ":"}
) | dict.fromkeys([*range(0x2600, 0x27C0), *range(0x1F300, 0x1FB00)], ",")  # pictures
_PICTURE = re.compile(r"[\u2600-\u27bf\U0001f300-\U0001faff\ufe0f\u200d]+")
_DASH = re.compile(r"(?<=[^\S\n])[-–—]{1,3}(?=\s)")
_FULL_STOP = re.compile(r"\.(?=\s)")
_BECAUSE = re.compile(r"\s(?:because|due to)\b[^\n]*", re.IGNORECASE)
_AND = re.compile(
    r"(?<=\s)(?:and|as well as|(?:along|together|coupled|combined) with)(?=\s)"
    r"|(?<=[\u4e00-\u9fff]{2})(?<![平温缓柔谦祥随])(?:和|以及)(?=[\u4e00-\u9fff]{2})(?!和[蔼善平气睦谐解])",
    re.IGNORECASE,
)
_MIXTURE = re.compile(  # "a mix of joy and fear"; a "good sense of humor" is a word
    r"\b(?:an? )?(?:mix|mixture|combination|blend) of(?=\s)"
    r"|(?<!not )(?<!without )\ban? (?:\w+ )?(?:hint|touch|tinge|trace) of(?=\s)"
    r"|\ba (?:strong |deep |clear |slight )?(?:sense|feeling) of(?=\s)|(?<=, )but(?: also)?(?=\s)",
    re.IGNORECASE,
)
_FAREWELL = re.compile(  # what the model says to the user behind the answer
    r"(?:(?<=[.!?,\n])\s|(?<=\n))\s{0,3}(?:i hope (?:this|that|it)|hope (?:this|that|it) helps|(?:please )?let me know"
    r"|(?:please )?feel free to|if you (?:need|have|want|would)|is there anything|thank you for|please note)\b[^\n]*",
    re.IGNORECASE,
)
_NAMED_LAST = re.compile(  # "Happiness is the main emotion."
    r"\s(?:is|are|was|were) (?:the|her|his|their) (?:\w+ ){0,2}(?:emotions?|feelings?)\b[^\n,.:]{0,80}(?=[\n,.]|$)",
    re.IGNORECASE,
)
_BRACE = re.compile(r"[{}]")
_COLON = re.compile(":")
_PIECE = re.compile(r"[^,\n]+")
_PARAGRAPH = re.compile(r"\n\s{0,80}\n")

_NAMES = (
    r"(?:emotion(?:al)?s?|feelings?|moods?|sentiments?|states?|labels?|answers?|words?|keywords?|tags?|categor(?:y|ies)"
    r"|class(?:es)?|outputs?|results?|predictions?|response|list|option|choice|names?|types?|values?|items?|primary|secondary|main|dominant|overall"
    r"|face|faces|facial|expressions?|voice|vocal|tone|audio|video|visual|text|subtitle|speech|body|person|speaker"
    r"|character|man|woman|boy|girl|subject|individual)"
)
_HEADING = re.compile(rf"\b{_NAMES}\b|(?:情绪|情感|心情|答案|标签|状态|感受|类别|回答|结果|如下|包括)", re.IGNORECASE)
_BARE = re.compile(
    r"(?:(?:the|final|predicted|detected|possible|main|primary)\s)*(?:emotions?|emotion labels?|emotional states?"
    r"|labels?|answers?|scores?|confidence|probability|json|null|sure|certainly|of course)",
    re.IGNORECASE,
)
_OPENING = re.compile(
    r"(?:^|(?<=[\n:]))[^\n:]{0,160}?\b(?:emotions?|emotional states?|feelings?|moods?|sentiments?|labels?|answers?)\b"
    r"(?:\s(?:of|in|that|shown|expressed|being|conveyed|detected|displayed)\b[^\n,:.]{0,60}?)?\s(?:is|are|includes?"
    r"|would be|could be|might be|may be|seems? to be|appears? to be)[^\S\n]"
    r"(?:(?:best|most likely|likely|probably|mainly|primarily|clearly)[^\S\n])?"
    r"(?:(?:described as|as follows)[^\S\n:]?)?(?!and\b)"
    r"|(?:^|(?<=[\n,.:])[^\S\n]?)(?:(?:based on|from|in|according to|judging by|given)\b[^\n,:]{0,80},[^\S\n])?"
    r"(?:i (?:think|believe|would say)(?: that)? )?(?:(?:the|this|that) (?:\w+ )?(?:person|speaker|man|woman|character"
    r"|individual|subject|boy|girl)(?: in the (?:video|clip|image|picture))?|he|she|they)\s(?:is|are|looks?|feels?"
    r"|seems?|appears?|sounds?|expresse?s?|shows?|displays?)[^\S\n](?:to be[^\S\n]|to feel[^\S\n])?"
    r"(?:(?:feeling|experiencing|expressing|showing)[^\S\n])?(?!and\b)"
    r"|(?:^|(?<=[\n,.:])[^\S\n]?)i(?: would|['’]d)? (?:describe|call|characteri[sz]e|label)[^\n,:]{0,60}?\sas(?=\s)"
    r"|(?:^|(?<=[\n,]))[^\n:,]{0,30}(?:情绪|情感|心情|感受)(?:状态)?(?:是|为|包括|有)",
    re.IGNORECASE,
)
_REASONS = re.compile(
    r"\b(?:reason(?:s|ing)?|explanations?|rationale|justification|evidence|thoughts?|notes?|because|cues?)\b"
    r"|理由|原因|解释|说明|依据",
    re.IGNORECASE,
)
_TEXTS = re.compile(r"\b(?:analysis|descriptions?|context|summary|scene)\b|分析|描述", re.IGNORECASE)
_SCORES = re.compile(
    r"\b(?:confidences?|scores?|probabilit(?:y|ies)|intensity|valence|arousal|likelihood|certainty|id|index|level)\b"
    r"|置信度|强度",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?:he|she|they|it|the|his|her|their|there)\s", re.IGNORECASE)
_DEGREE = re.compile(
    r"(?:very |quite |fairly )?(?:high|low|medium|moderate|strong|weak|mild|slight|true|yes|present|likely)",
    re.IGNORECASE,
)


def is_plain(answer: str) -> bool:
    """Whether a text is words between separators and nothing else, or a picture alone, which is a word."""
    return _FORM.search(answer) is None or _PICTURE.fullmatch(answer) is not None


def plain(answer: str) -> str:
    """The words of an answer in the form it is written in, at their places, and commas around them."""
    text = _commas(_FAREWELL, _only(answer, *_answer_part(answer)))
    for pattern in (_MARKUP, _ZERO, _NOTE, _SCORE, _NUMBER):
        text = _commas(pattern, text)
    text = _commas(_NAMED_LAST, _commas(_BECAUSE, _commas(_OPENING, text.translate(_COMMAS))))
    text = _without_headings(_commas(_FULL_STOP, _DASH.sub(lambda match: ":" * len(match[0]), text)))
    return _without_prose(_commas(_MIXTURE, _commas(_AND, text)))


def _commas(pattern: re.Pattern[str], text: str) -> str:
    return pattern.sub(lambda match: "," * len(match[0]), text)


def _only(text: str, start: int, end: int) -> str:
    return "," * start + text[start:end] + "," * (len(text) - end)


def _answer_part(text: str) -> tuple[int, int]:
    """Where the answer stands: in the last box or fenced block that holds a word, or behind the reasoning."""
    for box in reversed([*_BOX.finditer(text)]):
        end = _closing(text, box.end())
        if _WORD.search(text, box.end(), end):
            return box.end(), end
    fences = [fence.span() for fence in _FENCE.finditer(text)]
    if len(fences) % 2:  # the last block was cut off
        fences.append((len(text), len(text)))
    for opened, closed in zip(fences[-2::-2], fences[::-2], strict=True):
        if _WORD.search(text, opened[1], closed[0]):
            return opened[1], closed[0]
    start = max((thought.end() for thought in _THOUGHT.finditer(text)), default=0)
    return (start, len(text)) if _WORD.search(text, start) else (0, len(text))


def _closing(text: str, start: int) -> int:
    """Where the brace closes that was opened before `start`; the end of the text where it never does."""
    depth = 1
    for brace in _BRACE.finditer(text, start):
        depth += 1 if brace[0] == "{" else -1
        if not depth:
            return brace.start()
    return len(text)


def _without_headings(text: str) -> str:
    """The text without headings and colons, and without what stands under those that are of another kind."""
    keys: list[tuple[int, int, int]] = []  # where a key begins and ends, and its colon
    begin = 0
    for colon in (match.start() for match in _COLON.finditer(text)):
        before = text[begin:colon].rstrip(", ")
        keys.append((begin + max(before.rfind(","), before.rfind("\n")) + 1, begin + len(before), colon))
        begin = colon + 1
    parts, done = [], 0
    for number, (start, end, colon) in enumerate(keys):
        line = text.rfind("\n", done, start) + 1  # where the key's line begins, if it is the first key there
        lead = line if line or number == 0 else start
        next_key = keys[number + 1][0] if number + 1 < len(keys) else len(text)
        cut = _cut(text, (lead, start, end, colon), next_key)
        parts += [text[done : cut[0]], "," * (cut[1] - cut[0])]
        done = cut[1]
    return "".join([*parts, text[done:]])


def _cut(text: str, key: tuple[int, int, int, int], next_key: int) -> tuple[int, int]:
    """What goes of a key and what stands behind it; `key` is where it may begin, begins and ends, and its colon."""
    lead, start, end, colon = key
    name = _bare(text[start:end])
    rest = text[colon + 1 : next_key].lstrip(", ")
    line_end = text.find("\n", colon, next_key)
    line_end = next_key if line_end < 0 else line_end
    num_words = len(name.split())
    is_answer = _HEADING.search(name) is not None
    if _REASONS.search(name) or (_TEXTS.search(name) and not is_answer):
        paragraph = _PARAGRAPH.search(text, colon, next_key)
        return start, paragraph.start() if paragraph else next_key
    if _SCORES.search(name):
        return start, line_end
    if is_answer or num_words > _REMARK or (num_words == _REMARK and rest.startswith("\n")):
        return lead, colon + 1
    match = _PIECE.match(rest)
    said = match[0].strip() if match else ""
    is_remark = len(said.split()) > _REMARK or _DEGREE.fullmatch(said) or _SENTENCE.match(said)
    return colon, line_end if name and is_remark else colon + 1


def _bare(piece: str) -> str:
    return piece.replace("_", " ").strip(" -#'~>.")


def _without_prose(text: str) -> str:
    """The text without names of fields, and without pieces of many words where a shorter one stands beside them."""
    pieces = [piece for piece in _PIECE.finditer(text) if _WORD.search(piece[0])]
    bare = [piece for piece in pieces if _BARE.fullmatch(_bare(piece[0]))]
    prose = [piece for piece in pieces if len(piece[0].split()) > _PROSE]
    if len({*bare, *prose}) < len(pieces):
        bare += prose
    parts, done = [], 0
    for piece in sorted(bare, key=lambda piece: piece.start()):
        if piece.start() >= done:
            parts += [text[done : piece.start()], "," * len(piece[0])]
            done = piece.end()
    return "".join([*parts, text[done:]])
