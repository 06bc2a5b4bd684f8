"""Repositories with modeling code that nobody has published: a library model under an invented name, with parts changed.

The code is copied from the installed library when this runs, classes are renamed, and a few edits are composed by chance:
what a researcher does who starts from a published model. `python -m tests.tools.inventions BASE SEED` prints one.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

DATA = Path(__file__).resolve().parent.parent / "data"
NAME = "Osprey"
BASES = (
    "llama", "qwen3", "mistral", "qwen2", "gemma2", "olmo2", "granite", "cohere2", "smollm3", "exaone4", "stablelm", "phi3", "glm4", "olmo3",
    "arcee", "helium", "seed_oss", "qwen3_moe", "mixtral", "olmoe", "deepseek_v3", "glm4_moe", "gpt_oss", "granitemoe", "dots1", "ernie4_5_moe",
    "qwen3_next", "lfm2", "afmoe", "flex_olmo", "hunyuan_v1_moe", "minimax_m2", "nanochat", "bamba",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Edit:
    """Replacements of patterns, each of which must be found; `fields`: new keys of the configuration and their values.

    Of the edits with one `slot` a repository has one at most.
    """

    name: str
    slot: str
    changes: Sequence[tuple[str, str]]
    fields: Mapping[str, object] = field(default_factory=dict)

    def apply(self, text: str) -> str | None:
        """The changed text; None where a pattern is not found."""
        for pattern, new in self.changes:
            text, found = re.subn(pattern, new, text, flags=re.DOTALL)
            if not found:
                return None
        return text


@dataclass(frozen=True, slots=True)
class Invention:
    """A repository: files and their texts, and what was changed in which library model."""

    base: str
    edits: tuple[str, ...]
    config: Mapping[str, object]
    code: Mapping[str, str]


def invent(base: str, seed: int, most: int = 4, only: Sequence[str] = ()) -> Invention:
    """`base`: a case of the test data; `only`: names of edits, where chance is not to decide."""
    chance = random.Random(f"{base} {seed}")
    raw = json.loads(next(DATA.glob(f"*cases/{base}.json")).read_text())
    modeling, configuration = library_files(str(raw["architectures"][0]))
    old = str(raw["architectures"][0]).removesuffix("ForCausalLM")
    texts = [_renamed(path.read_text(), old, path.parent.name) for path in (modeling, configuration)]
    edits = [edit for edit in EDITS if edit.name in only] if only else chance.sample(EDITS, len(EDITS))
    taken: dict[str, Edit] = {}
    for edit in edits:
        changed = (
            edit.apply(texts[0])
            if edit.slot not in taken and len(taken) < (len(only) or chance.randint(1, most))
            else None
        )
        if changed is not None:
            texts[0], taken[edit.slot] = changed, edit
    fields = {key: value for edit in taken.values() for key, value in edit.fields.items()}
    texts[1] = re.sub(r"(\n    model_type = [^\n]*\n)", rf'\n    model_type = "{NAME.lower()}"\n', texts[1], count=1)
    declared = "".join(f"    {key}: {type(value).__name__} = {value!r}\n" for key, value in fields.items())
    texts[1] = re.sub(r"(\n    vocab_size: )", lambda found: f"\n{declared}{found.group(1)[1:]}", texts[1], count=1)
    stem = NAME.lower()
    config = {
        **{key: value for key, value in raw.items() if key not in ("architectures", "model_type")},
        **fields,
        "architectures": [f"{NAME}ForCausalLM"],
        "model_type": stem,
        "auto_map": {
            "AutoConfig": f"configuration_{stem}.{_config_class(texts[0])}",
            "AutoModelForCausalLM": f"modeling_{stem}.{NAME}ForCausalLM",
        },
    }
    code = {f"modeling_{stem}.py": texts[0], f"configuration_{stem}.py": texts[1]}
    return Invention(base, tuple(edit.name for edit in taken.values()), config, code)


def library_files(architecture: str) -> tuple[Path, Path]:
    """Modeling and configuration file of a class."""
    spec = find_spec("transformers")
    assert spec and spec.origin
    for path in sorted(Path(spec.origin).parent.glob("models/*/modeling_*.py")):
        if f"class {architecture}(" in path.read_text():
            return path, path.with_name(path.name.replace("modeling_", "configuration_"))
    raise LookupError(architecture)


def _renamed(text: str, old: str, folder: str) -> str:
    text = re.sub(rf"\b{old}(?=[A-Z])", NAME, text)
    text = re.sub(rf"(configuration|modeling)_{folder}\b", rf"\1_{NAME.lower()}", text)
    text = re.sub(r"from \.\.\.(\w)", r"from transformers.\1", text).replace(
        "from ... import", "from transformers import"
    )
    text = re.sub(r"from \.\.(\w)", r"from transformers.models.\1", text)
    return re.sub(r"(?m)^ *@auto_docstring(\([^)]*\))?\n", "", text)


def _config_class(text: str) -> str:
    """The class of configurations of the model with a head, which a file for several kinds of input names beside others."""
    found = re.search(r"class \w+ForCausalLM\(.*?config: (\w+Config)\n", text, re.DOTALL) or re.search(
        r"config: (\w+Config)\n", text
    )
    assert found
    return found.group(1)


def _layer(
    name: str, slot: str, attention: str, mlp: str, init: str = "", fields: Mapping[str, object] | None = None
) -> Edit:
    """Other sums in a layer: `attention` and `mlp` take the place of `residual + hidden_states`."""
    changes = [
        (
            r"(hidden_states, _ = self\.self_attn\(.*?\n        )hidden_states = residual \+ hidden_states(.*?)hidden_states = residual \+ hidden_states",
            rf"\1hidden_states = {attention}\2hidden_states = {mlp}",
        )
    ]
    if init:
        changes.append((r"(\n        self\.input_layernorm = )", rf"\n        {init}\1"))
    return Edit(name, slot, changes, fields or {})


Q = r"(        cos, sin = position_embeddings\n        query_states, key_states = apply_rotary_pos_emb\(query_states, key_states, cos, sin\)\n)"
OUT = r"(        attn_output = attn_output\.reshape\(\*input_shape, -1\)\.contiguous\(\)\n)"
MLP = r"down_proj = self\.down_proj\(self\.act_fn\(self\.gate_proj\(x\)\) \* self\.up_proj\(x\)\)"
SCORES = r"(    attn_weights = torch\.matmul\(query, key_states\.transpose\(2, 3\)\) \* scaling\n)"
SOFTMAX = (
    r"    attn_weights = nn\.functional\.softmax\(attn_weights, dim=-1, dtype=torch\.float32\)\.to\(query\.dtype\)\n"
)
EMBEDS = r"(\n        hidden_states = inputs_embeds\n)"
LOGITS = r"(\n        logits = self\.lm_head\(hidden_states\)\n)"
NORM = r"return self\.weight \* hidden_states\.to\(input_dtype\)"
ROUTED = (
    r"        router_probs = torch\.nn\.functional\.softmax\(router_logits, dtype=torch\.float, dim=-1\)\n"
    r"        router_top_value, router_indices = torch\.topk\(router_probs, self\.top_k, dim=-1\)[^\n]*\n"
)
ROUTER = r"(class \w+TopKRouter\(nn\.Module\):.*?        self\.weight = nn\.Parameter\([^\n]*\n)"
LAYERS = r"for (?:i, )?decoder_layer in (?:enumerate\()?self\.layers(?:\[: self\.config\.num_hidden_layers\])?\)?:\n"
CALL = r"(        final_hidden_states|        routed_output|        hidden_states) = self\.experts\((hidden_states\w*), (\w+), (\w+)\)\n"

EDITS = (
    # one MLP
    Edit("glu with clamp", "mlp", [(MLP, "gate, up = self.gate_proj(x), self.up_proj(x)\n        gate = gate.clamp(max=self.config.swiglu_limit)\n        up = up.clamp(min=-self.config.swiglu_limit, max=self.config.swiglu_limit)\n        down_proj = self.down_proj((up + 1) * gate * torch.sigmoid(gate * 1.702))")], {"swiglu_limit": 0.75}),
    Edit("relu squared", "mlp", [(MLP, "down_proj = self.down_proj(torch.square(nn.functional.relu(self.gate_proj(x))) * self.up_proj(x))")]),
    Edit("fused gate_up", "mlp", [
        (r"        self\.gate_proj = nn\.Linear\(self\.hidden_size, self\.intermediate_size, bias=([\w.]+)\)\n        self\.up_proj = [^\n]*\n", r"        self.gate_up_proj = nn.Linear(self.hidden_size, 2 * self.intermediate_size, bias=\1)\n"),
        (MLP, "gate, up = self.gate_up_proj(x).chunk(2, dim=-1)\n        down_proj = self.down_proj(self.act_fn(gate) * up)"),
    ]),
    Edit("normed mlp", "mlp", [
        (r"(        self\.down_proj = nn\.Linear\(self\.intermediate_size, self\.hidden_size, bias=[\w.]+\)\n)", rf"\1        self.inner_norm = {NAME}RMSNorm(self.intermediate_size)\n"),
        (MLP, "down_proj = self.down_proj(self.inner_norm(self.act_fn(self.gate_proj(x)) * self.up_proj(x)))"),
    ]),
    Edit("interleaved gate", "mlp", [
        (r"        self\.gate_proj = nn\.Linear\(self\.hidden_size, self\.intermediate_size, bias=([\w.]+)\)\n        self\.up_proj = [^\n]*\n", r"        self.wi = nn.Linear(self.hidden_size, 2 * self.intermediate_size, bias=\1)\n"),
        (MLP, "h = self.wi(x)\n        gate, up = h[..., ::2], h[..., 1::2]\n        down_proj = self.down_proj(nn.functional.gelu(gate, approximate='tanh') * up)"),
    ]),
    Edit("plain mlp", "mlp", [
        (r"        self\.gate_proj = nn\.Linear\(self\.hidden_size, self\.intermediate_size, bias=[\w.]+\)\n", ""),
        (MLP, "down_proj = self.down_proj(nn.functional.relu(self.up_proj(x)).pow(2))"),
    ]),
    Edit("two branches of mlp", "mlp", [
        (r"(        self\.down_proj = nn\.Linear\(self\.intermediate_size, self\.hidden_size, bias=[\w.]+\)\n)", r"\1        self.low = nn.Sequential(nn.Linear(self.hidden_size, 7, bias=False), nn.Tanh(), nn.Linear(7, self.hidden_size))\n"),
        (MLP, "down_proj = self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x)) + self.low(x)"),
    ]),
    # queries and keys
    Edit("norm of heads after rotation", "qk", [
        (r"(        self\.is_causal = True\n)", rf"\1        self.q_gain = {NAME}RMSNorm(self.head_dim, eps=1e-5)\n        self.k_gain = {NAME}RMSNorm(self.head_dim, eps=1e-5)\n"),
        (Q, r"\1        query_states, key_states = self.q_gain(query_states), self.k_gain(key_states)\n"),
    ]),
    Edit("unit queries and keys", "qk", [
        (r"(        self\.is_causal = True\n)", r"\1        self.temperature = nn.Parameter(torch.ones(config.num_attention_heads, 1, 1))\n"),
        (Q, r"\1        query_states = nn.functional.normalize(query_states, dim=-1) * self.temperature\n        key_states = nn.functional.normalize(key_states, dim=-1)\n"),
    ]),
    Edit("weightless norm of heads", "qk", [(Q, r"        query_states = nn.functional.rms_norm(query_states, (self.head_dim,), eps=1e-6)\n        key_states = nn.functional.rms_norm(key_states, (self.head_dim,), eps=1e-6)\n\1")]),
    Edit("layer norm of heads", "qk", [
        (r"(        self\.is_causal = True\n)", r"\1        self.q_ln = nn.LayerNorm(self.head_dim, bias=False)\n        self.k_ln = nn.LayerNorm(self.head_dim, bias=False)\n"),
        (Q, r"        query_states, key_states = self.q_ln(query_states), self.k_ln(key_states)\n\1"),
    ]),
    Edit("clipped projections", "clip", [(Q, r"        query_states = query_states.clamp(min=-self.config.clip_qkv, max=self.config.clip_qkv)\n        key_states.clamp_(min=-self.config.clip_qkv, max=self.config.clip_qkv)\n        value_states = torch.clamp(value_states, -self.config.clip_qkv, self.config.clip_qkv)\n\1")], {"clip_qkv": 1.25}),
    Edit("norm of values", "values", [(Q, r"        value_states = value_states * torch.rsqrt(value_states.pow(2).mean(-1, keepdim=True) + 1e-6)\n\1")]),
    # positions
    Edit("no rotation every n-th", "rope", [
        (r"(        self\.is_causal = True\n)", r"\1        self.use_rope = (layer_idx + 1) % config.nope_interval != 0\n"),
        (Q, "        if self.use_rope:\n            cos, sin = position_embeddings\n            query_states, key_states = apply_rotary_pos_emb(query_states, key_states, cos, sin)\n"),
    ], {"nope_interval": 3}),
    Edit("part of each head rotated", "rope", [(Q, "        cos, sin = position_embeddings\n        rotary_dim = self.head_dim // 2\n        q_rot, q_pass = query_states[..., :rotary_dim], query_states[..., rotary_dim:]\n        k_rot, k_pass = key_states[..., :rotary_dim], key_states[..., rotary_dim:]\n        q_rot, k_rot = apply_rotary_pos_emb(q_rot, k_rot, cos[..., :rotary_dim], sin[..., :rotary_dim])\n        query_states, key_states = torch.cat([q_rot, q_pass], dim=-1), torch.cat([k_rot, k_pass], dim=-1)\n")]),
    Edit("rotation of pairs", "rope", [
        (r"    x1 = x\[\.\.\., : x\.shape\[-1\] // 2\]\n    x2 = x\[\.\.\., x\.shape\[-1\] // 2 :\]\n    return torch\.cat\(\(-x2, x1\), dim=-1\)", "    x1 = x[..., ::2]\n    x2 = x[..., 1::2]\n    return torch.stack((-x2, x1), dim=-1).flatten(-2)"),
        (r"emb = torch\.cat\(\(freqs, freqs\), dim=-1\)", "emb = torch.repeat_interleave(freqs, 2, dim=-1)"),
    ]),
    Edit("rotation the other way", "rope", [(r"q_embed = \(q \* cos\) \+ \(rotate_half\(q\) \* sin\)\n    k_embed = \(k \* cos\) \+ \(rotate_half\(k\) \* sin\)", "q_embed = (q * cos) - (rotate_half(q) * sin)\n    k_embed = (k * cos) - (rotate_half(k) * sin)")]),
    Edit("queries grow with positions", "temperature", [(Q, r"\1        scale = torch.log1p(torch.floor((kwargs['position_ids'] + 1.0) / 8)) * 0.1 + 1\n        query_states = (query_states * scale[:, None, :, None]).to(query_states.dtype)\n")]),
    # scores
    Edit("cap on scores", "scores", [(SCORES, r"\1    attn_weights = 5.0 * torch.tanh(attn_weights / 5.0)\n")]),
    Edit("sinks", "softmax", [
        (r"(        self\.is_causal = True\n)", r"\1        self.sinks = nn.Parameter(torch.zeros(config.num_attention_heads))\n"),
        (SOFTMAX, "    sinks = module.sinks.reshape(1, -1, 1, 1).expand(query.shape[0], -1, query.shape[-2], -1)\n    attn_weights = nn.functional.softmax(torch.cat([attn_weights, sinks], dim=-1), dim=-1, dtype=torch.float32)[..., :-1].to(query.dtype)\n"),
    ]),
    Edit("softmax plus one", "softmax", [(SOFTMAX, "    top = attn_weights.max(dim=-1, keepdim=True).values.clamp(min=0)\n    attn_weights = torch.exp(attn_weights - top)\n    attn_weights = attn_weights / (torch.exp(-top) + attn_weights.sum(dim=-1, keepdim=True))\n")]),
    Edit("talking heads", "softmax", [
        (r"(        self\.is_causal = True\n)", r"\1        self.talk = nn.Parameter(torch.eye(config.num_attention_heads))\n"),
        (SOFTMAX, "    attn_weights = nn.functional.softmax(attn_weights, dim=-1, dtype=torch.float32).to(query.dtype)\n    attn_weights = torch.einsum('bhqk,hg->bgqk', attn_weights, module.talk)\n"),
    ]),
    Edit("sigmoid attention", "softmax", [(SOFTMAX, "    attn_weights = torch.sigmoid(attn_weights - math.log(8.0))\n"), (r"\nimport torch\n", "\nimport math\n\nimport torch\n")]),
    Edit("scale by a key", "scale", [(r"self\.scaling = self\.head_dim\*\*-0\.5", "self.scaling = config.query_pre_attn_scalar**-0.5")], {"query_pre_attn_scalar": 24}),
    Edit("scale by the depth", "scale", [(r"self\.scaling = self\.head_dim\*\*-0\.5", "self.scaling = self.head_dim**-0.5 / (layer_idx + 1)")]),
    # outputs of attention
    Edit("gate for each head", "gate", [
        (r"(        self\.is_causal = True\n)", r"\1        self.head_gate = nn.Linear(config.hidden_size, config.num_attention_heads, bias=True)\n"),
        (OUT, r"        attn_output = attn_output * torch.sigmoid(self.head_gate(hidden_states)).unsqueeze(-1)\n\1"),
    ]),
    Edit("gate for each number", "gate", [
        (r"(        self\.is_causal = True\n)", r"\1        self.out_gate = nn.Linear(config.hidden_size, config.num_attention_heads * self.head_dim, bias=False)\n"),
        (OUT, r"\1        attn_output = attn_output * nn.functional.silu(self.out_gate(hidden_states))\n"),
    ]),
    Edit("norm of attention's output", "gate", [
        (r"(        self\.is_causal = True\n)", rf"\1        self.sub_norm = {NAME}RMSNorm(self.head_dim, eps=1e-5)\n"),
        (OUT, r"        attn_output = self.sub_norm(attn_output) * (1 - self.config.lambda_init)\n\1"),
    ], {"lambda_init": 0.2}),
    # layers
    _layer("residual scale", "residual", "residual + hidden_states * self.residual_scale", "residual + hidden_states * self.residual_scale", "self.residual_scale = config.residual_scale / config.num_hidden_layers**0.5", {"residual_scale": 1.4}),
    _layer("layer scale", "residual", "residual + self.gamma_1 * hidden_states", "residual + self.gamma_2 * hidden_states", "self.gamma_1 = nn.Parameter(torch.ones(config.hidden_size))\n        self.gamma_2 = nn.Parameter(torch.ones(config.hidden_size))"),
    _layer("scale by depth", "residual", "residual + hidden_states / (2 * (self.depth + 1)) ** 0.5", "residual + hidden_states / (2 * (self.depth + 1)) ** 0.5", "self.depth = layer_idx"),
    _layer("scalar gates", "residual", "torch.lerp(residual, hidden_states, torch.sigmoid(self.mix[0]))", "torch.lerp(residual, hidden_states, torch.sigmoid(self.mix[1]))", "self.mix = nn.Parameter(torch.zeros(2))"),
    _layer("norm after the sum", "residual", "self.post_norm(residual + hidden_states)", "residual * self.alpha + hidden_states", f"self.post_norm = {NAME}RMSNorm(config.hidden_size, eps=1e-5)\n        self.alpha = (2 * config.num_hidden_layers) ** 0.25"),
    _layer("sandwich", "residual", "residual + self.sandwich_1(hidden_states)", "residual + self.sandwich_2(hidden_states)", f"self.sandwich_1 = {NAME}RMSNorm(config.hidden_size, eps=1e-5)\n        self.sandwich_2 = {NAME}RMSNorm(config.hidden_size, eps=1e-5)"),
    Edit("side by side", "parallel", [(r"        hidden_states = residual \+ hidden_states\n\n        # Fully Connected\n        residual = hidden_states\n        hidden_states = self\.post_attention_layernorm\(hidden_states\)\n        hidden_states = self\.mlp\(hidden_states\)\n        hidden_states = residual \+ hidden_states", "        hidden_states = residual + hidden_states + self.mlp(self.post_attention_layernorm(residual))")]),
    # norms
    Edit("one added to weights", "norm", [(NORM, "return ((1.0 + self.weight.float()) * hidden_states).to(input_dtype)")]),
    Edit("mean subtracted", "norm", [(r"(        variance = hidden_states\.pow\(2\)\.mean\(-1, keepdim=True\)\n)", r"        hidden_states = hidden_states - hidden_states.mean(-1, keepdim=True)\n\1")]),
    Edit("root mean square divided", "norm", [(r"hidden_states = hidden_states \* torch\.rsqrt\(variance \+ self\.variance_epsilon\)", "hidden_states = hidden_states / (variance.sqrt() + self.variance_epsilon)")]),
    Edit("tanh for norm", "norm", [
        (r"        variance = hidden_states\.pow\(2\)\.mean\(-1, keepdim=True\)\n        hidden_states = hidden_states \* torch\.rsqrt\(variance \+ self\.variance_epsilon\)\n", "        hidden_states = torch.tanh(self.steepness * hidden_states)\n"),
        (r"(        self\.variance_epsilon = eps\n)", r"\1        self.steepness = nn.Parameter(torch.full((1,), 0.5))\n"),
    ]),
    # the model
    Edit("scaled embeddings", "embed", [(EMBEDS, r"\n        hidden_states = inputs_embeds * self.config.embedding_multiplier\n")], {"embedding_multiplier": 3.5}),
    Edit("embeddings times root of width", "embed", [(EMBEDS, r"\n        hidden_states = inputs_embeds * torch.tensor(self.config.hidden_size**0.5, dtype=inputs_embeds.dtype)\n")]),
    Edit("norm of embeddings", "embed", [
        (r"(        self\.gradient_checkpointing = False\n)", rf"        self.embed_norm = {NAME}RMSNorm(config.hidden_size, eps=1e-5)\n\1"),
        (EMBEDS, r"\n        hidden_states = self.embed_norm(inputs_embeds)\n"),
    ]),
    Edit("embeddings into each layer", "skip", [
        (r"(        self\.gradient_checkpointing = False\n)", r"        self.resid_lambdas = nn.Parameter(torch.ones(config.num_hidden_layers))\n        self.x0_lambdas = nn.Parameter(torch.zeros(config.num_hidden_layers))\n\1"),
        (LAYERS, "first = hidden_states\n        for i, decoder_layer in enumerate(self.layers):\n            hidden_states = self.resid_lambdas[i] * hidden_states + self.x0_lambdas[i] * first\n"),
    ]),
    Edit("skips from the first half", "skip", [
        (r"(        self\.gradient_checkpointing = False\n)", r"        self.half = config.num_hidden_layers // 2\n        self.skip_weights = nn.Parameter(torch.ones(self.half))\n\1"),
        (LAYERS, "skips = []\n        for i, decoder_layer in enumerate(self.layers):\n            if i < self.half:\n                skips.append(hidden_states)\n            elif skips:\n                hidden_states = hidden_states + self.skip_weights[i - self.half] * skips.pop()\n"),
    ]),
    Edit("sum of all layers", "skip", [
        (LAYERS, "kept = hidden_states\n        for i, decoder_layer in enumerate(self.layers):\n            kept = kept + 0.5 * hidden_states\n"),
        (r"hidden_states = self\.norm\(hidden_states\)", "hidden_states = self.norm(hidden_states + kept)"),
    ]),
    # the head
    Edit("divided logits", "logits", [(LOGITS, r"\1        logits = logits / self.config.logits_scaling\n")], {"logits_scaling": 8.0}),
    Edit("multiplied logits", "logits", [(LOGITS, r"\n        logits = self.lm_head(hidden_states / (self.config.hidden_size / self.config.dim_model_base))\n")], {"dim_model_base": 16}),
    Edit("cap on logits", "logits", [(LOGITS, r"\1        logits = logits.float()\n        if self.config.final_logit_softcapping is not None:\n            logits = self.config.final_logit_softcapping * torch.tanh(logits / self.config.final_logit_softcapping)\n")], {"final_logit_softcapping": 6.0}),
    Edit("sigmoid cap on logits", "logits", [(LOGITS, r"\1        logits = 30 * torch.sigmoid(logits / 7.5)\n")]),
    Edit("normed head", "logits", [(LOGITS, r"\n        logits = nn.functional.linear(hidden_states, nn.functional.normalize(self.lm_head.weight, dim=-1))\n")]),
    Edit("head with bias", "head", [(r"self\.lm_head = nn\.Linear\(config\.hidden_size, config\.vocab_size, bias=False\)", "self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=True)")]),
    Edit("log of probabilities", "logits", [(LOGITS, r"\1        logits = nn.functional.log_softmax(logits, dim=-1)\n")]),
    # routers
    Edit("sigmoid and bias", "router", [
        (ROUTER, r"\1        self.e_score_correction_bias = nn.Buffer(torch.zeros(self.num_experts))\n"),
        (ROUTED, "        router_probs = router_logits.float().sigmoid()\n        _, router_indices = torch.topk(router_probs + self.e_score_correction_bias, self.top_k, dim=-1)\n        router_top_value = router_probs.gather(-1, router_indices)\n"),
    ]),
    Edit("softmax after top-k", "router", [(ROUTED, "        router_top_value, router_indices = torch.topk(router_logits, self.top_k, dim=-1)\n        router_top_value = torch.softmax(router_top_value.float(), dim=-1)\n")]),
    Edit("temperature and root", "router", [(ROUTED, "        router_probs = nn.functional.softplus(router_logits.float()).sqrt()\n        router_top_value, router_indices = router_probs.topk(self.top_k, dim=-1, sorted=False)\n")]),
    Edit("groups of experts", "router", [(ROUTED, "        router_probs = router_logits.float().softmax(-1)\n        grouped = router_probs.view(-1, 2, self.num_experts // 2)\n        best = grouped.topk(2, dim=-1)[0].sum(-1).argmax(-1, keepdim=True)\n        allowed = torch.zeros_like(grouped[..., 0]).scatter_(1, best, 1).unsqueeze(-1).expand_as(grouped).reshape_as(router_probs)\n        router_top_value, router_indices = torch.topk(router_probs.masked_fill(allowed == 0, 0.0), self.top_k, dim=-1)\n")]),
    Edit("threshold of weights", "router", [(ROUTED, "        router_probs = torch.nn.functional.softmax(router_logits, dtype=torch.float, dim=-1)\n        router_top_value, router_indices = torch.topk(router_probs, self.top_k, dim=-1)\n        router_top_value = torch.where(router_top_value > 0.2, router_top_value, torch.zeros_like(router_top_value)) + 1e-3\n")]),
    Edit("gated shared expert", "shared", [
        (r"(class \w+(?:SparseMoeBlock|MoE|MoeBlock)\(nn\.Module\):.*?        self\.experts = [^\n]*\n)", r"\1        self.shared_up = nn.Linear(config.hidden_size, 20, bias=False)\n        self.shared_down = nn.Linear(20, config.hidden_size, bias=False)\n        self.shared_gate = nn.Linear(config.hidden_size, 1, bias=False)\n"),
        (CALL, r"        shared = torch.sigmoid(self.shared_gate(\2)) * self.shared_down(nn.functional.silu(self.shared_up(\2)))\n\1 = self.experts(\2, \3, \4) + shared\n"),
    ]),
)  # fmt: skip


def write(invention: Invention, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {**invention.code, "config.json": json.dumps(invention.config, indent=1)}.items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    write(invent(sys.argv[1], int(sys.argv[2]), only=sys.argv[4:]), Path(sys.argv[3]))
