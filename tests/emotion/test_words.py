"""Surface forms: regular English by rule, one base word for each form, errors named by file and line."""

import pytest

from mer_r1.emotion.words import normalise, read_words, word_forms
from mer_r1.errors import InputError

HEAD = "= joy | joy | joyful | joy | happiness\n"


@pytest.mark.parametrize(
    ("stem", "letters", "forms"),
    [
        ("happy", "asc", "happy happily happiness happier happiest"),
        ("shy", "as", "shy shyly shyness"),
        ("sad", "asc", "sad sadly sadness sadder saddest"),
        ("gentle", "a", "gentle gently"),
        ("ecstatic", "a", "ecstatic ecstatically"),
        ("playful", "a", "playful playfully"),
        ("shrill", "a", "shrill shrilly"),
        ("lonely", "as", "lonely loneliness"),
        ("joy", "n", "joy joys"),
        ("worry", "v", "worry worries worried worrying"),
        ("embarrass", "v", "embarrass embarrasses embarrassed embarrassing"),
        ("amaze", "v", "amaze amazes amazed amazing"),
        ("sob", "v", "sob sobs sobbed sobbing"),
        ("frighten", "v", "frighten frightens frightened frightening"),
        ("weep", "v", "weep weeps weeped weeping"),
        ("agree", "v", "agree agrees agreed agreeing"),
        ("envy", "v", "envy envies envied envying"),
        ("annoy", "w", "annoy annoys annoyed annoying annoyingly"),
        ("at ease", "", "at ease"),
    ],
)
def test_rules_spell_regular_english(stem: str, letters: str, forms: str) -> None:
    expected = [forms] if " " in stem else forms.split()
    assert list(word_forms(stem, letters)) == expected


def test_normalise_lowers_and_strips_and_nothing_more() -> None:
    assert normalise("  Stressed Out\u00a0\n") == "stressed out"
    assert normalise("happy.") == "happy."
    assert normalise("at  ease") == "at  ease"


def test_a_base_word_comes_first_and_owns_all_forms_of_its_line() -> None:
    (word,) = read_words(HEAD + "# a remark\n\nangry/a anger/n irate\n", "words.txt", 5)
    assert word.base == "angry"
    assert word.forms == ("angry", "angrily", "anger", "angers", "irate")
    assert word.wheel_words == ("joy", "joy", "joyful", "joy", "happiness")


def test_a_phrase_is_known_with_spaces_and_with_hyphens() -> None:
    words = read_words(HEAD + "at_ease\nlight-hearted/a\n", "words.txt", 5)
    assert words[0].forms == ("at ease", "at-ease")
    assert set(words[1].forms) == {"light-hearted", "light hearted", "light-heartedly", "light heartedly"}


def test_a_dash_leaves_the_wheel_without_a_home() -> None:
    (word,) = read_words("= joy | - | joyful | - | -\nhappy\n", "words.txt", 5)
    assert word.wheel_words == ("joy", None, "joyful", None, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("happy\n", r"words.txt:1: .*before the first group"),
        ("= joy | joy\n", r"words.txt:1: a group needs 5 wheel words .* found 2"),
        ("= joy | joy | | joy | joy\n", r"words.txt:1: .*write - for none"),
        (HEAD + "happy/x\n", r"words.txt:2: .*unknown rule letter 'x'"),
        (HEAD + "glad/v\nglee gladed gladded\n", r"words.txt:3: 'gladded' already belongs to 'glad' of line 2"),
    ],
)
def test_an_error_in_the_file_is_named_with_its_line(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_words(text, "words.txt", 5)
