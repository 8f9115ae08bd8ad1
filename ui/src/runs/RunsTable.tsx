import { ago, usd } from "../format";
import styles from "./RunsTable.module.css";
import { isLive, type Run } from "./run";

export function RunsTable({ runs, nowMs }: { readonly runs: readonly Run[]; readonly nowMs: number }) {
  return (
    <table className={styles.table}>
      <thead>
        <tr>
          <th scope="col">State</th>
          <th scope="col">Agent</th>
          <th scope="col">Adapter</th>
          <th scope="col">Branch</th>
          <th scope="col" className={styles.number}>
            Spend
          </th>
          <th scope="col" className={styles.number}>
            Started
          </th>
        </tr>
      </thead>
      <tbody>
        {runs.map((run) => (
          <tr key={run.id} data-run={run.id} data-live={isLive(run)}>
            <td>
              <span className={styles.state} data-state={run.state}>
                {run.state}
              </span>
            </td>
            <td className={styles.agent}>{run.agent}</td>
            <td>{run.adapter}</td>
            <td className={styles.branch} title={run.worktree}>
              {run.branch}
            </td>
            <td className={styles.number}>{usd(run.spendNanoUsd)}</td>
            <td className={styles.number} title={new Date(run.startedAtMs).toLocaleString()}>
              {ago(run.startedAtMs, nowMs)}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
