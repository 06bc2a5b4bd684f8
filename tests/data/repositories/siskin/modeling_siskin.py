"""No positions at all: each head forgets at a rate that the token decides, and the sum of what was forgotten since lowers the score.
Queries from a low rank, a gated output, and gates that let the second half of the layers see what entered the first half."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers.activations import ACT2FN
from transformers.cache_utils import Cache, DynamicCache
from transformers.generation import GenerationMixin
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import PreTrainedModel
from transformers.models.qwen3.modeling_qwen3 import Qwen3MLP, Qwen3RMSNorm, repeat_kv

from .configuration_siskin import SiskinConfig


class SiskinRMSNorm(Qwen3RMSNorm):
    pass


class SiskinMLP(Qwen3MLP):
    def __init__(self, config):
        super().__init__(config)
        del self.gate_proj

    def forward(self, x):
        return self.down_proj(self.act_fn(self.up_proj(x)))


class SiskinAttention(nn.Module):
    def __init__(self, config: SiskinConfig, layer_idx: int):
        super().__init__()
        self.config, self.layer_idx, self.head_dim = config, layer_idx, config.head_dim
        heads, groups = config.num_attention_heads, config.num_key_value_heads
        self.num_key_value_groups = heads // groups
        if config.q_rank is None:
            self.q_proj = nn.Linear(config.hidden_size, heads * self.head_dim, bias=False)
        else:
            self.q_proj = nn.Sequential(
                nn.Linear(config.hidden_size, config.q_rank, bias=False),
                SiskinRMSNorm(config.q_rank, config.rms_norm_eps),
                nn.Linear(config.q_rank, heads * self.head_dim, bias=False),
            )
        self.kv_proj = nn.Linear(config.hidden_size, 2 * groups * self.head_dim, bias=False)
        self.f_proj = nn.Linear(config.hidden_size, groups, bias=True)
        self.g_proj = nn.Linear(config.hidden_size, heads * self.head_dim, bias=False)
        self.o_proj = nn.Linear(heads * self.head_dim, config.hidden_size, bias=False)

    def forward(self, hidden_states, attention_mask, past_key_values=None):
        batch, length = hidden_states.shape[:-1]
        query = self.q_proj(hidden_states).view(batch, length, -1, self.head_dim).transpose(1, 2)
        key, value = (
            self.kv_proj(hidden_states).view(batch, length, -1, 2 * self.head_dim).transpose(1, 2).chunk(2, dim=-1)
        )
        log_forget = F.logsigmoid(self.f_proj(hidden_states).float() + self.config.forget_bias)
        value = torch.cat([value, log_forget.transpose(1, 2).unsqueeze(-1).to(value.dtype)], dim=-1)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        value, log_forget = value[..., :-1], value[..., -1]
        total = log_forget.float().cumsum(dim=-1)
        decay = total[:, :, -length:, None] - total[:, :, None, :]
        key, value = repeat_kv(key, self.num_key_value_groups), repeat_kv(value, self.num_key_value_groups)
        decay = decay.repeat_interleave(self.num_key_value_groups, dim=1)
        scores = torch.matmul(query, key.mT) * self.head_dim**-0.5 + decay.to(query.dtype)
        if attention_mask is not None:
            scores = scores + attention_mask
        weights = F.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
        out = torch.matmul(weights, value).transpose(1, 2).reshape(batch, length, -1)
        return self.o_proj(out * torch.sigmoid(self.g_proj(hidden_states)))


class SiskinLayer(nn.Module):
    def __init__(self, config: SiskinConfig, layer_idx: int):
        super().__init__()
        self.self_attn = SiskinAttention(config, layer_idx)
        self.mlp = SiskinMLP(config)
        self.input_layernorm = SiskinRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = SiskinRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        half = config.num_hidden_layers // 2
        self.skip_gate = (
            nn.Parameter(torch.zeros(config.hidden_size)) if config.skip_gates and layer_idx >= half else None
        )

    def forward(self, hidden_states, skip, *args, **kwargs):
        if self.skip_gate is not None:
            hidden_states = torch.addcmul(hidden_states, self.skip_gate.tanh(), skip)
        hidden_states = hidden_states + self.self_attn(self.input_layernorm(hidden_states), *args, **kwargs)
        return hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))


class SiskinPreTrainedModel(PreTrainedModel):
    config: SiskinConfig
    base_model_prefix = "model"
    _no_split_modules = ["SiskinLayer"]


class SiskinModel(SiskinPreTrainedModel):
    def __init__(self, config: SiskinConfig):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList([SiskinLayer(config, layer_idx) for layer_idx in range(config.num_hidden_layers)])
        self.norm = SiskinRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_init()

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        position_ids=None,
        past_key_values: Cache | None = None,
        inputs_embeds=None,
        use_cache: bool | None = None,
        **kwargs,
    ):
        if (input_ids is None) ^ (inputs_embeds is not None):
            raise ValueError("give either input_ids or inputs_embeds")
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        mask = create_causal_mask(
            self.config, inputs_embeds, attention_mask, past_key_values=past_key_values, position_ids=position_ids
        )
        hidden_states, skips = inputs_embeds, []
        for i, layer in enumerate(self.layers):
            if i < len(self.layers) // 2:
                skips.append(hidden_states)
                skip = None
            else:
                skip = skips.pop() if skips else hidden_states
            hidden_states = layer(hidden_states, skip, mask, past_key_values=past_key_values)
        return BaseModelOutputWithPast(last_hidden_state=self.norm(hidden_states), past_key_values=past_key_values)


class SiskinForCausalLM(SiskinPreTrainedModel, GenerationMixin):
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config):
        super().__init__(config)
        self.model = SiskinModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        position_ids=None,
        past_key_values=None,
        labels=None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs,
    ):
        outputs = self.model(input_ids, attention_mask, position_ids, past_key_values, **kwargs)
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, keep, :])
        loss = self.loss_function(logits, labels, self.config.vocab_size) if labels is not None else None
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=outputs.past_key_values)
