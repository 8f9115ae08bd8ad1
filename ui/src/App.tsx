import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { useState } from "react";
import styles from "./App.module.css";
import { Inbox } from "./approvals/Inbox";
import { RunsView } from "./runs/RunsView";

export function App() {
  // Asking again is `refetchInterval`'s work, so a refusal is shown at once.
  const [client] = useState(
    () => new QueryClient({ defaultOptions: { queries: { retry: false, networkMode: "always" } } }),
  );
  return (
    <QueryClientProvider client={client}>
      <header className={styles.header}>
        <h1>Runs</h1>
      </header>
      <Inbox />
      <main className={styles.main}>
        <RunsView />
      </main>
    </QueryClientProvider>
  );
}
