"""Networks on text: decoders with caches, and models of the transformers library at small sizes."""

import torch
import torch.nn.functional as F
import torchvision as tv
import transformers
from common import model, normal, save
from torch import nn


class RmsNorm(nn.Module):

    def __init__(self, d):
        super().__init__()
        self.w = nn.Parameter(torch.ones(d))

    def forward(self, x):
        return self.w * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-06))


class Llama(nn.Module):

    def __init__(self, d=512, h=8, kv=2, n=2, v=2000):
        super().__init__()
        self.h, self.kv, self.dh = (h, kv, d // h)
        self.e = nn.Embedding(v, d)
        L = lambda a, b: nn.Linear(a, b, bias=False)
        self.l = nn.ModuleList(
            [
                nn.ModuleDict(
                    dict(
                        a=RmsNorm(d),
                        q=L(d, d),
                        k=L(d, kv * self.dh),
                        v=L(d, kv * self.dh),
                        o=L(d, d),
                        b=RmsNorm(d),
                        g=L(d, 1376),
                        u=L(d, 1376),
                        w=L(1376, d),
                    )
                )
                for _ in range(n)
            ]
        )
        self.f = RmsNorm(d)
        self.o = L(d, v)

    def forward(self, ids, pos, *past):
        B, T = ids.shape
        x = self.e(ids)
        fr = 1 / 10000 ** (torch.arange(0, self.dh, 2).float() / self.dh)
        ang = pos[..., None].float() * fr
        cos = torch.cat([ang, ang], -1).cos()[:, None]
        sin = torch.cat([ang, ang], -1).sin()[:, None]
        rot = lambda t: t * cos + torch.cat([-t[..., self.dh // 2 :], t[..., : self.dh // 2]], -1) * sin
        out = []
        for i, l in enumerate(self.l):
            h = l["a"](x)
            q = rot(l["q"](h).view(B, T, self.h, self.dh).transpose(1, 2))
            k = rot(l["k"](h).view(B, T, self.kv, self.dh).transpose(1, 2))
            v = l["v"](h).view(B, T, self.kv, self.dh).transpose(1, 2)
            if past:
                k = torch.cat([past[2 * i], k], 2)
                v = torch.cat([past[2 * i + 1], v], 2)
            out += [k, v]
            S = k.shape[2]
            K = k[:, :, None].expand(B, self.kv, self.h // self.kv, S, self.dh).reshape(B, self.h, S, self.dh)
            V = v[:, :, None].expand(B, self.kv, self.h // self.kv, S, self.dh).reshape(B, self.h, S, self.dh)
            m = torch.arange(S)[None, None, None, :] <= pos[:, None, :, None]
            a = torch.softmax(q @ K.transpose(2, 3) / self.dh**0.5 + torch.where(m, 0.0, -1000000000.0), -1) @ V
            x = x + l["o"](a.transpose(1, 2).reshape(B, T, -1))
            h = l["b"](x)
            x = x + l["w"](F.silu(l["g"](h)) * l["u"](h))
        return (self.o(self.f(x)), *out)


@model
def llama_prefill():
    save(
        "llama_prefill",
        Llama(),
        (torch.randint(0, 2000, (1, 64)), torch.arange(64)[None]),
        names=["ids", "pos"],
        dyn={"ids": {0: "b", 1: "t"}, "pos": {0: "b", 1: "t"}},
    )


@model
def llama_decode():
    past = [normal(1, 2, 128, 64) for _ in range(4)]
    save(
        "llama_decode",
        Llama(),
        (torch.randint(0, 2000, (1, 1)), torch.full((1, 1), 128), *past),
        names=["ids", "pos"] + [f"p{i}" for i in range(4)],
        dyn={"ids": {0: "b", 1: "t"}, "pos": {0: "b", 1: "t"}, **{f"p{i}": {0: "b", 2: "s"} for i in range(4)}},
        opset=16,
    )


class Call(nn.Module):

    def __init__(self, m, f):
        super().__init__()
        self.m = m
        self.f = f

    def forward(self, *a):
        return self.f(self.m, *a)


@model
def detr():

    class D(nn.Module):

        def __init__(self):
            super().__init__()
            r = tv.models.resnet18()
            self.b = nn.Sequential(*list(r.children())[:-2])
            self.p = nn.Conv2d(512, 128, 1)
            self.t = nn.Transformer(128, 4, 3, 3, 512, batch_first=True)
            self.q = nn.Parameter(torch.rand(50, 128))
            self.r = nn.Parameter(torch.rand(30, 64))
            self.c = nn.Parameter(torch.rand(30, 64))
            self.o = nn.Linear(128, 92)
            self.x = nn.Linear(128, 4)

        def forward(self, x):
            h = self.p(self.b(x))
            H, Wd = h.shape[-2:]
            pos = torch.cat([self.c[:Wd][None].repeat(H, 1, 1), self.r[:H][:, None].repeat(1, Wd, 1)], -1).flatten(0, 1)[None]
            h = self.t(pos + 0.1 * h.flatten(2).transpose(1, 2), self.q[None])
            return (self.o(h), torch.sigmoid(self.x(h)))

    save("detr", D(), (normal(1, 3, 320, 416),), dyn={"x0": {2: "h", 3: "w"}})


@model
def clip():
    c = transformers.CLIPConfig(
        text_config=dict(
            hidden_size=256,
            intermediate_size=1024,
            num_hidden_layers=4,
            num_attention_heads=4,
            vocab_size=5000,
            max_position_embeddings=77,
            eos_token_id=4999,
        ),
        vision_config=dict(
            hidden_size=384, intermediate_size=1536, num_hidden_layers=4, num_attention_heads=6, image_size=224, patch_size=32
        ),
        projection_dim=256,
    )
    m = transformers.CLIPModel(c)
    ids = torch.randint(0, 4998, (3, 16))
    ids[:, -1] = 4999
    save(
        "clip",
        Call(m, lambda m, i, p: m(input_ids=i, pixel_values=p, return_dict=True).logits_per_image),
        (ids, normal(2, 3, 224, 224)),
        dynamo=True,
        opset=18,
    )


@model
def t5_dec():
    m = transformers.T5ForConditionalGeneration(
        transformers.T5Config(vocab_size=4000, d_model=256, d_kv=32, d_ff=1024, num_layers=3, num_heads=8, decoder_start_token_id=0)
    )
    save(
        "t5_dec",
        Call(m, lambda m, i, d: m(input_ids=i, decoder_input_ids=d, use_cache=False).logits),
        (torch.randint(0, 4000, (1, 40)), torch.randint(0, 4000, (1, 7))),
        dynamo=True,
        opset=18,
    )


@model
def bart():
    m = transformers.BartModel(
        transformers.BartConfig(
            vocab_size=4000,
            d_model=256,
            encoder_layers=2,
            decoder_layers=2,
            encoder_ffn_dim=1024,
            decoder_ffn_dim=1024,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            max_position_embeddings=256,
        )
    )
    S = torch.export.Dim("s", min=2, max=200)
    save(
        "bart",
        Call(m, lambda m, i, d: m(input_ids=i, decoder_input_ids=d, use_cache=False)[0]),
        (torch.randint(0, 4000, (1, 48)), torch.randint(0, 4000, (1, 12))),
        dynamo=True,
        opset=18,
    )


@model
def whisper_enc():
    m = transformers.WhisperModel(
        transformers.WhisperConfig(
            d_model=384,
            encoder_layers=4,
            decoder_layers=4,
            encoder_attention_heads=6,
            decoder_attention_heads=6,
            encoder_ffn_dim=1536,
            decoder_ffn_dim=1536,
            vocab_size=5000,
            pad_token_id=0,
            bos_token_id=0,
            eos_token_id=0,
            decoder_start_token_id=0,
        )
    ).encoder
    save("whisper_enc", Call(m, lambda m, x: m(x)[0]), (normal(1, 80, 3000),), dynamo=True, opset=18)


class WhisperDecoder(nn.Module):

    def __init__(self, d=384, h=6, n=4, v=20000):
        super().__init__()
        self.e = nn.Embedding(v, d)
        self.p = nn.Embedding(448, d)
        self.h = h
        self.l = nn.ModuleList(
            [
                nn.ModuleDict(
                    dict(
                        n1=nn.LayerNorm(d),
                        q=nn.Linear(d, d),
                        k=nn.Linear(d, d),
                        v=nn.Linear(d, d),
                        o=nn.Linear(d, d),
                        n2=nn.LayerNorm(d),
                        q2=nn.Linear(d, d),
                        o2=nn.Linear(d, d),
                        n3=nn.LayerNorm(d),
                        f=nn.Linear(d, 4 * d),
                        g=nn.Linear(4 * d, d),
                    )
                )
                for _ in range(n)
            ]
        )
        self.n = nn.LayerNorm(d)

    def forward(self, ids, pos, *c):
        x = self.e(ids) + self.p(pos)
        B, T, D = x.shape
        sp = lambda t: t.view(B, T, self.h, D // self.h).transpose(1, 2)
        mg = lambda t: t.transpose(1, 2).reshape(B, T, D)
        out = []
        for i, l in enumerate(self.l):
            h = l["n1"](x)
            k = torch.cat([c[4 * i], sp(l["k"](h))], 2)
            v = torch.cat([c[4 * i + 1], sp(l["v"](h))], 2)
            out += [k, v]
            x = x + l["o"](mg(torch.softmax(sp(l["q"](h)) @ k.transpose(2, 3) * 0.125, -1) @ v))
            h = l["n2"](x)
            x = x + l["o2"](mg(torch.softmax(sp(l["q2"](h)) @ c[4 * i + 2].transpose(2, 3) * 0.125, -1) @ c[4 * i + 3]))
            x = x + l["g"](F.gelu(l["f"](l["n3"](x))))
        return (self.n(x) @ self.e.weight.t(), *out)


@model
def whisper_dec():
    c = [normal(1, 6, 20 if j < 2 else 1500, 64) for i in range(4) for j in range(4)]
    save(
        "whisper_dec",
        WhisperDecoder(),
        (torch.randint(0, 5000, (1, 1)), torch.full((1, 1), 20), *c),
        names=["ids", "pos"] + [f"c{i}" for i in range(16)],
        dyn={f"c{4 * i + j}": {2: "p"} for i in range(4) for j in range(2)},
    )


@model
def wav2vec2():
    m = transformers.Wav2Vec2Model(
        transformers.Wav2Vec2Config(
            hidden_size=384, num_hidden_layers=3, num_attention_heads=6, intermediate_size=1536, conv_dim=(256,) * 7
        )
    )
    save("wav2vec2", Call(m, lambda m, x: m(x)[0]), (normal(1, 16000),), dynamo=True, opset=18)


@model
def distilbert():
    m = transformers.DistilBertModel(
        transformers.DistilBertConfig(vocab_size=5000, dim=384, n_layers=3, n_heads=6, hidden_dim=1536)
    )
    b = torch.export.Dim("b", min=1, max=64)
    s_ = torch.export.Dim("s", min=2, max=512)
    save(
        "distilbert",
        Call(m, lambda m, i, a: m(input_ids=i, attention_mask=a)[0]),
        (torch.randint(0, 5000, (2, 40)), torch.ones(2, 40, dtype=torch.long)),
        dynamo=True,
        opset=18,
    )


@model
def deberta():
    m = transformers.DebertaV2Model(
        transformers.DebertaV2Config(
            vocab_size=5000,
            hidden_size=256,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=1024,
            relative_attention=True,
            pos_att_type=["p2c", "c2p"],
            position_buckets=64,
            max_position_embeddings=128,
            norm_rel_ebd="layer_norm",
            share_att_key=True,
        )
    )
    save(
        "deberta",
        Call(m, lambda m, i, a: m(input_ids=i, attention_mask=a)[0]),
        (torch.randint(0, 5000, (1, 64)), torch.ones(1, 64, dtype=torch.long)),
    )


@model
def llama_hf():
    m = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=4000,
            hidden_size=512,
            intermediate_size=1376,
            num_hidden_layers=3,
            num_attention_heads=8,
            num_key_value_heads=2,
        )
    )
    save(
        "llama_hf",
        Call(m, lambda m, i: m(input_ids=i, use_cache=False).logits),
        (torch.randint(0, 4000, (1, 96)),),
        dynamo=True,
        opset=18,
    )


@model
def mixtral_hf():
    m = transformers.MixtralForCausalLM(
        transformers.MixtralConfig(
            vocab_size=2000,
            hidden_size=256,
            intermediate_size=512,
            num_hidden_layers=2,
            num_attention_heads=8,
            num_key_value_heads=2,
            num_local_experts=4,
            experts_implementation="eager",
        )
    )
    save(
        "mixtral_hf",
        Call(m, lambda m, i: m(input_ids=i, use_cache=False).logits),
        (torch.randint(0, 2000, (1, 32)),),
        dynamo=True,
        opset=18,
    )
