"""The size of a model: layers, widths, parameters, from a config.json or for the models of the recipes by name.

Enough for estimates (see cost.py) without loading or downloading a model. Parameters are counted exactly: the tests
compare them with the classes of transformers. No third-party import.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mer_r1.errors import InputError


@dataclass(frozen=True)
class Text:
    """The language model."""

    layers: int
    hidden: int
    mlp: int
    heads: int
    kv_heads: int
    vocab: int
    tied: bool

    @property
    def kv(self) -> int:
        """Width of a layer's keys, and of its values."""
        return self.hidden // self.heads * self.kv_heads

    @property
    def widths(self) -> dict[str, tuple[int, int]]:
        """(in, out) of the linear layers of one layer, by name."""
        d, m = self.hidden, self.mlp
        attention = {"q_proj": (d, d), "k_proj": (d, self.kv), "v_proj": (d, self.kv), "o_proj": (d, d)}
        return attention | {"gate_proj": (d, m), "up_proj": (d, m), "down_proj": (m, d)}

    @property
    def linear(self) -> int:
        """Weights that multiply every token: all layers, without embeddings and head."""
        return self.layers * sum(a * b for a, b in self.widths.values())

    @property
    def parameters(self) -> int:
        """With biases, norms, embeddings and, where it is not tied to them, the head."""
        d = self.hidden
        tables = self.vocab * d * (1 if self.tied else 2)
        return self.linear + self.layers * (d + 2 * self.kv + 2 * d) + d + tables

    def adapter_parameters(self, rank: int, names: Iterable[str]) -> int:
        """Of low-rank adapters on the named linear layers."""
        return self.layers * rank * sum(sum(self.widths.get(name, (0, 0))) for name in names)


@dataclass(frozen=True)
class Vision:
    """The picture tower with its merger."""

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
class Audio:
    """The sound tower."""

    layers: int
    hidden: int
    mlp: int
    mels: int
    out: int

    @property
    def parameters(self) -> int:
        d, m = self.hidden, self.mlp
        block = 4 * d * d + 3 * d + 2 * d * m + m + d + 4 * d
        ends = 3 * self.mels * d + d + 3 * d * d + d + 2 * self.out + 2 * d + d * self.out + self.out
        return self.layers * block + ends


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


_OMNI_7B = Shape(
    Text(28, 3584, 18944, 28, 4, 152064, tied=False),
    Vision(32, 1280, 3420, 3584),
    Audio(32, 1280, 5120, 128, 3584),
)
_TEXT_3B = Text(36, 2048, 11008, 16, 2, 151936, tied=True)
KNOWN = {
    "Qwen/Qwen2.5-Omni-7B": _OMNI_7B,
    "Qwen/Qwen2.5-Omni-3B": Shape(
        replace(_TEXT_3B, tied=False), Vision(32, 1280, 3420, 2048), Audio(32, 1280, 5120, 128, 2048)
    ),
    "Qwen/Qwen2.5-VL-3B-Instruct": Shape(_TEXT_3B, Vision(32, 1280, 3420, 2048)),
    "tiny": Shape(Text(3, 128, 384, 4, 2, 774, tied=True), Vision(2, 96, 192, 128), Audio(2, 96, 192, 40, 128)),
    "tiny-vision": Shape(Text(3, 128, 384, 4, 2, 656, tied=True), Vision(2, 96, 192, 128)),
}


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


def shape_of(config: Mapping[str, Any], where: str) -> Shape:
    """The shape that a config.json describes: Qwen2.5-Omni (whole or Thinker), Qwen2.5-VL, or a text model like Qwen2.

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
            Text(*_sizes(text, _TEXT_KEYS), *[tied]),
            Vision(*_sizes(vision, _VISION_KEYS)) if vision else None,
            Audio(*_sizes(audio, _AUDIO_KEYS)) if audio else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{where}: the model's size cannot be read ({error}); copy the checkpoint again") from None


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
