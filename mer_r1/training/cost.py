"""What a training run costs before it runs: tokens, FLOPs, memory of a GPU, seconds of a step. Plain arithmetic.

Letters: P prompt tokens, K answers of a group, C answer tokens, F tokens of a fast branch (calibration), L layers,
D hidden width, Q width of a layer's queries, M width of the MLP, b bytes a number.

    linear work     2 FLOP a weight and token, of experts those that it is sent to; attention 4 L Q FLOP a pair of a
                    query and a key it reads
    packed pass     P + K (C + F) tokens, P^2 / 2 + K (C (P + C/2) + F (P + F/2)) pairs; repeated: a branch pays P
    gradient        backward 2 x forward, 1 x with LoRA (no weight gradients); checkpointing computes forward once more
    decode          a step reads all weights and the cache once: bytes / (0.7 bandwidth), at least L x 0.8 ms; of E
                    experts those that one of B answers is sent to, E (1 - (1 - k / E)^B) if all are as likely
    by vLLM         CUDA graphs, so without that least time, and all micro-batches are written together; the towers run
                    in the engine and in the policy; 12 bytes a parameter are moved to hand the weights over, and on
                    several GPUs 4 are gathered
    full training   16 bytes a trained parameter (float32 weight, gradient, two moments), spread over GPUs by FSDP2, and
                    a compute copy on every GPU, whose weights stay gathered within a step
    LoRA            the frozen base in 2 bytes, 16 bytes a parameter of the adapters, nothing spread
    quantised base  nf4 0.516 byte a weight of the linear layers, int8 1 byte and 4 a row; all else in 2 bytes, and one
                    weight dequantised; a step of decoding takes 1.7 times as long (a measured 0.58 of the tokens, by
                    vLLM in 4 bits: unsloth issue 5108)
    activations     what a layer keeps of a token (layer_bytes), and of every branch the keys and values of its prompt,
                    repeated for all heads; with checkpointing D a token and layer, and one whole layer

GEMMs and attention are taken to reach 0.4 of the dense bf16 peak. Left out: attention inside the towers, decoding of
clips, the optimiser's own time, dequantising within a pass (a few percent of it). GiB are 2^30 bytes. All formulas and
what is checked of them: docs/training.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from mer_r1.objectives import needs_calibration
from mer_r1.recipe import Recipe
from mer_r1.training.gpus import Gpu
from mer_r1.training.model_shape import Shape, Text

MFU = 0.4
BANDWIDTH_SHARE = 0.7
LAUNCH_S = 0.8e-3  # a layer of an uncompiled decode step on a GPU: its kernels are started one by one
BETWEEN_NODES = 50e9  # bytes a second and GPU, which has a 400 Gb/s adapter
GPUS_A_NODE = 8
UPDATE_BYTES = 12  # a parameter: read in float32, written and counted in bfloat16, written and counted in the engine
RUNTIME_BYTES = 3 * 2**30  # the driver, libraries and holes between blocks
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)  # 4 bits, a scale in 8 bits for 64 weights, a float32 for 256 scales
QUANTISED_DECODE = 1.7  # times the seconds of a step
HEAD_CHUNK_BYTES = 5 * 4 * 2**25  # the packed pass makes 2^25 logits at a time, and for the gradient four more of each
SFT_LOGIT_BYTES = 4 * 4  # of each logit: itself, and three in the backward pass
FAST_TOKENS = 16  # the prefill and the answer's ids up to its last word
ANSWER_TOKENS = 256  # an answer's expected length, for time; memory counts max_completion_length
PATCHES_A_TOKEN = 4


@dataclass(frozen=True)
class Tokens:
    """Tokens of one prompt, by kind."""

    video: int
    audio: int
    text: int

    @property
    def prompt(self) -> int:
        return self.video + self.audio + self.text


def packed_work(prompt: float, num: int, answer: float, fast: float = 0) -> tuple[float, float]:
    """(tokens, attention pairs) of one group in one sequence: the prompt once, every branch behind it."""
    branches = num * (answer * (prompt + answer / 2) + fast * (prompt + fast / 2))
    return prompt + num * (answer + fast), prompt**2 / 2 + branches


def repeated_work(prompt: float, num: int, answer: float, fast: float = 0) -> tuple[float, float]:
    """(tokens, attention pairs) of the same group where every branch brings its own copy of the prompt."""
    lengths = [prompt + answer] + ([prompt + fast] if fast else [])
    return num * sum(lengths), num * sum(length**2 / 2 for length in lengths)


def forward_flops(text: Text, tokens: float, pairs: float, head_tokens: float) -> float:
    """FLOP of one forward of the language model; `head_tokens` are the positions that pass the LM head."""
    return (
        2 * text.linear * tokens + 4 * text.layers * text.queries * pairs + 2 * text.hidden * text.vocab * head_tokens
    )


def tower_flops(shape: Shape, tokens: Tokens) -> float:
    """FLOP of the towers' forward for one prompt."""
    vision = 2 * shape.vision.parameters * PATCHES_A_TOKEN * tokens.video if shape.vision else 0
    audio = 2 * shape.audio.parameters * shape.audio.positions_a_token * tokens.audio if shape.audio else 0
    return vision + audio


def gradient_factor(recipe: Recipe) -> int:
    """Forward and backward together, in forwards."""
    return 1 + (1 if recipe.model.lora else 2) + int(recipe.optim.gradient_checkpointing)


def trained_parameters(shape: Shape, recipe: Recipe) -> int:
    """How many parameters learn."""
    towers = shape.towers if recipe.model.train_towers else 0
    lora = recipe.model.lora
    return towers + (shape.text.adapter_parameters(lora.r, lora.target_modules) if lora else shape.text.parameters)


def fast_tokens(recipe: Recipe) -> int:
    """F: what calibration adds to an answer; 0 for an objective without it."""
    return FAST_TOKENS if recipe.kind == "rl" and needs_calibration(recipe.rl.objective) else 0


def pass_work(recipe: Recipe, prompt: float, answer: float) -> tuple[float, float]:
    """Tokens and attended pairs of one group's learning pass. With rl.fast `prompt` it reads a second prompt."""
    fast, num = fast_tokens(recipe), recipe.rl.num_generations if recipe.kind == "rl" else 1
    tokens, pairs = packed_work(prompt, num, answer, fast)
    if fast and recipe.rl.fast == "prompt":
        return tokens + prompt, pairs + prompt**2 / 2
    return tokens, pairs


def layer_bytes(text: Text, recipe: Recipe, num_gpus: int) -> int:
    """Bytes that one layer keeps of a token for its gradient, without checkpointing.

    Norms compute in float32, whatever the weights are. Autocast gives every linear layer an input of its own where the
    norm's output is wider: above float32 weights, and below adapters, which are float32. A weight that does not learn
    needs no input.
    """
    d, queries, b = text.hidden, text.queries, number_bytes(recipe)
    learns = recipe.model.lora is None
    normalised = stream_bytes(recipe, num_gpus) if learns else 0
    norms = 2 * d * (4 + normalised)
    if text.normed:
        norms += (queries + text.kv) * (4 + (b if learns else 0))
    is_shared = not recipe.optim.bf16 or (learns and num_gpus > 1)
    of_attention, of_mlp = (1, 1) if is_shared else (3, 2)
    heads = 3 * queries + 2 * text.kv  # queries, keys, values, what attention gives, and that as the last layer's input
    if text.experts is None:
        return norms + b * (d * (of_attention + of_mlp) + heads + 4 * text.mlp)
    chosen = 2 * d + 4 * text.mlp if learns or adapts_experts(recipe) else d + 3 * text.mlp
    return norms + b * (d * (of_attention + learns) + heads + text.experts.active * chosen)


def adapts_experts(recipe: Recipe) -> bool:
    """Whether adapters sit on experts, which PEFT adds to a copy of all of a layer's experts whenever it computes."""
    return recipe.model.lora is not None and "experts" in recipe.model.lora.target_modules


def branch_bytes(text: Text, recipe: Recipe, prompt: int, answer: int) -> int:
    """Bytes that one layer keeps of a group's keys and values: for every branch those of its prompt and its own.

    A GPU's attention takes a mask only with keys and values repeated for all heads. SFT has a mask where prompts of
    different lengths are padded.
    """
    fast, num = fast_tokens(recipe), recipe.rl.num_generations if recipe.kind == "rl" else 1
    if recipe.kind == "sft" and recipe.optim.batch_size == 1:
        return 0
    read = num * (prompt + answer + (prompt + fast if fast else 0))
    return 2 * number_bytes(recipe) * text.queries * read


def number_bytes(recipe: Recipe) -> int:
    """Of a number as the model computes: 2 under autocast."""
    return 2 if recipe.optim.bf16 else 4


def stream_bytes(recipe: Recipe, num_gpus: int) -> int:
    """Of a number between two layers, which is as wide as the weights: FSDP2 and adapters' bases are in bfloat16."""
    return 2 if recipe.optim.bf16 and (recipe.model.lora or num_gpus > 1) else 4


def activations(shape: Shape, recipe: Recipe, tokens: Tokens, answer: int, num_gpus: int) -> float:
    """Bytes of the learning pass on one GPU at its fullest moment, weights and their gradients left out."""
    text, optim, is_rl = shape.text, recipe.optim, recipe.kind == "rl"
    length = optim.batch_size * pass_work(recipe, tokens.prompt, answer)[0]
    branches = optim.batch_size * branch_bytes(text, recipe, tokens.prompt, answer)
    layer = length * layer_bytes(text, recipe, num_gpus) + branches
    layer += number_bytes(recipe) * text.in_experts // text.layers if adapts_experts(recipe) else 0
    logits = HEAD_CHUNK_BYTES if is_rl else SFT_LOGIT_BYTES * optim.batch_size * answer * text.vocab
    b, stream = number_bytes(recipe), length * stream_bytes(recipe, num_gpus) * text.hidden
    if text.experts is None:  # gradients between the products of a layer's feed-forward
        flowing = length * b * (3 if recipe.model.lora else 2) * text.mlp + stream
    else:
        flowing = length * b * 3 * text.experts.active * text.hidden
    if optim.gradient_checkpointing:
        return (text.layers + 2) * stream + max(layer + flowing, logits)
    return text.layers * layer + max(flowing, logits)


def frozen_bytes(shape: Shape, recipe: Recipe) -> float:
    """Of the model under adapters, on every GPU."""
    text, b = shape.text, number_bytes(recipe)
    if recipe.model.quantization is None:
        return b * shape.parameters
    rows = text.layers * sum(out for _, out in text.widths.values())
    quantised = NF4_BYTES * text.linear if recipe.model.quantization == "nf4" else text.linear + 4 * rows
    dequantised = max(first * second for first, second in text.widths.values())
    return quantised + b * (shape.parameters - text.linear + dequantised)


def memory(shape: Shape, recipe: Recipe, tokens: Tokens, answer: int, num_gpus: int) -> dict[str, float]:
    """Bytes on one GPU at the fullest moment, by what holds them. `answer` is the longest answer in tokens."""
    text, optim = shape.text, recipe.optim
    spread = 1 if recipe.model.lora else num_gpus
    trained, b = trained_parameters(shape, recipe), number_bytes(recipe)
    num, is_rl = (recipe.rl.num_generations, True) if recipe.kind == "rl" else (1, False)
    learning = activations(shape, recipe, tokens, answer, num_gpus)
    has_cache = is_rl and recipe.rl.sampler == "local"
    cache = optim.batch_size * 2 * text.layers * text.kv * b * (tokens.prompt + num * answer) if has_cache else 0
    base = frozen_bytes(shape, recipe) if recipe.model.lora else 4 * shape.parameters / spread
    is_copied = not recipe.model.lora and (optim.bf16 or num_gpus > 1)
    is_referred = is_rl and recipe.rl.beta > 0 and not recipe.model.lora
    is_piled = spread > 1 and optim.gradient_accumulation_steps > 1  # accelerate's no_sync: spread with the last one
    return {
        "weights": base + (4 * trained if recipe.model.lora else 0),
        "gradients": 4 * trained / spread + (4 * trained if is_piled else 0),
        "optimiser": 8 * trained / spread,
        "compute copy": b * shape.parameters if is_copied else 0,
        "reference": b * shape.parameters if is_referred else 0,  # a copy that is not spread
        "activations": max(0.0, learning - cache),
        "KV cache": float(cache),  # the cache is gone when the pass begins: the larger of the two counts
        "runtime": float(RUNTIME_BYTES),
    }


def engine_bytes(recipe: Recipe, activations: float, memory_gib: float) -> float:
    """What a vLLM engine takes of a GPU beside `activations`; one that sleeps while the policy learns is no sum."""
    if recipe.kind != "rl" or recipe.rl.sampler == "local":
        return 0.0
    taken = recipe.rl.vllm_gpu_memory_utilization * memory_gib * 2**30
    return max(0.0, taken - activations) if recipe.rl.vllm_enable_sleep_mode else taken


def step_seconds(
    shape: Shape, recipe: Recipe, tokens: Tokens, answer: int, gpu: Gpu, num_gpus: int
) -> dict[str, float]:
    """Seconds of one optimiser step, by part. `answer` is the expected answer's length in tokens."""
    text, rl, speed = shape.text, recipe.rl, MFU * gpu.flops
    micro, prompts = recipe.optim.gradient_accumulation_steps, recipe.optim.batch_size
    num = rl.num_generations if recipe.kind == "rl" else 1
    slow = packed_work(tokens.prompt, num, answer)
    both = pass_work(recipe, tokens.prompt, answer)
    seconds = {"towers": prompts * tower_flops(shape, tokens) / speed}
    by_engine = recipe.kind == "rl" and rl.sampler == "vllm"
    link = gpu.link if num_gpus <= GPUS_A_NODE else min(gpu.link, BETWEEN_NODES)
    if recipe.kind == "rl":
        together = prompts * micro if by_engine else prompts
        cache = 4 * text.layers * text.kv * together * (tokens.prompt + num * answer / 2)
        read = 2 * (text.read(together * num) + text.hidden * text.vocab) + cache
        one = read / (BANDWIDTH_SHARE * gpu.bandwidth)
        one = one / micro if by_engine else max(one, text.layers * LAUNCH_S)
        one *= QUANTISED_DECODE if recipe.model.quantization else 1
        seconds["towers"] *= 2 if by_engine else 1
        seconds["prefill"] = prompts * forward_flops(text, tokens.prompt, tokens.prompt**2 / 2, 1) / speed
        seconds["decode"] = answer * one
        if rl.beta > 0:
            seconds["reference"] = prompts * forward_flops(text, *slow, num * answer) / speed
        seconds = {name: value / rl.num_iterations for name, value in seconds.items()}  # once for all passes on them
    forward = forward_flops(text, *both, num * (answer + fast_tokens(recipe)))
    seconds["pass"] = gradient_factor(recipe) * prompts * forward / speed
    seconds = {name: micro * value for name, value in seconds.items()}
    if by_engine:
        gather = 4 / link if num_gpus > 1 and not recipe.model.lora else 0
        seconds["update"] = (UPDATE_BYTES / (BANDWIDTH_SHARE * gpu.bandwidth) + gather) * shape.parameters
        seconds["update"] /= rl.num_iterations
    if num_gpus > 1:
        gathered = 0 if recipe.model.lora else (2 if recipe.optim.bf16 else 4) * shape.parameters
        seconds["links"] = micro * (gathered + 4 * trained_parameters(shape, recipe)) / link
    return seconds


def num_steps(recipe: Recipe, rows: int | None, num_gpus: int) -> int | None:
    """Optimiser steps of the run, as the trainers count them; None where neither the recipe nor its data say.

    SFT takes the last, smaller batch of an epoch as a step; RL leaves it out.
    """
    optim = recipe.optim
    if optim.max_steps > 0:
        return optim.max_steps
    if rows is None:
        return None
    prompts = optim.batch_size * optim.gradient_accumulation_steps * num_gpus
    if recipe.kind == "rl":
        an_epoch = rows // prompts * recipe.rl.num_iterations
    else:
        an_epoch = ceil(rows * len(recipe.sft.targets) / prompts)
    return ceil(optim.num_train_epochs * max(1, an_epoch))
