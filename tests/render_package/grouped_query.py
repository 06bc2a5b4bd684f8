"""Views of a decoder with grouped-query attention, norms on queries and keys, rotary embeddings and a gated MLP."""

from __future__ import annotations

import textwrap

from codegen.lowering.views import (
    AxisView,
    CacheView,
    CardView,
    CheckpointView,
    ConfigView,
    FactView,
    FieldView,
    FlaxView,
    KeyView,
    MaskView,
    RefusalView,
    RowView,
    SizeView,
    SourceView,
    TableView,
    TestView,
    TieView,
    TorchView,
    WeightsView,
)
from tests.render_package.local_render import Package

SOURCE = SourceView("qwen3", "Qwen3", "Qwen/Qwen3-0.6B", "c1899de289a0", "codegen 0.1.0")
LEGEND = (
    "Axes: B batch, T new tokens, S attended tokens, D hidden_size, F intermediate_size,",
    "N query heads, K key/value heads, H head_dim, V vocab_size.",
)
SUMMARY = "Grouped-query attention with a norm on each head's queries and keys, rotary positions, gated MLP."


def lines(text: str) -> tuple[str, ...]:
    return tuple(textwrap.dedent(text).strip().splitlines())


def sources(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in textwrap.dedent(text).split("\n\n\n") if part.strip())


CONFIG = ConfigView(
    source=SOURCE,
    fields=(
        FieldView("vocab_size", "int", "151936", "raw['vocab_size']", "V"),
        FieldView("hidden_size", "int", "1024", "raw['hidden_size']", "D"),
        FieldView("intermediate_size", "int", "3072", "raw['intermediate_size']", "F"),
        FieldView("num_hidden_layers", "int", "28", "raw['num_hidden_layers']", "L"),
        FieldView("num_attention_heads", "int", "16", "raw['num_attention_heads']", "N"),
        FieldView("num_key_value_heads", "int", "8", "raw['num_key_value_heads']", "K"),
        FieldView("head_dim", "int", "128", "raw.get('head_dim', 128)", "H"),
        FieldView("rms_norm_eps", "float", "1e-6", "raw['rms_norm_eps']"),
        FieldView("rope_theta", "float", "1_000_000.0", "rope['rope_theta']"),
        FieldView("tie_word_embeddings", "bool", "True", "raw.get('tie_word_embeddings', False)"),
    ),
    keys=(
        *(KeyView(name, "int", required=True) for name in ("vocab_size", "hidden_size", "intermediate_size")),
        *(
            KeyView(f"num_{name}", "int", required=True)
            for name in ("hidden_layers", "attention_heads", "key_value_heads")
        ),
        KeyView("head_dim", "int"),
        KeyView("rms_norm_eps", "float", required=True),
        KeyView("rope_theta", "float"),
        KeyView("rope_parameters.rope_theta", "float"),
        KeyView("tie_word_embeddings", "bool"),
        KeyView("hidden_act", "str"),
    ),
    locals_=(("rope", "raw.get('rope_parameters') or {'rope_theta': raw.get('rope_theta', 10000.0)}"),),
    refusals=(
        RefusalView("raw.get('hidden_act', 'silu') != 'silu'", "f\"hidden_act is {raw['hidden_act']!r}, not 'silu'\""),
        RefusalView("raw.get('attention_bias', False)", '"attention_bias is set"'),
        RefusalView("raw.get('use_sliding_window', False)", '"use_sliding_window is set"'),
        RefusalView("rope.get('rope_type', 'default') != 'default'", "f\"rope_type is {rope['rope_type']!r}\""),
    ),
    checkpoints=(
        CheckpointView("Qwen/Qwen3-0.6B", ()),
        CheckpointView("Qwen/Qwen3-1.7B", ("hidden_size=2048", "intermediate_size=6144")),
    ),
)

TORCH_HELPERS = sources("""
def rotary_angles(positions: Tensor, head_dim: int, theta: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    inv_freq = 1.0 / theta ** (torch.arange(0, head_dim, 2, device=positions.device).float() / head_dim)
    angles = positions[:, None, :, None].float() * inv_freq  # [B, 1, T, H/2]
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    x1, x2 = x.chunk(2, dim=-1)
    return torch.cat((x1 * cos - x2 * sin, x2 * cos + x1 * sin), dim=-1)
""")
TORCH_CLASSES = sources("""
class RMSNorm(nn.Module):
    def __init__(self, size: int, eps: float):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        h = x.float()
        h = h * torch.rsqrt(h.square().mean(-1, keepdim=True) + self.eps)
        return (self.weight * h.to(x.dtype)).to(x.dtype)  # also where the weight is wider


class Attention(nn.Module):
    def __init__(self, cfg: Config, layer: int):
        super().__init__()
        self.layer, self.head_dim = layer, cfg.head_dim
        self.q_proj = nn.Linear(cfg.hidden_size, cfg.num_attention_heads * cfg.head_dim, bias=False)
        self.k_proj = nn.Linear(cfg.hidden_size, cfg.num_key_value_heads * cfg.head_dim, bias=False)
        self.v_proj = nn.Linear(cfg.hidden_size, cfg.num_key_value_heads * cfg.head_dim, bias=False)
        self.o_proj = nn.Linear(cfg.num_attention_heads * cfg.head_dim, cfg.hidden_size, bias=False)
        self.q_norm = RMSNorm(cfg.head_dim, cfg.rms_norm_eps)
        self.k_norm = RMSNorm(cfg.head_dim, cfg.rms_norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None, cache: Cache | None) -> Tensor:
        heads = (-1, self.head_dim)
        q = rotate(self.q_norm(self.q_proj(x).unflatten(-1, heads)).transpose(1, 2), cos, sin)  # [B, N, T, H]
        k = rotate(self.k_norm(self.k_proj(x).unflatten(-1, heads)).transpose(1, 2), cos, sin)  # [B, K, T, H]
        v = self.v_proj(x).unflatten(-1, heads).transpose(1, 2)  # [B, K, T, H]
        if cache is not None:
            k, v = cache.update(self.layer, k, v)  # [B, K, S, H]
        causal = mask is None and q.shape[2] > 1
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=causal, scale=self.head_dim**-0.5, enable_gqa=True
        )
        return self.o_proj(out.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    def __init__(self, cfg: Config):
        super().__init__()
        self.gate_proj = nn.Linear(cfg.hidden_size, cfg.intermediate_size, bias=False)
        self.up_proj = nn.Linear(cfg.hidden_size, cfg.intermediate_size, bias=False)
        self.down_proj = nn.Linear(cfg.intermediate_size, cfg.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class DecoderLayer(nn.Module):
    def __init__(self, cfg: Config, layer: int):
        super().__init__()
        self.self_attn = Attention(cfg, layer)
        self.mlp = MLP(cfg)
        self.input_layernorm = RMSNorm(cfg.hidden_size, cfg.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(cfg.hidden_size, cfg.rms_norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None, cache: Cache | None) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    def __init__(self, cfg: Config):
        super().__init__()
        self.cfg = cfg
        self.embed_tokens = nn.Embedding(cfg.vocab_size, cfg.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(cfg, layer) for layer in range(cfg.num_hidden_layers))
        self.norm = RMSNorm(cfg.hidden_size, cfg.rms_norm_eps)

    def forward(self, ids: Tensor, positions: Tensor, mask: Tensor | None, cache: Cache | None) -> Tensor:
        x = self.embed_tokens(ids)  # [B, T, D]
        cos, sin = rotary_angles(positions, self.cfg.head_dim, self.cfg.rope_theta, x.dtype)
        for layer in self.layers:
            x = layer(x, cos, sin, mask, cache)
        return self.norm(x)
""")

FLAX_HELPERS = sources("""
def rotary_angles(positions: Array, head_dim: int, theta: float, dtype: jnp.dtype) -> tuple[Array, Array]:
    inv_freq = 1.0 / theta ** (jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim)
    angles = positions[:, :, None, None].astype(jnp.float32) * inv_freq  # [B, T, 1, H/2]
    return jnp.cos(angles).astype(dtype), jnp.sin(angles).astype(dtype)


def rotate(x: Array, cos: Array, sin: Array) -> Array:
    x1, x2 = jnp.split(x, 2, axis=-1)
    return jnp.concatenate((x1 * cos - x2 * sin, x2 * cos + x1 * sin), axis=-1)
""")
FLAX_CLASSES = sources("""
class RMSNorm(nnx.Module):
    def __init__(self, size: int, eps: float, *, dtype: jnp.dtype):
        self.eps = eps
        self.scale = nnx.Param(jnp.ones(size, dtype))

    def __call__(self, x: Array) -> Array:
        h = x.astype(jnp.float32)
        h = h * jax.lax.rsqrt(jnp.mean(jnp.square(h), axis=-1, keepdims=True) + self.eps)
        return (self.scale[...] * h.astype(x.dtype)).astype(x.dtype)  # also where the weight is wider


class Attention(nnx.Module):
    def __init__(self, cfg: Config, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        D, N, K, H = cfg.hidden_size, cfg.num_attention_heads, cfg.num_key_value_heads, cfg.head_dim
        self.scale = H**-0.5
        self.q_proj = nnx.Einsum("BTD,QD->BTQ", (N * H, D), param_dtype=dtype, rngs=rngs)
        self.k_proj = nnx.Einsum("BTD,CD->BTC", (K * H, D), param_dtype=dtype, rngs=rngs)
        self.v_proj = nnx.Einsum("BTD,CD->BTC", (K * H, D), param_dtype=dtype, rngs=rngs)
        self.o_proj = nnx.Einsum("BTQ,DQ->BTD", (D, N * H), param_dtype=dtype, rngs=rngs)
        self.head_dim = H
        self.q_norm = RMSNorm(H, cfg.rms_norm_eps, dtype=dtype)
        self.k_norm = RMSNorm(H, cfg.rms_norm_eps, dtype=dtype)

    def __call__(
        self, x: Array, cos: Array, sin: Array, mask: Array | None, kv: KV | None, start: Array | int
    ) -> tuple[Array, KV | None]:
        heads = (*x.shape[:2], -1, self.head_dim)
        q = rotate(self.q_norm(self.q_proj(x).reshape(heads)), cos, sin)  # [B, T, N, H]
        k = rotate(self.k_norm(self.k_proj(x).reshape(heads)), cos, sin)  # [B, T, K, H]
        v = self.v_proj(x).reshape(heads)  # [B, T, K, H]
        if kv is not None:
            k, v = kv = update(kv, k, v, start)  # [B, S, K, H]
        out = jax.nn.dot_product_attention(q, k, v, mask=mask, is_causal=mask is None, scale=self.scale)
        return self.o_proj(out.reshape(*x.shape[:2], -1)), kv


class MLP(nnx.Module):
    def __init__(self, cfg: Config, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        D, F = cfg.hidden_size, cfg.intermediate_size
        self.gate_proj = nnx.Einsum("BTD,FD->BTF", (F, D), param_dtype=dtype, rngs=rngs)
        self.up_proj = nnx.Einsum("BTD,FD->BTF", (F, D), param_dtype=dtype, rngs=rngs)
        self.down_proj = nnx.Einsum("BTF,DF->BTD", (D, F), param_dtype=dtype, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.down_proj(jax.nn.silu(self.gate_proj(x)) * self.up_proj(x))


class DecoderLayer(nnx.Module):
    def __init__(self, cfg: Config, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.self_attn = Attention(cfg, dtype=dtype, rngs=rngs)
        self.mlp = MLP(cfg, dtype=dtype, rngs=rngs)
        self.input_layernorm = RMSNorm(cfg.hidden_size, cfg.rms_norm_eps, dtype=dtype)
        self.post_attention_layernorm = RMSNorm(cfg.hidden_size, cfg.rms_norm_eps, dtype=dtype)

    def __call__(
        self, x: Array, cos: Array, sin: Array, mask: Array | None, kv: KV | None, start: Array | int
    ) -> tuple[Array, KV | None]:
        h, kv = self.self_attn(self.input_layernorm(x), cos, sin, mask, kv, start)
        x = x + h
        return x + self.mlp(self.post_attention_layernorm(x)), kv


class Decoder(nnx.Module):
    def __init__(self, cfg: Config, *, dtype: jnp.dtype, scan_layers: bool, rngs: nnx.Rngs):
        self.cfg = cfg
        self.embed_tokens = nnx.Embed(cfg.vocab_size, cfg.hidden_size, param_dtype=dtype, dtype=dtype, rngs=rngs)
        self.layers = stack_layers(lambda rngs: DecoderLayer(cfg, dtype=dtype, rngs=rngs), cfg, scan_layers, rngs)
        self.norm = RMSNorm(cfg.hidden_size, cfg.rms_norm_eps, dtype=dtype)

    def __call__(
        self, ids: Array, positions: Array, mask: Array | None, kv: Any, start: Array | int
    ) -> tuple[Array, Any]:
        x = self.embed_tokens(ids)  # [B, T, D]
        cos, sin = rotary_angles(positions, self.cfg.head_dim, self.cfg.rope_theta, x.dtype)
        x, kv = run_layers(self.layers, lambda layer, x, kv: layer(x, cos, sin, mask, kv, start), x, kv)
        return self.norm(x), kv
""")

CACHE = CacheView("cfg.num_hidden_layers", "cfg.num_key_value_heads", "cfg.head_dim", "cfg.head_dim")
TORCH = TorchView(
    source=SOURCE,
    config=CONFIG,
    summary=SUMMARY,
    legend=LEGEND,
    imports=(),
    helpers=TORCH_HELPERS,
    classes=TORCH_CLASSES,
    init_body=lines("""
        self.model = Decoder(cfg)
        self.lm_head = nn.Linear(cfg.hidden_size, cfg.vocab_size, bias=False)
        if cfg.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight
    """),
    run_body=lines("""
        x = self.model(ids, positions, mask, cache)
        return self.lm_head(x[:, -1:] if last_only else x)
    """),
    masks=(MaskView("mask"),),
    cache=CACHE,
    anchor_expr="self.model.embed_tokens.weight",
)
FLAX = FlaxView(
    source=SOURCE,
    config=CONFIG,
    summary=SUMMARY,
    legend=LEGEND,
    imports=(),
    helpers=FLAX_HELPERS,
    classes=FLAX_CLASSES,
    init_body=lines("""
        self.model = Decoder(cfg, dtype=dtype, scan_layers=scan_layers, rngs=rngs)
        if not cfg.tie_word_embeddings:
            D, V = cfg.hidden_size, cfg.vocab_size
            self.lm_head = nnx.Einsum("BTD,VD->BTV", (V, D), param_dtype=dtype, rngs=rngs)
    """),
    run_body=lines("""
        x, kv = self.model(ids, positions, mask, kv, start)
        x = x[:, -1:] if last_only else x
        head = self.model.embed_tokens.attend if self.cfg.tie_word_embeddings else self.lm_head
        return head(x), kv
    """),
    masks=(MaskView("mask"),),
    cache=CACHE,
    anchor_expr="self.model.embed_tokens.embedding",
    token_axis=1,
)


def layer_row(path: str, leaf: str, axes: str) -> RowView:
    name = f"model.layers.{{}}.{path}.weight"
    return RowView(name, name, leaf, axes)


AXES = (
    AxisView("V", "cfg.vocab_size", "vocabulary", "tp"),
    AxisView("D", "cfg.hidden_size", "hidden size", "fsdp"),
    AxisView("F", "cfg.intermediate_size", "hidden size of the MLP", "tp"),
    AxisView(
        "Q", "cfg.num_attention_heads * cfg.head_dim", "query heads side by side", "tp", "cfg.num_attention_heads"
    ),
    AxisView(
        "C", "cfg.num_key_value_heads * cfg.head_dim", "key/value heads side by side", "tp", "cfg.num_key_value_heads"
    ),
    AxisView("H", "cfg.head_dim", "size of a head"),
)
WEIGHTS = WeightsView(
    source=SOURCE,
    tables=(
        TableView(
            "TABLE",
            (
                RowView("model.embed_tokens.weight", "model.embed_tokens.weight", "embedding", "VD"),
                RowView("model.norm.weight", "model.norm.weight", "scale", "D"),
                RowView("lm_head.weight", "lm_head.weight", "kernel", "VD"),
            ),
        ),
        TableView(
            "LAYERS",
            (
                layer_row("input_layernorm", "scale", "D"),
                layer_row("self_attn.q_proj", "kernel", "QD"),
                layer_row("self_attn.k_proj", "kernel", "CD"),
                layer_row("self_attn.v_proj", "kernel", "CD"),
                layer_row("self_attn.o_proj", "kernel", "DQ"),
                layer_row("self_attn.q_norm", "scale", "H"),
                layer_row("self_attn.k_norm", "scale", "H"),
                layer_row("post_attention_layernorm", "scale", "D"),
                layer_row("mlp.gate_proj", "kernel", "FD"),
                layer_row("mlp.up_proj", "kernel", "FD"),
                layer_row("mlp.down_proj", "kernel", "DF"),
            ),
            "range(cfg.num_hidden_layers)",
        ),
    ),
    axes=AXES,
    ties=(TieView("lm_head.weight", "model.embed_tokens.weight", "lm_head.weight", "model.embed_tokens.weight"),),
    tied_expr="cfg.tie_word_embeddings",
    ignored=(r"rotary_emb\.inv_freq$",),
    stack="model.layers",
    count_expr="cfg.num_hidden_layers",
)
CARD = CardView(
    source=SOURCE,
    summary=SUMMARY,
    diagram=(
        "ids [B, T]",
        "  embed_tokens",
        "  28 x [ norm - attention - + - norm - MLP - + ]",
        "  norm - lm_head",
        "logits",
    ),
    facts=(FactView("queries and keys are normalised per head", "modeling.py:230"),),
    size_columns=("parameters", "D", "L"),
    sizes=(SizeView("Qwen/Qwen3-0.6B", ("596,049,920", "1024", "28")),),
    axes=AXES,
    scannable=True,
)
TINY = {
    "model_type": "qwen3",
    "architectures": ["Qwen3ForCausalLM"],
    "vocab_size": 131,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rms_norm_eps": 0.001,
    "rope_theta": 10000.0,
    "max_position_embeddings": 72,
    "tie_word_embeddings": False,
    "hidden_act": "silu",
    "attention_bias": False,
}
PACKAGE = Package(CONFIG, TORCH, FLAX, WEIGHTS, CARD, TestView(SOURCE, repr(TINY), 131, scannable=True))
