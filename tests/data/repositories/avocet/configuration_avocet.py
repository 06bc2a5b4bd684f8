import dataclasses
from enum import StrEnum

from transformers import PretrainedConfig


class Bias(StrEnum):
    NONE = "none"
    DISTANCE = "distance"


@dataclasses.dataclass
class Sizes:
    width: int = 40
    heads: int = 4
    depth: int = 3
    room: int = 48
    bias: Bias = Bias.DISTANCE

    def asdict(self):
        return dataclasses.asdict(self)


class AvocetConfig(PretrainedConfig):
    model_type = "avocet"

    def __init__(self, vocab_size=97, tie_word_embeddings=False, **kwargs):
        known = {field.name for field in dataclasses.fields(Sizes)}
        sizes = Sizes(**{key: kwargs.pop(key) for key in list(kwargs) if key in known})
        for key, value in sizes.asdict().items():
            setattr(self, key, value)
        self.vocab_size = vocab_size
        super().__init__(tie_word_embeddings=tie_word_embeddings, **kwargs)

    @property
    def sizes(self):
        return Sizes(width=self.width, heads=self.heads, depth=self.depth, room=self.room, bias=Bias(self.bias))
