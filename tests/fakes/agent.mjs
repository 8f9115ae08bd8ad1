// A scripted agent for `agentsup run command -- node agent.mjs STEPS`: does what STEPS (a JSON list) says, with nothing
// but the variables that agentsup gives it, and prints one JSON line for each step. Exits with 0, or as `exit` says.
//
//   {"llm": BODY}              POST $ANTHROPIC_BASE_URL/v1/messages; "path", "headers" and "url" replace those parts
//   {"openai": BODY}           POST $OPENAI_BASE_URL/responses, the same way
//   {"mcp": METHOD, "params"}  a request to $AGENTSUP_MCP_URL (initialized first, by itself)
//   {"env": true}              the environment
//   {"write": PATH, "text"}    writes a file below the current directory
//   {"shell": COMMAND}         runs it and answers its code and output
//   {"print": TEXT}            prints the text as it is
//   {"read": true}             waits for a line on standard input
//   {"wait_file": PATH}        waits until the file exists (a test's signal)
//   {"hang": true}             never ends
//   {"exit": CODE}
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, watch, writeFileSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import { createInterface } from "node:readline";

const env = process.env;
const say = (value) => process.stdout.write(JSON.stringify(value) + "\n");
const bodyText = (body) => (typeof body === "string" ? body : JSON.stringify(body));

async function post(url, headers, body, method = "POST") {
  try {
    const response = await fetch(url, { method, headers, body: method === "GET" ? undefined : bodyText(body) });
    const kept = Object.fromEntries(response.headers);
    try {
      return { status: response.status, headers: kept, body: await response.text() };
    } catch (error) {
      return { status: response.status, headers: kept, broken: String(error.cause ?? error) };
    }
  } catch (error) {
    return { failed: String(error.cause ?? error) };
  }
}

const llm = (step) =>
  post(
    step.url ?? env.ANTHROPIC_BASE_URL + (step.path ?? "/v1/messages"),
    {
      "content-type": "application/json",
      "anthropic-version": "2023-06-01",
      authorization: `Bearer ${env.ANTHROPIC_AUTH_TOKEN}`,
      ...step.headers,
    },
    step.llm,
    step.method,
  );

const openai = (step) =>
  post(
    step.url ?? env.OPENAI_BASE_URL + (step.path ?? "/responses"),
    { "content-type": "application/json", authorization: `Bearer ${env.OPENAI_API_KEY}`, ...step.headers },
    step.openai,
    step.method,
  );

const session = { headers: {}, next: 1 };

async function rpc(method, params, headers) {
  const message = { jsonrpc: "2.0", method, params };
  if (!method.startsWith("notifications/")) message.id = session.next++;
  const sent = {
    "content-type": "application/json",
    accept: "application/json, text/event-stream",
    authorization: `Bearer ${env.AGENTSUP_RUN_TOKEN}`,
    ...session.headers,
    ...headers,
  };
  const reply = await post(env.AGENTSUP_MCP_URL, sent, message);
  if (reply.headers?.["mcp-session-id"]) session.headers["mcp-session-id"] = reply.headers["mcp-session-id"];
  return reply;
}

async function mcp(step) {
  if (!session.started) {
    session.started = true;
    const client = { name: "scripted-agent", version: "1.0.0" };
    const reply = await rpc("initialize", { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: client }, step.headers);
    if (reply.status !== 200 || step.mcp === "initialize") return reply;
    session.headers["mcp-protocol-version"] = "2025-11-25";
    await rpc("notifications/initialized", {}, step.headers);
  }
  return rpc(step.mcp, step.params ?? {}, step.headers);
}

function waitFile(path) {
  mkdirSync(dirname(resolve(path)), { recursive: true });
  return new Promise((done) => {
    const watcher = watch(dirname(resolve(path)), (_, name) => name === basename(path) && finish());
    const finish = () => (watcher.close(), done({ exists: path }));
    if (existsSync(path)) finish();
  });
}

async function run(step) {
  if ("llm" in step) return llm(step);
  if ("openai" in step) return openai(step);
  if ("mcp" in step) return mcp(step);
  if (step.env) return { ...env };
  if ("write" in step) {
    mkdirSync(dirname(resolve(step.write)), { recursive: true });
    writeFileSync(step.write, step.text);
    return { wrote: step.write };
  }
  if ("shell" in step) {
    const { status, stdout, stderr } = spawnSync("sh", ["-c", step.shell], { encoding: "utf8" });
    return { code: status, stdout, stderr };
  }
  if (step.read) {
    const lines = createInterface({ input: process.stdin });
    const { value } = await lines[Symbol.asyncIterator]().next();
    lines.close();
    return { line: value };
  }
  if ("wait_file" in step) return waitFile(step.wait_file);
  if (step.hang) return new Promise(() => setInterval(() => {}, 1 << 30));
  throw new Error(`unknown step: ${JSON.stringify(step)}`);
}

for (const step of JSON.parse(process.argv[2])) {
  if ("exit" in step) process.exit(step.exit);
  if ("print" in step) process.stdout.write(step.print);
  else say(await run(step));
}
