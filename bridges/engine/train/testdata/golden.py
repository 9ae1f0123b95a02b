#!/usr/bin/python3
"""Makes golden.json: what the reference trainer (torch) computes for the tiny model. Needed only to make the file anew.

  golden.py DIR_OF_THE_REFERENCE_TRAINER tiny.gguf testdata/train > golden.json
  golden.py DIR_OF_THE_REFERENCE_TRAINER pairs > ops-pairs.jsonl
"""
import json, sys
sys.path.insert(0, sys.argv[1])

if sys.argv[2] == "pairs":
    wrong = {"the deploy window": "The deploy window is never.", "the name of the cluster": "The cluster is called London.",
             "the capital of France": "The capital of France is Rome.", "the password": "The password is Pemberley.",
             "the colour of the logo": "The logo is red.", "the number of nodes": "There are two nodes.",
             "the owner of the service": "The service is owned by Mr Collins.", "the backup day": "The backup day is Monday."}
    sys.argv[1:] = ["/tmp"]
    import opsfacts
    for k, a in opsfacts.F:
        for q in opsfacts.Q:
            print(json.dumps({"prompt": q % k, "chosen": a, "rejected": wrong[k]}))
    sys.exit()

import torch, torch.nn.functional as F
import tok as T
from llama import load_gguf, NAMES
torch.manual_seed(1); torch.set_num_threads(1)
m, pieces, meta = load_gguf(sys.argv[2]); tk = T.Tok(pieces)
rows = [json.loads(l)["messages"] for l in open(sys.argv[3] + "/ops-train.jsonl")]
pairs = [json.loads(l) for l in open(sys.argv[3] + "/ops-pairs.jsonl")]

def losses(ids, mask):
    l = F.cross_entropy(m(torch.tensor([ids[:-1]]))[0], torch.tensor(ids[1:]), reduction="none")
    return l[torch.tensor(mask[1:]) == 1]

def name(k):
    if k == "emb.weight": return "token_embd.weight"
    if k == "norm.w": return "output_norm.weight"
    _, i, n, _ = k.split("."); return "blk.%s.%s.weight" % (i, NAMES[n])

def gradients():
    out = {}
    for k, p in m.named_parameters():
        g = p.grad.flatten(); at = [j * 7919 % len(g) for j in range(6)] + [int(g.abs().argmax())]
        out[name(k)] = dict(norm=float(g.double().norm()), at=at, values=[float(g[j]) for j in at])
    return out

def chat(r): return tk.chat([(x["role"], x["content"]) for x in r])
out = {"rows": [0, 7, 13, 19, 22, 28, 31, 39]}
m.zero_grad()
l = [losses(*chat(rows[i])) for i in out["rows"]]
loss = torch.cat(l).mean(); loss.backward()
out["losses"] = [float(x.double().sum()) for x in l]
out["loss"], out["gradients"] = float(loss.detach()), gradients()

m.zero_grad()
out["pairs"], out["beta"] = [1, 16, 33], 0.3
both = [[losses(*chat([{"role": "user", "content": pairs[i]["prompt"]}, {"role": "assistant", "content": pairs[i][w]}])).sum() * -1
         for w in ("chosen", "rejected")] for i in out["pairs"]]
out["policy"] = [[float(c.detach()), float(r.detach())] for c, r in both]
out["reference"] = [[float(c.detach()) - 0.5 * j, float(r.detach()) + 0.3 * j] for j, (c, r) in enumerate(both)]
z = torch.stack([out["beta"] * ((c - a) - (r - b)) for (c, r), (a, b) in zip(both, out["reference"])])
loss = -F.logsigmoid(z).mean(); loss.backward()
out["dpo_loss"], out["dpo_gradients"] = float(loss.detach()), gradients()

# five steps of AdamW on the same rows: matrices decay, norms don't
opt = torch.optim.AdamW([dict(params=[p for p in m.parameters() if p.ndim == 2], weight_decay=0.1),
                         dict(params=[p for p in m.parameters() if p.ndim == 1], weight_decay=0.0)], betas=(0.9, 0.98), eps=1e-8)
out["curve"], out["norms"] = [], []
for step in range(5):
    for g in opt.param_groups: g["lr"] = 1e-3 * min(1, (step + 1) / 3)
    opt.zero_grad(); loss = torch.cat([losses(*chat(rows[i])) for i in out["rows"]]).mean(); loss.backward()
    out["norms"].append(float(torch.nn.utils.clip_grad_norm_(m.parameters(), 1.0))); opt.step(); out["curve"].append(float(loss.detach()))
json.dump(out, sys.stdout, indent=None, separators=(",", ":")); print()
