"""Views of the grouped-query decoder with two kinds of layers, a tied head, and published names without a prefix."""

from __future__ import annotations

from dataclasses import replace

from codegen.lowering.views import FieldView, KeyView, MaskView, RefusalView, RowView, TableView, TieView
from tests.render_package import grouped_query as plain
from tests.render_package.grouped_query import lines
from tests.render_package.local_render import Package

KINDS = ["full_attention", "sliding_attention", "sliding_attention"] * 2 + ["full_attention"]
SOURCE = replace(plain.SOURCE, package="mixed", title="Mixed layers", repository="nobody/mixed")


def changed(sources: tuple[str, ...], *changes: tuple[str, str]) -> tuple[str, ...]:
    text = "\n\n\n".join(sources)
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return tuple(text.split("\n\n\n"))


CONFIG = replace(
    plain.CONFIG,
    source=SOURCE,
    fields=(
        *plain.CONFIG.fields[:-1],
        FieldView("sliding_window", "int", "4096", "raw['sliding_window']"),
        FieldView("layer_types", "tuple[str, ...]", repr(tuple(KINDS)), "tuple(raw['layer_types'])"),
    ),
    keys=(
        *plain.CONFIG.keys,
        KeyView("sliding_window", "int", required=True),
        KeyView("layer_types", "list", required=True),
    ),
    refusals=(
        *plain.CONFIG.refusals[:2],
        RefusalView("not set(raw['layer_types']) <= {'full_attention', 'sliding_attention'}", '"unknown layer_types"'),
    ),
    checkpoints=(),
)
MASKS = (MaskView("mask"), MaskView("window_mask", window_expr="self.cfg.sliding_window"))
TORCH = replace(
    plain.TORCH,
    source=SOURCE,
    config=CONFIG,
    masks=MASKS,
    classes=changed(
        plain.TORCH_CLASSES,
        (
            "        super().__init__()\n        self.self_attn",
            "        super().__init__()\n        self.kind = cfg.layer_types[layer]\n        self.self_attn",
        ),
        (
            "positions: Tensor, mask: Tensor | None, cache: Cache | None) -> Tensor:\n        x = self.embed",
            "positions: Tensor, masks: dict[str, Tensor | None], cache: Cache | None) -> Tensor:\n        x = self.embed",
        ),
        ("x = layer(x, cos, sin, mask, cache)", "x = layer(x, cos, sin, masks[layer.kind], cache)"),
    ),
    init_body=lines("""
        self.model = Decoder(cfg)
        self.lm_head = nn.Linear(cfg.hidden_size, cfg.vocab_size, bias=False)
        self.lm_head.weight = self.model.embed_tokens.weight
    """),
    run_body=lines("""
        x = self.model(ids, positions, {"full_attention": mask, "sliding_attention": window_mask}, cache)
        return self.lm_head(x[:, -1:] if last_only else x)
    """),
)
FLAX = replace(
    plain.FLAX,
    source=SOURCE,
    config=CONFIG,
    masks=MASKS,
    kinds_expr="cfg.layer_types",
    classes=changed(
        plain.FLAX_CLASSES,
        (
            "class DecoderLayer(nnx.Module):\n    def __init__(self, cfg: Config, *, dtype: jnp.dtype, rngs: nnx.Rngs):",
            "class DecoderLayer(nnx.Module):\n"
            "    def __init__(self, cfg: Config, layer: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):\n"
            "        self.kind = cfg.layer_types[layer]",
        ),
        ("lambda rngs: DecoderLayer(cfg, dtype=dtype", "lambda layer, rngs: DecoderLayer(cfg, layer, dtype=dtype"),
        (
            "positions: Array, mask: Array | None, kv: Any",
            "positions: Array, masks: dict[str, Array | None], kv: Any",
        ),
        ("layer(x, cos, sin, mask, kv, start)", "layer(x, cos, sin, masks[layer.kind], kv, start)"),
    ),
    init_body=lines("self.model = Decoder(cfg, dtype=dtype, scan_layers=scan_layers, rngs=rngs)"),
    run_body=lines("""
        masks = {"full_attention": mask, "sliding_attention": window_mask}
        x, kv = self.model(ids, positions, masks, kv, start)
        return self.model.embed_tokens.attend(x[:, -1:] if last_only else x), kv
    """),
)


def published(row: RowView) -> RowView:
    """Without the prefix of the module tree; norms of queries stay float32."""
    return replace(row, stored=row.path.removeprefix("model."), dtype="float32" if "q_norm" in row.path else "")


TABLE, LAYERS = plain.WEIGHTS.tables
WEIGHTS = replace(
    plain.WEIGHTS,
    source=SOURCE,
    tables=(
        replace(TABLE, rows=tuple(published(row) for row in TABLE.rows)),
        TableView("LAYERS", tuple(published(row) for row in LAYERS.rows[:5]), "range(cfg.num_hidden_layers)"),
        TableView(
            "LAYERS_FULL",
            tuple(published(row) for row in LAYERS.rows[5:]),
            "[layer for layer, kind in enumerate(cfg.layer_types) if kind == 'full_attention']",
        ),
        TableView(
            "LAYERS_SLIDING",
            tuple(published(row) for row in LAYERS.rows[5:]),
            "[layer for layer, kind in enumerate(cfg.layer_types) if kind == 'sliding_attention']",
        ),
    ),
    ties=(TieView("lm_head.weight", "embed_tokens.weight", "lm_head.weight", "model.embed_tokens.weight"),),
    tied_expr="",
    kinds_expr="cfg.layer_types",
)
TINY = plain.TINY | {
    "num_hidden_layers": len(KINDS),
    "layer_types": KINDS,
    "use_sliding_window": True,
    "sliding_window": 4,
    "tie_word_embeddings": True,
}
PACKAGE = Package(
    CONFIG,
    TORCH,
    FLAX,
    WEIGHTS,
    replace(plain.CARD, source=SOURCE),
    replace(plain.PACKAGE.test, source=SOURCE, tiny=repr(TINY)),
)
