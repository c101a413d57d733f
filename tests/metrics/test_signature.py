"""Signatures: fixed order, nothing that breaks their form, always the version."""

import pytest

from mer_r1 import __version__
from mer_r1.metrics.signature import counted_by, counted_part, counts_of, joined, parts_of, signature, wheels_part


def test_parts_stand_in_one_order_however_they_are_given() -> None:
    text = signature(mode="slow", parser="official", n=2610, set="meld", wheels=wheels_part("builtin", "1a2b3c4d5e6f"))
    assert text == f"set:meld|n:2610|wheels:builtin@1a2b3c4d|parser:official|mode:slow|version:{__version__}"


def test_what_is_not_given_is_left_out_but_the_version_never() -> None:
    assert signature(set="a", mode=None) == f"set:a|version:{__version__}"
    assert signature(version="9.9", judge="qwen") == "judge:qwen|version:9.9"


def test_values_cannot_break_the_form() -> None:
    assert signature(set="a|b: c\nd", version="1") == "set:a_b__c_d|version:1"
    assert signature(set="a|b: c\nd", version="1").count("|") == 1


def test_unknown_parts_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown signature part seed"):
        signature(seed=3)


def test_the_parts_of_a_signature_are_read_back() -> None:
    given = {"set": "a", "n": "3", "wheels": "builtin@1a2b3c4d", "protocol": "official"}
    assert parts_of(signature(**given)) == given | {"version": __version__}
    assert parts_of("no signature") == {}
    assert counted_by("builtin@1a2b3c4d", "official") == "builtin@1a2b3c4d, protocol official"


def test_samples_that_the_protocol_leaves_out_stand_in_n() -> None:
    assert (counted_part(8, 8), counted_part(4, 8)) == ("8", "4/8")
    assert [counts_of(signature(set="a", n=n)) for n in (8, "4/8")] == [(8, 8), (4, 8)]


def test_a_joined_signature_names_what_differs_once_and_in_order() -> None:
    one, other = (signature(set="a", n=3, mode=mode) for mode in ("fast", "slow"))
    assert joined([one, other, other]) == signature(set="a", n=3, mode="fast+slow")
    assert joined([one]) == one
    extracted = "set:a|n:3|mode:slow|extract:list|version:1"
    assert joined([extracted, "set:a|n:3|mode:slow|version:1"]) == extracted
