// A client on another machine: OpenAI's SDK, and what a browser does before and while a page of another origin calls.
// BASE, KEY, SDK_DIR; NODE_EXTRA_CA_CERTS names the CA. It prints one line for each step, and ends with 1 when one is wrong.
import { createRequire } from "node:module";
import https from "node:https";
const require = createRequire(process.env.SDK_DIR + "/");
const OpenAI = require("openai").default ?? require("openai");
const { BASE, KEY } = process.env;
const page = "https://chat.example.com", stranger = "https://evil.example";
let bad = 0;
const check = (what, ok, more) => { console.log(`${ok ? "ok" : "WRONG"} ${what}`, ok ? "" : JSON.stringify(more)); if (!ok) bad = 1; };
const refused = async (what, f, status) => { try { const r = await f(); check(what, false, r); } catch (e) { check(what, status ? e.status === status : true, String(e)); } };

// fetch of a browser can't be told its Origin, and a plain request can: these are the bytes that a browser sends.
const request = (method, path, headers, body) => new Promise((resolve, reject) => {
  const r = https.request(BASE + path, { method, headers, servername: new URL(BASE).hostname }, (a) => {
    let text = ""; a.on("data", (d) => (text += d)); a.on("end", () => resolve({ status: a.statusCode, headers: a.headers, text }));
  });
  r.on("error", reject); r.end(body);
});
// asPage is fetch in a page: a preflight, the request only if that allows it, and the answer only if it may be read.
const asPage = async (origin, method, path, headers, body) => {
  const pre = await request("OPTIONS", path, { origin, "access-control-request-method": method, "access-control-request-headers": Object.keys(headers).sort().join(",") });
  const allowed = (pre.headers["access-control-allow-headers"] ?? "").split(",").map((s) => s.trim());
  if (pre.status >= 300 || pre.headers["access-control-allow-origin"] !== origin || !Object.keys(headers).every((h) => allowed.includes(h))) throw new Error("CORS: preflight " + pre.status);
  const a = await request(method, path, { origin, "sec-fetch-site": "cross-site", "sec-fetch-mode": "cors", ...headers }, body);
  if (a.headers["access-control-allow-origin"] !== origin) throw new Error("CORS: the answer may not be read");
  return a;
};

const client = new OpenAI({ baseURL: BASE + "/v1", apiKey: KEY, maxRetries: 0 });
const ask = { model: "tiny", messages: [{ role: "user", content: "What is the capital of France?" }], temperature: 0 };
const whole = await client.chat.completions.create(ask);
check("sdk", whole.choices[0].message.content.includes("Paris"), whole);
let text = "";
for await (const part of await client.chat.completions.create({ ...ask, stream: true })) text += part.choices[0]?.delta?.content ?? "";
check("sdk stream", text.includes("Paris"), text);
check("sdk models", (await client.models.list()).data.some((m) => m.id === "tiny"));
await refused("sdk with a wrong key", () => new OpenAI({ baseURL: BASE + "/v1", apiKey: "wrong-key-1", maxRetries: 0 }).chat.completions.create(ask), 401);

const json = { "content-type": "application/json", authorization: "Bearer " + KEY, "x-stainless-lang": "js" };
const a = await asPage(page, "POST", "/v1/chat/completions", json, JSON.stringify(ask));
check("page", a.status === 200 && a.text.includes("Paris") && a.headers["access-control-expose-headers"].includes("X-Modelops-Queue-Ms"), a);
const none = await asPage(page, "POST", "/v1/chat/completions", { "content-type": "application/json" }, JSON.stringify(ask));
check("page without a key reads its refusal", none.status === 401, none);
await refused("page of a stranger", () => asPage(stranger, "POST", "/v1/chat/completions", json, JSON.stringify(ask)));
const forced = await request("POST", "/v1/chat/completions", { origin: stranger, ...json }, JSON.stringify(ask));
check("page of a stranger without a preflight", forced.status === 403 && !forced.headers["access-control-allow-origin"], forced);
const rebound = await request("GET", "/v1/models", { host: "evil.example", authorization: "Bearer " + KEY });
check("another Host", rebound.status === 403, rebound);
const page2 = await fetch(BASE + "/v1/models", { headers: { authorization: "Bearer " + KEY } });
check("fetch", page2.ok && (await page2.json()).data.length > 0);
process.exit(bad);
