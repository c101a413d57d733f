"""The size of a model: layers, widths, parameters, from a config.json or for the models of the recipes by name.

Enough for estimates (see cost.py) without loading or downloading a model. Parameters are counted exactly: the tests
compare them with the classes of transformers. No third-party import.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mer_r1.errors import InputError
from mer_r1.published_models import PUBLISHED


@dataclass(frozen=True)
class Experts:
    """The feed-forwards of a layer, of which a router chooses `active` for every token."""

    num: int
    active: int

    def touched(self, tokens: int) -> float:
        """How many are chosen by some of so many tokens, if all are as likely: num (1 - (1 - active / num)^tokens)."""
        return self.num * (1 - (1 - self.active / self.num) ** tokens)


@dataclass(frozen=True)
class Text:
    """The language model. `mlp` is the width of its feed-forward, or of one expert.

    `head` is the width of a head, None for hidden / heads. Where `normed` (Qwen3), a layer normalises the heads of its
    queries and keys, and adds no bias to them and the values.
    """

    layers: int
    hidden: int
    mlp: int
    heads: int
    kv_heads: int
    vocab: int
    tied: bool
    head: int | None = None
    normed: bool = False
    experts: Experts | None = None

    @property
    def head_width(self) -> int:
        return self.head or self.hidden // self.heads

    @property
    def queries(self) -> int:
        """Width of a layer's queries, all heads."""
        return self.heads * self.head_width

    @property
    def kv(self) -> int:
        """Width of a layer's keys, and of its values."""
        return self.kv_heads * self.head_width

    @property
    def widths(self) -> dict[str, tuple[int, int]]:
        """(in, out) of the linear layers of one layer, by name; experts are none."""
        d, m, a = self.hidden, self.mlp, self.queries
        attention = {"q_proj": (d, a), "k_proj": (d, self.kv), "v_proj": (d, self.kv), "o_proj": (a, d)}
        if self.experts:
            return attention
        return attention | {"gate_proj": (d, m), "up_proj": (d, m), "down_proj": (m, d)}

    @property
    def targets(self) -> set[str]:
        """Names of what adapters can sit on."""
        return {*self.widths} | ({"experts"} if self.experts else set())

    @property
    def expert(self) -> int:
        """Weights of one feed-forward, or of one expert."""
        return 3 * self.hidden * self.mlp

    def layer(self, experts: float) -> float:
        """Weights of one layer that multiply tokens, with so many experts; a dense layer has its one feed-forward."""
        attention = 2 * self.hidden * (self.queries + self.kv)
        if self.experts is None:
            return attention + self.expert
        return attention + self.hidden * self.experts.num + experts * self.expert

    @property
    def linear(self) -> int:
        """Weights that multiply a token: all layers, without embeddings and head; of experts those that are chosen."""
        return self.layers * int(self.layer(self.experts.active if self.experts else 1))

    def read(self, tokens: int) -> float:
        """Weights of all layers that a step over so many tokens reads: only the experts that one of them chose."""
        return self.layers * self.layer(self.experts.touched(tokens) if self.experts else 1)

    @property
    def in_experts(self) -> int:
        """Parameters of all experts; 0 in a dense model."""
        return self.layers * self.experts.num * self.expert if self.experts else 0

    @property
    def parameters(self) -> int:
        """With biases, norms, embeddings and, where it is not tied to them, the head."""
        d = self.hidden
        layers = self.layers * int(self.layer(self.experts.num if self.experts else 1))
        of_attention = 2 * self.head_width if self.normed else self.queries + 2 * self.kv
        tables = self.vocab * d * (1 if self.tied else 2)
        return layers + self.layers * (of_attention + 2 * d) + d + tables

    @property
    def active(self) -> int:
        """Parameters in use for one token."""
        if self.experts is None:
            return self.parameters
        return self.parameters - self.layers * (self.experts.num - self.experts.active) * self.expert

    def adapter_parameters(self, rank: int, names: Iterable[str]) -> int:
        """Of low-rank adapters on the named linear layers; `experts` are the two matrices of every expert."""
        names, d, m = set(names), self.hidden, self.mlp
        sides = sum(sum(widths) for name, widths in self.widths.items() if name in names)
        if self.experts and "experts" in names:
            sides += self.experts.num * ((d + 2 * m) + (m + d))
        return self.layers * rank * sides


@dataclass(frozen=True)
class Vision:
    """The picture tower with its merger, of Qwen2.5's generation."""

    layers: int
    hidden: int
    mlp: int
    out: int

    @property
    def parameters(self) -> int:
        d, m = self.hidden, self.mlp
        block = 4 * d * d + 3 * d * m + 4 * d + 2 * m + d + 2 * d
        merger = d + (4 * d) ** 2 + 4 * d + 4 * d * self.out + self.out
        return 3 * 2 * 14 * 14 * d + self.layers * block + merger


@dataclass(frozen=True)
class Vision3(Vision):
    """The picture tower of Qwen3's generation: learned positions, and mergers of its own for deepstack."""

    positions: int
    deepstack: int

    @property
    def parameters(self) -> int:
        d, m = self.hidden, self.mlp
        block = 4 * d * d + 4 * d + 2 * d * m + m + d + 4 * d
        merger = (4 * d) ** 2 + 4 * d + 4 * d * self.out + self.out
        ends = 3 * 2 * 16 * 16 * d + d + self.positions * d
        return ends + self.layers * block + (1 + self.deepstack) * merger + 2 * d + self.deepstack * 8 * d


@dataclass(frozen=True)
class Audio:
    """The sound tower, of Qwen2.5's generation."""

    layers: int
    hidden: int
    mlp: int
    mels: int
    out: int

    @property
    def positions_a_token(self) -> int:
        """How many positions its layers read for a token that the language model reads."""
        return 2

    @property
    def blocks(self) -> int:
        """Parameters of the layers."""
        d, m = self.hidden, self.mlp
        return self.layers * (4 * d * d + 3 * d + 2 * d * m + m + d + 4 * d)

    @property
    def parameters(self) -> int:
        d = self.hidden
        ends = 3 * self.mels * d + d + 3 * d * d + d + 2 * self.out + 2 * d + d * self.out + self.out
        return self.blocks + ends


@dataclass(frozen=True)
class Audio3(Audio):
    """The sound tower of Qwen3's generation: three convolutions in front, two linear layers behind."""

    channels: int

    @property
    def positions_a_token(self) -> int:
        return 1

    @property
    def parameters(self) -> int:
        d, c, rows = self.hidden, self.channels, -(-self.mels // 8)
        convolutions = 9 * c + c + 2 * (9 * c * c + c) + c * rows * d
        # A bias of the keys, which the earlier tower does not have, is in its place.
        return self.blocks + self.layers * d + convolutions + 2 * d + d * d + d + d * self.out + self.out


@dataclass(frozen=True)
class Gemma4Text(Text):
    """Gemma 4's language model: layers of two kinds, of which the last have no keys and values of their own.

    `head_widths` are those of every layer's heads. The last `sharing` layers read an earlier layer's keys, and where
    `wide` their feed-forward is twice as wide. Every layer is given `per_layer` numbers of a table of its own.
    """

    head_widths: tuple[int, ...] = ()
    sharing: int = 0
    wide: bool = False
    per_layer: int = 0

    @property
    def queries(self) -> int:
        """Of an average layer, and so are keys."""
        return self.heads * sum(self.head_widths) // self.layers

    @property
    def kv(self) -> int:
        return self.kv_heads * sum(self.head_widths[: self.layers - self.sharing]) // self.layers

    @property
    def targets(self) -> set[str]:
        return {name for number in range(self.layers) for name in self._widths(number)}

    def _widths(self, number: int) -> dict[str, tuple[int, int]]:
        is_sharing = number >= self.layers - self.sharing
        d, a = self.hidden, self.heads * self.head_widths[number]
        m, kv = self.mlp * (2 if self.wide and is_sharing else 1), self.kv_heads * self.head_widths[number]
        own = {} if is_sharing else {"k_proj": (d, kv), "v_proj": (d, kv)}
        given = {"per_layer_input_gate": (d, self.per_layer), "per_layer_projection": (self.per_layer, d)}
        mlp = {"gate_proj": (d, m), "up_proj": (d, m), "down_proj": (m, d)}
        return {"q_proj": (d, a), **own, "o_proj": (a, d), **mlp, **given}

    @property
    def linear(self) -> int:
        layers = sum(a * b for number in range(self.layers) for a, b in self._widths(number).values())
        return layers + self.hidden * self.layers * self.per_layer

    def read(self, tokens: int) -> float:
        """Weights of all layers that a step reads."""
        return self.linear

    @property
    def parameters(self) -> int:
        own = self.head_widths[: self.layers - self.sharing]
        norms = (5 * self.layers + 1) * self.hidden + sum(self.head_widths) + sum(own) + self.per_layer
        return self.linear + norms + self.vocab * (self.hidden + self.layers * self.per_layer)

    def adapter_parameters(self, rank: int, names: Iterable[str]) -> int:
        of_layers = [self._widths(number) for number in range(self.layers)]
        return rank * sum(sum(widths.get(name, (0, 0))) for widths in of_layers for name in names)


@dataclass(frozen=True)
class Gemma4Vision(Vision):
    """Gemma 4's picture tower, and what lays its tokens before the language model."""

    places: int
    head: int

    @property
    def parameters(self) -> int:
        d, m = self.hidden, self.mlp
        block = 4 * d * d + 3 * d * m + 4 * d + 2 * self.head
        return 2 * self.places * d + 3 * 16 * 16 * d + self.layers * block + d * self.out


@dataclass(frozen=True)
class Gemma4Audio(Audio):
    """Gemma 4's sound tower: two convolutions, then layers of two feed-forwards, attention and a convolution.

    `mels` are what it takes for the number of mel bins, the first convolution's channels.
    """

    channels: int
    head: int
    taps: int
    given: int

    @property
    def positions_a_token(self) -> int:
        return 1

    @property
    def parameters(self) -> int:
        d, m, first, second = self.hidden, self.mlp, self.mels, self.channels
        block = 2 * 2 * d * m + 5 * d * d + 3 * d * d + self.taps * d + self.head + 9 * d
        ends = 10 * first + 9 * first * second + second + first // 4 * second * d
        return ends + self.layers * block + d * self.given + self.given + self.given * self.out


@dataclass(frozen=True)
class Shape:
    """A model: its language model and the towers it has."""

    text: Text
    vision: Vision | None = None
    audio: Audio | None = None

    @property
    def towers(self) -> int:
        """Parameters of the towers."""
        return sum(tower.parameters for tower in (self.vision, self.audio) if tower)

    @property
    def parameters(self) -> int:
        return self.text.parameters + self.towers

    @property
    def active(self) -> int:
        """Parameters in use for one token, those of the towers among them."""
        return self.text.active + self.towers


_TEXT_KEYS = (
    "num_hidden_layers",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
)
_VISION_KEYS = ("depth", "hidden_size", "intermediate_size", "out_hidden_size")
_AUDIO_KEYS = ("encoder_layers", "d_model", "encoder_ffn_dim", "num_mel_bins", "output_dim")
_POSITIONS, _CHANNELS = "num_position_embeddings", "downsample_hidden_size"


def shape_of(config: Mapping[str, Any], where: str) -> Shape:
    """The shape that a config.json describes: Qwen's Omni models (whole or Thinker), Qwen's VL models, or a text model
    like Qwen2 or Qwen3.

    Raises InputError that names `where` and the missing key.
    """
    try:
        config = config.get("thinker_config") or config
        text, vision, audio = (config.get(f"{part}_config") for part in ("text", "vision", "audio"))
        text = text or config
        if config.get("model_type") == "gemma4":
            return _gemma4(text, config["vision_config"], config["audio_config"])
        tied = bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False)))
        return Shape(
            _text(text, str(text.get("model_type", config.get("model_type", ""))), tied),
            _vision(vision) if vision else None,
            _audio(audio) if audio else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{where}: the model's size cannot be read ({error}); copy the checkpoint again, or take a model of a kind "
            "that is read here (docs/backbones.md)"
        ) from None


def _text(config: Mapping[str, Any], model_type: str, tied: bool) -> Text:
    experts: Experts | None = None
    keys: tuple[str, ...] = _TEXT_KEYS
    if "num_experts" in config:
        experts = Experts(int(config["num_experts"]), int(config["num_experts_per_tok"]))
        keys = tuple("moe_intermediate_size" if key == "intermediate_size" else key for key in keys)
    sizes, head = _sizes(config, keys), config.get("head_dim")
    _, hidden, _, heads, *_ = sizes
    width = None if head is None or head * heads == hidden else int(head)
    return Text(*sizes, *[tied, width, "qwen3" in model_type, experts])


def _vision(config: Mapping[str, Any]) -> Vision:
    sizes = _sizes(config, _VISION_KEYS)
    if _POSITIONS not in config:
        return Vision(*sizes)
    return Vision3(*sizes, *_sizes(config, [_POSITIONS]), *[len(config["deepstack_visual_indexes"])])


def _audio(config: Mapping[str, Any]) -> Audio:
    sizes = _sizes(config, _AUDIO_KEYS)
    return Audio3(*sizes, *_sizes(config, [_CHANNELS])) if _CHANNELS in config else Audio(*sizes)


def _sizes(config: Mapping[str, Any], keys: Iterable[str]) -> Any:
    return [int(config[key]) for key in keys]


def _gemma4(text: Mapping[str, Any], vision: Mapping[str, Any], audio: Mapping[str, Any]) -> Shape:
    layers, hidden, mlp, heads, kv_heads, vocab = _sizes(text, _TEXT_KEYS)
    full = text.get("global_head_dim")
    if full is None:  # the official file names the width of full layers once, transformers at each of them
        full = next(layer["head_dim"] for layer in text["per_layer_config"].values())
    widths = {"full_attention": int(full), "sliding_attention": int(text["head_dim"])}
    heard, channels = int(audio["hidden_size"]), audio["subsampling_conv_channels"]
    return Shape(
        Gemma4Text(
            layers,
            hidden,
            mlp,
            heads,
            kv_heads,
            vocab,
            tied=True,
            head_widths=tuple(widths[kind] for kind in text["layer_types"]),
            sharing=int(text["num_kv_shared_layers"]),
            wide=bool(text["use_double_wide_mlp"]),
            per_layer=int(text["hidden_size_per_layer_input"]),
        ),
        Gemma4Vision(
            layers=int(vision["num_hidden_layers"]),
            hidden=int(vision["hidden_size"]),
            mlp=int(vision["intermediate_size"]),
            out=hidden,
            places=int(vision["position_embedding_size"]),
            head=int(vision["head_dim"]),
        ),
        Gemma4Audio(
            layers=int(audio["num_hidden_layers"]),
            hidden=heard,
            mlp=4 * heard,
            mels=int(channels[0]),
            out=hidden,
            channels=int(channels[1]),
            head=heard // int(audio["num_attention_heads"]),
            taps=int(audio["conv_kernel_size"]),
            given=int(audio["output_proj_dims"]),
        ),
    )


KNOWN = {name: shape_of(config, name) for name, config in PUBLISHED.items()} | {
    "tiny": Shape(Text(3, 128, 384, 4, 2, 774, tied=True), Vision(2, 96, 192, 128), Audio(2, 96, 192, 40, 128)),
    "tiny-vision": Shape(Text(3, 128, 384, 4, 2, 656, tied=True), Vision(2, 96, 192, 128)),
}
