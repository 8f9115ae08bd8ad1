// What `approval.cards` answers, checked. The daemon has spelt out what is hidden in it; here it is text and nothing else.

import { fields, integer, list, text, unreadable } from "../answer";

/** Something that waits for an answer. */
export interface Card {
  readonly id: string;
  /** What it wants to call. */
  readonly wants: string;
  /** What else is to be known of it: label and text. */
  readonly facts: readonly (readonly [string, string])[];
  /** All that it would do; may be empty, where the facts say it. */
  readonly would: string;
  readonly expiresAtMs: number;
}

/** Reads the answer. */
export function parseCards(answer: unknown): Card[] {
  return list(answer).map(parseCard);
}

function parseCard(value: unknown): Card {
  const card = fields(value, "a question");
  const facts = list(card.facts).map(parseFact);
  const wants = facts.find(([label]) => label === "wants");
  if (wants === undefined) {
    throw unreadable("a question about nothing");
  }
  return {
    id: text(card, "id"),
    wants: wants[1],
    facts: facts.filter((fact) => fact !== wants && fact[0] !== "approval"),
    would: list(card.lines)
      .map((line) => string(line, "`lines`"))
      .join("\n"),
    expiresAtMs: integer(card, "expires_at_ms"),
  };
}

function parseFact(value: unknown): readonly [string, string] {
  const [label, of] = list(value);
  return [string(label, "`facts`"), string(of, "`facts`")];
}

function string(value: unknown, what: string): string {
  if (typeof value !== "string") {
    throw unreadable(what);
  }
  return value;
}
