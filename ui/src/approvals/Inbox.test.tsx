import { cleanup, fireEvent, render, screen, waitFor } from "@testing-library/react";
import { afterEach, expect, test, vi } from "vitest";
import { App } from "../App";

const CARD = {
  id: "apr_1",
  facts: [
    ["approval", "0001"],
    ["agent", "agent/bot@team"],
    ["run", "5a5a5a5a"],
    ["wants", "Bash"],
    ["why", "default/ask-publish: what leaves this machine is confirmed by a person"],
  ],
  lines: ["$ git push", "in . of a worktree of /repo"],
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

/** A button that can be pressed, once it can. */
async function ready(name: string): Promise<HTMLButtonElement> {
  const button = (await screen.findByText(name)) as HTMLButtonElement;
  await waitFor(() => expect(button.disabled).toBe(false));
  return button;
}

test("where nothing waits nothing is said of it", async () => {
  daemon({});
  render(<App />);
  await screen.findByText("No runs yet");
  expect(screen.queryByLabelText("Waiting for you")).toBeNull();
});

test("a question is shown whole, as the daemon tells it", async () => {
  daemon({ "approval.cards": [CARD] });
  const { container } = render(<App />);
  await screen.findByText("Bash");
  expect(container.querySelector("pre")?.textContent).toBe("$ git push\nin . of a worktree of /repo");
  const told = [...container.querySelectorAll("dt, dd")].map((one) => one.textContent);
  expect(told).toEqual(CARD.facts.filter(([label]) => label !== "approval" && label !== "wants").flat());
});

test.each([
  ["Allow once", { id: "apr_1", answer: "approve", lasts: { kind: "once" } }],
  ["Allow for this run", { id: "apr_1", answer: "approve", lasts: { kind: "run" } }],
  ["Deny", { id: "apr_1", answer: "deny" }],
])("%s answers it", async (name, expected) => {
  const asked = daemon({ "approval.cards": [CARD], "approval.answer": CARD });
  render(<App />);
  fireEvent.click(await ready(name));
  await waitFor(() => expect(asked).toContainEqual(["approval.answer", expected]));
});

test("what is longer than the window is allowed only once its end was to be seen", async () => {
  daemon({ "approval.cards": [CARD] });
  const height = vi.spyOn(HTMLElement.prototype, "scrollHeight", "get").mockReturnValue(500);
  const { container } = render(<App />);
  await ready("Deny");
  const allow = screen.getByText("Allow once") as HTMLButtonElement;
  expect(allow.disabled).toBe(true);
  const box = container.querySelector("pre") as HTMLElement;
  box.scrollTop = 500;
  fireEvent.scroll(box);
  await waitFor(() => expect(allow.disabled).toBe(false));
  height.mockRestore();
});

test("what has just moved under the pointer takes no click", async () => {
  const answers = { "approval.cards": [{ ...CARD, id: "apr_0", facts: [["wants", "Read"]] }, CARD] };
  daemon(answers);
  render(<App />);
  await screen.findByText("Read");
  const buttons = () => screen.getAllByText("Allow once") as HTMLButtonElement[];
  expect(buttons().map((button) => button.disabled)).toEqual([true, true]);
  await waitFor(() => expect(buttons().map((button) => button.disabled)).toEqual([false, false]));
  answers["approval.cards"] = [CARD];
  await waitFor(() => expect(buttons().map((button) => button.disabled)).toEqual([true]), { timeout: 3000 });
  await waitFor(() => expect(buttons().map((button) => button.disabled)).toEqual([false]));
});

test.each([
  ["`lines`", { ...CARD, lines: [{ kind: "song" }] }],
  ["no list", { ...CARD, lines: undefined }],
  ["`facts`", { ...CARD, facts: [["wants"]] }],
  ["about nothing", { ...CARD, facts: [] }],
  ["`id`", { ...CARD, id: undefined }],
])("a question of another version is refused, not half shown: %s", async (what, card) => {
  daemon({ "approval.cards": [card] });
  render(<App />);
  expect((await screen.findByRole("alert")).textContent).toContain(what);
  expect(screen.queryByText("Allow once")).toBeNull();
});
