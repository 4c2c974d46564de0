"""DreamLiteUNetModel's forward pass, written for training on a CPU: the module's own parameters, the same function.

Everything is kept as (batch, height, width, channels), so that pointwise convolutions and projections are plain matrix products and
`torch.compile` can fuse what lies between them. `python fast_unet.py CHECKPOINT` compares it with the module (about 1e-6 apart).
Differences in how, not in what:
- a depthwise 3x3 is nine shifted multiply-adds;
- nearest upsampling followed by a 3x3 convolution is four 2x2 convolutions of the small picture (4/9 of the products);
- group norm works on per-channel sums;
- only the left half of the output (the picture; the right half is the source) goes through the last convolution.
"""
import torch
import torch.nn.functional as F


def group_norm(x, norm):
    """x (b, h, w, c)"""
    b, h, w, c = x.shape
    g = norm.num_groups
    n = h * w * (c // g)
    s1 = x.sum((1, 2)).view(b, g, -1).sum(2)
    s2 = (x * x).sum((1, 2)).view(b, g, -1).sum(2)
    mean = s1 / n
    rstd = torch.rsqrt(s2 / n - mean * mean + norm.eps)
    scale = rstd.repeat_interleave(c // g, 1) * norm.weight
    shift = norm.bias - mean.repeat_interleave(c // g, 1) * scale
    return x * scale[:, None, None] + shift[:, None, None]


def depthwise(x, conv):
    """3x3, padding 1, no bias; weight (c, 1, 3, 3)"""
    b, h, w, c = x.shape
    k = conv.weight.reshape(c, 9).t().contiguous()
    p = F.pad(x, (0, 0, 1, 1, 1, 1))
    out = p[:, 0:h, 0:w] * k[0]
    for i in range(1, 9):
        y, z = divmod(i, 3)
        out = out + p[:, y:y + h, z:z + w] * k[i]
    return out


def separable(x, conv):
    w = conv.pointwise.weight
    return F.linear(depthwise(x, conv.depthwise), w.view(w.shape[0], w.shape[1]))


def conv3(x, conv, stride=1):
    """a full 3x3 convolution as one matrix product"""
    b, h, w, c = x.shape
    p = F.pad(x, (0, 0, 1, 1, 1, 1))
    cols = torch.cat([p[:, y:y + h:stride, z:z + w:stride] for y in range(3) for z in range(3)], 3)
    k = conv.weight.permute(0, 2, 3, 1).reshape(conv.weight.shape[0], -1)
    return F.linear(cols, k, conv.bias)


def upsample_conv(x, conv):
    """3x3 over the nearest-neighbour enlargement: each of the four phases sees 2x2 small pixels, with summed weights"""
    b, h, w, c = x.shape
    k = conv.weight  # (o, c, 3, 3)
    rows = (torch.stack([k[:, :, 0], k[:, :, 1] + k[:, :, 2]], 2), torch.stack([k[:, :, 0] + k[:, :, 1], k[:, :, 2]], 2))
    p = F.pad(x, (0, 0, 1, 1, 1, 1))
    lines = []
    for a in range(2):
        phases = []
        for d in range(2):
            kk = rows[a]
            kk = torch.stack([kk[..., 0], kk[..., 1] + kk[..., 2]], 3) if d == 0 else torch.stack([kk[..., 0] + kk[..., 1], kk[..., 2]], 3)
            cols = torch.cat([p[:, a + y:a + y + h, d + z:d + z + w] for y in range(2) for z in range(2)], 3)
            phases.append(F.linear(cols, kk.permute(0, 2, 3, 1).reshape(k.shape[0], -1), conv.bias))
        lines.append(torch.stack(phases, 3))  # (b, h, w, 2, o)
    return torch.stack(lines, 2).reshape(b, 2 * h, 2 * w, -1)


def resnet(x, m, temb):
    """temb: silu of the time embedding"""
    h = separable(F.silu(group_norm(x, m.norm1)), m.conv1)
    h = h + m.time_emb_proj(temb)[:, None, None]
    h = separable(F.silu(group_norm(h, m.norm2)), m.conv2)
    if m.conv_shortcut is not None:
        w = m.conv_shortcut.weight
        x = F.linear(x, w.view(w.shape[0], w.shape[1]), m.conv_shortcut.bias)
    return x + h


def rms(x, norm):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + norm.eps) * norm.weight


def attention(x, a, context=None, bias=None):
    """x (b, n, c); all query heads share one key/value head, so they are rows of one product"""
    b, n, _ = x.shape
    y = x if context is None else context
    q, k, v = a.to_q(x), a.to_k(y), a.to_v(y)
    d = q.shape[-1] // a.heads
    assert k.shape[-1] == d, "one key/value head"
    q, k = rms(q.view(b, n * a.heads, d), a.norm_q), rms(k, a.norm_k)
    s = torch.bmm(q * a.scale, k.transpose(1, 2))
    if bias is not None:
        s = s + bias
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


def forward(unet, x, cond, temb, text, bias):
    """x, cond (b, 4, h, w); temb (b, d) time embedding with the size's; text (b, l, e) encoder states; bias (b, 1, l) 0 or -inf.
    -> velocity of the left half (b, 4, h, w)"""
    w0 = x.shape[3]
    text = unet.encoder_hid_proj[0](text)
    text = rms(text, unet.encoder_hid_proj[1])
    temb = F.silu(temb)
    h = conv3(torch.cat([x, cond], 3).permute(0, 2, 3, 1), unet.conv_in)
    skips = [h]
    for blk in unet.down_blocks:
        attns = getattr(blk, "attentions", [None] * len(blk.resnets))
        for res, att in zip(blk.resnets, attns):
            h = resnet(h, res, temb)
            if att is not None:
                h = transformer(h, att, text, bias)
            skips.append(h)
        if blk.downsamplers is not None:
            h = conv3(h, blk.downsamplers[0].conv, 2)
            skips.append(h)
    mid = unet.mid_block
    h = resnet(h, mid.resnets[0], temb)
    for att, res in zip(mid.attentions, mid.resnets[1:]):
        h = resnet(transformer(h, att, text, bias), res, temb)
    for blk in unet.up_blocks:
        attns = getattr(blk, "attentions", [None] * len(blk.resnets))
        for res, att in zip(blk.resnets, attns):
            h = resnet(torch.cat([h, skips.pop()], 3), res, temb)
            if att is not None:
                h = transformer(h, att, text, bias)
        if blk.upsamplers is not None:
            h = upsample_conv(h, blk.upsamplers[0].conv)
    h = F.silu(group_norm(h, unet.conv_norm_out))
    h = F.pad(h, (0, 0, 1, 1, 1, 1))[:, :, :w0 + 2]
    cols = torch.cat([h[:, y:y + x.shape[2], z:z + w0] for y in range(3) for z in range(3)], 3)
    k = unet.conv_out.weight.permute(0, 2, 3, 1).reshape(unet.conv_out.weight.shape[0], -1)
    with torch.autocast("cpu", enabled=False):  # the velocity itself stays in f32
        return F.linear(cols.float(), k, unet.conv_out.bias).permute(0, 3, 1, 2)


def time_embedding(unet, t, size):
    """t: b sigmas; size: (1, 2) width and height -> (b, d)"""
    e = unet.time_embedding(unet.time_proj(t * 1000))
    s = unet.add_time_proj(size.flatten()).view(1, -1)
    return e + unet.add_embedding(s)


def velocity(net, unet, x, cond, t, emb, mask, size):
    """what `model.unet_v` computes; `net` is `forward` or its compiled form"""
    bias = torch.zeros(mask.shape).masked_fill(mask == 0, float("-inf"))[:, None]
    return net(unet, x, cond, time_embedding(unet, t, size), emb, bias)


if __name__ == "__main__":
    import sys
    from diffusers import DreamLiteUNetModel
    import model as M
    torch.manual_seed(0)
    u = DreamLiteUNetModel.from_pretrained(sys.argv[1], subfolder="unet", torch_dtype=torch.float32)
    x, c, t = torch.randn(3, 4, 16, 16), torch.randn(3, 4, 16, 16), torch.rand(3)
    e, m = torch.randn(3, 40, u.config.encoder_hid_dim), torch.ones(3, 40, dtype=torch.long)
    m[1, 30:] = 0
    with torch.no_grad():
        a, b = M.unet_v(u, x, c, t, e, m), velocity(forward, u, x, c, t, e, m, M.TIME_IDS)
    print("largest difference", (a - b).abs().max().item(), "of", a.abs().max().item())
