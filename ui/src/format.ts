// Numbers as people read them. Money stays in integers up to the last character.

const NANO_USD_PER_CENT = 10_000_000n;
const UNITS: readonly [Intl.RelativeTimeFormatUnit, number][] = [
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
];
const AGO = new Intl.RelativeTimeFormat("en", { numeric: "always", style: "narrow" });

/** Dollars and cents, rounded up so that a spend is never shown as nothing. */
export function usd(nanoUsd: number): string {
  const cents = (BigInt(nanoUsd) + NANO_USD_PER_CENT - 1n) / NANO_USD_PER_CENT;
  return `$${cents / 100n}.${String(cents % 100n).padStart(2, "0")}`;
}

/** How long ago, in the largest unit that fits. */
export function ago(thenMs: number, nowMs: number): string {
  const elapsedMs = Math.max(0, nowMs - thenMs);
  const unit = UNITS.find(([, lengthMs]) => elapsedMs >= lengthMs);
  return unit ? AGO.format(-Math.floor(elapsedMs / unit[1]), unit[0]) : "just now";
}
