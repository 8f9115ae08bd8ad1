import type { RpcError } from "../host";
import { Notice } from "../Notice";
import { RunsTable } from "./RunsTable";
import { useRuns } from "./use_runs";

/** The runs, or why there are none to show. */
export function RunsView() {
  const runs = useRuns();
  if (runs.error) {
    return <Refused error={runs.error} />;
  }
  if (!runs.data) {
    return <Notice title="Asking the daemon…" />;
  }
  if (runs.data.length === 0) {
    return (
      <Notice title="No runs yet" command="agentsup run claude">
        Start one in any git repository; it appears here by itself.
      </Notice>
    );
  }
  const newestFirst = runs.data.toSorted((a, b) => b.startedAtMs - a.startedAtMs);
  return <RunsTable runs={newestFirst} nowMs={runs.dataUpdatedAt} />;
}

function Refused({ error }: { readonly error: RpcError }) {
  const away = error.code === "daemon_unreachable";
  return (
    <Notice
      title={away ? "The daemon does not answer" : "The runs cannot be shown"}
      tone="bad"
      command={error.hint}
    >
      {error.message}
    </Notice>
  );
}
