import { useEffect, useLayoutEffect, useRef, useState } from "react";
import type { Card } from "./card";
import styles from "./Inbox.module.css";
import { useAnswer, useCards } from "./use_cards";

/** Long enough that no click meets what has just moved under the pointer. */
const STEADY_MS = 500;

/** What waits for an answer, above everything else; nothing where nothing waits. */
export function Inbox() {
  const cards = useCards();
  // What was there before a daemon went away may not be there any more.
  const open = cards.error ? [] : (cards.data ?? []);
  const isSteady = useSteady(open.map(({ id }) => id).join(" "));
  // A daemon that does not answer is told by the list of runs; questions of another version are not.
  if (cards.error && cards.error.code !== "daemon_unreachable") {
    return (
      <p className={styles.refused} role="alert">
        What waits for an answer cannot be shown: {cards.error.message}
      </p>
    );
  }
  if (open.length === 0) {
    return null;
  }
  return (
    <section className={styles.inbox} aria-label="Waiting for you">
      {open.map((card) => (
        <Asked key={card.id} card={card} nowMs={cards.dataUpdatedAt} isSteady={isSteady} />
      ))}
    </section>
  );
}

function useSteady(what: string): boolean {
  const [steady, setSteady] = useState("");
  useEffect(() => {
    const timer = setTimeout(() => setSteady(what), STEADY_MS);
    return () => clearTimeout(timer);
  }, [what]);
  return steady === what;
}

interface AskedProps {
  readonly card: Card;
  readonly nowMs: number;
  readonly isSteady: boolean;
}

function Asked({ card, nowMs, isSteady }: AskedProps) {
  const answer = useAnswer(card.id);
  const isIdle = isSteady && !answer.isPending;
  const [isRead, setRead] = useState(false);
  const leftS = Math.max(0, Math.floor((card.expiresAtMs - nowMs) / 1000));
  return (
    <article className={styles.card}>
      <header>
        <h2>{card.wants}</h2>
        <span>{leftS} s left</span>
      </header>
      <dl>
        {card.facts.map(([label, text]) => (
          <div key={label}>
            <dt>{label}</dt>
            <dd>{text}</dd>
          </div>
        ))}
      </dl>
      <Effect would={card.would} onEnd={() => setRead(true)} />
      {answer.error ? <p role="alert">{answer.error.message}</p> : null}
      <footer>
        {isRead ? null : <span>Scroll to the end to allow it.</span>}
        <button type="button" disabled={!isIdle} onClick={() => answer.mutate("deny")}>
          Deny
        </button>
        <button type="button" disabled={!isIdle || !isRead} onClick={() => answer.mutate("run")}>
          Allow for this run
        </button>
        <button type="button" disabled={!isIdle || !isRead} onClick={() => answer.mutate("once")}>
          Allow once
        </button>
      </footer>
    </article>
  );
}

/** All that it would do. Tells once its end was to be seen. */
function Effect({ would, onEnd }: { readonly would: string; readonly onEnd: () => void }) {
  const box = useRef<HTMLPreElement>(null);
  const look = () => {
    const seen = box.current;
    if (seen === null || seen.scrollTop + seen.clientHeight >= seen.scrollHeight - 1) {
      onEnd();
    }
  };
  useLayoutEffect(look);
  if (would === "") {
    return null;
  }
  return (
    <pre className={styles.effect} ref={box} onScroll={look}>
      {would}
    </pre>
  );
}
