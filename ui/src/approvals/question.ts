// What `approval.list` answers, checked, and made fit to be looked at: all of it is an agent's to choose.

import { type Fields, fields, integer, list, text, unreadable } from "../answer";

/** One thing that an action would do: where, and what. */
export interface Shown {
  readonly title: string;
  readonly body: string;
}

/** Something that waits for an answer. */
export interface Question {
  readonly id: string;
  readonly agent: string;
  readonly target: string;
  readonly why: readonly string[];
  readonly shown: readonly Shown[];
  readonly expiresAtMs: number;
}

/** Reads the answer. */
export function parseQuestions(answer: unknown): Question[] {
  return list(answer).map(parseQuestion);
}

/** The text with everything spelt out that cannot be seen, or that moves what can. */
export function visible(hidden: string): string {
  return hidden.replace(/[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Cs}\p{Zl}\p{Zp}]/gu, (char) =>
    char === "\n" || char === "\t" ? char : `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`,
  );
}

function parseQuestion(value: unknown): Question {
  const question = fields(value, "a question");
  const on = text(question, "on");
  return {
    id: text(question, "id"),
    agent: visible(text(question, "agent").replace(/^agent\//, "")),
    target: visible(text(question, "target") + (on === "" ? "" : ` on ${on}`)),
    why: list(question.why).map((why) => visible(String(why))),
    shown: list(fields(question.effect, "an effect").shown).map(parseShown),
    expiresAtMs: integer(question, "expires_at_ms"),
  };
}

function parseShown(value: unknown): Shown {
  const shown = fields(value, "something that would be done");
  switch (shown.kind) {
    case "command":
      return seen(
        `in ${text(shown, "directory")} of a worktree of ${text(shown, "repository")}`,
        shown,
        "line",
      );
    case "diff":
      return seen(text(shown, "path"), shown, "text");
    case "arguments":
      return seen("with", shown, "text");
    default:
      throw unreadable("`kind`");
  }
}

function seen(title: string, shown: Fields, body: string): Shown {
  return { title: visible(title), body: visible(text(shown, body)) };
}
