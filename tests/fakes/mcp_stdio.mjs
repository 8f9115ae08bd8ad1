// A scripted MCP server over stdio. What it does wrong is in FAKE_MCP_FAULT; each line it receives is appended to
// FAKE_MCP_LOG with its process id; notes are files in FAKE_MCP_NOTES.
//
// Faults: die-at-start, hang-at-start, garbage-at-start, die-on-call, hang-on-call, garbage-on-call, wrong-id-on-call,
// error-on-call, huge-on-call, slow-on-call:MILLISECONDS.
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";

const fault = process.env.FAKE_MCP_FAULT ?? "";
const notes = process.env.FAKE_MCP_NOTES ?? ".";
const toolsText = readFileSync(new URL("golden/mcp-tools.json", import.meta.url), "utf8");

// JSON-RPC over stdio is one message a line; numbers in the tool list must survive, so it is not re-serialised.
const send = (id, field, text) =>
  process.stdout.write(`{"jsonrpc":"2.0","id":${JSON.stringify(id)},"${field}":${text.replaceAll("\n", " ")}}\n`);
const result = (id, value) => send(id, "result", typeof value === "string" ? value : JSON.stringify(value));
const text = (value, isError = false) =>
  `{"content":[{"type":"text","text":${JSON.stringify(value)}}],"isError":${isError},"x-vendor":{"weight":9007199254740993,"ratio":1.50}}`;

const tools = {
  echo: (args) => text(`echo: ${args.text}`),
  write_note: (args) => {
    writeFileSync(join(notes, basename(args.name)), args.text);
    return text(`wrote ${args.name}`);
  },
  read_note: (args) => text(readFileSync(join(notes, basename(args.name)), "utf8")),
};

function call(id, { name, arguments: args = {} }) {
  if (fault === "die-on-call") process.exit(3);
  if (fault === "hang-on-call") return;
  if (fault === "garbage-on-call") return process.stdout.write("this is not JSON\n");
  if (fault === "wrong-id-on-call") return result("no-such-id", text("lost"));
  if (fault === "error-on-call") return send(id, "error", JSON.stringify({ code: -32000, message: "the fake refuses" }));
  if (fault === "huge-on-call") return result(id, text("x".repeat(64 << 20)));
  if (!(name in tools)) return send(id, "error", JSON.stringify({ code: -32602, message: `Unknown tool: ${name}` }));
  let answer;
  try {
    answer = tools[name](args);
  } catch (error) {
    answer = text(String(error), true);
  }
  const slow = fault.match(/^slow-on-call:(\d+)$/);
  if (slow) setTimeout(() => result(id, answer), Number(slow[1]));
  else result(id, answer);
}

const log = (entry) => {
  if (process.env.FAKE_MCP_LOG) appendFileSync(process.env.FAKE_MCP_LOG, JSON.stringify({ pid: process.pid, ...entry }) + "\n");
};
log({ started: process.argv.slice(2), env: Object.keys(process.env).sort() });
if (fault === "die-at-start") process.exit(3);
if (fault === "garbage-at-start") process.stdout.write("npm warn this is not JSON-RPC\n");
process.stderr.write("fake MCP server: ready\n");

for await (const line of createInterface({ input: process.stdin })) {
  if (!line.trim()) continue;
  log({ received: line });
  const { id, method, params = {} } = JSON.parse(line);
  if (id === undefined || fault === "hang-at-start") continue;
  if (method === "initialize")
    result(id, {
      protocolVersion: params.protocolVersion === "2025-06-18" ? "2025-06-18" : "2025-11-25",
      capabilities: { tools: { listChanged: true } },
      serverInfo: { name: "fake-stdio", version: "1.0.0" },
      instructions: "A scripted server.",
    });
  else if (method === "ping") result(id, {});
  else if (method === "tools/list") result(id, `{"tools":${toolsText},"_meta":{"x-vendor/page":1}}`);
  else if (method === "tools/call") call(id, params);
  else send(id, "error", JSON.stringify({ code: -32601, message: `Method not found: ${method}` }));
}
log({ ended: "end of input" });
