"""Refusals: what a language model writes instead of an answer, told from what it says of the person.

    I'm sorry, but I can't identify emotions from images.     a refusal
    I can't be certain, but she looks happy.                  a refusal of nothing: the second clause answers
    He is afraid because he can't breathe.                    an answer

A text is read in clauses. One is refusing where the model speaks of itself (I, we, "as an AI") and declines to judge,
or where a judgement is called impossible or inappropriate; what the clause holds is no answer. Beside such clauses
stand courtesies ("Sorry, but", "I'm afraid", "happy to help", "thank you for"), whose feeling is the model's own. What
a quotation says in the first person is the person's. The reading is lexical, for English; of Chinese the usual phrases
are known. All functions take time linear in the text and never raise.
"""

from __future__ import annotations

import re

REFUSED = "¶."
"""Stands in the place of a refusing clause; it ends a clause and holds no word."""

_DECLINE = (
    r"(?:can['’]?t|can ?not|could ?n['’]t|could not|won['’]t|will not|wouldn['’]t|would not|would rather not|don['’]t"
    r"|do not|shouldn['’]t|should not|must not|not|unable|uncomfortable|hesitant|hesitate|reluctant"
    r"|decline|refuse|avoid|prefer not|refrain)"
)
_JUDGE = (
    r"(?:determin\w+|identif\w+|infer\w*|recogni[sz]\w+|tell|say(?:ing)?|assess\w*|analy[sz]\w+"
    r"|help(?! but| feel| smil| laugh)|assist\w*|provid\w+|answer\w*|comply\w*|guess\w*|speculat\w+|judg\w+|detect\w*"
    r"|classif\w+|label\w*|nam(?:e|ing)|know|describ\w+|discern\w*|gaug\w+|interpret\w*|evaluat\w+|estimat\w+|predict\w*"
    r"|mak(?:e|ing)|draw|offer|give|fulfil\w*|do (?:that|this|so)|process|continue|engag\w+|confirm\w*|verify"
    r"|attribut\w+|assign\w*|conclud\w+|discuss\w*|comment\w*|respond\w*|read|experience|feel|understand"
    r"|call(?:ing)? (?:him|her|them|it|this|that|the)|hav(?:e|ing) (?:enough|access|the ability|feelings|emotions))"
)
_SELF = r"\b(?:i|we|(?:language|ai|this) models?|an ai)(?:['’](?:m|d|re|ll))?"
_BETWEEN = r"(?:[\w'’-]+\s+){0,6}?"
_ADVERBS = r"(?:(?:\w+ly|rather|am|are|would|will|do|must|have to|just|also|still)\s+){0,3}"
_REFUSING = re.compile(
    rf"{_SELF}\s+{_ADVERBS}{_DECLINE}\s+{_BETWEEN}{_JUDGE}\b"
    rf"|{_SELF}\s+(?:have|has) no (?:way|ability|means|access)\b|\bbeyond (?:what i|my|the scope|this model)\b"
    rf"|^\W{{0,3}}(?:\w+\W{{1,3}})?(?:unable|not able|can ?not|can['’]t)\s+(?:to\s+)?(?:\w+ly\s+)?{_JUDGE}\b"
    r"|(?<!finds it )(?<!found it )\b(?:impossible|not possible|difficult|hard|inappropriate|not appropriate|unethical"
    rf"|wrong|not right|unfair)\s+(?:[\w'’-]+\s+){{0,3}}?to\s+(?:\w+ly\s+)?{_JUDGE}\b"
    r"|\b(?:cannot|can['’]?t|can not|could not|couldn['’]t|not)\s+be\s+(?:\w+ly\s+)?(?:determined|identified|inferred"
    r"|recogni[sz]ed|assessed|judged|known|told|discerned|classified|established|ascertained|answered|deduced)\b"
    r"|^\W{0,3}(?:\w+, )?no (?:\w+ ){1,3}can be (?:\w+ly )?(?:determined|identified|inferred|recogni[sz]ed|detected)\b"
    r"|\b(?:insufficient|not enough|\w+n['’]t enough|not sufficient)\s+(?:\w+\s+)?(?:information|evidence|context|data"
    r"|details?|cues)\b"
    r"|\b(?:as|i['’]?\s?a?m) (?:just )?an? (?:[\w-]+ ){0,3}(?:ai|language model|llm)\b"
    r"|\bas an? (?:virtual|helpful|responsible|digital) assistant\b"
    r"|\bagainst (?:my|our|the) (?:\w+ )?(?:guidelines|polic\w+|programming|principles)\b"
    r"|\b(?:speculation|speculative|guesswork)\b"
    r"|\bno (?:video|image|picture|audio|clip|file|visual|information|data) (?:\w+ )?(?:is|was|has|have|provided|to)\b"
    r"|(?:无法|不能|难以|没办法|没法|不应|不便)(?!掩饰|抑制|控制|隐藏|自|忍|平静|平复|压抑|置信|相信|接受|释怀)"
    r"|作为(?:一个|一名|一款)?(?:ai|人工智能|语言模型|助手)|我不(?:会|知道|确定|清楚)|看不(?:出|到|清)"
    r"|^\W{0,3}不(?:知道|确定|清楚|详)\W{0,3}$|没有足够的?(?:信息|线索|证据|依据)|(?:信息|线索|证据)不足"
)
# A clause ends at a mark, at a word of contrast, and where a new subject follows a comma or "and".
_SUBJECT = (
    r"(?=(?:i|we|he|she|they|it|the|this|that|his|her|their|there|one|a|an|maybe|perhaps|possibly|probably|likely|most"
    r"|overall|based|given|only|looks?|seems?|appears?|sounds?)\b)"
)
_CLAUSES = re.compile(
    r"((?<!e\.g)(?<!i\.e)(?<![.!?])[.!?]+(?=[\s\"”)]|$)|[;\n。！？；]|[,，]\s*(?=但|不过|然而|可是)"
    r"|[\s,]\s*(?:but|however|yet|although|though|while|whereas|except|because|since|nevertheless|nonetheless)\b"
    rf"|[,，–—]\s*{_SUBJECT}|\s(?:and|so)\s+{_SUBJECT})"
)
_BEGIN = r"(?:^|(?<=[.!?\n¶])\s*|(?<=¶\.),?\s*)\W{0,3}"
_COURTESIES = re.compile(
    # I am happy, we are sorry: the model's own
    r"\b(?:i|we)(?:['’](?:m|d|ll|ve|re))?\s+(?:(?:am|are|be|been|was|would|will|do|must|should|could|have|so|very|\w+ly"
    r"|more|than|always|also|just|quite|both)\s+)*(?!not\b|never\b|can\b|cannot\b|\w+n['’]t\b)[a-z-]+"
    r"(?:\s+to disappoint\b)?"
    # Sorry, but; Afraid not
    rf"|{_BEGIN}(?:(?:oh|so|very|really|my|sincere|i)\s+)*(?:sorry|afraid|apologies|apologi[sz]e)\b"
    r"(?=[^\w¶]{0,3}(?:¶|(?:but|i|we|for|about|that|this|not|no|it|there|unable|can|cannot|can['’]t|as|unfortunately"
    r"|to)\b))|(?<=¶\.)\W{0,3}(?:sorry|my apologies|apologies)\b(?=\W{0,3}$|[.!\n])"
    # Sadly, there is no video; sorry for any confusion
    rf"|{_BEGIN}(?:sadly|unfortunately|regrettably)\s?,\s?"
    r"(?=(?:i|we|there|no|it|the (?:video|clip|image|file|audio))\b)"
    r"|\bfor (?:any|the) (?:confusion|frustration|disappointment|inconvenience|upset|trouble)\b"
    # Sorry! Happy to help with that
    rf"|{_BEGIN}(?:sorry|apologies)\s?[!.]"
    r"(?=\s?(?:i[’']d be |i am |i[’']m )?(?:happy|glad|pleased) to (?:help|assist)\b)"
    rf"|{_BEGIN}(?:always\s+)?(?:happy|glad|pleased|delighted|eager)\s+to\s+(?:help|assist|answer|discuss|provide"
    r"|describe|try)\b(?=\s*(?:$|[.!,]|with\b|you\b|if\b|further\b|in\b|by\b|on\b|any\b|out\b))"
    # Thank you for …; if you are feeling sad
    rf"|{_BEGIN}(?:thanks?|thank you)\b[^.!?\n]*|\bif you(?:['’]re|\s+are|\s+feel)\b[^.!?,\n]*"
)
_SORRY = re.compile(
    r"^\W{0,3}(?:so |very |my )*(?:sorry|apologies)\b[,.!]?\s*(?:but|i|i['’]\w+|we|for|about|that|this|no)\b"
    r"|\b(?:i|we)(?:['’]m|['’]re| am| are) (?:so |very |really |truly )?(?:sorry|afraid)\b"
    r"|\b(?:i|we) (?:\w+ )?apologi[sz]e\b"
    r"|\b(?:is|are|remains?) (?:unclear|unknown)\b"
    r"|(?:抱歉|对不起|不好意思)[，,。.！!]?\s?(?:但|我|这|该|视频|图|音频|由于|因|没|目前|不|无|作为|您|你)"
    rf"|{_SELF}\s+{_ADVERBS}{_DECLINE}\s+{_BETWEEN}(?:see|view|watch|hear|access|open|play|listen)\b"
)
_MAYBE = re.compile(
    r"\b(?:i|we|ai|sorry|apologies|unable|unclear|unknown|can(?:not|['’]?t)|not|no|impossible|difficult|hard|wrong|unfair"
    r"|inappropriate|unethical|speculati\w+|guesswork|insufficient|enough|beyond|against|as an?)\b"
    r"|[抱对不无难没作我看]",
    re.IGNORECASE,
)  # what any of _REFUSING and _SORRY holds, found faster
_ANSWERS = re.compile(
    r"\b(?:he|she|they|person|man|woman|girl|boy|speaker|character|face|voice|tone|expression|emotions?)\b[^.!?\n]{0,80}"
    r"\b(?:is|are|looks?|seems?|appears?|sounds?|feels?|shows?)\b|\b(?:maybe|perhaps|probably|likely|possibly)\b"
)
_QUOTED = re.compile(
    r"[\"“«][^\"”»\n]{0,300}[\"”»]|(?<!\w)['‘](?:[^'’\n]|['’](?=\w)){0,300}['’](?!\w)"
    r"|\b(?:says|said|saying|reads|shouts|exclaims|whispers)(?: that)?\s*[:,]?\s[^.!?\n]{0,300}"
)
_SPACE = re.compile(r"\s+")
_FIRST_PERSON = re.compile(r"\b(?:i|we)\b")


def refuses(text: str) -> bool:
    """Whether a text declines to answer. One that holds an answer beside may do so too."""
    if not _MAYBE.search(text):
        return False
    text = _read(text)
    return bool(_REFUSING.search(text) or _SORRY.search(text))


def is_refusal(text: str) -> bool:
    """Whether a text declines to answer and says nothing of the person."""
    return refuses(text) and not _ANSWERS.search(without_refusals(text))


def without_refusals(text: str) -> str:
    """A text in lower case without its refusing clauses (REFUSED in their place) and the model's courtesies."""
    text = _read(text)
    if _REFUSING.search(text):
        pieces = _CLAUSES.split(text)
        pieces[::2] = [REFUSED if _REFUSING.search(clause) else clause for clause in pieces[::2]]
        text = "".join(pieces)
    return _COURTESIES.sub(" ", text)


def _read(text: str) -> str:
    """Lower case, one blank or line end for a run of them, and the first person of quotations as the third.

    A text that is one quotation keeps its person.
    """
    text = _SPACE.sub(lambda m: "\n" if "\n" in m[0] else " ", text.strip().lower())
    whole = len(text)
    return _QUOTED.sub(lambda m: m[0] if len(m[0]) >= whole else _FIRST_PERSON.sub("they", m[0]), text)
