"""What the original computes, recorded in a process of its own. Only for code that transformers itself ships.

    python -m codegen.verify.reference CONFIG_JSON OUT_DIR
"""

from __future__ import annotations

import json
import shutil
import sys
import zlib
from pathlib import Path


def record(config_file: Path, out: Path) -> None:
    """Build the original with random weights, none of them at its start, and keep checkpoint, ids and logits."""
    import numpy as np
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    raw = json.loads(config_file.read_text())
    config = AutoConfig.for_model(**raw)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval().float()
    stored, seen = set(model.state_dict()), set()
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name not in stored or id(tensor) in seen or not tensor.is_floating_point() or "inv_freq" in name:
                continue
            seen.add(id(tensor))
            noise = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
            matrix = sum(size > 1 for size in tensor.shape) >= 2
            tensor.copy_(noise * min(0.5, max(0.1, 0.8 / tensor.shape[-1] ** 0.5)) if matrix else tensor + 0.2 * noise)
        ids = torch.randint(5, config.get_text_config().vocab_size, (2, 17), generator=torch.Generator().manual_seed(1))
        out.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(out)
        logits = model(input_ids=ids, use_cache=False).logits
    shutil.copy(config_file, out / "config.json")
    np.savez(out / "expected.npz", ids=ids.numpy(), logits=logits.double().numpy())


if __name__ == "__main__":
    record(Path(sys.argv[1]), Path(sys.argv[2]))
