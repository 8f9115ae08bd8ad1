import { cleanup, render, screen, within } from "@testing-library/react";
import { afterEach, expect, test, vi } from "vitest";
import { App } from "../App";

const RUN = {
  id: "run_1",
  agent: "agent/code-review-bot@team-platform",
  adapter: "claude",
  state: "running",
  branch: "agentsup/run_1",
  worktree: "/home/alice/.agentsup/worktrees/run_1",
  pid: 42,
  spend_nano_usd: 1_234_567_890,
  started_at_ms: Date.now() - 5 * 60_000,
};

afterEach(cleanup);

/** Answers what is asked of runs; nothing waits for anybody. */
function answer(body: unknown, status = 200): void {
  vi.stubGlobal("fetch", (_: string, request: { body: string }) => {
    const isOfRuns = JSON.parse(request.body).op === "run.list";
    const response = isOfRuns ? new Response(JSON.stringify(body), { status }) : new Response("[]");
    return Promise.resolve(response);
  });
}

test("before the daemon answers the page says that it asks", () => {
  vi.stubGlobal("fetch", () => new Promise(() => {}));
  render(<App />);
  expect(screen.getByRole("status").textContent).toBe("Asking the daemon…");
});

test("without runs the page names the command that starts one", async () => {
  answer([]);
  render(<App />);
  await screen.findByText("No runs yet");
  expect(screen.getByText("agentsup run claude").tagName).toBe("CODE");
});

test("a run is a row", async () => {
  answer([RUN]);
  render(<App />);
  const row = (await screen.findByText("code-review-bot@team-platform")).closest("tr");
  const cells = row ? within(row).getAllByRole("cell") : [];
  expect(cells.map((cell) => cell.textContent)).toEqual([
    "running",
    "code-review-bot@team-platform",
    "claude",
    "agentsup/run_1",
    "$1.23",
    "5 min ago",
  ]);
});

test("the newest run comes first", async () => {
  answer([
    { ...RUN, id: "run_1", agent: "older" },
    { ...RUN, id: "run_2", agent: "newer", started_at_ms: RUN.started_at_ms + 1 },
  ]);
  const { container } = render(<App />);
  await screen.findByText("newer");
  const agents = [...container.querySelectorAll("tbody td:nth-child(2)")].map((cell) => cell.textContent);
  expect(agents).toEqual(["newer", "older"]);
});

test("what an agent names is text and nothing else", async () => {
  const branch = "<img src=x onerror=alert(1)>";
  answer([{ ...RUN, branch }]);
  render(<App />);
  expect((await screen.findByText(branch)).children.length).toBe(0);
});

test("a daemon that does not answer is told apart, with the way out", async () => {
  const error = {
    code: "daemon_unreachable",
    message: "no daemon at `/run/x`",
    hint: "agentsup daemon start",
  };
  answer(error, 502);
  render(<App />);
  const alert = await screen.findByRole("alert");
  expect([...alert.children].map((child) => child.textContent)).toEqual([
    "The daemon does not answer",
    "no daemon at `/run/x`",
    "agentsup daemon start",
  ]);
});

test("another refusal is shown as it came", async () => {
  answer({ code: "audit_broken", message: "record 7 does not follow record 6", hint: null }, 500);
  render(<App />);
  const alert = await screen.findByRole("alert");
  expect([...alert.children].map((child) => child.textContent)).toEqual([
    "The runs cannot be shown",
    "record 7 does not follow record 6",
  ]);
});

test("an answer of another version is refused, not half shown", async () => {
  answer([RUN, { ...RUN, id: "run_2", state: "dreaming" }]);
  render(<App />);
  const alert = await screen.findByRole("alert");
  expect(alert.textContent).toContain("`state`");
  expect(screen.queryByText("code-review-bot@team-platform")).toBeNull();
});
