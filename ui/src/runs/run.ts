// What `run.list` answers, checked before anything believes it: names, branches and paths come from agents.

import { fields, integer, list, optionalText, text, unreadable } from "../answer";

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

/** Reads the answer. */
export function parseRuns(answer: unknown): Run[] {
  return list(answer).map(parseRun);
}

/** Whether the run's processes are still there. */
export function isLive(run: Run): boolean {
  return run.state !== "exited" && run.state !== "killed" && run.state !== "failed";
}

function parseRun(value: unknown): Run {
  const run = fields(value, "a run");
  const state = STATES.find((known) => known === run.state);
  if (state === undefined) {
    throw unreadable("`state`");
  }
  return {
    id: text(run, "id"),
    // Every name here is an agent's, so the kind is left out.
    agent: text(run, "agent").replace(/^agent\//, ""),
    adapter: text(run, "adapter"),
    state,
    // One that failed before it had a worktree has neither.
    branch: optionalText(run, "branch"),
    worktree: optionalText(run, "worktree"),
    spendNanoUsd: integer(run, "spend_nano_usd"),
    startedAtMs: integer(run, "started_at_ms"),
  };
}
