"""The built-in wheels: what must hold of every word, and of words that people and models use every day."""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mer_r1.emotion.wheel as wheel_module
from mer_r1.emotion.builtin import builtin_heads, read_heads
from mer_r1.emotion.compiled import NUM_WHEELS, CompiledWheels, pack
from mer_r1.emotion.protocol import CORRECTED, OFFICIAL
from mer_r1.emotion.wheel import WheelSet
from mer_r1.emotion.words import BaseWord, read_words
from mer_r1.errors import InputError

WHEELS = WheelSet.load(protocol="corrected")
NOWHERE: frozenset[int] = frozenset()
WORDS_FILE = Path(wheel_module.__file__).parent / "data" / "words.txt"
BASE_WORDS = read_words(WORDS_FILE.read_text(encoding="utf-8"), "words.txt", NUM_WHEELS)

MINIMER = """
happy joyful cheerful delighted excited content calm peaceful relaxed relieved grateful proud confident triumphant sad
lonely disappointed hopeless hurt gloomy tired bored angry furious irritated frustrated resentful annoyed outraged
scared anxious worried nervous terrified panicked tense surprised amazed startled shocked astonished disgusted
contemptuous revolted confused ashamed guilty embarrassed
"""

EVERYDAY = """
happy happiness joy joyful cheerful delighted pleased glad excited excitement thrilled elated ecstatic enthusiastic
enthusiasm eager energetic passionate amused amusement playful teasing mischievous humorous joking smiling laughing
celebratory proud pride triumphant smug confident confidence determined determination resolute ambitious bold brave calm
composed peaceful serene relaxed comfortable content satisfied satisfaction fulfilled patient casual relieved relief
reassured comforted grateful gratitude thankful appreciative touched sentimental nostalgic longing yearning wistful
loving love affectionate affection tender fond caring gentle kind friendly warm supportive encouraging welcoming polite
compassionate sympathetic empathetic understanding admiring admiration respectful impressed approving trusting sincere
earnest flirtatious infatuated attracted hopeful hope optimistic inspired motivated anticipation expectant curious
curiosity interested interest intrigued fascinated attentive focused engaged alert serious solemn thoughtful
contemplative pensive reflective preoccupied neutral indifferent indifference detached aloof reserved cold nonchalant
apathetic surprised surprise shocked shock stunned startled astonished amazed speechless incredulous disbelief awe
confused confusion puzzled perplexed bewildered baffled lost distracted doubtful doubt skeptical suspicious distrustful
uncertain unsure hesitant hesitation conflicted sad sadness unhappy sorrowful melancholy gloomy miserable upset tearful
crying heartbroken grief anguished pained hurt depressed despair desperate pleading helpless hopeless dejected
despondent vulnerable resigned lonely rejected betrayed disappointed disappointment dismayed discouraged disheartened
dissatisfied displeased complaining tired exhausted weary bored boredom impatient ashamed shame embarrassed
embarrassment awkward flustered shy bashful humiliated guilty guilt remorseful regretful regret apologetic angry anger
furious enraged indignant outraged mad irritated irritation annoyed annoyance agitated exasperated frustrated
frustration offended resentful resentment bitter vengeful hostile aggressive defiant defensive stubborn threatening
disapproving critical accusing reproachful stern strict hate jealous envious jealousy disgusted disgust repulsed
contemptuous contempt scornful disdainful dismissive arrogant condescending rude sarcastic ironic mocking fear fearful
afraid scared frightened terrified horrified panicked alarmed threatened intimidated anxious anxiety worried worry
concerned concern stressed overwhelmed nervous nervousness tense tension uneasy apprehensive restless distressed
uncomfortable urgent cautious wary timid reluctant insecure self-conscious at-ease stressed-out fed-up let-down worn-out
on-edge taken-aback in-awe
"""

ANTONYMS = """
happy/sad happy/unhappy happy/angry happy/scared angry/scared angry/afraid sad/angry sad/scared joy/grief
joyful/miserable joyful/sorrowful cheerful/gloomy cheerful/sullen elated/dejected euphoric/depressed lighthearted/solemn
laughing/crying smiling/frowning pleasant/unpleasant pleased/displeased pleased/irritated delighted/disgusted
amused/annoyed amused/bored playful/serious excited/bored excited/indifferent enthusiastic/apathetic eager/reluctant
energetic/tired energetic/exhausted alert/sleepy interested/bored curious/indifferent attentive/distracted
focused/distracted calm/angry calm/nervous calm/agitated calm/panicked serene/anxious tranquil/restless
composed/flustered peaceful/furious relaxed/tense relaxed/stressed comfortable/uncomfortable patient/impatient
carefree/burdened relieved/worried reassured/anxious comforted/distressed secure/insecure safe/threatened
satisfied/dissatisfied satisfied/frustrated content/discontent content/resentful grateful/resentful
appreciative/dismissive proud/ashamed proud/guilty proud/humiliated smug/ashamed triumphant/defeated
triumphant/remorseful confident/scared confident/timid confident/doubtful bold/shy brave/afraid fearless/fearful
self-assured/embarrassed determined/hesitant resolute/indecisive assertive/submissive defiant/submissive
motivated/discouraged encouraged/discouraged encouraging/scolding inspired/disillusioned hopeful/hopeless
hopeful/worried hope/despair optimistic/pessimistic loving/hateful loving/indifferent love/hate loved/lonely
loved/unloved tender/hostile gentle/aggressive kind/spiteful kind/cruel friendly/hostile affectionate/cold warm/aloof
compassionate/contemptuous sympathetic/hostile forgiving/vindictive polite/rude attracted/repulsed trusting/suspicious
trusting/doubtful trust/distrust trust/disgust accepting/rejected loyal/betrayed admiring/contemptuous admiring/envious
respectful/disdainful impressed/unimpressed approving/disapproving agreeing/disagreeing sincere/sarcastic
earnest/mocking anger/fear surprise/anticipation neutral/happy neutral/sad neutral/angry neutral/afraid
neutral/surprised neutral/disgusted neutral/excited
"""


def ids_of(word: str) -> tuple[frozenset[int], ...]:
    ids = WHEELS.lookup(word)
    assert ids is not None, f"{word} is not known"
    return ids


def placed(word: BaseWord) -> tuple[frozenset[int], ...]:
    """The category ids that the data files give to a base word."""
    cells = zip(builtin_heads(), word.wheel_words, WHEELS.categories_of, strict=True)
    return tuple(NOWHERE if w is None else frozenset({names.index(head.category_of[w])}) for head, w, names in cells)


def test_every_base_word_maps_to_its_own_categories() -> None:
    assert {word.base: WHEELS.lookup(word.base) for word in BASE_WORDS} == {w.base: placed(w) for w in BASE_WORDS}


def test_every_form_agrees_with_its_base_word() -> None:
    strays = [(form, word.base) for word in BASE_WORDS for form in word.forms if ids_of(form) != ids_of(word.base)]
    assert strays == []
    assert set(WHEELS.words) == {form for word in BASE_WORDS for form in word.forms}


@pytest.mark.parametrize(
    "forms", ["anger angry angrily angered", "joy joyful joyfully joyous", "worry worried worries"]
)
def test_word_forms_that_people_mix_agree(forms: str) -> None:
    assert len({ids_of(form) for form in forms.split()}) == 1


def test_the_vocabulary_is_large_enough() -> None:
    assert len(BASE_WORDS) >= 400
    assert sum(sum(map(bool, ids_of(word))) >= 3 for word in WHEELS.words) >= 1500


@pytest.mark.parametrize("word", MINIMER.split())
def test_words_of_minimer_map_in_all_wheels(word: str) -> None:
    assert all(ids_of(word))


@pytest.mark.parametrize("word", EVERYDAY.split())
def test_everyday_words_map_in_three_wheels_at_least(word: str) -> None:
    assert ids_of(word) == ids_of(word.replace("-", " "))
    assert sum(map(bool, ids_of(word))) >= 3


@pytest.mark.parametrize("pair", ANTONYMS.split())
def test_antonyms_never_share_a_category(pair: str) -> None:
    left, right = (ids_of(word) for word in pair.split("/"))
    assert not any(a & b for a, b in zip(left, right, strict=True))


def test_a_category_name_means_its_own_category() -> None:
    for wheel, categories in enumerate(WHEELS.categories_of):
        for category in categories:
            assert WHEELS.categories([category])[wheel] == {category}


def test_level_1_is_that_of_the_published_taxonomies() -> None:
    """docs/wheels.md; the nine arcs of w5 are the project's own cut."""
    assert [" ".join(categories[:-1]) for categories in WHEELS.categories_of] == [
        "joy sadness anger fear surprise disgust",
        "love joy surprise anger sadness fear",
        "mad scared joyful powerful peaceful sad",
        "joy trust fear surprise sadness disgust anger anticipation",
        "happiness tenderness surprise relief sadness shame fear disgust anger",
    ]


def test_wheels_have_five_to_nine_categories_and_neutral_last() -> None:
    for categories in WHEELS.categories_of:
        assert 5 <= len(categories) - 1 <= 9
        assert categories[-1] == "neutral"


def test_no_category_is_empty() -> None:
    for wheel, categories in enumerate(WHEELS.categories_of):
        assert all(WHEELS.words_of(wheel, category) for category in categories)


@pytest.mark.slow
def test_no_wheel_is_another_one_renamed_or_refined() -> None:
    for one, other in itertools.permutations(range(NUM_WHEELS), 2):
        split = {(ids_of(word)[one], ids_of(word)[other]) for word in WHEELS.words if all(ids_of(word))}
        assert len(split) > len(WHEELS.categories_of[one]), f"{WHEELS.names[one]} refines {WHEELS.names[other]}"


@pytest.mark.parametrize(
    "word", ["", "hapy", "table", "happy.", "at  ease", "very happy", "fearlessless", "help", "use"]
)
def test_an_unknown_word_is_none_and_has_no_way(word: str) -> None:
    assert WHEELS.lookup(word) is None
    assert WHEELS.explain(word) == []


def test_lookup_lowers_and_strips() -> None:
    assert WHEELS.lookup("  ANGRY\u00a0") == ids_of("angry")
    assert WHEELS.map_set(["  ANGRY\u00a0"]) == WHEELS.map_set(["angry"])


def test_fear_is_not_fearless() -> None:
    """The official tables take "fear" as a form of "fearless"; ours must not."""
    fear, fearless = ids_of("fear"), ids_of("fearless")
    assert not any(a == b for a, b in zip(fear, fearless, strict=True))


def test_map_set_collapses_synonyms_and_passes_unknown_words_over() -> None:
    words = ["happy", "Joyful", "angry", "no such word", "submissive"]
    known = [ids for word in words if (ids := WHEELS.lookup(word)) is not None]
    assert WHEELS.map_set(words) == tuple(NOWHERE.union(*(ids[k] for ids in known)) for k in range(NUM_WHEELS))
    assert WHEELS.map_set(iter(words)) == WHEELS.map_set(words)
    assert WHEELS.map_set([]) == WHEELS.map_set(["no such word"]) == (frozenset(),) * NUM_WHEELS
    assert WHEELS.categories(words)[0] == {"joy", "anger"}
    assert WHEELS.categories(words)[2] == {"joyful", "mad", "scared"}


def test_words_of_is_the_inverse_of_lookup() -> None:
    for wheel, categories in enumerate(WHEELS.categories_of):
        listed = [(word, i) for i, category in enumerate(categories) for word in WHEELS.words_of(wheel, category)]
        assert sorted(listed) == [(word, i) for word in WHEELS.words for i in ids_of(word)[wheel]]


def test_words_of_an_unknown_category_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="w1 has no category 'mad'; use one of: joy, sadness"):
        WHEELS.words_of(0, "mad")
    with pytest.raises(InputError, match="wheel 5 does not exist"):
        WHEELS.words_of(5, "joy")


def test_explain_tells_the_way_and_agrees_with_lookup() -> None:
    first = WHEELS.explain(" Angrily")[1]
    assert (first.wheel, first.form, first.base, first.wheel_word, first.category) == (
        "w2",
        "angrily",
        "angry",
        "rage",
        "anger",
    )
    for word in WHEELS.words:
        names = [" + ".join(reached) or None for reached in WHEELS.categories([word])]
        assert [way.category for way in WHEELS.explain(word)] == names


def test_the_official_protocol_leaves_neutral_out_and_changes_nothing_else() -> None:
    without = WheelSet.load()
    assert (without.protocol, WHEELS.protocol) == (OFFICIAL, CORRECTED)
    assert without.lookup("neutral") == (NOWHERE,) * NUM_WHEELS
    assert without.map_set(["neutral"]) == (NOWHERE,) * NUM_WHEELS
    assert [*without.categories_of] == [categories[:-1] for categories in WHEELS.categories_of]
    assert without.sha256 != WHEELS.sha256
    assert without.words == WHEELS.words
    for word in WHEELS.words:
        assert without.categories([word]) == tuple(names - {"neutral"} for names in WHEELS.categories([word]))


def test_load_is_cached_and_the_hash_follows_the_mapping_only() -> None:
    assert WheelSet.load("builtin") is WheelSet.load()
    table = {word: pack(ids_of(word), WHEELS.categories_of) for word in reversed(WHEELS.words)}
    again = WheelSet(CompiledWheels("copy", WHEELS.names, ("",) * NUM_WHEELS, WHEELS.categories_of, table))
    assert again.sha256 == WHEELS.sha256
    table["happy"] = 0
    assert (
        WheelSet(CompiledWheels("copy", WHEELS.names, WHEELS.titles, WHEELS.categories_of, table)).sha256
        != WHEELS.sha256
    )


def test_an_unknown_source_protocol_or_level_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="'nonsense' are not known; use builtin, official, mer2026, or a folder"):
        WheelSet.load("nonsense")
    with pytest.raises(InputError, match="'nonsense' is not known; use one of: official, corrected"):
        WheelSet.load(protocol="nonsense")
    with pytest.raises(InputError, match="level 1 only"):
        WheelSet.load(level=2)


TWO = (("good", "bad"),) * NUM_WHEELS


def test_a_wheel_set_from_a_plain_table_works_without_routes() -> None:
    ids: list[set[int]] = [{0}, {0}, {1}, set(), {0, 1}]
    wheels = WheelSet(CompiledWheels("own", WHEELS.names, WHEELS.titles, TWO, {"fine": pack(ids, TWO), "lost": 0}))
    assert wheels.lookup("fine") == tuple(map(frozenset, ids))
    assert wheels.categories(["Fine"])[2:] == (frozenset({"bad"}), frozenset(), frozenset({"good", "bad"}))
    assert [way.base for way in wheels.explain("fine")] == [None] * NUM_WHEELS
    assert [way.category for way in wheels.explain("fine")] == ["good", "good", "bad", None, "good + bad"]
    assert wheels.words_of(4, "good") == wheels.words_of(4, "bad") == ("fine",)


def test_a_word_reaches_something_or_is_counted_as_unmapped() -> None:
    wheels = WheelSet(CompiledWheels("own", WHEELS.names, WHEELS.titles, TWO, {"fine": 1, "well": 2, "lost": 0}))
    assert wheels.reaches(" Fine ")
    assert not wheels.reaches("lost")
    assert not wheels.reaches("no such word")
    assert wheels.lookup("lost") == (NOWHERE,) * NUM_WHEELS
    assert wheels.map_words([" Fine ", "WELL", "Lost", "other", "fine"]) == (3, ("lost", "other"))


@given(st.lists(st.sets(st.integers(0, 8)), min_size=NUM_WHEELS, max_size=NUM_WHEELS))
def test_packed_ids_are_unpacked_and_counted_as_they_were(ids: list[set[int]]) -> None:
    categories_of = (tuple("abcdefghi"),) * NUM_WHEELS
    packed = pack(ids, categories_of)
    wheels = WheelSet(CompiledWheels("own", WHEELS.names, WHEELS.titles, categories_of, {"word": packed}))
    assert wheels.unpack(packed) == tuple(map(frozenset, ids))
    assert wheels.count(packed) == tuple(map(len, ids))


@pytest.mark.parametrize("i", [-1, 2])
def test_ids_that_no_wheel_has_are_not_packed(i: int) -> None:
    with pytest.raises(ValueError, match=f"category id {i} in a wheel of 2"):
        pack([{0}, {0}, {0}, {i}, {0}], TWO)


@pytest.mark.parametrize("packed", [-1, 1 << 2 * NUM_WHEELS])
def test_packed_values_that_no_wheel_has_are_refused(packed: int) -> None:
    with pytest.raises(InputError, match="does not pack categories of wheels with 10"):
        WheelSet(CompiledWheels("own", WHEELS.names, WHEELS.titles, TWO, {"fine": packed}))
    with pytest.raises(InputError, match="a wheel set has 5 wheels"):
        WheelSet(CompiledWheels("own", WHEELS.names, WHEELS.titles, TWO[1:], {"fine": 0}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("joy: joy\n", "wheels.txt:1: write"),
        ("[w1] a | b\njoy joy\n", "wheels.txt:2: write"),
        ("[w1] a | b\njoy: joy, glee\nfear: fear, glee\n", "wheels.txt:3: glee occurs twice in w1"),
        ("[w1] a | b\njoy: joy, joy\n", "wheels.txt:2: joy occurs twice in w1"),
    ],
)
def test_an_error_in_the_wheels_file_is_named_with_its_line(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_heads(text, "wheels.txt")


@pytest.mark.slow
def test_loading_imports_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; from mer_r1.emotion.wheel import WheelSet; WheelSet.load().map_set(['happy']);"
        "print([m for m in ('torch', 'numpy', 'yaml', 'rich', 'pydantic', 'openpyxl') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
