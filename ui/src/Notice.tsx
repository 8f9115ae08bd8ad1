import type { ReactNode } from "react";
import styles from "./Notice.module.css";

interface NoticeProps {
  readonly title: string;
  readonly tone?: "plain" | "bad";
  readonly command?: string | null;
  readonly children?: ReactNode;
}

/** What stands where a list would: a title, a sentence, and the command that helps. */
export function Notice({ title, tone = "plain", command, children }: NoticeProps) {
  return (
    <section className={styles.notice} data-tone={tone} role={tone === "bad" ? "alert" : "status"}>
      <h2>{title}</h2>
      {children ? <p>{children}</p> : null}
      {command ? <code>{command}</code> : null}
    </section>
  );
}
