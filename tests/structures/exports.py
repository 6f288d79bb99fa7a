"""Networks as people export them: both exporters, dynamic axes, caches, detection with its boxes; each at several sizes."""

import math

import torch
import torch.nn.functional as F
import torchvision as tv
import transformers
from common import model, normal, save
from language import Call
from torch import nn

AUTO = torch.export.Dim.AUTO


def ids(*shape, most=1000):
    return torch.randint(1, most, shape)


# -- decoders with their caches as inputs and outputs


class Cached(nn.Module):
    """A causal language model of transformers: (ids, mask, past…) to (logits, present…)."""

    def __init__(self, m):
        super().__init__()
        self.m = m

    def forward(self, i, mask, *past):
        cache = transformers.DynamicCache()
        for layer in range(len(past) // 2):
            cache.update(past[2 * layer], past[2 * layer + 1], layer)
        out = self.m(input_ids=i, attention_mask=mask, past_key_values=cache, use_cache=True)
        present = [t for layer in out.past_key_values.layers for t in (layer.keys, layer.values)]
        return (out.logits, *present)


def decoder(name, m, layers, heads, d, dynamo, opset=18, vocabulary=1000):
    def inputs(b, t, past):
        cache = [normal(b, heads, past, d) for _ in range(2 * layers)]
        return (ids(b, t, most=vocabulary), torch.ones(b, past + t, dtype=torch.long), *cache)

    names = ["ids", "mask"] + [f"past{i}" for i in range(2 * layers)]
    if dynamo:
        dyn = ({0: AUTO, 1: AUTO}, {0: AUTO, 1: AUTO}, tuple({0: AUTO, 2: AUTO} for _ in range(2 * layers)))
    else:
        dyn = {"ids": {0: "b", 1: "t"}, "mask": {0: "b", 1: "s"}} | {n: {0: "b", 2: "p"} for n in names[2:]}
    m.config._attn_implementation = "eager" if not dynamo else "sdpa"
    save(name, Cached(m), inputs(2, 3, 6), dyn=dyn, names=names, dynamo=dynamo, opset=opset, more=[inputs(1, 1, 65), inputs(3, 7, 2), inputs(1, 16, 0)])


def llama(**how):
    sizes = dict(vocab_size=1000, hidden_size=128, intermediate_size=352, num_hidden_layers=2, num_attention_heads=8, num_key_value_heads=2)
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes | how))


@model
def llama_cache_ts():
    decoder("llama_cache_ts", llama(), 2, 2, 16, False, 17)


@model
def llama_cache_dynamo():
    decoder("llama_cache_dynamo", llama(), 2, 2, 16, True)


@model
def llama_cache_23():
    decoder("llama_cache_23", llama(), 2, 2, 16, True, 23)


@model
def qwen3_cache():
    how = dict(vocab_size=1000, hidden_size=96, intermediate_size=200, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=3, head_dim=24)
    decoder("qwen3_cache", transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**how)), 2, 3, 24, True)


@model
def gemma_cache():
    how = dict(vocab_size=1000, hidden_size=96, intermediate_size=200, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=1, head_dim=32)
    decoder("gemma_cache", transformers.GemmaForCausalLM(transformers.GemmaConfig(**how)), 2, 1, 32, False)


@model
def phi_cache():
    how = dict(vocab_size=1000, hidden_size=96, intermediate_size=200, num_hidden_layers=2, num_attention_heads=4)
    decoder("phi_cache", transformers.PhiForCausalLM(transformers.PhiConfig(**how)), 2, 4, 24, False)


@model
def neox_cache():
    how = dict(vocab_size=1000, hidden_size=96, intermediate_size=200, num_hidden_layers=2, num_attention_heads=4)
    decoder("neox_cache", transformers.GPTNeoXForCausalLM(transformers.GPTNeoXConfig(**how)), 2, 4, 24, True, 20)


@model
def gpt2_cache_ts():
    how = dict(vocab_size=1000, n_embd=96, n_layer=2, n_head=4, n_positions=256)
    decoder("gpt2_cache_ts", transformers.GPT2LMHeadModel(transformers.GPT2Config(**how)), 2, 4, 24, False, 14)


@model
def bloom_cache():
    how = dict(vocab_size=1000, hidden_size=96, n_layer=2, n_head=4)
    decoder("bloom_cache", transformers.BloomForCausalLM(transformers.BloomConfig(**how)), 2, 4, 24, True)


# -- encoders and decoders


@model
def t5_dyn():
    how = dict(vocab_size=1000, d_model=128, d_kv=16, d_ff=256, num_layers=2, num_heads=8, decoder_start_token_id=0)
    m = transformers.T5ForConditionalGeneration(transformers.T5Config(**how))
    call = Call(m, lambda m, i, a, d: m(input_ids=i, attention_mask=a, decoder_input_ids=d, use_cache=False).logits)
    args = lambda b, s, t: (ids(b, s), (torch.arange(s)[None] < torch.randint(1, s + 1, (b, 1))).long(), ids(b, t))  # noqa: E731
    save("t5_dyn", call, args(2, 20, 5), dynamo=True, opset=18, dyn=(({0: AUTO, 1: AUTO},) * 3,), more=[args(1, 63, 1), args(3, 2, 33)])


@model
def t5_ts():
    how = dict(vocab_size=1000, d_model=128, d_kv=16, d_ff=256, num_layers=2, num_heads=8, decoder_start_token_id=0)
    m = transformers.T5ForConditionalGeneration(transformers.T5Config(**how))
    call = Call(m, lambda m, i, a, d: m(input_ids=i, attention_mask=a, decoder_input_ids=d, use_cache=False).logits)
    args = lambda b, s, t: (ids(b, s), torch.ones(b, s, dtype=torch.long), ids(b, t))  # noqa: E731
    dyn = {"x0": {0: "b", 1: "s"}, "x1": {0: "b", 1: "s"}, "x2": {0: "b", 1: "t"}}
    save("t5_ts", call, args(2, 20, 5), opset=16, dyn=dyn, more=[args(1, 63, 1), args(3, 2, 33)])


@model
def whisper_dyn():
    how = dict(vocab_size=1000, d_model=96, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4, max_source_positions=100)
    m = transformers.WhisperForConditionalGeneration(transformers.WhisperConfig(**how, encoder_ffn_dim=192, decoder_ffn_dim=192, pad_token_id=0))
    call = Call(m, lambda m, x, d: m(input_features=x, decoder_input_ids=d, use_cache=False).logits)
    args = lambda b, t: (normal(b, 80, 200), ids(b, t))  # noqa: E731
    save("whisper_dyn", call, args(1, 4), dynamo=True, opset=18, dyn=(({0: AUTO}, {0: AUTO, 1: AUTO}),), more=[args(2, 1), args(1, 31)])


@model
def marian_ts():
    how = dict(vocab_size=1000, d_model=96, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4)
    m = transformers.MarianMTModel(transformers.MarianConfig(**how, encoder_ffn_dim=192, decoder_ffn_dim=192, pad_token_id=0, decoder_start_token_id=0))
    call = Call(m, lambda m, i, a, d: m(input_ids=i, attention_mask=a, decoder_input_ids=d, use_cache=False).logits)
    args = lambda b, s, t: (ids(b, s), torch.ones(b, s, dtype=torch.long), ids(b, t))  # noqa: E731
    dyn = {"x0": {0: "b", 1: "s"}, "x1": {0: "b", 1: "s"}, "x2": {0: "b", 1: "t"}}
    save("marian_ts", call, args(2, 20, 5), opset=17, dyn=dyn, more=[args(1, 63, 1), args(3, 2, 33)])


def encoder(name, m, dynamo, opset):
    call = Call(m, lambda m, i, a: m(input_ids=i, attention_mask=a)[0])
    args = lambda b, s: (ids(b, s), (torch.arange(s)[None] < torch.randint(1, s + 1, (b, 1))).long())  # noqa: E731
    dyn = (({0: AUTO, 1: AUTO},) * 2,) if dynamo else {"x0": {0: "b", 1: "s"}, "x1": {0: "b", 1: "s"}}
    save(name, call, args(2, 12), dynamo=dynamo, opset=opset, dyn=dyn, more=[args(1, 65), args(5, 3), args(1, 1)])


SMALL = dict(vocab_size=1000, hidden_size=96, num_hidden_layers=2, num_attention_heads=4, intermediate_size=200)


@model
def bert_ts11():
    encoder("bert_ts11", transformers.BertModel(transformers.BertConfig(**SMALL)), False, 14)


@model
def roberta_dyn():
    encoder("roberta_dyn", transformers.RobertaModel(transformers.RobertaConfig(**SMALL)), True, 18)


@model
def electra_dyn():
    encoder("electra_dyn", transformers.ElectraModel(transformers.ElectraConfig(**SMALL, embedding_size=64)), True, 23)


@model
def albert_ts():
    encoder("albert_ts", transformers.AlbertModel(transformers.AlbertConfig(**SMALL, embedding_size=64)), False, 17)


@model
def mpnet_dyn():
    encoder("mpnet_dyn", transformers.MPNetModel(transformers.MPNetConfig(**SMALL)), True, 18)


@model
def longformer_like():
    encoder("longformer_like", transformers.ModernBertModel(transformers.ModernBertConfig(**SMALL, local_attention=8, pad_token_id=0)), True, 18)


# -- pictures


def pictures(name, m, size, dynamo, opset, more=(), dyn=True, names=("x",)):
    axes = (({0: AUTO, 2: AUTO, 3: AUTO},) if dynamo else {"x": {0: "n", 2: "h", 3: "w"}}) if dyn else None
    save(name, m, (normal(*size),), dynamo=dynamo, opset=opset, dyn=axes, names=list(names), more=[(normal(*s),) for s in more])


def small_unet():
    import diffusers

    m = diffusers.UNet2DConditionModel(
        sample_size=16, block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=48, attention_head_dim=8, norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )  # fmt: skip
    return Call(m, lambda m, x, t, c: m(x, t, c).sample)


@model
def unet_diffusers():
    args = lambda b, h, w, s: (normal(b, 4, h, w), torch.tensor([7] * b), normal(b, s, 48))  # noqa: E731
    dyn = {"x0": {0: "b", 2: "h", 3: "w"}, "x1": {0: "b"}, "x2": {0: "b", 1: "s"}}
    save("unet_diffusers", small_unet(), args(2, 16, 16, 11), opset=17, dyn=dyn, more=[args(1, 24, 8, 77), args(3, 8, 8, 1)])


@model
def unet_diffusers_dynamo():
    save("unet_diffusers_dynamo", small_unet(), (normal(2, 4, 16, 16), torch.tensor([7, 7]), normal(2, 11, 48)), opset=18, dynamo=True)


@model
def vae_diffusers():
    import diffusers

    m = diffusers.AutoencoderKL(
        block_out_channels=(16, 32), norm_num_groups=8, down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2
    )
    call = Call(m, lambda m, x: m.decode(x).sample)
    pictures("vae_diffusers", call, (1, 4, 8, 12), False, 17, more=[(2, 4, 5, 7)])


def detection(name, make, size=(3, 160, 192), more=((3, 128, 224),), opset=16, **how):
    m = make(weights=None, weights_backbone=None, min_size=128, max_size=224, **how) if make not in (tv.models.detection.ssd300_vgg16,) else make(weights=None, weights_backbone=None)
    call = Call(m, lambda m, x: tuple(v for k, v in m([x])[0].items()))
    save(name, call, (torch.rand(*size),), opset=opset, dyn={"x0": {1: "h", 2: "w"}}, bn=False, more=[(torch.rand(*s),) for s in more])


@model
def retinanet():
    detection("retinanet", tv.models.detection.retinanet_resnet50_fpn, score_thresh=0.0095)


@model
def fcos():
    detection("fcos", tv.models.detection.fcos_resnet50_fpn, score_thresh=0.05)


@model
def maskrcnn():
    detection("maskrcnn", tv.models.detection.maskrcnn_resnet50_fpn, more=(), box_score_thresh=0.009)  # another size has scores that tie


@model
def keypointrcnn():
    detection("keypointrcnn", tv.models.detection.keypointrcnn_resnet50_fpn, box_score_thresh=0.3)


@model
def lraspp():
    call = Call(tv.models.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None), lambda m, x: m(x)["out"])
    pictures("lraspp", call, (1, 3, 96, 128), False, 17, more=[(2, 3, 65, 97)])


@model
def deeplab_dynamo():
    call = Call(tv.models.segmentation.deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None), lambda m, x: m(x)["out"])
    pictures("deeplab_dynamo", call, (2, 3, 97, 129), True, 18, dyn=False)


def timm_pictures(name, dynamo, opset=18, size=(2, 3, 224, 224), more=((1, 3, 224, 224),), **how):
    def make():
        import timm

        axes = ({0: AUTO},) if dynamo else {"x": {0: "n"}}
        save(f"x_{name}", timm.create_model(name, pretrained=False, **how), (normal(*size),), dynamo=dynamo, opset=opset, dyn=axes, names=["x"], more=[(normal(*s),) for s in more])

    make.__name__ = f"x_{name}"
    model(make)


timm_pictures("swinv2_cr_tiny_224", True)
timm_pictures("deit_tiny_patch16_224", True, 23)
timm_pictures("convnext_atto", True)
timm_pictures("mobilenetv4_conv_small", True, 18, (2, 3, 97, 129), ((1, 3, 97, 129),))
timm_pictures("efficientvit_b0", False, 17)
timm_pictures("fastvit_t8", True)
timm_pictures("mobilevitv2_050", False, 17, (2, 3, 256, 256), ((1, 3, 256, 256),))
timm_pictures("repvit_m0_9", True)
timm_pictures("tiny_vit_5m_224", False, 16)
timm_pictures("gcvit_xxtiny", False, 17)
timm_pictures("visformer_tiny", True)
timm_pictures("cait_xxs24_224", False, 17)
timm_pictures("eva02_tiny_patch14_224", True)
timm_pictures("nest_tiny", False, 17)
timm_pictures("focalnet_tiny_srf", True)
timm_pictures("inception_next_atto", False, 13)
timm_pictures("resnetv2_50", True, 20)
timm_pictures("skresnet18", False, 13)


@model
def crnn_dyn():
    class CRNN(nn.Module):
        def __init__(self):
            super().__init__()
            block = lambda i, o, pool: nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(pool))  # noqa: E731
            self.c = nn.Sequential(block(1, 16, 2), block(16, 32, 2), block(32, 64, (2, 1)), block(64, 64, (4, 1)))
            self.r = nn.LSTM(64, 48, 2, bidirectional=True)
            self.o = nn.Linear(96, 37)

        def forward(self, x):
            h, _ = self.r(self.c(x).squeeze(2).permute(2, 0, 1))
            return F.log_softmax(self.o(h), -1)

    save("crnn_dyn", CRNN(), (normal(2, 1, 32, 100),), dyn={"x0": {0: "n", 3: "w"}}, opset=13, more=[(normal(1, 1, 32, 36),), (normal(3, 1, 32, 260),)])


# -- sound


class Vad(nn.Module):
    """As voice detectors: STFT by a convolution, an encoder, an LSTM whose state is an input and an output."""

    def __init__(self):
        super().__init__()
        n = torch.arange(256.0)
        window = torch.hann_window(256)
        basis = torch.cat([torch.cos(2 * math.pi * torch.arange(129.0)[:, None] * n / 256), torch.sin(2 * math.pi * torch.arange(129.0)[:, None] * n / 256)]) * window
        self.register_buffer("basis", basis[:, None])
        self.c = nn.ModuleList([nn.Conv1d(i, o, 3, s, 1) for i, o, s in ((129, 128, 1), (128, 64, 2), (64, 64, 2), (64, 128, 1))])
        self.r = nn.LSTMCell(128, 128)
        self.o = nn.Conv1d(128, 1, 1)

    def forward(self, x, state):
        x = F.pad(x, (0, 64), mode="reflect")[:, None]
        re, im = F.conv1d(x, self.basis, stride=128).chunk(2, 1)
        x = torch.sqrt(re**2 + im**2)
        for c in self.c:
            x = F.relu(c(x))
        h, c = self.r(x[..., -1], (state[0], state[1]))
        return torch.sigmoid(self.o(F.relu(h)[..., None])).mean(2), torch.stack([h, c])


@model
def vad_ts():
    args = lambda b: (normal(b, 576), normal(2, b, 128))  # noqa: E731
    save("vad_ts", Vad(), args(2), dyn={"x0": {0: "b"}, "x1": {1: "b"}}, opset=16, more=[args(1), args(5)])


@model
def demucs_like():
    class Demucs(nn.Module):
        def __init__(self):
            super().__init__()
            cs = [1, 16, 32, 64]
            self.e = nn.ModuleList([nn.Sequential(nn.Conv1d(i, o, 8, 4), nn.ReLU(), nn.Conv1d(o, 2 * o, 1), nn.GLU(1)) for i, o in zip(cs, cs[1:])])
            self.d = nn.ModuleList([nn.Sequential(nn.Conv1d(o, 2 * o, 1), nn.GLU(1), nn.ConvTranspose1d(o, i, 8, 4)) for i, o in list(zip(cs, cs[1:]))[::-1]])
            self.r = nn.LSTM(64, 64, 2, bidirectional=True, batch_first=True)
            self.l = nn.Linear(128, 64)

        def forward(self, x):
            length = x.shape[-1]
            mono = x.mean(1, keepdim=True)
            scale = mono.std(-1, keepdim=True) + 1e-3
            x = F.pad(x / scale, (0, (4**3 - length % 4**3) + 84))
            skips = []
            for e in self.e:
                x = e(x)
                skips.append(x)
            x = self.l(self.r(x.transpose(1, 2))[0]).transpose(1, 2)
            for d in self.d:
                skip = skips.pop()
                x = d(x + skip[..., : x.shape[-1]])
            return x[..., :length] * scale

    save("demucs_like", Demucs(), (normal(1, 1, 4096),), dyn={"x0": {0: "b", 2: "t"}}, opset=17, more=[(normal(2, 1, 3001),)])


@model
def mel_stft():
    class Mel(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("w", torch.hann_window(400))
            self.register_buffer("m", torch.rand(80, 201))

        def forward(self, x):
            s = torch.stft(x, 400, 160, window=self.w, center=True, pad_mode="reflect", return_complex=False) if False else torch.view_as_real(torch.stft(x, 400, 160, window=self.w, return_complex=True))
            p = self.m @ (s**2).sum(-1)
            log = torch.clamp(p, min=1e-10).log10()
            log = torch.maximum(log, log.amax((-2, -1), keepdim=True) - 8)
            return (log + 4) / 4

    save("mel_stft", Mel(), (normal(1, 4000),), opset=18, dynamo=True, dyn=({0: AUTO, 1: AUTO},), more=[(normal(2, 3200),)])


@model
def tacotron_like():
    class T(nn.Module):
        def __init__(self):
            super().__init__()
            self.e = nn.Embedding(60, 64)
            self.c = nn.ModuleList([nn.Conv1d(64, 64, 5, padding=2) for _ in range(2)])
            self.d = nn.Linear(64, 1)
            self.p = nn.Conv1d(64, 80, 1)

        def forward(self, x):
            h = self.e(x).transpose(1, 2)
            for c in self.c:
                h = F.relu(c(h))
            d = torch.clamp(torch.round(F.softplus(self.d(h.transpose(1, 2))).squeeze(-1) * 3), min=1).long()
            ends = d.cumsum(1)
            t = torch.arange(int(ends.max()) if not torch.jit.is_tracing() else ends.max())
            at = (t[None, :, None] >= ends[:, None, :]).sum(-1).clamp(max=x.shape[1] - 1)
            return self.p(h.gather(2, at[:, None].expand(-1, h.shape[1], -1)))

    save("tacotron_like", T(), (ids(2, 9, most=60),), dyn={"x0": {0: "b", 1: "t"}}, opset=17, more=[(ids(1, 1, most=60),), (ids(3, 17, most=60),)])


# -- graphs, points, control


@model
def gat_scatter():
    class Gat(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Linear(16, 32)
            self.a = nn.Linear(64, 1)

        def forward(self, x, e):
            h = self.w(x)
            n = x.shape[0]
            s = F.leaky_relu(self.a(torch.cat([h[e[0]], h[e[1]]], -1)), 0.2)[:, 0]
            m = torch.full((n,), -1e9).scatter_reduce(0, e[1], s, "amax")
            p = torch.exp(s - m[e[1]])
            z = torch.zeros(n).scatter_add(0, e[1], p)
            y = torch.zeros(n, 32).index_add(0, e[1], h[e[0]] * (p / (z[e[1]] + 1e-9))[:, None])
            degree = torch.zeros(n).scatter_add(0, e[1], torch.ones_like(s))
            return y, degree

    args = lambda n, e: (normal(n, 16), torch.randint(0, n, (2, e)))  # noqa: E731
    save("gat_scatter", Gat(), args(20, 60), opset=18, dyn={"x0": {0: "n"}, "x1": {1: "e"}}, more=[args(1, 1), args(5, 200), args(300, 3)])


@model
def pointnet2():
    class SetAbstraction(nn.Module):
        def __init__(self):
            super().__init__()
            self.m = nn.Sequential(nn.Conv2d(6, 32, 1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 64, 1))
            self.o = nn.Linear(64, 10)

        def forward(self, x):
            centres = x[:, ::8]
            d = ((centres[:, :, None] - x[:, None]) ** 2).sum(-1)
            near = d.topk(16, largest=False)[1]
            b = torch.arange(x.shape[0])[:, None, None]
            group = x[b, near]
            f = torch.cat([group - centres[:, :, None], group], -1)
            h = self.m(f.permute(0, 3, 1, 2)).max(-1)[0]
            return self.o(h.max(-1)[0])

    save("pointnet2", SetAbstraction(), (normal(2, 256, 3),), dyn={"x0": {0: "n", 1: "p"}}, opset=16, more=[(normal(1, 64, 3),), (normal(3, 513, 3),)])


@model
def policy_lstm():
    class Policy(nn.Module):
        def __init__(self):
            super().__init__()
            self.m = nn.Sequential(nn.Linear(24, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())
            self.r = nn.GRUCell(64, 64)
            self.mu, self.v = nn.Linear(64, 6), nn.Linear(64, 1)
            self.s = nn.Parameter(torch.zeros(6))

        def forward(self, x, h, done):
            h = self.r(self.m(torch.clamp((x - 0.1) / math.sqrt(1.5 + 1e-8), -5, 5)), h * (1 - done.float())[:, None])
            mu = torch.tanh(self.mu(h))
            logp = torch.distributions.Normal(mu, self.s.exp()).log_prob(mu + 0.1).sum(-1)
            return mu, logp, self.v(h)[:, 0], h

    args = lambda n: (normal(n, 24), normal(n, 64), torch.rand(n) < 0.5)  # noqa: E731
    dyn = {f"x{i}": {0: "n"} for i in range(3)}
    save("policy_lstm", Policy(), args(3), dyn=dyn, opset=15, more=[args(1), args(64)])


@model
def greedy_loop():
    """A decoding loop inside the model, scripted."""

    class Greedy(nn.Module):
        def __init__(self):
            super().__init__()
            self.e, self.c, self.o = nn.Embedding(50, 32), nn.Linear(64, 32), nn.Linear(32, 50)

        def forward(self, h, steps: int):
            token = torch.zeros(h.shape[0], dtype=torch.long)
            out = torch.zeros(h.shape[0], 0, dtype=torch.long)
            for _ in range(steps):
                h = torch.tanh(self.c(torch.cat([self.e(token), h], 1)))
                token = self.o(h).argmax(-1)
                out = torch.cat([out, token[:, None]], 1)
            return out, h

    from common import FOLDER, write_inputs

    m = torch.jit.script(Greedy().eval())
    torch.onnx.export(m, (normal(2, 32), 5), FOLDER / "greedy_loop.onnx", dynamo=False, opset_version=17, input_names=["h", "steps"], dynamic_axes={"h": {0: "b"}})
    for number, (b, n) in enumerate([(2, 5), (1, 0), (3, 12)]):
        write_inputs("greedy_loop", number, {"h": normal(b, 32).numpy(), "steps": torch.tensor(n).numpy()})
