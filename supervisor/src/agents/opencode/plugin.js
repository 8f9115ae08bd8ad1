// Written by agentsup: asks the gate before each tool. Throwing refuses the call.
const url = "@HOOK_URL@";
const token = process.env.AGENTSUP_RUN_TOKEN;

async function post(message) {
  const response = await fetch(url, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify(message),
    // A person may take longer to answer than the runtime waits by itself; the gate sets the limit.
    timeout: false,
  });
  if (!response.ok) throw new Error(`agentsup: the hook failed (${response.status}), so the call is refused`);
  return response.json();
}

export const Agentsup = async ({ directory }) => {
  // Models are closed to the run until this has arrived.
  await post({ event: "loaded" });
  return {
    "tool.execute.before": async (input, output) => {
      const call = { event: "before", tool: input.tool, call_id: input.callID, cwd: directory, args: output.args };
      const answer = await post(call);
      if (answer?.decision !== "allow") {
        throw new Error(answer?.reason ?? "agentsup: no decision was given, so the call is refused");
      }
    },
    "tool.execute.after": async (input, output) => {
      // No decision depends on this report: the run's end settles what it misses. What comes back labels the run.
      await post({ event: "after", call_id: input.callID, output: output?.output }).catch(() => {});
    },
  };
};
