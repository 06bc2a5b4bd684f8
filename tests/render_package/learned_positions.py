"""Views of a decoder as a graph prints: learned positions, biases, fused projections stored [in, out], a tied head."""

from __future__ import annotations

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
    MaskKind,
    MaskView,
    RefusalView,
    RowView,
    SourceView,
    TableView,
    TestView,
    TieView,
    TorchView,
    WeightsView,
)
from tests.render_package.grouped_query import lines, sources
from tests.render_package.local_render import Package

SOURCE = SourceView("gpt2", "GPT-2", "openai-community/gpt2", "", "codegen 0.1.0")
LEGEND = ("Axes: B batch, T new tokens, S attended tokens, D hidden size, F 4 D, N heads, H head size.",)
SUMMARY = "Learned positions, fused query/key/value projection, biases everywhere."
CONFIG = ConfigView(
    source=SOURCE,
    fields=(
        FieldView("vocab_size", "int", "50257", "raw.get('vocab_size', 50257)", "V"),
        FieldView("n_positions", "int", "1024", "raw.get('n_positions', 1024)", "P"),
        FieldView("n_embd", "int", "768", "width", "D"),
        FieldView("n_layer", "int", "12", "raw.get('n_layer', 12)", "L"),
        FieldView("n_head", "int", "12", "raw.get('n_head', 12)", "N"),
        FieldView("n_inner", "int", "3072", "raw.get('n_inner') or 4 * width", "F"),
        FieldView("layer_norm_epsilon", "float", "1e-05", "raw.get('layer_norm_epsilon', 1e-05)"),
    ),
    keys=(
        *(KeyView(name, "int") for name in ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")),
        KeyView("n_inner", "int", nullable=True),
        KeyView("layer_norm_epsilon", "float"),
        KeyView("activation_function", "str"),
    ),
    locals_=(("width", "raw.get('n_embd', 768)"),),
    refusals=(
        RefusalView(
            "raw.get('activation_function', 'gelu_new') != 'gelu_new'", '"activation_function is not gelu_new"'
        ),
        RefusalView("width % raw.get('n_head', 12) != 0", '"n_embd is no multiple of n_head"'),
    ),
    checkpoints=(CheckpointView("openai-community/gpt2", ()),),
)
TORCH_CLASSES = sources("""
class Conv1D(nn.Module):
    def __init__(self, into: int, out: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(into, out).normal_(std=0.02))
        self.bias = nn.Parameter(torch.zeros(out))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


class Attention(nn.Module):
    def __init__(self, cfg: Config, layer: int):
        super().__init__()
        self.layer, self.head_dim = layer, cfg.n_embd // cfg.n_head
        self.c_attn = Conv1D(cfg.n_embd, 3 * cfg.n_embd)
        self.c_proj = Conv1D(cfg.n_embd, cfg.n_embd)

    def forward(self, x: Tensor, mask: Tensor, cache: Cache | None) -> Tensor:
        B, T, D = x.shape
        q, k, v = self.c_attn(x).split(D, dim=2)
        q = q.view(B, T, -1, self.head_dim).transpose(1, 2)  # [B, N, T, H]
        k = k.view(B, T, -1, self.head_dim).transpose(1, 2)
        v = v.view(B, T, -1, self.head_dim).transpose(1, 2)
        if cache is not None:
            k, v = cache.update(self.layer, k, v)
        scores = q @ k.transpose(2, 3) * self.head_dim**-0.5 + mask
        out = torch.softmax(scores, dim=-1) @ v
        return self.c_proj(out.transpose(1, 2).reshape(B, T, -1))


class MLP(nn.Module):
    def __init__(self, cfg: Config):
        super().__init__()
        self.c_fc = Conv1D(cfg.n_embd, cfg.n_inner)
        self.c_proj = Conv1D(cfg.n_inner, cfg.n_embd)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, cfg: Config, layer: int):
        super().__init__()
        self.ln_1 = nn.LayerNorm(cfg.n_embd, eps=cfg.layer_norm_epsilon)
        self.attn = Attention(cfg, layer)
        self.ln_2 = nn.LayerNorm(cfg.n_embd, eps=cfg.layer_norm_epsilon)
        self.mlp = MLP(cfg)

    def forward(self, x: Tensor, mask: Tensor, cache: Cache | None) -> Tensor:
        x = x + self.attn(self.ln_1(x), mask, cache)
        return x + self.mlp(self.ln_2(x))


class Decoder(nn.Module):
    def __init__(self, cfg: Config):
        super().__init__()
        self.wte = nn.Embedding(cfg.vocab_size, cfg.n_embd)
        self.wpe = nn.Embedding(cfg.n_positions, cfg.n_embd)
        self.h = nn.ModuleList(Block(cfg, layer) for layer in range(cfg.n_layer))
        self.ln_f = nn.LayerNorm(cfg.n_embd, eps=cfg.layer_norm_epsilon)

    def forward(self, ids: Tensor, positions: Tensor, mask: Tensor, cache: Cache | None) -> Tensor:
        x = self.wte(ids) + self.wpe(positions)
        for block in self.h:
            x = block(x, mask, cache)
        return self.ln_f(x)
""")
FLAX_CLASSES = sources("""
class LayerNorm(nnx.Module):
    def __init__(self, size: int, eps: float, *, dtype: jnp.dtype):
        self.eps = eps
        self.scale, self.bias = nnx.Param(jnp.ones(size, dtype)), nnx.Param(jnp.zeros(size, dtype))

    def __call__(self, x: Array) -> Array:
        x = x - jnp.mean(x, axis=-1, keepdims=True)
        x = x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + self.eps)
        return x * self.scale[...] + self.bias[...]


class Attention(nnx.Module):
    def __init__(self, cfg: Config, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.heads = cfg.n_head
        self.c_attn = nnx.Linear(cfg.n_embd, 3 * cfg.n_embd, param_dtype=dtype, rngs=rngs)
        self.c_proj = nnx.Linear(cfg.n_embd, cfg.n_embd, param_dtype=dtype, rngs=rngs)

    def __call__(self, x: Array, mask: Array, kv: KV | None, start: Array | int) -> tuple[Array, KV | None]:
        B, T, D = x.shape
        parts = jnp.split(self.c_attn(x), 3, axis=2)
        q, k, v = (part.reshape(B, T, self.heads, -1).transpose(0, 2, 1, 3) for part in parts)  # [B, N, T, H]
        if kv is not None:
            k, v = kv = update(kv, k, v, start)
        scores = q @ k.swapaxes(2, 3) * q.shape[-1] ** -0.5 + mask
        out = jax.nn.softmax(scores, axis=-1) @ v
        return self.c_proj(out.transpose(0, 2, 1, 3).reshape(B, T, D)), kv


class MLP(nnx.Module):
    def __init__(self, cfg: Config, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.c_fc = nnx.Linear(cfg.n_embd, cfg.n_inner, param_dtype=dtype, rngs=rngs)
        self.c_proj = nnx.Linear(cfg.n_inner, cfg.n_embd, param_dtype=dtype, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.c_proj(jax.nn.gelu(self.c_fc(x), approximate=True))


class Block(nnx.Module):
    def __init__(self, cfg: Config, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.ln_1 = LayerNorm(cfg.n_embd, cfg.layer_norm_epsilon, dtype=dtype)
        self.attn = Attention(cfg, dtype=dtype, rngs=rngs)
        self.ln_2 = LayerNorm(cfg.n_embd, cfg.layer_norm_epsilon, dtype=dtype)
        self.mlp = MLP(cfg, dtype=dtype, rngs=rngs)

    def __call__(self, x: Array, mask: Array, kv: KV | None, start: Array | int) -> tuple[Array, KV | None]:
        h, kv = self.attn(self.ln_1(x), mask, kv, start)
        x = x + h
        return x + self.mlp(self.ln_2(x)), kv


class Decoder(nnx.Module):
    def __init__(self, cfg: Config, *, dtype: jnp.dtype, scan_layers: bool, rngs: nnx.Rngs):
        self.wte = nnx.Embed(cfg.vocab_size, cfg.n_embd, param_dtype=dtype, dtype=dtype, rngs=rngs)
        self.wpe = nnx.Embed(cfg.n_positions, cfg.n_embd, param_dtype=dtype, dtype=dtype, rngs=rngs)
        self.h = stack_layers(lambda layer, rngs: Block(cfg, dtype=dtype, rngs=rngs), cfg, scan_layers, rngs)
        self.ln_f = LayerNorm(cfg.n_embd, cfg.layer_norm_epsilon, dtype=dtype)

    def __call__(
        self, ids: Array, positions: Array, mask: Array, kv: Any, start: Array | int
    ) -> tuple[Array, Any]:
        x = self.wte(ids) + self.wpe(positions)
        x, kv = run_layers(self.h, lambda block, x, kv: block(x, mask, kv, start), x, kv)
        return self.ln_f(x), kv
""")
CACHE = CacheView("cfg.n_layer", "cfg.n_head", "cfg.n_embd // cfg.n_head", "cfg.n_embd // cfg.n_head")
TORCH = TorchView(
    source=SOURCE,
    config=CONFIG,
    summary=SUMMARY,
    legend=LEGEND,
    imports=(),
    helpers=(),
    classes=TORCH_CLASSES,
    init_body=lines("""
        self.transformer = Decoder(cfg)
        self.lm_head = nn.Linear(cfg.n_embd, cfg.vocab_size, bias=False)
        self.lm_head.weight = self.transformer.wte.weight
    """),
    run_body=lines("""
        x = self.transformer(ids, positions, mask, cache)
        return self.lm_head(x[:, -1:] if last_only else x)
    """),
    masks=(MaskView("mask", kind=MaskKind.ADDITIVE),),
    cache=CACHE,
    anchor_expr="self.transformer.wte.weight",
)
FLAX = FlaxView(
    source=SOURCE,
    config=CONFIG,
    summary=SUMMARY,
    legend=LEGEND,
    imports=(),
    helpers=(),
    classes=FLAX_CLASSES,
    init_body=lines("""
        self.transformer = Decoder(cfg, dtype=dtype, scan_layers=scan_layers, rngs=rngs)
    """),
    run_body=lines("""
        x, kv = self.transformer(ids, positions, mask, kv, start)
        return self.transformer.wte.attend(x[:, -1:] if last_only else x), kv
    """),
    masks=(MaskView("mask", kind=MaskKind.ADDITIVE),),
    cache=CACHE,
    anchor_expr="self.transformer.wte.embedding",
)


def rows(*specs: tuple[str, str, str]) -> tuple[RowView, ...]:
    return tuple(RowView(f"transformer.{path}", f"transformer.{path}", leaf, axes) for path, leaf, axes in specs)


AXES = (
    AxisView("V", "cfg.vocab_size", "vocabulary", "tp"),
    AxisView("P", "cfg.n_positions", "positions"),
    AxisView("D", "cfg.n_embd", "hidden size", "fsdp"),
    AxisView("C", "3 * cfg.n_embd", "queries, keys and values"),
    AxisView("F", "cfg.n_inner", "hidden size of the MLP", "tp"),
)
WEIGHTS = WeightsView(
    source=SOURCE,
    tables=(
        TableView(
            "TABLE",
            (
                *rows(
                    ("wte.weight", "embedding", "VD"),
                    ("wpe.weight", "embedding", "PD"),
                    ("ln_f.weight", "scale", "D"),
                    ("ln_f.bias", "bias", "D"),
                ),
                RowView("lm_head.weight", "lm_head.weight", "kernel", "VD"),
            ),
        ),
        TableView(
            "LAYERS",
            rows(
                ("h.{}.ln_1.weight", "scale", "D"),
                ("h.{}.ln_1.bias", "bias", "D"),
                ("h.{}.attn.c_attn.weight", "kernel", "DC"),
                ("h.{}.attn.c_attn.bias", "bias", "C"),
                ("h.{}.attn.c_proj.weight", "kernel", "DD"),
                ("h.{}.attn.c_proj.bias", "bias", "D"),
                ("h.{}.ln_2.weight", "scale", "D"),
                ("h.{}.ln_2.bias", "bias", "D"),
                ("h.{}.mlp.c_fc.weight", "kernel", "DF"),
                ("h.{}.mlp.c_fc.bias", "bias", "F"),
                ("h.{}.mlp.c_proj.weight", "kernel", "FD"),
                ("h.{}.mlp.c_proj.bias", "bias", "D"),
            ),
            "range(cfg.n_layer)",
        ),
    ),
    axes=AXES,
    ties=(TieView("lm_head.weight", "transformer.wte.weight", "lm_head.weight", "transformer.wte.weight"),),
    ignored=(r"\.attn\.(masked_)?bias$",),
    stack="transformer.h",
    count_expr="cfg.n_layer",
)
CARD = CardView(
    source=SOURCE,
    summary=SUMMARY,
    diagram=("ids", "  wte + wpe", "  12 x block", "  ln_f, wte", "logits"),
    facts=(FactView("positions are learned", "modeling.py:10"),),
    size_columns=(),
    sizes=(),
    axes=AXES,
    scannable=True,
)
TINY = {
    "model_type": "gpt2",
    "architectures": ["GPT2LMHeadModel"],
    "vocab_size": 131,
    "n_positions": 72,
    "n_embd": 48,
    "n_layer": 3,
    "n_head": 4,
    "n_inner": None,
    "layer_norm_epsilon": 0.001,
    "activation_function": "gelu_new",
}
PACKAGE = Package(CONFIG, TORCH, FLAX, WEIGHTS, CARD, TestView(SOURCE, repr(TINY), 131, scannable=True))
