"""Lessons in judging hold what the judge will be asked, and the right answer to it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mer_r1.data.manifest import read_manifest
from mer_r1.data.sample import Sample
from mer_r1.errors import InputError
from mer_r1.media import read_clip
from mer_r1.models.loading import load_backbone
from mer_r1.pipelines.train import load_backbone as load_recipe_s
from mer_r1.pipelines.train import train
from mer_r1.recipe import ModelSection
from mer_r1.rl.reflection.lessons import lesson_examples, lessons
from mer_r1.rl.reflection.scores import QUESTIONS, coherence_score, consistency_score
from mer_r1.training.model_shape import KNOWN
from tests.training.runs import make_recipe


def _sample(number: int, seen: str) -> Sample:
    reasoning = f"<step1>{seen}</step1><step2>One laughs.</step2><step3>High.</step3>\\boxed{{joy}}"
    return Sample(f"s{number}", image=Path("a.png"), labels=("joy",), reasoning=reasoning, candidates=("joy", "fear"))


def test_coherence_is_taught_from_text_alone_and_the_answer_scores_one() -> None:
    coherence, _ = lessons([_sample(0, "A gift."), _sample(1, "A grave.")])
    assert coherence.template is QUESTIONS["coherence"]
    assert [sample.subtitle for sample in coherence.samples] == ["A gift.\nOne laughs.", "A grave.\nOne laughs."]
    for sample, answer in zip(coherence.samples, coherence.answers, strict=True):
        assert (sample.image, sample.video, sample.audio, sample.labels) == (None, None, None, ())
        assert coherence_score(answer, ("joy",), sample.candidates, None) == 1  # type: ignore[arg-type]


def test_consistency_is_taught_by_own_and_by_foreign_steps() -> None:
    seen = ["A gift.", "A gift.", "A grave.", "A dog."]
    _, consistency = lessons([_sample(number, text) for number, text in enumerate(seen)])
    assert [sample.subtitle for sample in consistency.samples] == ["A gift.", "A grave.", "A grave.", "A gift."]
    assert consistency.answers == ("yes", "no", "yes", "no")
    assert [consistency_score(answer) for answer in consistency.answers] == [1, 0, 1, 0]
    assert all(sample.image for sample in consistency.samples)


def test_a_step_that_all_samples_share_is_never_called_wrong() -> None:
    assert lessons([_sample(number, "A gift.") for number in range(4)])[1].answers == ("yes",) * 4


def test_a_sample_without_two_steps_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"sample 's7': its reasoning has no first two steps .*sft\.reflection"):
        lessons([replace(_sample(7, "A gift."), reasoning="It is a gift.")])


def test_an_example_learns_the_whole_answer_and_the_end_of_the_turn(stepped_folder: Path, pictures: Path) -> None:
    backbone = load_backbone(str(stepped_folder / "model"))
    for item in lessons(read_manifest(pictures)):
        asked = replace(backbone, template_override=item.template)
        prompts = [asked.prepare(sample, read_clip(sample, backbone.budget)) for sample in item.samples]
        examples = lesson_examples(backbone, prompts, item.answers)
        assert len(examples) == 6
        for index, (prompt, answer) in enumerate(zip(prompts, item.answers, strict=True)):
            example = examples[index]
            assert example.prompt is prompt
            assert example.target.given == ()
            assert backbone.decode(list(example.target.learned)) == answer
            assert example.target.learned[-1] == backbone.tokenizer.eos_token_id
            assert "We talked" not in backbone.tokenizer.decode(prompt.input_ids_T)


def test_a_run_with_lessons_learns_from_every_sample_three_times(
    stepped_folder: Path, pictures: Path, tmp_path: Path
) -> None:
    recipe = make_recipe("sft", stepped_folder, pictures, {"batch_size": 6}, sft={"reflection": True})
    train(recipe, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["steps"] == 3


@pytest.mark.slow
def test_the_tiny_model_of_pictures_has_the_size_that_a_dry_run_tells_and_few_tokens_for_its_questions(
    tmp_path: Path,
) -> None:
    backbone = load_recipe_s(ModelSection(source="tiny-vision", prompt_style="brief_set"), tmp_path)
    assert backbone.model.num_parameters() == KNOWN["tiny-vision"].parameters
    assert backbone.reads == "pictures and subtitle"
    for template in QUESTIONS.values():
        assert len(backbone.text_ids(template.question)) < 20
    assert [len(backbone.text_ids(answer)) for answer in ("yes", "no")] == [1, 1]
