import { cleanup, fireEvent, render, screen, waitFor } from "@testing-library/react";
import { afterEach, expect, test, vi } from "vitest";
import { App } from "../App";
import { visible } from "./question";

const QUESTION = {
  id: "apr_1",
  run: "run_1",
  agent: "agent/bot@team",
  action: "tool",
  target: "Bash",
  on: "",
  why: ["default/ask-publish: what leaves this machine is confirmed by a person"],
  digest: "00",
  effect: { shown: [{ kind: "command", line: "git push\u202e\u0000", repository: "/repo", directory: "." }] },
  expires_at_ms: Date.now() + 60_000,
};

afterEach(cleanup);

/** What is asked of the daemon, which answers each operation like this. */
function daemon(answers: Record<string, unknown>): [string, unknown][] {
  const asked: [string, unknown][] = [];
  vi.stubGlobal("fetch", (_: string, { body }: { body: string }) => {
    const { op, params } = JSON.parse(body);
    asked.push([op, params]);
    return Promise.resolve(new Response(JSON.stringify(answers[op] ?? []), { status: 200 }));
  });
  return asked;
}

test("where nothing waits nothing is said of it", async () => {
  daemon({});
  render(<App />);
  await screen.findByText("No runs yet");
  expect(screen.queryByLabelText("Waiting for you")).toBeNull();
});

test("a question is shown whole, with what is hidden in it spelt out", async () => {
  daemon({ "approval.list": [QUESTION] });
  const { container } = render(<App />);
  await screen.findByText("Bash");
  expect(container.querySelector("pre")?.textContent).toBe("git push\\u{202e}\\u{0}");
  expect(container.querySelector("figcaption")?.textContent).toBe("in . of a worktree of /repo");
  expect(screen.getByText(QUESTION.why[0] ?? "").tagName).toBe("LI");
});

test.each([
  ["Allow once", { id: "apr_1", answer: "approve", lasts: { kind: "once" } }],
  ["Allow for this run", { id: "apr_1", answer: "approve", lasts: { kind: "run" } }],
  ["Deny", { id: "apr_1", answer: "deny" }],
])("%s answers it", async (name, expected) => {
  const asked = daemon({ "approval.list": [QUESTION], "approval.answer": QUESTION });
  render(<App />);
  fireEvent.click(await screen.findByText(name));
  await waitFor(() => expect(asked).toContainEqual(["approval.answer", expected]));
});

test("what is longer than the window is allowed only once its end was to be seen", async () => {
  daemon({ "approval.list": [QUESTION] });
  const height = vi.spyOn(HTMLElement.prototype, "scrollHeight", "get").mockReturnValue(500);
  const { container } = render(<App />);
  const allow = (await screen.findByText("Allow once")) as HTMLButtonElement;
  expect([allow.disabled, (screen.getByText("Deny") as HTMLButtonElement).disabled]).toEqual([true, false]);
  const box = container.querySelector("figure")?.parentElement as HTMLElement;
  box.scrollTop = 500;
  fireEvent.scroll(box);
  await waitFor(() => expect(allow.disabled).toBe(false));
  height.mockRestore();
});

test("a question of another version is refused, not half shown", async () => {
  daemon({ "approval.list": [{ ...QUESTION, effect: { shown: [{ kind: "song" }] } }] });
  render(<App />);
  expect((await screen.findByRole("alert")).textContent).toContain("`kind`");
  expect(screen.queryByText("Allow once")).toBeNull();
});

test("lines and tabs stay, everything else that is hidden does not", () => {
  expect(visible("a\n\tb\u200bc\u{e0041}\r")).toBe("a\n\tb\\u{200b}c\\u{e0041}\\u{d}");
});
