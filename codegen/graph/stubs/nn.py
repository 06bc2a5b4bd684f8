# The layers of torch.nn as the interpreter sees them. This file is parsed like the source of a model, never imported.
import torch
import torch.nn.functional as F
from torch.nn import Parameter


class Module:
    training = False

    def __init__(self, *args, **kwargs):
        pass

    def register_buffer(self, name, tensor, persistent=True):
        _register_buffer(self, name, tensor, persistent)

    def register_parameter(self, name, param):
        _register_parameter(self, name, param)

    def add_module(self, name, module):
        _add_module(self, name, module)

    def register_module(self, name, module):
        _add_module(self, name, module)

    def named_modules(self, memo=None, prefix="", remove_duplicate=True):
        return _named_modules(self, prefix, remove_duplicate)

    def modules(self):
        return [module for _, module in _named_modules(self, "", True)]

    def named_children(self):
        return [(name, module) for name, module in self._modules.items() if module is not None]

    def children(self):
        return [module for module in self._modules.values() if module is not None]

    def named_parameters(self, prefix="", recurse=True, remove_duplicate=True):
        return _named_tensors(self, "parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse=True):
        return iter([p for _, p in _named_tensors(self, "parameters", "", recurse, True)])

    def named_buffers(self, prefix="", recurse=True, remove_duplicate=True):
        return _named_tensors(self, "buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse=True):
        return iter([p for _, p in _named_tensors(self, "buffers", "", recurse, True)])

    def state_dict(self):
        return {name: tensor for name, tensor in _state(self)}

    def get_submodule(self, target):
        module = self
        for name in target.split(".") if target else []:
            module = getattr(module, name)
        return module

    def get_parameter(self, target):
        path, _, name = target.rpartition(".")
        return getattr(self.get_submodule(path), name)

    def get_buffer(self, target):
        return self.get_parameter(target)

    def set_submodule(self, target, module):
        path, _, name = target.rpartition(".")
        setattr(self.get_submodule(path), name, module)

    def apply(self, fn):
        return self

    def requires_grad_(self, requires_grad=True):
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def train(self, mode=True):
        return self

    def eval(self):
        return self

    def to(self, *args, **kwargs):
        return self

    def cuda(self, *args):
        return self

    def cpu(self):
        return self

    def half(self):
        return self

    def float(self):
        return self

    def bfloat16(self):
        return self

    def type(self, dst_type):
        return self

    def extra_repr(self):
        return ""

    def register_forward_hook(self, *args, **kwargs):
        return None

    def register_forward_pre_hook(self, *args, **kwargs):
        return None

    def register_load_state_dict_pre_hook(self, *args, **kwargs):
        return None

    def _register_load_state_dict_pre_hook(self, *args, **kwargs):
        return None

    def register_load_state_dict_post_hook(self, *args, **kwargs):
        return None

    def register_state_dict_pre_hook(self, *args, **kwargs):
        return None

    def register_full_backward_hook(self, *args, **kwargs):
        return None


class Identity(Module):
    def forward(self, input):
        return input


class Linear(Module):
    def __init__(self, in_features, out_features, bias=True, device=None, dtype=None):
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.weight = Parameter(torch.empty((out_features, in_features), dtype=dtype))
        if bias:
            self.bias = Parameter(torch.empty(out_features, dtype=dtype))
        else:
            self.register_parameter("bias", None)

    def reset_parameters(self):
        pass

    def forward(self, input):
        return F.linear(input, self.weight, self.bias)


class Bilinear(Module):
    def __init__(self, in1_features, in2_features, out_features, bias=True, device=None, dtype=None):
        super().__init__()
        self.weight = Parameter(torch.empty((out_features, in1_features, in2_features), dtype=dtype))
        if bias:
            self.bias = Parameter(torch.empty(out_features, dtype=dtype))
        else:
            self.register_parameter("bias", None)

    def forward(self, input1, input2):
        return F.bilinear(input1, input2, self.weight, self.bias)


class Embedding(Module):
    def __init__(
        self,
        num_embeddings,
        embedding_dim,
        padding_idx=None,
        max_norm=None,
        norm_type=2.0,
        scale_grad_by_freq=False,
        sparse=False,
        _weight=None,
        _freeze=False,
        device=None,
        dtype=None,
    ):
        super().__init__()
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = padding_idx
        if max_norm is not None:
            raise NotImplementedError("max_norm")
        self.weight = Parameter(
            torch.empty((num_embeddings, embedding_dim), dtype=dtype) if _weight is None else _weight,
            requires_grad=not _freeze,
        )

    @classmethod
    def from_pretrained(cls, embeddings, freeze=True, padding_idx=None):
        return cls(embeddings.shape[0], embeddings.shape[1], padding_idx, _weight=embeddings, _freeze=freeze)

    def forward(self, input):
        return F.embedding(input, self.weight)


class EmbeddingBag(Module):
    def __init__(self, num_embeddings, embedding_dim, **kwargs):
        super().__init__()
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.weight = Parameter(torch.empty((num_embeddings, embedding_dim)))


class LayerNorm(Module):
    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True, bias=True, device=None, dtype=None):
        super().__init__()
        self.normalized_shape = _shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        if elementwise_affine:
            self.weight = Parameter(torch.empty(self.normalized_shape, dtype=dtype))
            if bias:
                self.bias = Parameter(torch.empty(self.normalized_shape, dtype=dtype))
            else:
                self.register_parameter("bias", None)
        else:
            self.register_parameter("weight", None)
            self.register_parameter("bias", None)

    def forward(self, input):
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)


class RMSNorm(Module):
    def __init__(self, normalized_shape, eps=None, elementwise_affine=True, device=None, dtype=None):
        super().__init__()
        self.normalized_shape = _shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        if elementwise_affine:
            self.weight = Parameter(torch.empty(self.normalized_shape, dtype=dtype))
        else:
            self.register_parameter("weight", None)

    def forward(self, input):
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)


class GroupNorm(Module):
    def __init__(self, num_groups, num_channels, eps=1e-5, affine=True, device=None, dtype=None):
        super().__init__()
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        if affine:
            self.weight = Parameter(torch.empty(num_channels, dtype=dtype))
            self.bias = Parameter(torch.empty(num_channels, dtype=dtype))
        else:
            self.register_parameter("weight", None)
            self.register_parameter("bias", None)

    def forward(self, input):
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


class _BatchNorm(Module):
    def __init__(
        self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True, device=None, dtype=None
    ):
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        if affine:
            self.weight = Parameter(torch.empty(num_features, dtype=dtype))
            self.bias = Parameter(torch.empty(num_features, dtype=dtype))
        else:
            self.register_parameter("weight", None)
            self.register_parameter("bias", None)
        if track_running_stats:
            self.register_buffer("running_mean", torch.zeros(num_features))
            self.register_buffer("running_var", torch.ones(num_features))
            self.register_buffer("num_batches_tracked", torch.tensor(0, dtype=torch.long))

    def forward(self, input):
        return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)


class BatchNorm1d(_BatchNorm):
    pass


class BatchNorm2d(_BatchNorm):
    pass


class BatchNorm3d(_BatchNorm):
    pass


class SyncBatchNorm(_BatchNorm):
    pass


class InstanceNorm2d(Module):
    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=False, track_running_stats=False):
        super().__init__()
        self.num_features = num_features
        self.eps = eps


class _Conv(Module):
    rank = 1
    transposed = False

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        bias=True,
        padding_mode="zeros",
        device=None,
        dtype=None,
    ):
        super().__init__()
        self._make(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, dtype)

    def _make(
        self, in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, dtype
    ):
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = _ntuple(kernel_size, self.rank)
        self.stride = _ntuple(stride, self.rank)
        self.padding = padding if _is_text(padding) else _ntuple(padding, self.rank)
        self.dilation = _ntuple(dilation, self.rank)
        self.groups = groups
        self.padding_mode = padding_mode
        if self.transposed:
            self.weight = Parameter(torch.empty((in_channels, out_channels // groups, *self.kernel_size), dtype=dtype))
        else:
            self.weight = Parameter(torch.empty((out_channels, in_channels // groups, *self.kernel_size), dtype=dtype))
        if bias:
            self.bias = Parameter(torch.empty(out_channels, dtype=dtype))
        else:
            self.register_parameter("bias", None)


class Conv1d(_Conv):
    def forward(self, input):
        return F.conv1d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Conv2d(_Conv):
    rank = 2

    def forward(self, input):
        return F.conv2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Conv3d(_Conv):
    rank = 3

    def forward(self, input):
        return F.conv3d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class _ConvTransposed(_Conv):
    transposed = True

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        output_padding=0,
        groups=1,
        bias=True,
        dilation=1,
        padding_mode="zeros",
        device=None,
        dtype=None,
    ):
        Module.__init__(self)
        self.output_padding = _ntuple(output_padding, self.rank)
        self._make(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, dtype)


class ConvTranspose1d(_ConvTransposed):
    def forward(self, input):
        return F.conv_transpose1d(
            input, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation
        )


class ConvTranspose2d(_ConvTransposed):
    rank = 2

    def forward(self, input):
        return F.conv_transpose2d(
            input, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation
        )


class ConvTranspose3d(_ConvTransposed):
    rank = 3


class MultiheadAttention(Module):
    def __init__(
        self,
        embed_dim,
        num_heads,
        dropout=0.0,
        bias=True,
        add_bias_kv=False,
        add_zero_attn=False,
        kdim=None,
        vdim=None,
        batch_first=False,
        device=None,
        dtype=None,
    ):
        super().__init__()
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.head_dim = embed_dim // num_heads
        self.batch_first = batch_first
        self._qkv_same_embed_dim = kdim is None and vdim is None
        if self._qkv_same_embed_dim:
            self.in_proj_weight = Parameter(torch.empty((3 * embed_dim, embed_dim)))
            self.register_parameter("q_proj_weight", None)
            self.register_parameter("k_proj_weight", None)
            self.register_parameter("v_proj_weight", None)
        else:
            self.q_proj_weight = Parameter(torch.empty((embed_dim, embed_dim)))
            self.k_proj_weight = Parameter(torch.empty((embed_dim, embed_dim if kdim is None else kdim)))
            self.v_proj_weight = Parameter(torch.empty((embed_dim, embed_dim if vdim is None else vdim)))
            self.register_parameter("in_proj_weight", None)
        if bias:
            self.in_proj_bias = Parameter(torch.empty(3 * embed_dim))
        else:
            self.register_parameter("in_proj_bias", None)
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias=bias)
        if add_bias_kv:
            self.bias_k = Parameter(torch.empty((1, 1, embed_dim)))
            self.bias_v = Parameter(torch.empty((1, 1, embed_dim)))
        else:
            self.bias_k = self.bias_v = None


class NonDynamicallyQuantizableLinear(Linear):
    pass


class _Recurrent(Module):
    gates = 1

    def __init__(
        self,
        input_size,
        hidden_size,
        num_layers=1,
        bias=True,
        batch_first=False,
        dropout=0.0,
        bidirectional=False,
        proj_size=0,
    ):
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.batch_first = batch_first
        directions = 2 if bidirectional else 1
        for layer in range(num_layers):
            for suffix in ("", "_reverse")[:directions]:
                size = input_size if layer == 0 else hidden_size * directions
                setattr(self, f"weight_ih_l{layer}{suffix}", Parameter(torch.empty((self.gates * hidden_size, size))))
                setattr(
                    self, f"weight_hh_l{layer}{suffix}", Parameter(torch.empty((self.gates * hidden_size, hidden_size)))
                )
                if bias:
                    setattr(self, f"bias_ih_l{layer}{suffix}", Parameter(torch.empty(self.gates * hidden_size)))
                    setattr(self, f"bias_hh_l{layer}{suffix}", Parameter(torch.empty(self.gates * hidden_size)))


class RNN(_Recurrent):
    pass


class LSTM(_Recurrent):
    gates = 4


class GRU(_Recurrent):
    gates = 3


class Dropout(Module):
    def __init__(self, p=0.5, inplace=False):
        super().__init__()
        self.p = p
        self.inplace = inplace

    def forward(self, input):
        return input


class Dropout1d(Dropout):
    pass


class Dropout2d(Dropout):
    pass


class AlphaDropout(Dropout):
    pass


class ReLU(Module):
    def __init__(self, inplace=False):
        super().__init__()

    def forward(self, input):
        return F.relu(input)


class ReLU6(Module):
    def __init__(self, inplace=False):
        super().__init__()

    def forward(self, input):
        return F.relu6(input)


class GELU(Module):
    def __init__(self, approximate="none"):
        super().__init__()
        self.approximate = approximate

    def forward(self, input):
        return F.gelu(input, approximate=self.approximate)


class SiLU(Module):
    def __init__(self, inplace=False):
        super().__init__()

    def forward(self, input):
        return F.silu(input)


class Mish(Module):
    def __init__(self, inplace=False):
        super().__init__()

    def forward(self, input):
        return F.mish(input)


class Sigmoid(Module):
    def forward(self, input):
        return torch.sigmoid(input)


class Tanh(Module):
    def forward(self, input):
        return torch.tanh(input)


class Softplus(Module):
    def __init__(self, beta=1.0, threshold=20.0):
        super().__init__()
        self.beta = beta
        self.threshold = threshold

    def forward(self, input):
        return F.softplus(input, self.beta, self.threshold)


class Hardtanh(Module):
    def __init__(self, min_val=-1.0, max_val=1.0, inplace=False):
        super().__init__()
        self.min_val = min_val
        self.max_val = max_val

    def forward(self, input):
        return torch.clamp(input, self.min_val, self.max_val)


class Hardswish(Module):
    def __init__(self, inplace=False):
        super().__init__()

    def forward(self, input):
        return F.hardswish(input)


class Hardsigmoid(Module):
    def __init__(self, inplace=False):
        super().__init__()

    def forward(self, input):
        return F.hardsigmoid(input)


class LeakyReLU(Module):
    def __init__(self, negative_slope=0.01, inplace=False):
        super().__init__()
        self.negative_slope = negative_slope

    def forward(self, input):
        return F.leaky_relu(input, self.negative_slope)


class ELU(Module):
    def __init__(self, alpha=1.0, inplace=False):
        super().__init__()
        self.alpha = alpha

    def forward(self, input):
        return F.elu(input, self.alpha)


class PReLU(Module):
    def __init__(self, num_parameters=1, init=0.25):
        super().__init__()
        self.weight = Parameter(torch.empty(num_parameters))

    def forward(self, input):
        return F.prelu(input, self.weight)


class LogSigmoid(Module):
    def forward(self, input):
        return F.logsigmoid(input)


class Softmax(Module):
    def __init__(self, dim=None):
        super().__init__()
        self.dim = dim

    def forward(self, input):
        return F.softmax(input, dim=self.dim)


class LogSoftmax(Module):
    def __init__(self, dim=None):
        super().__init__()
        self.dim = dim

    def forward(self, input):
        return F.log_softmax(input, dim=self.dim)


class GLU(Module):
    def __init__(self, dim=-1):
        super().__init__()
        self.dim = dim

    def forward(self, input):
        return F.glu(input, self.dim)


class Flatten(Module):
    def __init__(self, start_dim=1, end_dim=-1):
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input):
        return input.flatten(self.start_dim, self.end_dim)


class Unflatten(Module):
    def __init__(self, dim, unflattened_size):
        super().__init__()
        self.dim = dim
        self.unflattened_size = unflattened_size

    def forward(self, input):
        return input.unflatten(self.dim, self.unflattened_size)


class Unfold(Module):
    def __init__(self, kernel_size, dilation=1, padding=0, stride=1):
        super().__init__()
        self.kernel_size = kernel_size


class Fold(Module):
    def __init__(self, output_size, kernel_size, dilation=1, padding=0, stride=1):
        super().__init__()
        self.kernel_size = kernel_size


class _Pool(Module):
    def __init__(self, kernel_size=None, stride=None, padding=0, *args, **kwargs):
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding


class MaxPool1d(_Pool):
    pass


class MaxPool2d(_Pool):
    pass


class AvgPool1d(_Pool):
    pass


class AvgPool2d(_Pool):
    pass


class AvgPool3d(_Pool):
    pass


class AdaptiveAvgPool1d(_Pool):
    pass


class AdaptiveAvgPool2d(_Pool):
    pass


class AdaptiveMaxPool1d(_Pool):
    pass


class AdaptiveMaxPool2d(_Pool):
    pass


class ZeroPad1d(Module):
    sides = 2

    def __init__(self, padding):
        super().__init__()
        self.padding = _ntuple(padding, self.sides)

    def forward(self, input):
        return F.pad(input, self.padding)


class ZeroPad2d(ZeroPad1d):
    sides = 4


class ConstantPad1d(Module):
    def __init__(self, padding, value):
        super().__init__()
        self.padding = padding
        self.value = value

    def forward(self, input):
        return F.pad(input, self.padding, value=self.value)


class _ModePad(ZeroPad1d):
    mode = "reflect"

    def forward(self, input):
        return F.pad(input, self.padding, self.mode)


class ConstantPad2d(ConstantPad1d):
    pass


class ReflectionPad1d(_ModePad):
    pass


class ReflectionPad2d(_ModePad):
    sides = 4


class ReplicationPad1d(_ModePad):
    mode = "replicate"


class Upsample(Module):
    def __init__(self, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None):
        super().__init__()
        self.size = size
        self.scale_factor = scale_factor
        self.mode = mode


class PixelShuffle(Module):
    def __init__(self, upscale_factor):
        super().__init__()
        self.upscale_factor = upscale_factor


class PixelUnshuffle(Module):
    def __init__(self, downscale_factor):
        super().__init__()
        self.downscale_factor = downscale_factor


class CosineSimilarity(Module):
    def __init__(self, dim=1, eps=1e-8):
        super().__init__()
        self.dim = dim
        self.eps = eps


class _Loss(Module):
    def __init__(self, *args, **kwargs):
        super().__init__()


class CrossEntropyLoss(_Loss):
    pass


class MSELoss(_Loss):
    pass


class BCEWithLogitsLoss(_Loss):
    pass


class NLLLoss(_Loss):
    pass


class L1Loss(_Loss):
    pass


class SmoothL1Loss(_Loss):
    pass


class KLDivLoss(_Loss):
    pass


class HuberLoss(_Loss):
    pass


class Sequential(Module):
    def __init__(self, *args):
        super().__init__()
        if len(args) == 1 and _is_dict(args[0]):
            for name, module in args[0].items():
                _add_module(self, name, module)
        else:
            for index, module in enumerate(args):
                _add_module(self, str(index), module)

    def append(self, module):
        _add_module(self, str(len(self._modules)), module)
        return self

    def __len__(self):
        return len(self._modules)

    def __iter__(self):
        return iter(self._modules.values())

    def __getitem__(self, index):
        return _module_item(self, index)

    def forward(self, input):
        for module in self:
            input = module(input)
        return input


class ModuleList(Module):
    def __init__(self, modules=None):
        super().__init__()
        if modules is not None:
            self.extend(modules)

    def append(self, module):
        _add_module(self, str(len(self._modules)), module)
        return self

    def extend(self, modules):
        for module in modules:
            _add_module(self, str(len(self._modules)), module)
        return self

    def insert(self, index, module):
        items = list(self._modules.values())
        items.insert(index, module)
        for position, item in enumerate(items):
            _add_module(self, str(position), item)

    def pop(self, index):
        items = list(self._modules.values())
        item = items.pop(index)
        self._modules.clear()
        for position, module in enumerate(items):
            _add_module(self, str(position), module)
        return item

    def __len__(self):
        return len(self._modules)

    def __iter__(self):
        return iter(self._modules.values())

    def __getitem__(self, index):
        return _module_item(self, index)

    def __setitem__(self, index, module):
        _add_module(self, str(index if index >= 0 else len(self._modules) + index), module)

    def __delitem__(self, index):
        items = list(self._modules.values())
        del items[index]
        self._modules.clear()
        for position, module in enumerate(items):
            _add_module(self, str(position), module)

    def __add__(self, other):
        return ModuleList(list(self) + list(other))

    def __iadd__(self, other):
        return self.extend(other)

    def __contains__(self, module):
        for item in self._modules.values():
            if item is module:
                return True
        return False


class ModuleDict(Module):
    def __init__(self, modules=None):
        super().__init__()
        if modules is not None:
            self.update(modules)

    def update(self, modules):
        for name, module in modules.items() if hasattr(modules, "items") else modules:
            _add_module(self, name, module)

    def __getitem__(self, key):
        return self._modules[key]

    def __setitem__(self, key, module):
        _add_module(self, key, module)

    def __delitem__(self, key):
        del self._modules[key]

    def __len__(self):
        return len(self._modules)

    def __iter__(self):
        return iter(self._modules)

    def __contains__(self, key):
        return key in self._modules

    def get(self, key, default=None):
        return self._modules[key] if key in self._modules else default

    def pop(self, key):
        return self._modules.pop(key)

    def keys(self):
        return self._modules.keys()

    def values(self):
        return self._modules.values()

    def items(self):
        return self._modules.items()


class ParameterList(Module):
    def __init__(self, values=None):
        super().__init__()
        self._size = 0
        if values is not None:
            for value in values:
                self.append(value)

    def append(self, value):
        setattr(self, str(self._size), Parameter(value) if not isinstance(value, Parameter) else value)
        self._size = self._size + 1
        return self

    def extend(self, values):
        for value in values:
            self.append(value)
        return self

    def __len__(self):
        return self._size

    def __getitem__(self, index):
        return getattr(self, str(index if index >= 0 else self._size + index))

    def __iter__(self):
        return iter([getattr(self, str(index)) for index in range(self._size)])


class ParameterDict(Module):
    def __init__(self, parameters=None):
        super().__init__()
        if parameters is not None:
            for name, value in parameters.items():
                setattr(self, name, value if isinstance(value, Parameter) else Parameter(value))

    def __getitem__(self, key):
        return getattr(self, key)

    def __setitem__(self, key, value):
        setattr(self, key, value if isinstance(value, Parameter) else Parameter(value))

    def __contains__(self, key):
        return key in self._parameters

    def keys(self):
        return self._parameters.keys()

    def values(self):
        return self._parameters.values()

    def items(self):
        return self._parameters.items()
