// What `run.list` answers, checked before anything believes it: names, branches and paths come from agents.

import { RpcError } from "../host";

export const STATES = [
  "starting",
  "running",
  "waiting",
  "suspended",
  "stopping",
  "exited",
  "killed",
  "failed",
] as const;

export type State = (typeof STATES)[number];

export interface Run {
  readonly id: string;
  readonly agent: string;
  readonly adapter: string;
  readonly state: State;
  readonly branch: string;
  readonly worktree: string;
  readonly spendNanoUsd: number;
  readonly startedAtMs: number;
}

/** Reads the answer; a daemon of another version is told apart from an empty list. */
export function parseRuns(answer: unknown): Run[] {
  if (!Array.isArray(answer)) {
    throw unreadable("no list");
  }
  return answer.map(parseRun);
}

/** Whether the run's processes are still there. */
export function isLive(run: Run): boolean {
  return run.state !== "exited" && run.state !== "killed" && run.state !== "failed";
}

function parseRun(value: unknown): Run {
  if (typeof value !== "object" || value === null) {
    throw unreadable("a run that is no object");
  }
  const fields = value as Record<string, unknown>;
  const state = STATES.find((known) => known === fields.state);
  if (state === undefined) {
    throw unreadable("`state`");
  }
  return {
    id: text(fields, "id"),
    // Every name here is an agent's, so the kind is left out.
    agent: text(fields, "agent").replace(/^agent\//, ""),
    adapter: text(fields, "adapter"),
    state,
    branch: text(fields, "branch"),
    worktree: text(fields, "worktree"),
    spendNanoUsd: integer(fields, "spend_nano_usd"),
    startedAtMs: integer(fields, "started_at_ms"),
  };
}

// A run that failed before it had a worktree has neither branch nor path.
function text(fields: Record<string, unknown>, name: string): string {
  const value = fields[name] ?? "";
  if (typeof value !== "string") {
    throw unreadable(`\`${name}\``);
  }
  return value;
}

function integer(fields: Record<string, unknown>, name: string): number {
  const value = fields[name];
  if (!Number.isSafeInteger(value)) {
    throw unreadable(`\`${name}\``);
  }
  return value as number;
}

function unreadable(what: string): RpcError {
  return new RpcError(
    "unreadable_answer",
    `the daemon's list of runs has ${what} that this window cannot read`,
    "agentsup daemon stop",
  );
}
