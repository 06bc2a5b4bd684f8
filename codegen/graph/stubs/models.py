# The base classes of models as the interpreter sees them. This file is parsed like the source of a model, never imported.
import torch
from torch import nn
from transformers.modeling_utils import EmbeddingAccessMixin, ModuleUtilsMixin


class PushToHubMixin:
    pass


class PeftAdapterMixin:
    pass


class GenerationMixin:
    pass


class ContinuousMixin:
    pass


class PreTrainedModel(nn.Module, EmbeddingAccessMixin, ModuleUtilsMixin, PushToHubMixin, PeftAdapterMixin):
    config_class = None
    base_model_prefix = ""
    main_input_name = "input_ids"
    model_tags = None
    input_modalities = "text"
    gradient_checkpointing = False
    is_gradient_checkpointing = False
    supports_gradient_checkpointing = False
    is_parallelizable = False
    _auto_class = None
    _no_split_modules = None
    _skip_keys_device_placement = None
    _keep_in_fp32_modules = None
    _keep_in_fp32_modules_strict = None
    _keys_to_ignore_on_load_unexpected = None
    _keys_to_ignore_on_load_missing = None
    _keys_to_ignore_on_save = None
    _tied_weights_keys = None
    _supports_flash_attn = False
    _supports_sdpa = False
    _supports_flex_attn = False
    _supports_attention_backend = False
    _can_compile_fullgraph = False
    _can_record_outputs = None
    _is_stateful = False
    _is_hf_initialized = False
    hf_quantizer = None
    generation_config = None
    warnings_issued = {}

    def __init__(self, config, *inputs, **kwargs):
        super().__init__()
        self.config = config
        self.name_or_path = config.name_or_path
        self.kernel_config = None
        config._attn_implementation_internal = "eager"
        config._experts_implementation_internal = "eager"

    def post_init(self):
        _tie(self)

    @classmethod
    def _from_config(cls, config, **kwargs):
        return cls(config)

    @classmethod
    def from_config(cls, config, **kwargs):
        return cls(config)

    @property
    def base_model(self):
        return getattr(self, self.base_model_prefix, self)

    @property
    def dtype(self):
        return torch.get_default_dtype()

    @property
    def device(self):
        return torch.device("cpu")

    @classmethod
    def can_generate(cls):
        return False

    def tie_weights(self, *args, **kwargs):
        pass

    def init_weights(self):
        pass

    def _init_weights(self, module):
        pass

    def _backward_compatibility_gradient_checkpointing(self):
        pass

    def set_attn_implementation(self, implementation):
        pass

    def get_correct_attn_implementation(self, *args, **kwargs):
        return "eager"

    def warn_if_padding_and_no_attention_mask(self, input_ids, attention_mask):
        pass

    def _get_resized_embeddings(self, *args, **kwargs):
        raise NotImplementedError("resize")


class ModelOutput:
    def to_tuple(self):
        return tuple([value for value in self.__dict__.values() if value is not None])

    def __getitem__(self, key):
        if isinstance(key, str):
            return self.__dict__[key]
        return self.to_tuple()[key]

    def __setitem__(self, key, value):
        setattr(self, key, value)

    def __contains__(self, key):
        return key in self.__dict__ and self.__dict__[key] is not None

    def __len__(self):
        return len(self.to_tuple())

    def __iter__(self):
        return iter(self.keys())

    def keys(self):
        return [name for name, value in self.__dict__.items() if value is not None]

    def values(self):
        return list(self.to_tuple())

    def items(self):
        return [(name, value) for name, value in self.__dict__.items() if value is not None]

    def get(self, key, default=None):
        value = self.__dict__.get(key)
        return default if value is None else value

    def pop(self, key, default=None):
        value = self.__dict__.get(key, default)
        self.__dict__[key] = None
        return value

    def update(self, other):
        for name, value in other.items():
            setattr(self, name, value)
