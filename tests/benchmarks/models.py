"""Speed and memory of the emitted models against transformers, side by side on one core. See README.md."""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BASE: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "max_position_embeddings": 4096,
    "attention_bias": False,
    "use_sliding_window": False,
    "tie_word_embeddings": True,
}
SIZES: dict[str, dict[str, Any]] = {
    "100m": dict(
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_key_value_heads=4,
        head_dim=64,
        intermediate_size=2048,
        vocab_size=32000,
    ),
    "width-64": dict(
        hidden_size=64,
        num_hidden_layers=12,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        intermediate_size=128,
        vocab_size=512,
    ),
}
EXPERTS: dict[str, Any] = BASE | dict(
    architectures=["Qwen3MoeForCausalLM"],
    model_type="qwen3_moe",
    hidden_size=512,
    num_hidden_layers=1,
    num_attention_heads=8,
    num_key_value_heads=2,
    head_dim=64,
    intermediate_size=1024,
    moe_intermediate_size=1024,
    num_experts=64,
    num_experts_per_tok=2,
    norm_topk_prob=True,
    vocab_size=512,
)
ROUTED = 2048  # tokens
PROMPT, NEW = 16, 128
PREFILL = (1, 512)
ROUNDS = 3


def cpu(function: Callable[[], Any], repeat: int = 3) -> float:
    """Median CPU seconds of a call after one to warm up."""
    function()
    taken = []
    for _ in range(repeat):
        start = time.process_time()
        function()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def memory() -> dict[str, float]:
    """MB of this process: resident at the peak, mapped files among it; and its own now."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    own = int(status["RssAnon"].split()[0]) / 1024
    return {"memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "own memory": own}


def operations(sizes: dict[str, Any]) -> float:
    """Of reading a prompt for the logits of its last token; attention is causal."""
    width, heads, tokens = sizes["hidden_size"], sizes["num_attention_heads"] * sizes["head_dim"], PREFILL[1]
    keys = sizes["num_key_value_heads"] * sizes["head_dim"]
    layer = 2 * width * (2 * heads + 2 * keys + 3 * sizes["intermediate_size"]) + 2 * tokens * heads
    return PREFILL[0] * (tokens * layer * sizes["num_hidden_layers"] + 2 * width * sizes["vocab_size"])


def bandwidth() -> float:
    """Bytes per CPU second of reading 1 GiB."""
    import numpy as np

    data = np.ones(2**28, np.float32)
    return data.nbytes / cpu(lambda: data.sum())


def transformers_model(folder: Path, sizes: dict[str, Any]) -> dict[str, float]:
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(
        folder / "checkpoint", dtype=torch.float32, attn_implementation="sdpa"
    ).eval()
    ids = torch.randint(5, sizes["vocab_size"], PREFILL)
    prompt = ids[:, :PROMPT]
    settings = dict(max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False, pad_token_id=0)
    with torch.no_grad():
        out = {
            "prefill last": cpu(lambda: model(ids, logits_to_keep=1)),
            "prefill full": cpu(lambda: model(ids)),
            "generate": cpu(lambda: model.generate(prompt, attention_mask=torch.ones_like(prompt), **settings)),
        }
    return out | memory()


def emitted_torch(folder: Path, sizes: dict[str, Any]) -> dict[str, float]:
    import torch

    torch.set_num_threads(1)
    sys.path.insert(0, str(folder))
    from package.torch_model import Model  # type: ignore[import-not-found]

    model = Model.from_pretrained(folder / "checkpoint", dtype=torch.float32).eval()
    ids = torch.randint(5, sizes["vocab_size"], PREFILL)
    with torch.no_grad():
        out = {
            "prefill last": cpu(lambda: model(ids, last_only=True)),
            "prefill full": cpu(lambda: model(ids)),
            "generate": cpu(lambda: model.generate(ids[:, :PROMPT], NEW)),
        }
        out |= memory()
        x, w = (
            torch.randn(PREFILL[1], sizes["hidden_size"]),
            torch.randn(sizes["intermediate_size"], sizes["hidden_size"]),
        )
        out["product"] = cpu(lambda: torch.nn.functional.linear(x, w), 9) / (2 * w.numel() * len(x))
    return out


def emitted_flax(folder: Path, sizes: dict[str, Any]) -> dict[str, float]:
    import jax
    import jax.numpy as jnp
    from flax import nnx

    sys.path.insert(0, str(folder))
    from package.flax_model import Model  # type: ignore[import-not-found]

    model = Model.from_pretrained(folder / "checkpoint", dtype=jnp.float32)
    ids = jax.random.randint(jax.random.key(0), PREFILL, 5, sizes["vocab_size"])
    graphdef, params = nnx.split(model)
    last = jax.jit(lambda params, ids: nnx.merge(graphdef, params)(ids, last_only=True))
    full = jax.jit(lambda params, ids: nnx.merge(graphdef, params)(ids))
    out = {
        "prefill last": cpu(lambda: last(params, ids).block_until_ready()),
        "prefill full": cpu(lambda: full(params, ids).block_until_ready()),
        "generate": cpu(lambda: jax.block_until_ready(model.generate(ids[:, :PROMPT], NEW))),
    }
    out |= memory()
    x = jnp.ones((PREFILL[1], sizes["hidden_size"]))
    w = jnp.ones((sizes["intermediate_size"], sizes["hidden_size"]))
    product = jax.jit(lambda x, w: jnp.einsum("TD,FD->TF", x, w))
    out["product"] = cpu(lambda: product(x, w).block_until_ready(), 9) / (2 * w.size * len(x))
    return out


def compile_times(folder: Path, sizes: dict[str, Any]) -> dict[str, float]:
    """Seconds of CPU to lower and compile one decoding step of a scanned model, and the length of its program."""
    import dataclasses

    import jax
    import jax.numpy as jnp
    from flax import nnx

    sys.path.insert(0, str(folder))
    from package.config import Config  # type: ignore[import-not-found]
    from package.flax_model import Model  # type: ignore[import-not-found]

    out: dict[str, float] = {}
    for layers in (2, 2, 36):  # the first warms the tracer up
        cfg = dataclasses.replace(Config.from_hf(folder / "checkpoint"), num_hidden_layers=layers)
        model = nnx.eval_shape(lambda cfg=cfg: Model(cfg, dtype=jnp.float32, scan_layers=True, rngs=nnx.Rngs(0)))
        graphdef, params = nnx.split(model)
        cache = jax.eval_shape(lambda p, g=graphdef: nnx.merge(g, p).init_cache(1, 64), params)
        step = jax.jit(lambda p, ids, cache, g=graphdef: nnx.merge(g, p).step(ids, cache))
        start = time.process_time()
        lowered = step.lower(params, jax.ShapeDtypeStruct((1, 1), jnp.int32), cache)
        lowered.compile()
        out[f"compile {layers}"] = time.process_time() - start
        out[f"text {layers}"] = float(len(lowered.as_text()))
    return out


def experts_torch(folder: Path, sizes: dict[str, Any]) -> dict[str, float]:
    """Seconds of CPU of a layer of experts, and of its products alone: in one piece, and expert by expert, evenly."""
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(1)
    sys.path.insert(0, str(folder))
    from package.torch_model import Model  # type: ignore[import-not-found]

    layer = Model.from_pretrained(folder / "checkpoint", dtype=torch.float32).eval().model.layers[0].mlp
    into, out = layer.experts.gate_up_proj, layer.experts.down_proj
    x = torch.randn(1, ROUTED, sizes["hidden_size"])
    routed = torch.randn(ROUTED * sizes["num_experts_per_tok"], sizes["hidden_size"])
    inner = torch.randn(len(routed), sizes["moe_intermediate_size"])

    def apart() -> None:
        for w, v, rows, more in zip(into, out, routed.chunk(len(into)), inner.chunk(len(into)), strict=True):
            F.linear(rows, w), F.linear(more, v)

    with torch.no_grad():
        return {
            "layer": cpu(lambda: layer(x)),
            "one token": cpu(lambda: layer(x[:, :1])),
            "products": cpu(lambda: (F.linear(routed, into[0]), F.linear(inner, out[0]))),
            "products apart": cpu(apart),
        }


def experts_flax(folder: Path, sizes: dict[str, Any]) -> dict[str, float]:
    """The same in Flax; apart, the products are a batch over experts."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    sys.path.insert(0, str(folder))
    from package.flax_model import Model  # type: ignore[import-not-found]

    layer = Model.from_pretrained(folder / "checkpoint", dtype=jnp.float32).model.layers[0].mlp
    graphdef, params = nnx.split(layer)
    into, out = layer.experts.gate_up_proj[...], layer.experts.down_proj[...]
    key = jax.random.key(0)
    x = jax.random.normal(key, (1, ROUTED, sizes["hidden_size"]))
    routed = jax.random.normal(key, (ROUTED * sizes["num_experts_per_tok"], sizes["hidden_size"]))
    inner = jax.random.normal(key, (len(routed), sizes["moe_intermediate_size"]))

    run = jax.jit(lambda params, x: nnx.merge(graphdef, params)(x))
    whole = jax.jit(lambda x, y, w, v: (jnp.einsum("ND,FD->NF", x, w), jnp.einsum("NF,DF->ND", y, v)))
    apart = jax.jit(
        lambda x, y, w, v: (
            jnp.einsum("END,EFD->ENF", x.reshape(len(w), -1, x.shape[-1]), w),
            jnp.einsum("ENF,EDF->END", y.reshape(len(w), -1, y.shape[-1]), v),
        )
    )
    return {
        "layer": cpu(lambda: jax.block_until_ready(run(params, x))),
        "one token": cpu(lambda: jax.block_until_ready(run(params, x[:, :1]))),
        "products": cpu(lambda: jax.block_until_ready(whole(routed, inner, into[0], out[0]))),
        "products apart": cpu(lambda: jax.block_until_ready(apart(routed, inner, into, out))),
    }


CONTESTANTS = {
    "transformers": transformers_model,
    "torch": emitted_torch,
    "flax": emitted_flax,
    "compile": compile_times,
    "experts torch": experts_torch,
    "experts flax": experts_flax,
}


def prepare(folder: Path, sizes: dict[str, Any]) -> None:
    """A checkpoint with random weights and the package for it."""
    config = sizes if "model_type" in sizes else BASE | sizes
    (folder / "config.json").write_text(json.dumps(config))
    code = (
        "import json, sys, torch; from transformers import AutoConfig, AutoModelForCausalLM; "
        "model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**json.load(open(sys.argv[1])))); "
        "model.save_pretrained(sys.argv[2])"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(folder / "config.json"), str(folder / "checkpoint")],
        check=True,
        capture_output=True,
    )
    (folder / "checkpoint" / "config.json").write_text(json.dumps(config))
    subprocess.run(
        [sys.executable, "-m", "codegen", "from-hf", str(folder / "checkpoint"), "--out", str(folder / "package")],
        check=True,
    )


def contest(folder: Path, size: str, names: list[str]) -> dict[str, dict[str, float]]:
    """Medians over rounds, each contestant in turn."""
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(ROUNDS):
        for name in names:
            environment = {
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
            }
            done = subprocess.run(
                [sys.executable, __file__, size, "--contestant", name, "--folder", str(folder)],
                capture_output=True,
                text=True,
                check=True,
                env=environment,
            )
            rows[name].append(json.loads(done.stdout.splitlines()[-1]))
    return {
        name: {key: statistics.median(row[key] for row in found) for key in found[0]} for name, found in rows.items()
    }


def report(size: str, folder: Path, found: dict[str, dict[str, float]]) -> None:
    theirs = found["transformers"]
    limit, weights = bandwidth(), (folder / "checkpoint/model.safetensors").stat().st_size
    for name in ("torch", "flax"):
        ours = found[name]
        ratios = "  ".join(
            f"{key} {theirs[key] / ours[key]:.2f}x" for key in ("prefill last", "prefill full", "generate")
        )
        print(f"{size} {name}: {ratios}  memory {ours['memory'] / theirs['memory']:.2f} of transformers")
        computed = operations(SIZES[size]) * ours["product"] / ours["prefill last"]
        read = NEW / ours["generate"] * weights / limit
        print(f"{size} {name}: prefill at {computed:.0%} of a bare product, generation at {read:.0%} of the bandwidth")
    for key in ("memory", "own memory"):
        print(
            f"{size} flax {key}: {found['flax'][key]:.0f} MB, {found['flax'][key] / found['torch'][key]:.2f} of torch"
        )
    print(f"load of the machine {os.getloadavg()[0]:.1f}; 1 where nothing else runs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("size", choices=[*SIZES, "compile", "experts"])
    parser.add_argument("--contestant", choices=CONTESTANTS)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    sizes = EXPERTS if options.size == "experts" else SIZES["width-64" if options.size == "compile" else options.size]
    if options.contestant:
        print(json.dumps(CONTESTANTS[options.contestant](options.folder, sizes)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, sizes)
        if options.size == "compile":
            found = contest(folder, options.size, ["compile"])["compile"]
            print(
                f"compile of 36 layers: {found['compile 36'] / found['compile 2']:.2f} of 2; text {found['text 36'] / found['text 2']:.2f}"
            )
            return
        if options.size == "experts":
            for name, row in contest(folder, options.size, ["experts torch", "experts flax"]).items():
                print(
                    f"{name}: {row['layer'] / row['products']:.2f} of its products in one piece, "
                    f"{row['layer'] / row['products apart']:.2f} of them expert by expert; "
                    f"one token {row['one token'] / row['layer']:.4f} of {ROUTED}"
                )
            return
        found = contest(folder, options.size, ["transformers", "torch", "flax"])
        report(options.size, folder, found)


if __name__ == "__main__":
    main()
