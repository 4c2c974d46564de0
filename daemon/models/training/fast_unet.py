"""DreamLiteUNetModel's forward pass, written for training on a CPU in bf16: the module's own parameters, the same function.

Everything is kept as (batch, height, width, channels) in bf16, so that convolutions and projections are oneDNN's products (tiles of the
processor, where it has them) and what lies between them is one pass each over memory (`fused.cpp`).
`python fast_unet.py` compares it with the module. Differences in how, not in what:
- a separable convolution of few channels is one full 3x3 convolution, its weights the product of both parts: nine times the products
  cost less than a pass over a large picture;
- only the left half of the output (the picture; the right half is the source) goes through the last convolution.
"""
import torch
import torch.nn.functional as F

from fused import depthwise, group_norm, rms

FULL_UP_TO = 128  # channels
F32 = ("norm", "depthwise", "encoder_hid_proj.1", "conv_in", "conv_out")  # parameters that stay f32


def copy_for_training(unet):
    """a module with the same parameters, bf16 where they are factors of a product"""
    import copy
    own = copy.deepcopy(unet)
    for n, p in own.named_parameters():
        if not any(f in n for f in F32):
            p.data = p.data.bfloat16()
    return own


def conv(x, weight, bias=None, stride=1, padding=1):
    """x (b, h, w, c)"""
    weight = weight.contiguous(memory_format=torch.channels_last)
    return F.conv2d(x.permute(0, 3, 1, 2), weight, bias, stride, padding).permute(0, 2, 3, 1)


def separable(x, m):
    w = m.pointwise.weight
    if x.shape[3] <= FULL_UP_TO:
        return conv(x, (w * m.depthwise.weight.transpose(0, 1)).to(x.dtype))
    return F.linear(depthwise(x, m.depthwise.weight), w.view(w.shape[0], w.shape[1]))


def resnet(x, m, temb):
    """temb: silu of the time embedding"""
    h = separable(group_norm(x, m.norm1, True), m.conv1)
    h = h + m.time_emb_proj(temb)[:, None, None]
    h = separable(group_norm(h, m.norm2, True), m.conv2)
    if m.conv_shortcut is not None:
        w = m.conv_shortcut.weight
        x = F.linear(x, w.view(w.shape[0], w.shape[1]), m.conv_shortcut.bias)
    return x + h


def attention(x, a, context=None, bias=None):
    """x (b, n, c); all query heads share one key/value head, so they are rows of one product"""
    b, n, _ = x.shape
    y = x if context is None else context
    q, k, v = a.to_q(x), a.to_k(y), a.to_v(y)
    d = q.shape[-1] // a.heads
    assert k.shape[-1] == d, "one key/value head"
    q, k = rms(q.view(b, n * a.heads, d), a.norm_q), rms(k, a.norm_k).transpose(1, 2)
    s = torch.bmm(q * a.scale, k) if bias is None else torch.baddbmm(bias, q, k, alpha=a.scale)
    o = torch.bmm(torch.softmax(s, -1), v).view(b, n, -1)
    return a.to_out[0](o)


def layer_norm(x, m):
    return F.layer_norm(x, (x.shape[-1],), m.weight, m.bias, m.eps)


def transformer(x, t, text, bias):
    b, h, w, c = x.shape
    y = t.proj_in(group_norm(x, t.norm).view(b, h * w, c))
    for m in t.transformer_blocks:
        n = layer_norm(y, m.norm1)
        y = n if m.attn1 is None else y + attention(n, m.attn1)
        y = y + attention(layer_norm(y, m.norm2), m.attn2, text, bias)
        u, gate = m.ff.net[0].proj(layer_norm(y, m.norm3)).chunk(2, -1)
        y = y + m.ff.net[2](u * F.gelu(gate))
    return t.proj_out(y).view(b, h, w, c) + x


def _side(h, blk, temb, text, bias, skips, up):
    attns = getattr(blk, "attentions", [None] * len(blk.resnets))
    for res, att in zip(blk.resnets, attns):
        h = resnet(torch.cat([h, skips.pop()], 3) if up else h, res, temb)
        if att is not None:
            h = transformer(h, att, text, bias)
        if not up:
            skips.append(h)
    return h


def forward(unet, x, cond, temb, text, bias):
    """x, cond (b, 4, h, w); temb (b, d) time embedding with the size's; text (b, l, e) encoder states; bias (b, 1, l) 0 or -inf.
    -> velocity of the left half (b, 4, h, w)"""
    w0, half = x.shape[3], text.dtype
    text = rms(unet.encoder_hid_proj[0](text), unet.encoder_hid_proj[1])
    temb = F.silu(temb)
    h = conv(torch.cat([x, cond], 3).permute(0, 2, 3, 1), unet.conv_in.weight, unet.conv_in.bias).to(half)
    skips = [h]
    for blk in unet.down_blocks:
        h = _side(h, blk, temb, text, bias, skips, False)
        if blk.downsamplers is not None:
            d = blk.downsamplers[0].conv
            h = conv(h, d.weight, d.bias, 2)
            skips.append(h)
    mid = unet.mid_block
    h = resnet(h, mid.resnets[0], temb)
    for att, res in zip(mid.attentions, mid.resnets[1:]):
        h = resnet(transformer(h, att, text, bias), res, temb)
    for blk in unet.up_blocks:
        h = _side(h, blk, temb, text, bias, skips, True)
        if blk.upsamplers is not None:
            u = blk.upsamplers[0].conv
            b, y, z, c = h.shape
            h = h[:, :, None, :, None].expand(b, y, 2, z, 2, c).reshape(b, 2 * y, 2 * z, c)
            h = conv(h, u.weight, u.bias)
    h = F.pad(group_norm(h, unet.conv_norm_out, True).float(), (0, 0, 1, 1, 1, 1))[:, :, :w0 + 2]
    return conv(h, unet.conv_out.weight, unet.conv_out.bias, 1, 0).permute(0, 3, 1, 2)


def time_embedding(unet, t, size, dtype):
    """t: b sigmas; size: (1, 2) width and height -> (b, d)"""
    e = unet.time_embedding(unet.time_proj(t * 1000).to(dtype))
    return e + unet.add_embedding(unet.add_time_proj(size.flatten()).view(1, -1).to(dtype))


def velocity(unet, x, cond, t, emb, mask, size):
    """what `model.unet_v` computes, by a module of `copy_for_training`"""
    half = unet.mid_block.resnets[0].time_emb_proj.weight.dtype
    bias = torch.zeros(mask.shape, dtype=half).masked_fill(mask == 0, float("-inf"))[:, None]
    return forward(unet, x, cond, time_embedding(unet, t, size, half), emb.to(half), bias)


if __name__ == "__main__":
    import model as M
    torch.manual_seed(0)
    u = M.build_unet()
    x, c, t = torch.randn(3, 4, 16, 16), torch.randn(3, 4, 16, 16), torch.rand(3)
    e, m = torch.randn(3, 40, u.config.encoder_hid_dim), torch.ones(3, 40, dtype=torch.long)
    m[1, 30:] = 0
    own = copy_for_training(u)
    a, b = M.unet_v(u, x, c, t, e, m), velocity(own, x, c, t, e, m, M.TIME_IDS)
    print("largest difference", (a - b).abs().max().item(), "of", a.abs().max().item())
    a.square().mean().backward()
    b.square().mean().backward()
    worst = sorted(((p.grad.float() - q.grad).norm() / (q.grad.norm() + 1e-9), n) for (n, q), p in zip(u.named_parameters(), own.parameters()))
    print("gradients, largest relative differences:", [(round(r.item(), 3), n) for r, n in worst[-4:]], "median", worst[len(worst) // 2][0].item())
