// What the OpenAI SDK makes of a running coordinator. BASE is its address; prints one JSON line a check: {name, ok, detail}.
import { createRequire } from "node:module";
const OpenAI = createRequire(process.env.SDK_DIR + "/")("openai");
const base = process.env.BASE;
const client = new OpenAI({ baseURL: base + "/v1", apiKey: "none", maxRetries: 0, timeout: 30_000 });

async function check(name, run) {
  let ok = true, detail = "";
  try {
    await run();
  } catch (e) {
    ok = false;
    detail = e?.stack ?? String(e);
  }
  console.log(JSON.stringify({ name, ok, detail }));
}

function equal(got, want, what) {
  if (got !== want) throw new Error(`${what}: ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);
}

function holds(condition, what) {
  if (!condition) throw new Error(what);
}

async function refused(promise, kind, status, code) {
  let e;
  try {
    await promise;
  } catch (caught) {
    e = caught;
  }
  holds(e, "it was not refused");
  equal(e.constructor.name, kind, "class of " + e);
  equal(e.status, status, "status");
  if (code) equal(e.code, code, "code");
  return e;
}

const france = [{ role: "user", content: "What is the capital of France?" }];
const paris = "The capital of France is Paris.";
const ask = (more, options) => client.chat.completions.create({ model: "tiny", temperature: 0, messages: france, ...more }, options);

await check("models.list", async () => {
  const ids = [];
  for await (const m of client.models.list()) ids.push(m.id);
  holds(ids.includes("tiny"), "no tiny in " + ids);
});
await check("models.retrieve", async () => equal((await client.models.retrieve("tiny")).id, "tiny", "id"));
await check("chat", async () => {
  const r = await ask({});
  equal(r.choices[0].message.content, paris, "content");
  equal(r.choices[0].finish_reason, "stop", "finish_reason");
  equal(r.usage.completion_tokens, 11, "completion_tokens");
  equal(r.usage.prompt_tokens, 12, "prompt_tokens");
});
await check("chat, stream", async () => {
  let text = "", pieces = 0, usage;
  for await (const c of await ask({ stream: true, stream_options: { include_usage: true } })) {
    const piece = c.choices[0]?.delta?.content;
    if (piece) { text += piece; pieces++; }
    usage = c.usage ?? usage;
  }
  equal(text, paris, "text");
  holds(pieces > 3, `only ${pieces} pieces`);
  equal(usage?.completion_tokens, 11, "completion_tokens");
});
await check("completions", async () => {
  const r = await client.completions.create({ model: "tiny", prompt: "On the following day", temperature: 0, max_tokens: 7 });
  equal(r.choices[0].text, ", they were all in the house", "text");
  equal(r.choices[0].finish_reason, "length", "finish_reason");
});
await check("completions, stream", async () => {
  let text = "";
  for await (const c of await client.completions.create({ model: "tiny", prompt: "Anne", temperature: 0, max_tokens: 8, stream: true }))
    text += c.choices[0].text;
  equal(text, " was not sorry to see her sister,", "text");
});
await check("embeddings", async () => {
  const r = await client.embeddings.create({ model: "tiny", input: ["Emma", "Anne"], encoding_format: "float" });
  equal(r.data.length, 2, "vectors");
  equal(r.data[1].embedding.length, 128, "numbers");
  const norm = Math.hypot(...r.data[0].embedding);
  holds(Math.abs(norm - 1) < 1e-3, "norm " + norm);
});
await check("unknown model", async () => {
  const e = await refused(ask({ model: "nobody" }), "NotFoundError", 404, "model_not_found");
  equal(e.param, "model", "param");
});
await check("unknown model, stream", () => refused(ask({ model: "nobody", stream: true }), "NotFoundError", 404, "model_not_found"));
await check("max_tokens without a limit", async () => { // llama.cpp's own sentinel
  const r = await ask({ max_tokens: -1 });
  equal(r.choices[0].message.content, paris, "content");
  equal(r.choices[0].finish_reason, "stop", "finish_reason");
});
await check("half a token", async () => {
  const e = await refused(ask({ max_tokens: 0.5 }), "BadRequestError", 400, "invalid_argument");
  equal(e.param, "max_tokens", "param");
});
await check("bad JSON", async () => {
  const r = await fetch(base + "/v1/chat/completions", { method: "POST", body: '{"model":"tiny",', headers: { "content-type": "application/json" } });
  equal(r.status, 400, "status");
  const body = await r.json();
  equal(body.error.type, "invalid_request_error", "type");
  equal(body.error.src, "modelops", "src");
});
await check("oversize body", async () => {
  const r = await fetch(base + "/v1/chat/completions", { method: "POST", body: JSON.stringify({ model: "tiny", prompt: "x".repeat(2 << 20) }) });
  equal(r.status, 413, "status");
  equal((await r.json()).error.code, "payload_too_large", "code");
});
await check("deadline passed", async () => {
  const r = await fetch(base + "/v1/chat/completions", {
    method: "POST", headers: { "x-request-timeout": "0.2" }, body: JSON.stringify({ model: "slow", messages: france, max_tokens: 64 }) });
  equal(r.status, 504, "status");
  equal((await r.json()).error.code, "deadline_exceeded", "code");
});
await check("queue full", async () => {
  const leave = new AbortController();
  const story = () => client.chat.completions.create(
    { model: "slow", stream: true, max_tokens: 200, messages: [{ role: "user", content: "Tell me a story." }] }, { signal: leave.signal });
  const running = await story(); // the one place is taken as soon as the answer begins
  const waiting = story();
  waiting.catch(() => {});
  await until(async () => (await (await fetch(base + "/status")).json()).models.find((m) => m.name === "slow").queued === 1);
  const e = await refused(story(), "RateLimitError", 429, "bulkhead_rejection");
  holds(Number(e.headers.get("retry-after")) >= 1, "Retry-After: " + e.headers.get("retry-after"));
  holds(Number(e.headers.get("retry-after-ms")) > 0, "Retry-After-Ms: " + e.headers.get("retry-after-ms"));
  leave.abort();
  running.controller.abort();
});

async function until(condition) {
  const end = Date.now() + 10_000;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error("the request never queued");
    await new Promise((r) => setTimeout(r, 10));
  }
}
