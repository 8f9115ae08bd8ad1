// Numbers as people read them, the same way as on the command line. Money stays in integers to the last character.

const CENT = 10_000_000n;
const MINUTE_S = 60;
const HOUR_S = 3_600;
const DAY_S = 86_400;

/** Nano-USD as dollars: to the cent from a cent on, exactly below it. */
export function usd(nanoUsd: number): string {
  const nano = BigInt(nanoUsd);
  if (nano === 0n || nano >= CENT) {
    const cents = (nano + CENT / 2n) / CENT;
    return `$${cents / 100n}.${String(cents % 100n).padStart(2, "0")}`;
  }
  return `$0.${String(nano).padStart(9, "0").replace(/0+$/, "")}`;
}

/** How long ago, in one unit. */
export function ago(thenMs: number, nowMs: number): string {
  const elapsedS = Math.floor(Math.max(0, nowMs - thenMs) / 1000);
  if (elapsedS < MINUTE_S) return `${elapsedS} s ago`;
  if (elapsedS < HOUR_S) return `${Math.floor(elapsedS / MINUTE_S)} min ago`;
  if (elapsedS < 2 * DAY_S) return `${Math.floor(elapsedS / HOUR_S)} h ago`;
  return `${Math.floor(elapsedS / DAY_S)} days ago`;
}
