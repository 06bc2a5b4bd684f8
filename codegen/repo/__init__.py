"""Reading the input: a Hub repository, a folder laid out like one, or a config.json. The only reader of input."""

from codegen.repo.checkpoint import index_total
from codegen.repo.config import heads_apart, place_of
from codegen.repo.headers import tensor_bytes
from codegen.repo.load import from_record, load
from codegen.repo.repository import Files, Repository, TensorHeader

__all__ = [
    "Files",
    "Repository",
    "TensorHeader",
    "from_record",
    "heads_apart",
    "index_total",
    "load",
    "place_of",
    "tensor_bytes",
]
