"""LoRA: small trainable matrices at the language model's linear layers, saved apart from it, and merged into it.

A layer W becomes W + (lora_alpha / r) B A, A of (r, in), B of (out, r); only A and B learn (Hu et al. 2021). PEFT
does the work. The towers have linear layers of the same names, so targets are chosen by their path in the model, not
by their name: adapters sit in the language model alone.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mer_r1.errors import InputError, first_line
from mer_r1.recipe import LoraSection

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel

ADAPTER_CONFIG = "adapter_config.json"
EXPERTS = "experts"
_HOLDERS = re.compile(r"^((base_model|model|thinker|language_model)\.)+")
_WHOLE = ".base_layer."  # the weights that an adapter of the head or the embeddings was added to
_KEY = re.compile(r"(.+?)((?:\.base_layer)*\.lora_|\.base_layer\.)(.+)")  # adapters of experts wrap one another
_VOICE = ("talker.", "token2wav.")


def language_model_layers(model: Any) -> str:
    """Where the language model's layers stand in a model: `model.layers`, or `model.language_model.layers`.

    The first for an Omni too, before transformers 5.21.
    """
    decoder = model.get_decoder()
    return next(f"{name}.layers" for name, module in model.named_modules() if module is decoder)


def add_lora(model: Any, lora: LoraSection, base: str | None = None) -> PeftModel:
    """Put adapters on the language model's layers, in place, and freeze all else; their start changes no output.

    `model` keeps its class and can be called as before. The result wraps it (`save_adapter`). `base` is
    what an adapter's folder names as the model it belongs to; by default what `model` was loaded from. Adapters are
    float32 on a base of any precision. `experts` are every expert's matrices, each with an adapter of its own. Raises
    InputError for a target that no layer has, and for dropout on experts.
    """
    from peft import LoraConfig, get_peft_model

    path = language_model_layers(model)
    layers = model.get_submodule(path)
    linear = [name for name, module in layers.named_modules() if isinstance(module, nn.Linear)]
    experts = sorted({f"{EXPERTS}.{_last(name)}" for name, _ in layers.named_parameters() if f".{EXPERTS}." in name})
    known = {_last(name) for name in linear} | ({EXPERTS} if experts else set())
    lora.require_targets(known)
    if EXPERTS in lora.target_modules and lora.lora_dropout:
        raise InputError("model.lora.lora_dropout: adapters of experts have none; set it to 0, or leave experts out")
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        # Whole paths: of a model with experts PEFT would take a pattern's last names, which towers have too.
        target_modules=[f"{path}.{name}" for name in linear if _last(name) in lora.target_modules],
        target_parameters=experts if EXPERTS in lora.target_modules else None,
    )
    with peft_is_behind():
        wrapped: PeftModel = get_peft_model(model, config)
    wrapped.peft_config["default"].base_model_name_or_path = base or model.name_or_path
    return wrapped


def low_rank_product(up: Tensor, down: Tensor, weight: Tensor) -> Tensor:
    """What an adapter's two matrices add to a weight, before scaling; those of all experts E lie beside each other.

    A weight (out, in) has `up` (out, r) and `down` (r, in); one of experts (E, out, in) has (out, r E) and (E r, in).
    """
    if weight.ndim == 2:
        return up @ down
    experts = len(weight)
    return torch.einsum("ore,eri->eoi", up.view(len(up), -1, experts), down.view(experts, -1, down.shape[1]))


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def save_adapter(wrapped: PeftModel, folder: Path, weights: Mapping[str, Tensor] | None = None) -> None:
    """Write the adapters and their configuration to `folder`; nothing is asked of the Hub.

    `weights` are the wrapped model's own, or what was gathered of them.
    """
    wrapped.save_pretrained(str(folder), save_embedding_layers=False, state_dict=weights)
    (folder / "README.md").unlink(missing_ok=True)  # a form to fill in; model_card.py writes a card


def adapter_base(folder: Path) -> str:
    """What an adapter's folder names as its base. Raises InputError that names the file."""
    path = folder / ADAPTER_CONFIG
    if not path.is_file():
        raise InputError(
            f"{folder}: holds no adapter ({ADAPTER_CONFIG} is missing); give a run trained with model.lora"
        )
    try:
        base = json.loads(path.read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: not the configuration of an adapter; it is damaged, copy it again") from None
    if not isinstance(base, str) or not base:
        raise InputError(f"{path}: names no base_model_name_or_path; write the base's folder or Hub id there")
    return base


def require_plain(folder: Path) -> None:
    """Raises InputError for an adapter that reads or replaces weights of its base, which a quantised one lacks."""
    path = folder / ADAPTER_CONFIG
    config = json.loads(path.read_text(encoding="utf-8"))
    if config.get("use_dora") or config.get("modules_to_save"):
        kind = "of DoRA" if config.get("use_dora") else "with layers saved whole"
        raise InputError(
            f"{path}: an adapter {kind}, which does not stand on quantised weights; merge it first (`mer-r1 export "
            f"{folder} --out DIR`), and give that folder"
        )


def merged(model: Any, folder: Path) -> Any:
    """`model` with the adapter of `folder` in its weights. Raises InputError as `attached` does."""
    return attached(model, folder).merge_and_unload().eval()


def attached(model: Any, folder: Path) -> PeftModel:
    """`model` with the adapter of `folder` beside its weights, in place, in evaluation mode.

    Raises InputError for an adapter that does not fit or whose weights are not finite.
    """
    import peft
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    weights = folder / "adapter_model.safetensors"
    if not weights.is_file():
        pickled = (folder / "adapter_model.bin").is_file()
        fix = "adapter_model.bin is a pickle and not read, save it as safetensors" if pickled else "copy it again"
        raise InputError(f"{folder}: the adapter's weights are missing (adapter_model.safetensors); {fix}")
    try:
        config = peft.PeftConfig.from_pretrained(str(folder))
        if not isinstance(config, peft.LoraConfig):
            raise ValueError(f"it is of kind {config.peft_type.value}, and LoRA alone can be")
        if learned_on := _other_kind(config, model):
            raise ValueError(f"it was learned on a {learned_on}, and the base is a {type(model).__name__}")
        given = load_file(weights)
        if damaged := first_not_finite(given.items()):
            raise InputError(
                f"{weights}: {damaged} holds NaN or infinity; take an earlier checkpoint of the run, or copy it again"
            )
        given = _fitted(model, config, given)
        # An adapter starts at random before its weights are read.
        with torch.random.fork_rng(devices=[]), peft_is_behind():
            adapted: PeftModel = peft.PeftModel(model, config)
            peft.set_peft_model_state_dict(adapted, given)
        read = peft.get_peft_model_state_dict(adapted, adapted.state_dict(), save_embedding_layers=False)
        if odd := sorted({key for key in given if ".lora_" in key or _WHOLE not in key} ^ read.keys()):
            raise ValueError(f"{odd[0]} is in one of them alone")
        return adapted.eval()
    except InputError:
        raise
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RuntimeError,
        re.error,
        SafetensorError,
    ) as error:
        raise InputError(
            f"{folder}: the adapter cannot be merged into its base ({first_line(error)}); copy it again, or name the "
            f"base it was learned on in {ADAPTER_CONFIG}"
        ) from error


def _other_kind(config: LoraConfig, model: Any) -> str | None:
    """The class that an adapter was learned on where that is of another kind than `model`, whatever their shapes.

    PEFT writes it down; a class that is none of transformers' says nothing. A whole model is of its Thinker's kind.
    """
    import transformers

    name = (config.auto_mapping or {}).get("base_model_class") or ""
    own: str = model.config.model_type
    kind: str = getattr(getattr(getattr(transformers, name, None), "config_class", None), "model_type", own)
    return None if kind.removesuffix("_thinker") == own.removesuffix("_thinker") else name


def first_not_finite(tensors: Iterable[tuple[str, Tensor]]) -> str | None:
    """The name of the first tensor that holds a NaN or an infinity."""
    return next((name for name, tensor in tensors if not tensor.isfinite().all()), None)


def _fitted(model: Any, config: LoraConfig, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights under this model's names; the configuration, in place, then names the layers they are of.

    Raises ValueError where a key is of no layer, and where a layer that the configuration chooses has no key.
    """
    layers = {_bare(name): name for name, _ in model.named_modules() if name}
    fitted, whole = dict[str, Tensor](), set[str]()
    targets: dict[str, str] = {}  # by this model's name the writer's
    for key, value in weights.items():
        bare = _bare(key)
        if bare.startswith(_VOICE):
            continue
        found = _KEY.fullmatch(bare)
        # Without one of these it is of a layer that was saved whole, next to the adapters.
        path, mark, rest = found.groups() if found else bare.rpartition(".")
        if path not in layers:
            raise ValueError(f"{key} is of none of its layers")
        if mark == ".":
            whole.add(layers[path])
        elif mark != _WHOLE and _last(path) != EXPERTS:
            targets[layers[path]] = key.partition(mark)[0].replace("base_model.model.", "")
        fitted[f"base_model.model.{layers[path]}{mark}{rest}"] = value
    if not targets and not config.target_parameters:
        raise ValueError("it holds no LoRA weights")
    if lost := _chosen(config, layers, targets) - targets.keys():
        raise ValueError(f"it has no weights for {min(lost)}")
    ranks, alphas = config.rank_pattern, config.alpha_pattern
    config.rank_pattern = {re.escape(name): _of(ranks, theirs, config.r) for name, theirs in targets.items()}
    config.alpha_pattern = {re.escape(name): _of(alphas, theirs, config.lora_alpha) for name, theirs in targets.items()}
    config.target_modules, config.modules_to_save = {*targets}, [*whole] or None
    config.exclude_modules = config.layers_to_transform = config.layers_pattern = None
    if not config.ensure_weight_tying:
        _untie(model, {*targets} | whole)
    return fitted


def _chosen(config: LoraConfig, layers: dict[str, str], targets: dict[str, str]) -> set[str]:
    """This model's names of the layers that the configuration chooses, in those parts of it that have adapters."""
    from peft.tuners.tuners_utils import check_target_module_exists

    holders = {}
    for theirs in targets.values():
        bare = _bare(theirs)
        holders[bare.partition(".")[0]] = theirs.removesuffix(bare)
    return {
        name
        for bare, name in layers.items()
        if (part := bare.partition(".")[0]) in holders and check_target_module_exists(config, holders[part] + bare)
    }


def _untie(model: Any, changed: set[str]) -> None:
    """Give the head weights of its own where adapters change it, or the embeddings, and both are one tensor."""
    head, words = model.get_output_embeddings(), model.get_input_embeddings()
    if head.weight is words.weight and any(model.get_submodule(name) in (head, words) for name in changed):
        head.weight = nn.Parameter(head.weight.detach().clone())
        for config in (model.config, model.config.get_text_config()):
            config.tie_word_embeddings = False


def _bare(name: str) -> str:
    """A layer's name or a key without the parts that depend on who wrote it."""
    return _HOLDERS.sub("", name)


def _of(pattern: dict[str, int], name: str, default: int) -> int:
    """What PEFT's pattern of names says of a layer."""
    return next((value for key, value in pattern.items() if re.fullmatch(rf"(.*\.)?({key})", name)), default)


@contextmanager
def peft_is_behind() -> Iterator[None]:
    """Within the block PEFT may read an attribute that transformers 5 calls deprecated, without a warning to users."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.* is deprecated", FutureWarning)
        yield
