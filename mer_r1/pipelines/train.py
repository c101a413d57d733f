"""A recipe in, a run's folder out; the same call resumes a stopped run."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from mer_r1.data.files import atomic_folder, disk_full_named, locked, write_text
from mer_r1.data.sample import Sample
from mer_r1.distributed import is_first_process
from mer_r1.emotion.wheel import WheelSet
from mer_r1.errors import InputError
from mer_r1.evaluation.records import RUN_FILE, RunRecord, versions
from mer_r1.metrics.signature import counted_by, wheels_part
from mer_r1.model_settings import model_folder
from mer_r1.pipelines.resume import is_finished, row_ids, validate_rows
from mer_r1.recipe import TINY, ModelSection, Recipe
from mer_r1.threads import choose_threads
from mer_r1.training.rows import Rows, rows_of
from mer_r1.training.run_folder import RunFolder, last_checkpoint
from mer_r1.training.trackers import open_trackers, validate_trackers

if TYPE_CHECKING:
    from mer_r1.models.backbone import Backbone
    from mer_r1.training.trainer import Progress

_PATIENCE = timedelta(days=1)  # of processes that wait while the first one reads all clips
_VERSIONED = ("torch", "transformers", "accelerate", "av", "numpy")
_TEXT_TOKENS = 2048  # room in an engine for a prompt's text
_MOST_ANSWERS = 256  # that an engine writes at a time


class _Data(NamedTuple):
    """Samples and their prompts, in the same order."""

    samples: list[Sample]
    prompts: Sequence[Any]


def train(recipe: Recipe, out: Path, progress: Progress | None = None, prepared: Progress | None = None) -> Path:
    """Train as the recipe says and return the folder of the finished model, `out`/model.

    A finished run of the same recipe is kept as it is, a stopped one is resumed from its newest whole checkpoint.
    `progress` is called with step, steps and what was logged; `prepared` with clips read and clips to read, where
    `data.keep_features` reads all of them first. Each of several processes calls this. Raises InputError where `out`
    holds another recipe's run or one that cannot go on so, or another process trains into it.
    """
    choose_threads()
    lock = locked(out) if is_first_process() else nullcontext()  # of several processes the first one writes
    with lock, ExitStack() as at_the_end:
        return _train(recipe, out, progress, prepared, at_the_end)


def validate_start(recipe: Recipe) -> None:
    """Raises InputError for what a run needs and is not installed."""
    validate_trackers(recipe.optim.report_to)
    if recipe.model.quantization:
        from mer_r1.models.quantization import require_quantization

        try:
            require_quantization(recipe.model.quantization)
        except InputError as error:
            raise InputError(f"model.quantization: {error}; or set model.quantization=int8") from None
    if _samples_by_engine(recipe):
        from mer_r1.models.vllm_engine import require_vllm

        try:
            require_vllm()
        except InputError as error:
            raise InputError(f"rl.sampler: {error}; or set rl.sampler=local") from None


def _samples_by_engine(recipe: Recipe) -> bool:
    return recipe.kind == "rl" and recipe.rl.sampler == "vllm"


def _train(
    recipe: Recipe, out: Path, progress: Progress | None, prepared: Progress | None, at_the_end: ExitStack
) -> Path:
    if is_finished(out, recipe):
        if is_first_process():
            _close(out)
        return out / "model"
    validate_start(recipe)
    samples_by_engine = _samples_by_engine(recipe)
    rows = rows_of(recipe)
    uncountable = _count_uncountable(recipe, rows)
    samples, held_out = rows["train"].samples, rows["eval"].samples if "eval" in rows else None
    validate_rows(out, recipe.data.train, samples)
    import torch
    from accelerate import PartialState

    from mer_r1.training.arguments import validate_reporters

    validate_reporters(recipe.optim.report_to)
    folder = RunFolder(out)
    arguments: dict[str, Any] = {"run": folder, "progress": progress, "recipe": recipe}
    if is_first_process():
        arguments["trackers"] = at_the_end.enter_context(
            open_trackers(recipe.optim.report_to, out, yaml.safe_load(recipe.as_yaml()), last_checkpoint(folder)[1])
        )
    processes = PartialState(cpu=not torch.cuda.is_available(), timeout=_PATIENCE)
    with processes.main_process_first():  # the first one builds and keeps, the others find it done
        if processes.is_main_process:
            _remove_half_written(out)
        backbone = load_backbone(recipe.model, out)
        _make_trainable(backbone, recipe, processes.device)
    engine = _engine(recipe, backbone, processes) if samples_by_engine else None  # its memory is asked for before clips
    if engine is not None:
        at_the_end.callback(engine.close)
    with processes.main_process_first():
        train_data = _Data(samples, _prompts(recipe, recipe.data.train, backbone, samples, prepared))
        eval_data = None
        if recipe.data.eval and held_out:
            eval_data = _Data(held_out, _prompts(recipe, recipe.data.eval, backbone, held_out))
        taught = _lessons(recipe, backbone, samples) if recipe.kind == "sft" and recipe.sft.reflection else ()
    record = _record(recipe, backbone).replace(
        rows=len(samples), row_ids=row_ids(samples), processes=processes.num_processes
    )
    if uncountable:
        record = record.replace(uncountable=uncountable)
    if engine is not None:
        arguments["sampler"] = engine
    trainer = _trainer(recipe, backbone, train_data, eval_data, taught, arguments)
    if processes.is_main_process:
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / "recipe.yaml", recipe.as_yaml())
        record.write(out / RUN_FILE)
    processes.wait_for_everyone()
    with disk_full_named(out):
        trainer.train_or_resume()
        record = record.replace(steps=trainer.state.global_step)
        if processes.is_main_process:
            record.write(out / RUN_FILE)
        _write_model(trainer, folder.model, recipe, record)
    if processes.is_main_process:
        _close(out)
    processes.wait_for_everyone()
    return folder.model


def _close(out: Path) -> None:
    """What is left to do when the model is written; a run that was stopped within it is closed by the next call."""
    record = RunRecord.read(out / RUN_FILE)
    if record.status != "finished":
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
        record.replace(status="finished").write(out / RUN_FILE)


def _remove_half_written(out: Path) -> None:
    """Temporary files of a run that was killed while it wrote."""
    for path in out.glob(".*.tmp"):
        if path.is_file():
            path.unlink()


def _make_trainable(backbone: Backbone, recipe: Recipe, device: Any) -> None:
    """Put the model into the precision it is trained in, and choose which of its weights are trained.

    Weights that are quantised then lie on `device`.
    """
    lora = recipe.model.lora
    if lora is None or not recipe.optim.bf16:
        backbone.model.float()  # small steps vanish in bfloat16 weights; optim.bf16 computes in it by autocast
    backbone.set_towers_trainable(recipe.model.train_towers)
    if lora is not None:
        import torch

        from mer_r1.models.lora import add_lora

        if recipe.optim.bf16:  # buffers, such as the rotation's frequencies, keep their precision
            for parameter in backbone.model.parameters():
                parameter.data = parameter.data.to(torch.bfloat16)
        if recipe.model.quantization:
            from mer_r1.models.quantization import quantize

            quantize(backbone.model, recipe.model.quantization, device)
        torch.manual_seed(recipe.seed)  # adapters start at random
        backbone.wrapped_model = add_lora(backbone.model, lora)


def _engine(recipe: Recipe, backbone: Backbone, processes: Any) -> Any:
    """A vLLM engine for the policy, in every process. Raises InputError where it cannot be opened."""
    from mer_r1.media import most_tokens
    from mer_r1.models.vllm_engine import EngineOptions
    from mer_r1.models.vllm_sampler import VllmSampler

    rl, optim = recipe.rl, recipe.optim
    longest = most_tokens(backbone.budget) + _TEXT_TOKENS + rl.max_completion_length
    longest = min(longest, backbone.model.config.get_text_config().max_position_embeddings)
    answers = optim.batch_size * optim.gradient_accumulation_steps * rl.num_generations
    options = EngineOptions(
        max_model_len=rl.vllm_max_model_length or longest,
        dtype="bfloat16" if optim.bf16 else "float32",
        max_num_seqs=min(answers, _MOST_ANSWERS),
        memory_share=rl.vllm_gpu_memory_utilization,
        sleep=rl.vllm_enable_sleep_mode,
        is_launched=processes.num_processes > 1,
        budget=backbone.budget,
    )
    return VllmSampler(backbone, options)


def _prompts(
    recipe: Recipe,
    manifest: Path,
    backbone: Backbone,
    samples: list[Sample],
    prepared: Progress | None = None,
) -> Sequence[Any]:
    """The prompts of a manifest's samples: made on first use, or now where their features are kept."""
    from mer_r1.models.features import read_prompts

    with disk_full_named(manifest.parent):
        return read_prompts(
            backbone,
            samples,
            manifest.parent / "features" if recipe.data.keep_features else None,
            recipe.data.workers,
            (lambda done: prepared(done, len(samples), {})) if prepared else None,
        )


def _lessons(recipe: Recipe, backbone: Backbone, samples: list[Sample]) -> list[Any]:
    """Examples of the questions that a judge answers, with their answers."""
    from mer_r1.rl.reflection.lessons import lesson_examples, lessons

    made = []
    for item in lessons(samples):
        with_question = replace(backbone, template_override=item.template)
        prompts = _prompts(recipe, recipe.data.train, with_question, list(item.samples))
        made.append(lesson_examples(backbone, prompts, item.answers))
    return made


def _trainer(
    recipe: Recipe,
    backbone: Backbone,
    train_data: _Data,
    eval_data: _Data | None,
    taught: Sequence[Any],
    arguments: dict[str, Any],
) -> Any:
    if recipe.kind == "sft":
        from torch.utils.data import ConcatDataset

        from mer_r1.training.sft import SftExamples, SftTrainer

        examples = SftExamples.of(backbone, *train_data, recipe.sft.targets)
        eval_examples = SftExamples.of(backbone, *eval_data, recipe.sft.targets) if eval_data else None
        whole = ConcatDataset[Any]([examples, *taught]) if taught else examples
        return SftTrainer(backbone, train_dataset=whole, eval_dataset=eval_examples, **arguments)
    from mer_r1.rl.data import RlPrompts
    from mer_r1.rl.trainer import GrpoTrainer

    wheels = WheelSet.load(recipe.rl.wheels, protocol=recipe.rl.protocol)
    fast = None
    if recipe.rl.fast == "prompt":
        answer_only = replace(backbone, template_override=backbone.template.answer_only())
        fast = _prompts(recipe, recipe.data.train, answer_only, train_data.samples)
    prompts = RlPrompts(*train_data, wheels, recipe.rl.objective, fast)
    eval_prompts = RlPrompts(*eval_data, wheels, recipe.rl.objective) if eval_data else None
    return GrpoTrainer(backbone, wheels=wheels, train_dataset=prompts, eval_dataset=eval_prompts, **arguments)


def load_backbone(model: ModelSection, out: Path) -> Backbone:
    """The recipe's model, with its media keys laid over the checkpoint's; one of TINY is built into `out`/its name."""
    from mer_r1.models import loading
    from mer_r1.models.quantization import is_stored_quantised

    source = model.source
    if source in TINY:
        if not (out / source / "config.json").exists():
            _write_tiny(source, out / source)
        source = str(out / source)
    else:
        source = model_folder(source)
    if model.lora and (Path(source) / "adapter_config.json").is_file():
        raise InputError(
            f"model.source: {model.source} is an adapter, and new adapters need a whole model; "
            f"run mer-r1 export {model.source} --out {model.source}-merged and name that"
        )
    backbone = loading.load_backbone(source, prompt_style=model.prompt_style)
    if is_stored_quantised(backbone.model):
        raise InputError(
            f"model.source: {model.source} holds quantised weights, and training takes whole ones; name the checkpoint "
            "that it was made of, and model.quantization quantises that"
        )
    backbone.budget = replace(backbone.budget, **model.media_changes())
    return backbone


def _write_tiny(name: str, folder: Path) -> None:
    """A random model for MiniMER's clips (Qwen2.5-Omni) or for its pictures (Qwen2.5-VL)."""
    if name == "tiny":
        from mer_r1.models.tiny.omni import write_tiny
        from mer_r1.synthetic.corpus import minimer_texts

        write_tiny(folder, minimer_texts())
    else:
        from mer_r1.models.tiny.vision import write_tiny_vision
        from mer_r1.rl.reflection.scores import QUESTIONS
        from mer_r1.synthetic.pictures import picture_texts

        questions = (f"{item.subtitle}\n{item.question}\n{item.choices}\nyes\nno" for item in QUESTIONS.values())
        write_tiny_vision(folder, (*picture_texts(3000), *questions))


def _count_uncountable(recipe: Recipe, rows: dict[str, Rows]) -> dict[str, Any]:
    """What run.json keeps of rows without countable gold, which is printed too; empty where there is none."""
    rule, kept = recipe.data.uncountable, {}
    for part, item in rows.items():
        if num := item.uncountable.reasons.total():
            kept[part] = item.uncountable.as_json()
            done = "dropped" if rule == "drop" else "kept with advantage 0"
            if is_first_process():
                print(f"data.{part}: {num} rows without countable gold are {done}: {item.uncountable}", file=sys.stderr)
    return {"rule": rule, **kept} if kept else {}


def _write_model(trainer: Any, folder: Path, recipe: Recipe, record: RunRecord) -> None:
    if not trainer.is_world_process_zero():
        trainer.save_whole_model(folder)  # takes part where weights are gathered; writes nothing
        return
    from mer_r1.training.model_card import write_card

    with atomic_folder(folder) as temporary:
        trainer.save_whole_model(temporary)
        write_card(temporary, recipe, record)


def _record(recipe: Recipe, backbone: Backbone) -> RunRecord:
    record = RunRecord(
        kind=recipe.kind,
        objective=recipe.rl.objective if recipe.kind == "rl" else None,
        versions=versions((*_VERSIONED, *(["bitsandbytes"] if recipe.model.quantization == "nf4" else []))),
        architecture=type(backbone.model).__name__,
        response_format=backbone.response_format.name,
        reads=backbone.reads,
        status="running",
    )
    if recipe.kind == "rl":
        wheels = WheelSet.load(recipe.rl.wheels, protocol=recipe.rl.protocol)
        by = counted_by(wheels_part(wheels.source, wheels.sha256), recipe.rl.protocol)
        record = record.replace(wheels=by)
    base = _root(recipe.model.source)
    return record.replace(base_model=base) if base else record


def _root(source: str) -> str | None:
    """The Hub id that a model goes back to, through the runs between; None where it is not known."""
    path = Path(source) / RUN_FILE
    if path.is_file():
        return RunRecord.read(path).base_model
    return None if source in TINY or Path(source).exists() else source
