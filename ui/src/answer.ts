// Reading what the daemon answers, before anything believes it.

import { RpcError } from "./host";

export type Fields = Record<string, unknown>;

/** The items of a list; a daemon of another version is told apart from an empty list. */
export function list(answer: unknown): unknown[] {
  if (!Array.isArray(answer)) {
    throw unreadable("no list");
  }
  return answer;
}

export function fields(value: unknown, what: string): Fields {
  if (typeof value !== "object" || value === null) {
    throw unreadable(`${what} that is no object`);
  }
  return value as Fields;
}

export function text(of: Fields, name: string): string {
  const value = of[name];
  if (typeof value !== "string") {
    throw unreadable(`\`${name}\``);
  }
  return value;
}

/** Absent is empty. */
export function optionalText(of: Fields, name: string): string {
  return (of[name] ?? null) === null ? "" : text(of, name);
}

export function integer(of: Fields, name: string): number {
  const value = of[name];
  if (!Number.isSafeInteger(value)) {
    throw unreadable(`\`${name}\``);
  }
  return value as number;
}

export function unreadable(what: string): RpcError {
  return new RpcError(
    "unreadable_answer",
    `the daemon's answer has ${what} that this window cannot read`,
    "agentsup daemon stop",
  );
}
