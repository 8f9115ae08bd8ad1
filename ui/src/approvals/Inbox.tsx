import { useLayoutEffect, useRef, useState } from "react";
import styles from "./Inbox.module.css";
import type { Question } from "./question";
import { useAnswer, useQuestions } from "./use_questions";

/** What waits for an answer, above everything else; nothing where nothing waits. */
export function Inbox() {
  const questions = useQuestions();
  // A daemon that does not answer is told by the list of runs; questions of another version are not.
  if (questions.error && questions.error.code !== "daemon_unreachable") {
    return (
      <p className={styles.refused} role="alert">
        What waits for an answer cannot be shown: {questions.error.message}
      </p>
    );
  }
  const open = questions.data ?? [];
  if (open.length === 0) {
    return null;
  }
  return (
    <section className={styles.inbox} aria-label="Waiting for you">
      {open.map((question) => (
        <Asked key={question.id} question={question} nowMs={questions.dataUpdatedAt} />
      ))}
    </section>
  );
}

function Asked({ question, nowMs }: { readonly question: Question; readonly nowMs: number }) {
  const answer = useAnswer(question.id);
  const [isRead, setRead] = useState(false);
  const leftS = Math.max(0, Math.floor((question.expiresAtMs - nowMs) / 1000));
  return (
    <article className={styles.question} data-question={question.id}>
      <header>
        <h2>{question.target}</h2>
        <span>
          {question.agent} · {leftS} s left
        </span>
      </header>
      <ul>
        {question.why.map((why) => (
          <li key={why}>{why}</li>
        ))}
      </ul>
      <Effect question={question} onEnd={() => setRead(true)} />
      {answer.error ? <p role="alert">{answer.error.message}</p> : null}
      <footer>
        {isRead ? null : <span>Scroll to the end to allow it.</span>}
        <button type="button" disabled={answer.isPending} onClick={() => answer.mutate("deny")}>
          Deny
        </button>
        <button type="button" disabled={answer.isPending || !isRead} onClick={() => answer.mutate("run")}>
          Allow for this run
        </button>
        <button type="button" disabled={answer.isPending || !isRead} onClick={() => answer.mutate("once")}>
          Allow once
        </button>
      </footer>
    </article>
  );
}

/** All that it would do. Tells once its end was to be seen. */
function Effect({ question, onEnd }: { readonly question: Question; readonly onEnd: () => void }) {
  const box = useRef<HTMLDivElement>(null);
  const look = () => {
    const seen = box.current;
    if (seen && seen.scrollTop + seen.clientHeight >= seen.scrollHeight - 1) {
      onEnd();
    }
  };
  useLayoutEffect(look);
  return (
    <div className={styles.effect} ref={box} onScroll={look}>
      {question.shown.map(({ title, body }) => (
        <figure key={`${title}\n${body}`}>
          <figcaption>{title}</figcaption>
          <pre>{body}</pre>
        </figure>
      ))}
    </div>
  );
}
