// Stands in for `cursor-agent`, which cannot be had for tests: does what Cursor publishes about its command line and its
// hooks, and what others measured with 2026.09.23. It has a login and reads hooks and servers where that one does, calls
// the steps in its order, honours answers and exit codes, and prints what that one prints. Its turns are a test's, in the
// JSON file that FAKE_CURSOR names:
//
//   { "log": FILE, "model": NAME, "void": true,       a list of hooks that is not understood is not there at all
//     "turns": [{ "steps": [STEP], "usage": [input, output, cache read, cache write] | null, "status", "text" }] }
//   STEP: {"read": PATH} {"write": PATH, "text"} {"shell": COMMAND} {"mcp": TOOL, "args", "server": URL} {"many": N}
//         {"wait_file": PATH} {"message": ONE THAT ITS HOOK GETS AS IT IS}
import { spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { appendFileSync, existsSync, readFileSync, watch, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline";

const EVENTS =
  "beforeShellExecution beforeMCPExecution afterShellExecution afterMCPExecution beforeReadFile afterFileEdit " +
  "beforeTabFileRead afterTabFileEdit stop beforeSubmitPrompt afterAgentResponse afterAgentThought sessionStart " +
  "sessionEnd preCompact subagentStart subagentStop preToolUse postToolUse postToolUseFailure workspaceOpen";
const PERMISSIONS = ["beforeShellExecution", "beforeMCPExecution", "beforeReadFile", "subagentStart", "preToolUse"];
const HEADLESS = ["sessionStart", "sessionEnd", "preToolUse", "postToolUse", "postToolUseFailure", "beforeMCPExecution"];

const args = process.argv.slice(2);
if (args[0] === "--version") {
  console.log("2026.09.23-86fc751");
  process.exit(0);
}
const script = JSON.parse(readFileSync(process.env.FAKE_CURSOR, "utf8"));
delete process.env.FAKE_CURSOR;
const log = (entry) => appendFileSync(script.log, JSON.stringify(entry) + "\n");
const config = process.env.XDG_CONFIG_HOME ?? join(homedir(), ".config");
if (!existsSync(join(config, "cursor", "auth.json"))) {
  console.error("Error: Authentication required. Please run 'agent login' first.");
  process.exit(1);
}

const headless = args.some((arg) => arg === "--print" || /^-\w*p/.test(arg));
const format = args.includes("--output-format") ? args[args.indexOf("--output-format") + 1] : "text";
const session = randomUUID();
const model = script.model ?? "default";
const hooks = {};
for (const home of [homedir(), process.cwd()]) {
  const file = join(home, ".cursor", "hooks.json");
  if (!existsSync(file)) continue;
  const found = JSON.parse(readFileSync(file, "utf8")).hooks;
  if (script.void || Object.keys(found).some((event) => !EVENTS.split(" ").includes(event))) continue;
  for (const [event, list] of Object.entries(found)) (hooks[event] ??= []).push(...list);
}

const refusal = (event, text) =>
  PERMISSIONS.includes(event)
    ? { permission: "deny", user_message: text }
    : ["sessionStart", "beforeSubmitPrompt"].includes(event)
      ? { continue: false, user_message: text }
      : {};

function ask(hook, event, message) {
  const text = JSON.stringify(message);
  const ended = spawnSync("/bin/sh", ["-c", `${hook.command} <<'CURSOR_HOOK_EOF'\n${text}\nCURSOR_HOOK_EOF`], {
    encoding: "utf8",
    timeout: (hook.timeout ?? 60) * 1000,
    env: { ...process.env, CURSOR_PROJECT_DIR: process.cwd(), CURSOR_VERSION: "2026.09.23" },
  });
  log({ hook: event, code: ended.status, out: ended.stdout.trim(), error: ended.stderr.trim() });
  if (ended.status === 2) return refusal(event, ended.stdout.trim() || `Hook blocked with message: ${ended.stderr.trim()}`);
  if (ended.status !== 0 || ended.stdout.trim() === "") return hook.failClosed ? refusal(event, "it failed") : {};
  try {
    return JSON.parse(ended.stdout);
  } catch {
    return hook.failClosed || PERMISSIONS.includes(event) ? refusal(event, "no JSON") : {};
  }
}

let generation = randomUUID();
function fire(event, fields) {
  if (headless && !HEADLESS.includes(event)) return {};
  const message = {
    conversation_id: session, generation_id: generation, model, ...fields, session_id: session, hook_event_name: event,
    cursor_version: "2026.09.23-86fc751", workspace_roots: [process.cwd()], user_email: "person@example.invalid",
    transcript_path: null,
  };
  const answers = (hooks[event] ?? []).map((hook) => ask(hook, event, message));
  return answers.find((answer) => answer.permission === "deny" || answer.continue === false) ?? answers[0] ?? {};
}

const print = (line) => headless && format === "stream-json" && console.log(JSON.stringify({ ...line, session_id: session }));

async function mcp(url, headers, method, params) {
  const id = method.startsWith("notifications/") ? undefined : 1;
  const body = JSON.stringify({ jsonrpc: "2.0", id, method, params });
  const sent = { "content-type": "application/json", accept: "application/json, text/event-stream", ...headers };
  const reply = await fetch(url, { method: "POST", headers: sent, body });
  const held = reply.headers.get("mcp-session-id");
  if (held) headers["mcp-session-id"] = held;
  return (await reply.text()).slice(0, 2000);
}

async function served(step) {
  const own = JSON.parse(readFileSync(join(homedir(), ".cursor", "mcp.json"), "utf8")).mcpServers.agentsup;
  const fill = (text) => text.replace(/\$\{env:(\w+)\}/g, (_, name) => process.env[name] ?? "");
  const url = step.server ?? own.url;
  const fields = { tool_name: step.mcp, tool_input: JSON.stringify(step.args), mcp_server_name: "user-agentsup", url };
  const answer = fire("beforeMCPExecution", fields);
  if (answer.permission === "deny") return { denied: answer.user_message };
  const headers = Object.fromEntries(Object.entries(own.headers).map(([name, value]) => [name, fill(value)]));
  await mcp(url, headers, "initialize", { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "cursor", version: "1" } });
  headers["mcp-protocol-version"] = "2025-06-18";
  await mcp(url, headers, "notifications/initialized", {});
  return { output: await mcp(url, headers, "tools/call", { name: step.mcp, arguments: step.args }) };
}

function waitFile(path) {
  return new Promise((done) => {
    const watcher = watch(dirname(resolve(path)), (_, name) => name === basename(path) && finish());
    const finish = () => (watcher.close(), done({}));
    if (existsSync(path)) finish();
  });
}

const named = (step) =>
  "read" in step ? ["Read", { file_path: resolve(step.read) }]
  : "write" in step ? ["Write", { file_path: resolve(step.write), content: step.text }]
  : "shell" in step ? ["Shell", { command: step.shell, cwd: "" }]
  : [`MCP:${step.mcp}`, step.args];

async function act(step) {
  if ("read" in step) return { output: readFileSync(step.read, "utf8") };
  if ("write" in step) return writeFileSync(step.write, step.text), { output: "{}" };
  if ("shell" in step) return { output: spawnSync("/bin/sh", ["-c", step.shell], { encoding: "utf8" }).stdout };
  return served(step);
}

async function tool(step) {
  if (step.wait_file) return waitFile(step.wait_file);
  if (step.many) {
    for (let count = 0; count < step.many; count++) await tool({ read: "README.md" });
    return;
  }
  if (step.message) return fire(step.message.hook_event_name, step.message);
  const [tool_name, tool_input] = named(step);
  const fields = { tool_name, tool_input, tool_use_id: `call_${randomUUID()}\nctc_1`, cwd: process.cwd() };
  print({ type: "tool_call", subtype: "started", call_id: fields.tool_use_id, tool_call: {} });
  const answer = fire("preToolUse", fields);
  const result = answer.permission === "deny" ? { denied: answer.user_message } : await act(step);
  if (result.denied) fire("postToolUseFailure", { ...fields, error_message: result.denied, failure_type: "permission_denied", duration: 0 });
  else fire("postToolUse", { ...fields, tool_output: result.output, duration: 1.5 });
  log({ tool: tool_name, ...result });
  print({ type: "tool_call", subtype: "completed", call_id: fields.tool_use_id, tool_call: {} });
}

async function turn({ steps = [], usage = null, status = "completed", text = "Done." }) {
  generation = randomUUID();
  for (const step of steps) await tool(step);
  const [input, output, read, write] = usage ?? [];
  const counts = usage ? { input_tokens: input, output_tokens: output, cache_read_tokens: read, cache_write_tokens: write } : {};
  fire("stop", { status, loop_count: 0, ...counts });
  const told = usage ? { inputTokens: input, outputTokens: output, cacheReadTokens: read, cacheWriteTokens: write } : undefined;
  print({ type: "result", subtype: "success", duration_ms: 1, is_error: false, result: text, request_id: generation, usage: told });
  if (!headless) console.log(text);
}

log({ args, home: homedir(), mcp: existsSync(join(homedir(), ".cursor", "mcp.json")), env: Object.keys(process.env) });
print({ type: "system", subtype: "init", apiKeySource: "login", cwd: process.cwd(), model, permissionMode: "default" });
const start = fire("sessionStart", { is_background_agent: false });
if (start.continue === false) {
  console.error(`Error: ${start.user_message}`);
  process.exit(1);
}
if (headless) {
  await turn(script.turns[0]);
} else {
  console.log("Cursor Agent");
  for await (const prompt of createInterface({ input: process.stdin })) {
    if (prompt.trim() === "/exit") break;
    const answer = fire("beforeSubmitPrompt", { prompt, attachments: [] });
    if (answer.continue === false) console.log(`Prompt refused: ${answer.user_message}`);
    else await turn(script.turns.shift());
  }
}
fire("sessionEnd", { reason: "completed", duration_ms: 1, is_background_agent: false, final_status: "completed" });
process.exit(0);
