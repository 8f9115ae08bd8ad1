// The page's only way out: one operation by name. In the window it goes through the framework's bridge; in a
// browser (development, tests) it is a POST to the page's own origin. Nothing else may import the framework.

import { invoke, isTauri } from "@tauri-apps/api/core";

/** A refused operation: a stable code to branch on, a text to show, and what to do about it. */
export class RpcError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly hint: string | null,
  ) {
    super(message);
    this.name = "RpcError";
  }
}

/** Runs one daemon operation. Rejects with an `RpcError`, never with anything else. */
export async function call(op: string, params: Record<string, unknown>): Promise<unknown> {
  try {
    return await (isTauri() ? invoke("rpc", { op, params }) : post(op, params));
  } catch (reason) {
    throw asRpcError(reason);
  }
}

async function post(op: string, params: Record<string, unknown>): Promise<unknown> {
  const response = await fetch("/rpc", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ op, params }),
  });
  const answer: unknown = await response.json();
  if (!response.ok) {
    throw answer;
  }
  return answer;
}

function asRpcError(reason: unknown): RpcError {
  if (typeof reason === "object" && reason !== null && "code" in reason && "message" in reason) {
    const hint = "hint" in reason && typeof reason.hint === "string" ? reason.hint : null;
    return new RpcError(String(reason.code), String(reason.message), hint);
  }
  return new RpcError("bridge", reason instanceof Error ? reason.message : String(reason), null);
}
