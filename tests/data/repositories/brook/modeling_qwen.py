"""One packed projection, angles whose base follows the length, queries that grow with the logarithm of their place."""

import math
from typing import List, Optional, Tuple, Union

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.utils import logging

try:
    from einops import rearrange
except ImportError:
    rearrange = None

from .configuration_qwen import QWenConfig

logger = logging.get_logger(__name__)

SUPPORT_CUDA = torch.cuda.is_available()
SUPPORT_BF16 = SUPPORT_CUDA and torch.cuda.is_bf16_supported()
fast_rotary = None
fast_norm = None
fast_attention = None


def _load_fast_kernels(with_attention):
    global fast_rotary, fast_norm, fast_attention
    try:
        from flash_attn.layers.rotary import apply_rotary_emb_func as found

        fast_rotary = found
    except ImportError:
        logger.warning("rotary kernels are not installed")
    try:
        from flash_attn.ops.rms_norm import rms_norm as found

        fast_norm = found
    except ImportError:
        logger.warning("norm kernels are not installed")
    if with_attention:
        try:
            import flash_attn

            fast_attention = flash_attn.flash_attn_interface.flash_attn_unpadded_func
        except ImportError:
            logger.warning("attention kernels are not installed")


class RunningNorm(nn.Module):
    def __init__(self, dim: int, eps: float = 1e-6):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def _unit(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)

    def forward(self, x):
        if fast_norm is not None and x.is_cuda:
            return fast_norm(x, self.weight, self.eps)
        return self._unit(x.float()).type_as(x) * self.weight


class GrowingAngles(nn.Module):
    """A table of angles that is made again when more places are asked for, or another base."""

    def __init__(self, dim, base=10000):
        super().__init__()
        self.dim = dim
        self.base = base
        self.inv_freq = 1.0 / (base ** (torch.arange(0, dim, 2).float() / dim))
        if rearrange is None:
            raise RuntimeError("einops is required for rotary embeddings")
        self._table = None
        self._places = 0
        self._alpha = 1.0

    def refresh(self, max_seq_len, offset=0, ntk_alpha=1.0):
        wanted = max_seq_len + offset
        if wanted > self._places or ntk_alpha != self._alpha:
            base = self.base * ntk_alpha ** (self.dim / (self.dim - 2))
            self.inv_freq = 1.0 / (
                base ** (torch.arange(0, self.dim, 2, device=self.inv_freq.device).float() / self.dim)
            )
            self._places = max(2 * wanted, 16)
            self._alpha = ntk_alpha
            places = torch.arange(self._places, device=self.inv_freq.device)
            freqs = torch.outer(places.type_as(self.inv_freq), self.inv_freq)
            both = torch.cat((freqs, freqs), dim=-1)
            both = rearrange(both, "n d -> 1 n 1 d")
            self._table = [both.cos(), both.sin()]

    def forward(self, max_seq_len, offset=0, ntk_alpha=1.0):
        self.refresh(max_seq_len, offset, ntk_alpha)
        cos, sin = self._table
        return [cos[:, offset : offset + max_seq_len], sin[:, offset : offset + max_seq_len]]


def _swap_halves(x):
    x = rearrange(x, "... (j d) -> ... j d", j=2)
    a, b = x.unbind(dim=-2)
    return torch.cat((-b, a), dim=-1)


def turn(t, freqs):
    cos, sin = freqs
    if fast_rotary is not None and t.is_cuda:
        half = cos.shape[-1] // 2
        return fast_rotary(t.float(), cos.squeeze(0).squeeze(1)[:, :half], sin.squeeze(0).squeeze(1)[:, :half]).type_as(t)
    rot_dim = freqs[0].shape[-1]
    cos, sin = freqs
    turned, rest = t[..., :rot_dim], t[..., rot_dim:]
    turned, rest = turned.float(), rest.float()
    turned = (turned * cos) + (_swap_halves(turned) * sin)
    return torch.cat((turned, rest), dim=-1).type_as(t)


class PackedAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.register_buffer("masked_bias", torch.tensor(-1e4), persistent=False)
        self.seq_length = config.seq_length
        self.hidden_size = config.hidden_size
        self.split_size = config.hidden_size
        self.num_heads = config.num_attention_heads
        self.head_dim = self.hidden_size // self.num_heads
        self.use_flash_attn = config.use_flash_attn
        self.scale_attn_weights = True
        self.projection_size = config.kv_channels * config.num_attention_heads
        assert self.projection_size % config.num_attention_heads == 0
        self.hidden_size_per_attention_head = self.projection_size // config.num_attention_heads
        self.c_attn = nn.Linear(config.hidden_size, 3 * self.projection_size)
        self.c_proj = nn.Linear(config.hidden_size, self.projection_size, bias=not config.no_bias)
        self.is_fp32 = not (config.bf16 or config.fp16)
        self.bf16 = config.bf16
        self.use_dynamic_ntk = config.use_dynamic_ntk
        self.use_logn_attn = config.use_logn_attn
        logn = [math.log(i, self.seq_length) if i > self.seq_length else 1 for i in range(1, 32768)]
        self.register_buffer("logn_tensor", torch.tensor(logn)[None, :, None, None], persistent=False)
        self.attn_dropout = nn.Dropout(config.attn_pdrop)

    def _attn(self, query, key, value, registered_causal_mask, attention_mask=None, head_mask=None):
        scores = torch.matmul(query, key.transpose(-1, -2))
        if self.scale_attn_weights:
            scores = scores / torch.full([], value.size(-1) ** 0.5, dtype=scores.dtype, device=scores.device)
        query_length, key_length = query.size(-2), key.size(-2)
        seen = registered_causal_mask[:, :, key_length - query_length : key_length, :key_length]
        least = torch.finfo(scores.dtype).min
        least = torch.full([], least, dtype=scores.dtype).to(scores.device)
        scores = torch.where(seen, scores.to(scores.dtype), least)
        if attention_mask is not None:
            scores = scores + attention_mask
        weights = nn.functional.softmax(scores, dim=-1)
        weights = weights.type(value.dtype)
        weights = self.attn_dropout(weights)
        if head_mask is not None:
            weights = weights * head_mask
        out = torch.matmul(weights, value)
        return out.transpose(1, 2), weights

    def _split_heads(self, tensor, num_heads, attn_head_size):
        return tensor.view(tensor.size()[:-1] + (num_heads, attn_head_size))

    def _merge_heads(self, tensor, num_heads, attn_head_size):
        tensor = tensor.contiguous()
        return tensor.view(tensor.size()[:-2] + (num_heads * attn_head_size,))

    def forward(
        self,
        hidden_states: Optional[Tuple[torch.FloatTensor]],
        rotary_pos_emb: Optional[List[torch.Tensor]] = None,
        registered_causal_mask: Optional[torch.Tensor] = None,
        layer_past: Optional[Tuple[torch.Tensor]] = None,
        attention_mask: Optional[torch.FloatTensor] = None,
        head_mask: Optional[torch.FloatTensor] = None,
        output_attentions: Optional[bool] = False,
        use_cache: Optional[bool] = False,
    ):
        query, key, value = self.c_attn(hidden_states).split(self.split_size, dim=2)
        query = self._split_heads(query, self.num_heads, self.head_dim)
        key = self._split_heads(key, self.num_heads, self.head_dim)
        value = self._split_heads(value, self.num_heads, self.head_dim)
        if rotary_pos_emb is not None:
            cur_len = query.shape[1]
            rotary_pos_emb = [i[:, -cur_len:, :, :] for i in rotary_pos_emb]
            rotary_pos_emb = (rotary_pos_emb,) * 2
            q_pos_emb, k_pos_emb = rotary_pos_emb
            query = turn(query, q_pos_emb)
            key = turn(key, k_pos_emb)
        if layer_past is not None:
            past_key, past_value = layer_past[0], layer_past[1]
            key = torch.cat((past_key, key), dim=1)
            value = torch.cat((past_value, value), dim=1)
        if use_cache:
            present = (key, value)
        else:
            present = None
        if self.use_logn_attn and not self.training:
            if self.logn_tensor.device != query.device:
                self.logn_tensor = self.logn_tensor.to(query.device).type_as(query)
            seq_start = key.size(1) - query.size(1)
            seq_end = key.size(1)
            logn_tensor = self.logn_tensor[:, seq_start:seq_end, :, :].type_as(query)
            query = query * logn_tensor.expand_as(query)
        if self.use_flash_attn and fast_attention is not None and not self.is_fp32 and query.is_cuda:
            context = rearrange(fast_attention(query, key, value), "b s h d -> b s (h d)").contiguous()
            weights = None
        else:
            query = query.permute(0, 2, 1, 3)
            key = key.permute(0, 2, 1, 3)
            value = value.permute(0, 2, 1, 3)
            if registered_causal_mask is None and self.use_flash_attn and not self.is_fp32 and not query.is_cuda:
                raise Exception("this attention runs on a CUDA device only")
            out, weights = self._attn(query, key, value, registered_causal_mask, attention_mask, head_mask)
            context = self._merge_heads(out, self.num_heads, self.head_dim)
        outputs = (self.c_proj(context), present)
        if output_attentions:
            if fast_attention is not None and not self.is_fp32:
                raise ValueError("no attention weights from this kernel")
            outputs += (weights,)
        return outputs


class HalvedMLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.w1 = nn.Linear(config.hidden_size, config.ffn_hidden_size // 2, bias=not config.no_bias)
        self.w2 = nn.Linear(config.hidden_size, config.ffn_hidden_size // 2, bias=not config.no_bias)
        self.c_proj = nn.Linear(config.ffn_hidden_size // 2, config.hidden_size, bias=not config.no_bias)

    def forward(self, x):
        a1 = self.w1(x)
        a2 = self.w2(x)
        return self.c_proj(a1 * F.silu(a2))


class PackedBlock(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.apply_residual_connection_post_layernorm = config.apply_residual_connection_post_layernorm
        self.ln_1 = RunningNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        self.attn = PackedAttention(config)
        self.ln_2 = RunningNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        self.mlp = HalvedMLP(config)

    def forward(self, hidden_states, rotary_pos_emb=None, registered_causal_mask=None, layer_past=None,
                attention_mask=None, head_mask=None, use_cache=False, output_attentions=False):
        normed = self.ln_1(hidden_states)
        attn_outputs = self.attn(
            normed,
            rotary_pos_emb,
            registered_causal_mask=registered_causal_mask,
            layer_past=layer_past,
            attention_mask=attention_mask,
            head_mask=head_mask,
            use_cache=use_cache,
            output_attentions=output_attentions,
        )
        attn_output = attn_outputs[0]
        outputs = attn_outputs[1:]
        residual = normed if self.apply_residual_connection_post_layernorm else hidden_states
        summed = attn_output + residual
        normed = self.ln_2(summed)
        residual = normed if self.apply_residual_connection_post_layernorm else summed
        hidden_states = residual + self.mlp(normed)
        if use_cache:
            outputs = (hidden_states,) + outputs
        else:
            outputs = (hidden_states,) + outputs[1:]
        return outputs


class PackedPreTrainedModel(PreTrainedModel):
    config_class = QWenConfig
    base_model_prefix = "transformer"
    is_parallelizable = False
    supports_gradient_checkpointing = True
    _no_split_modules = ["PackedBlock"]

    def _init_weights(self, module):
        if isinstance(module, nn.Linear):
            module.weight.data.normal_(mean=0.0, std=self.config.initializer_range)
            if module.bias is not None:
                module.bias.data.zero_()
        elif isinstance(module, nn.Embedding):
            module.weight.data.normal_(mean=0.0, std=self.config.initializer_range)
        elif isinstance(module, RunningNorm):
            module.weight.data.fill_(1.0)
        for name, p in module.named_parameters():
            if name == "c_proj.weight":
                p.data.normal_(mean=0.0, std=self.config.initializer_range / math.sqrt(2 * self.config.n_layer))

    def _set_gradient_checkpointing(self, module, value=False):
        if isinstance(module, PackedModel):
            module.gradient_checkpointing = value


class PackedModel(PackedPreTrainedModel):
    _keys_to_ignore_on_load_missing = ["attn.masked_bias"]

    def __init__(self, config):
        super().__init__(config)
        self.vocab_size = config.vocab_size
        self.num_hidden_layers = config.num_hidden_layers
        self.embed_dim = config.hidden_size
        self.use_dynamic_ntk = config.use_dynamic_ntk
        self.seq_length = config.seq_length
        self.gradient_checkpointing = False
        self.wte = nn.Embedding(self.vocab_size, self.embed_dim)
        self.drop = nn.Dropout(config.embd_pdrop)
        if config.rotary_pct == 1.0:
            self.rotary_ndims = None
        else:
            assert config.rotary_pct < 1
            self.rotary_ndims = int(config.kv_channels * config.rotary_pct)
        dim = self.rotary_ndims if self.rotary_ndims is not None else config.kv_channels
        self.rotary_emb = GrowingAngles(dim, base=config.rotary_emb_base)
        self.use_flash_attn = config.use_flash_attn
        self.is_fp32 = not (config.bf16 or config.fp16)
        if self.use_flash_attn and fast_attention is not None and not self.is_fp32:
            self.registered_causal_mask = None
        else:
            max_positions = config.max_position_embeddings
            self.register_buffer(
                "registered_causal_mask",
                torch.tril(torch.ones((max_positions, max_positions), dtype=torch.bool)).view(
                    1, 1, max_positions, max_positions
                ),
                persistent=False,
            )
        self.h = nn.ModuleList([PackedBlock(config) for _ in range(config.num_hidden_layers)])
        self.ln_f = RunningNorm(self.embed_dim, eps=config.layer_norm_epsilon)
        self.post_init()

    def get_input_embeddings(self):
        return self.wte

    def set_input_embeddings(self, new_embeddings):
        self.wte = new_embeddings

    def get_ntk_alpha(self, true_seq_len):
        context_value = math.log(true_seq_len / self.seq_length, 2) + 1
        ntk_alpha = 2 ** math.ceil(context_value) - 1
        return max(ntk_alpha, 1)

    def forward(
        self,
        input_ids: Optional[torch.LongTensor] = None,
        past_key_values: Optional[Tuple[Tuple[torch.Tensor]]] = None,
        attention_mask: Optional[torch.FloatTensor] = None,
        token_type_ids: Optional[torch.LongTensor] = None,
        position_ids: Optional[torch.LongTensor] = None,
        head_mask: Optional[torch.FloatTensor] = None,
        inputs_embeds: Optional[torch.FloatTensor] = None,
        use_cache: Optional[bool] = None,
        output_attentions: Optional[bool] = None,
        output_hidden_states: Optional[bool] = None,
        return_dict: Optional[bool] = None,
    ):
        output_attentions = output_attentions if output_attentions is not None else self.config.output_attentions
        output_hidden_states = (
            output_hidden_states if output_hidden_states is not None else self.config.output_hidden_states
        )
        use_cache = use_cache if use_cache is not None else self.config.use_cache
        return_dict = return_dict if return_dict is not None else self.config.use_return_dict
        if input_ids is not None and inputs_embeds is not None:
            raise ValueError("You cannot specify both input_ids and inputs_embeds at the same time")
        elif input_ids is not None:
            input_shape = input_ids.size()
            input_ids = input_ids.view(-1, input_shape[-1])
            batch_size = input_ids.shape[0]
        elif inputs_embeds is not None:
            input_shape = inputs_embeds.size()[:-1]
            batch_size = inputs_embeds.shape[0]
        else:
            raise ValueError("You have to specify either input_ids or inputs_embeds")
        device = input_ids.device if input_ids is not None else inputs_embeds.device
        if token_type_ids is not None:
            token_type_ids = token_type_ids.view(-1, input_shape[-1])
        if position_ids is not None:
            position_ids = position_ids.view(-1, input_shape[-1])
        if past_key_values is None:
            past_length = 0
            past_key_values = tuple([None] * len(self.h))
        else:
            past_length = past_key_values[0][0].size(-3)
        if position_ids is None:
            position_ids = torch.arange(past_length, input_shape[-1] + past_length, dtype=torch.long, device=device)
            position_ids = position_ids.unsqueeze(0).view(-1, input_shape[-1])
        if attention_mask is not None:
            if batch_size <= 0:
                raise ValueError("batch_size has to be defined and > 0")
            attention_mask = attention_mask.view(batch_size, -1)
            attention_mask = attention_mask[:, None, None, :]
            attention_mask = attention_mask.to(dtype=self.dtype)
            attention_mask = (1.0 - attention_mask) * torch.finfo(self.dtype).min
        encoder_attention_mask = None
        head_mask = [None] * self.config.n_layer if head_mask is None else head_mask
        if inputs_embeds is None:
            inputs_embeds = self.wte(input_ids)
        hidden_states = inputs_embeds
        kv_seq_len = hidden_states.size()[1]
        if past_key_values[0] is not None:
            kv_seq_len += past_key_values[0][0].shape[1]
        ntk_alpha = 1.0
        if self.use_dynamic_ntk and not self.training:
            ntk_alpha = self.get_ntk_alpha(kv_seq_len)
        rotary_pos_emb = self.rotary_emb(kv_seq_len, ntk_alpha=ntk_alpha)
        for idx in range(len(rotary_pos_emb)):
            rotary_pos_emb[idx] = rotary_pos_emb[idx].to(hidden_states.device)
        hidden_states = self.drop(hidden_states)
        output_shape = input_shape + (hidden_states.size(-1),)
        if self.gradient_checkpointing and self.training:
            if use_cache:
                logger.warning_once("`use_cache=True` is incompatible with gradient checkpointing.")
                use_cache = False
        presents = () if use_cache else None
        all_self_attentions = () if output_attentions else None
        all_hidden_states = () if output_hidden_states else None
        for i, (block, layer_past) in enumerate(zip(self.h, past_key_values)):
            if output_hidden_states:
                all_hidden_states = all_hidden_states + (hidden_states,)
            if self.gradient_checkpointing and self.training:

                def create_custom_forward(module):
                    def custom_forward(*inputs):
                        return module(*inputs, use_cache, output_attentions)

                    return custom_forward

                outputs = torch.utils.checkpoint.checkpoint(
                    create_custom_forward(block),
                    hidden_states,
                    rotary_pos_emb,
                    self.registered_causal_mask,
                    None,
                    attention_mask,
                    head_mask[i],
                )
            else:
                outputs = block(
                    hidden_states,
                    layer_past=layer_past,
                    rotary_pos_emb=rotary_pos_emb,
                    registered_causal_mask=self.registered_causal_mask,
                    attention_mask=attention_mask,
                    head_mask=head_mask[i],
                    use_cache=use_cache,
                    output_attentions=output_attentions,
                )
            hidden_states = outputs[0]
            if use_cache is True:
                presents = presents + (outputs[1],)
            if output_attentions:
                all_self_attentions = all_self_attentions + (outputs[2 if use_cache else 1],)
        hidden_states = self.ln_f(hidden_states)
        hidden_states = hidden_states.view(output_shape)
        if output_hidden_states:
            all_hidden_states = all_hidden_states + (hidden_states,)
        if not return_dict:
            return tuple(v for v in [hidden_states, presents, all_hidden_states] if v is not None)
        return BaseModelOutputWithPast(
            last_hidden_state=hidden_states,
            past_key_values=presents,
            hidden_states=all_hidden_states,
            attentions=all_self_attentions,
        )


class QWenLMHeadModel(PackedPreTrainedModel, GenerationMixin):
    _keys_to_ignore_on_load_missing = [r"h\.\d+\.attn\.rotary_emb\.inv_freq"]
    _keys_to_ignore_on_load_unexpected = [r"h\.\d+\.attn\.masked_bias"]

    def __init__(self, config):
        super().__init__(config)
        assert config.bf16 + config.fp16 + config.fp32 <= 1, 'Only one of "bf16", "fp16", "fp32" can be true'
        autoset_precision = config.bf16 + config.fp16 + config.fp32 == 0
        if autoset_precision:
            if SUPPORT_BF16:
                logger.warning("bf16 is chosen: this device supports it.")
        if config.use_flash_attn == "auto":
            if config.bf16 or config.fp16:
                logger.warning("Try importing flash-attention for faster inference...")
                config.use_flash_attn = True
            else:
                config.use_flash_attn = False
        if config.use_flash_attn:
            _load_fast_kernels(True)
        self.transformer = PackedModel(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        if config.bf16:
            self.transformer.bfloat16()
            self.lm_head.bfloat16()
        if config.fp16:
            self.transformer.half()
            self.lm_head.half()
        self.post_init()

    def get_output_embeddings(self):
        return self.lm_head

    def set_output_embeddings(self, new_embeddings):
        self.lm_head = new_embeddings

    def prepare_inputs_for_generation(self, input_ids, past_key_values=None, inputs_embeds=None, **kwargs):
        if past_key_values:
            input_ids = input_ids[:, -1].unsqueeze(-1)
        attention_mask = kwargs.get("attention_mask", None)
        if inputs_embeds is not None and past_key_values is None:
            model_inputs = {"inputs_embeds": inputs_embeds}
        else:
            model_inputs = {"input_ids": input_ids}
        model_inputs.update(
            {"past_key_values": past_key_values, "use_cache": kwargs.get("use_cache"), "attention_mask": attention_mask}
        )
        return model_inputs

    def forward(
        self,
        input_ids: Optional[torch.LongTensor] = None,
        past_key_values: Optional[Tuple[Tuple[torch.Tensor]]] = None,
        attention_mask: Optional[torch.FloatTensor] = None,
        token_type_ids: Optional[torch.LongTensor] = None,
        position_ids: Optional[torch.LongTensor] = None,
        head_mask: Optional[torch.FloatTensor] = None,
        inputs_embeds: Optional[torch.FloatTensor] = None,
        labels: Optional[torch.LongTensor] = None,
        use_cache: Optional[bool] = None,
        output_attentions: Optional[bool] = None,
        output_hidden_states: Optional[bool] = None,
        return_dict: Optional[bool] = None,
    ) -> Union[Tuple, CausalLMOutputWithPast]:
        return_dict = return_dict if return_dict is not None else self.config.use_return_dict
        transformer_outputs = self.transformer(
            input_ids,
            past_key_values=past_key_values,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            head_mask=head_mask,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=return_dict,
        )
        hidden_states = transformer_outputs[0]
        lm_logits = self.lm_head(hidden_states)
        loss = None
        if labels is not None:
            labels = labels.to(lm_logits.device)
            shift_logits = lm_logits[..., :-1, :].contiguous()
            shift_labels = labels[..., 1:].contiguous()
            loss_fct = nn.CrossEntropyLoss()
            loss = loss_fct(shift_logits.view(-1, shift_logits.size(-1)), shift_labels.view(-1))
        if not return_dict:
            output = (lm_logits,) + transformer_outputs[1:]
            return ((loss,) + output) if loss is not None else output
        return CausalLMOutputWithPast(
            loss=loss,
            logits=lm_logits,
            past_key_values=transformer_outputs.past_key_values,
            hidden_states=transformer_outputs.hidden_states,
            attentions=transformer_outputs.attentions,
        )

    @staticmethod
    def _reorder_cache(past_key_values, beam_idx):
        return tuple(
            tuple(past_state.index_select(0, beam_idx.to(past_state.device)) for past_state in layer_past)
            for layer_past in past_key_values
        )
