"""TransformerGoldens.inc: what PyTorch computes in fp64 for kernels on rows, tokens and heads, as C++ initializers.

    python3 make_transformer_goldens.py > TransformerGoldens.inc        (needs torch; made with 2.15.0)
"""
import torch

F = torch.nn.functional
torch.manual_seed(1)


def tensor(*shape):
    """Numbers that are exact in every element type."""
    return (torch.randint(-64, 65, shape).double() / 32).requires_grad_()


def values(t):
    return '{' + ', '.join(repr(float(v)) for v in (t if isinstance(t, list) else t.detach().flatten().tolist())) + '}'


def golden(kernel, operands, attributes=''):
    """operands: (tensor or list, 'in'), (tensor, 'out') or (shape, None): written, not compared."""
    shapes, given, wanted = [], [], []
    for what, how in operands:
        shapes.append(list(what) if how is None else [len(what)] if isinstance(what, list) else list(what.shape))
        given.append(values(what) if how == 'in' else '{}')
        wanted.append(values(what) if how == 'out' else '{}')
    text = lambda rows: '{' + ', '.join(rows) + '}'
    print(f'    {{"{kernel}", {{{attributes}}}, {text(["{" + ", ".join(map(str, s)) + "}" for s in shapes])},\n'
          f'     {text(given)},\n     {text(wanted)}}},')


def into(t, *wrt):
    """A gradient for t, and what it makes of the others."""
    g = tensor(*t.shape).detach()
    return [g, *torch.autograd.grad(t, wrt, g)]


print('// Made by make_transformer_goldens.py. Do not edit.')
print('// kernel, attributes, shapes, contents before, contents after (empty: not compared)')
print('const GoldenCall kGoldens[] = {')

x, w, b = tensor(3, 5), tensor(5), tensor(5)
y = F.layer_norm(x, (5,), w, b, 1e-5)
g, dx, dw = into(y, x, w)
mean = x.mean(1)
rstd = (x.var(1, correction=0) + 1e-5).rsqrt()
golden('layer_norm', [(x, 'in'), (y, 'out'), (mean, 'out'), (rstd, 'out'), (w, 'in'), (b, 'in')])
golden('layer_norm_grad', [(g, 'in'), (x, 'in'), (mean, 'in'), (rstd, 'in'), (dx, 'out'), (w, 'in')])
golden('layer_norm_weight_grad', [(g, 'in'), (x, 'in'), (mean, 'in'), (rstd, 'in'), (dw, 'out')])
golden('layer_norm', [(x, 'in'), (F.layer_norm(x, (5,), None, None, 0.125), 'out'), ([3], None), ([3], None)],
       '{"epsilon", 0.125}')

y = F.rms_norm(x, (5,), w, 1e-6)
g, dx, dw = into(y, x, w)
rstd = (x.square().mean(1) + 1e-6).rsqrt()
golden('rms_norm', [(x, 'in'), (y, 'out'), (rstd, 'out'), (w, 'in')])
golden('rms_norm_grad', [(g, 'in'), (x, 'in'), (rstd, 'in'), (dx, 'out'), (w, 'in')])
golden('rms_norm_weight_grad', [(g, 'in'), (x, 'in'), (rstd, 'in'), (dw, 'out')])

y = F.softmax(x, 1)
g, dx = into(y, x)
golden('softmax', [(x, 'in'), (y, 'out')])
golden('softmax_grad', [(g, 'in'), (y, 'in'), (dx, 'out')])

ids, w = [3, 0, 3, 1, 2], tensor(4, 3)
for padding in (-1, 3):
    y = F.embedding(torch.tensor(ids), w, padding_idx=None if padding < 0 else padding)
    g, dw = into(y, w)
    golden('embedding', [(ids, 'in'), (w, 'in'), (y, 'out')])
    golden('embedding_grad', [(ids, 'in'), (g, 'in'), (dw, 'out')], f'{{"padding_idx", std::int64_t({padding})}}')

# Llama: transformers.models.llama.modeling_llama.apply_rotary_pos_emb; GPT-J: modeling_gptj.rotate_every_two.
B, S, H, D = 1, 3, 2, 4
x = tensor(B, S, H, D)
angles = torch.outer(torch.arange(S).double(), 10000.0 ** (-torch.arange(0, D, 2).double() / D))
table = torch.cat((angles.cos(), angles.sin()), 1)
golden('rotary_table', [(table, 'out')])
halves = lambda t: torch.cat((t, t), 1)[None, :, None]
rotate_half = torch.cat((-x[..., D // 2:], x[..., :D // 2]), -1)
y = x * halves(angles.cos()) + rotate_half * halves(angles.sin())
g, dx = into(y, x)
golden('rotary', [(x, 'in'), (table, 'in'), (y, 'out')])
golden('rotary', [(g, 'in'), (table, 'in'), (dx, 'out')], '{"inverse", std::int64_t(1)}')
pairs = lambda t: t.repeat_interleave(2, 1)[None, :, None]
rotate_every_two = torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2)
y = x * pairs(angles.cos()) + rotate_every_two * pairs(angles.sin())
golden('rotary', [(x, 'in'), (table, 'in'), (y, 'out')], '{"interleaved", std::int64_t(1)}')

for S, L, H, G, options, masked in ((3, 3, 2, 2, {'is_causal': True}, False), (2, 4, 4, 2, {'scale': 0.75}, False),
                                    (2, 4, 2, 1, {}, True)):
    q, k, v = tensor(2, S, H, 3), tensor(2, L, G, 3), tensor(2, L, G, 3)
    mask = torch.tensor([[1, 0, 1, 1], [0, 0, 1, 0]])
    heads = [t.transpose(1, 2) for t in (q, k, v)]
    y = F.scaled_dot_product_attention(*heads, attn_mask=mask.bool()[:, None, None] if masked else None, enable_gqa=True,
                                       **options).transpose(1, 2)
    g, dq, dk, dv = into(y, q, k, v)
    scores = heads[0] @ heads[1].repeat_interleave(H // G, 1).transpose(-1, -2) * options.get('scale', 3 ** -0.5)
    if 'is_causal' in options:
        scores = scores.masked_fill(torch.ones(S, L).triu(1).bool(), -torch.inf)
    if masked:
        scores = scores.masked_fill(mask[:, None, None] == 0, -torch.inf)
    sums = scores.logsumexp(-1) / options.get('scale', 3 ** -0.5)
    extra = [(mask, 'in')] if masked else []
    attributes = '{"causal", std::int64_t(1)}' if 'is_causal' in options else \
        f'{{"scale", {options["scale"]}}}' if 'scale' in options else ''
    golden('attention', [(q, 'in'), (k, 'in'), (v, 'in'), (y, 'out'), (sums, 'out'), *extra], attributes)
    golden('attention_grad', [(g, 'in'), (q, 'in'), (k, 'in'), (v, 'in'), (y, 'in'), (sums, 'in'), (dq, 'out'), (dk, 'out'),
                              (dv, 'out'), *extra], attributes)
for options in ({}, {'eps': 2.0}):
    x = tensor(3, 5)
    y = F.normalize(x, dim=1, **options)
    g, dx = into(y, x)
    norm, attributes = x.norm(dim=1), '{"epsilon", 2.0}' if options else ''
    golden('normalize', [(x, 'in'), (y, 'out'), (norm, 'out')], attributes)
    golden('normalize_grad', [(g, 'in'), (x, 'in'), (norm, 'in'), (dx, 'out')], attributes)

# sentence_transformers.models.Pooling, pooling_mode mean
tokens, mask = tensor(3, 4, 5), torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
weights = mask.unsqueeze(-1).expand(tokens.size()).double()
for least in (1e-9, 2.5):
    y = (tokens * weights).sum(1) / torch.clamp(weights.sum(1), min=least)
    g, dx = into(y, tokens)
    attributes = f'{{"epsilon", {least}}}' if least > 1 else ''
    golden('masked_mean', [(tokens, 'in'), (mask, 'in'), (y, 'out')], attributes)
    golden('masked_mean_grad', [(g, 'in'), (mask, 'in'), (dx, 'out')], attributes)
print('};')
